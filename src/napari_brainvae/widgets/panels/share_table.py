"""The table of a field's share in each region."""

from __future__ import annotations

import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHeaderView, QTableView

from napari_brainvae.factors.field_refinement import shares
from napari_brainvae.factors.projective_field import HUES, PARTS
from napari_brainvae.widgets.panels.structure_tree import swatch
from napari_brainvae.widgets.panels.table_model import Column, TableModel

TITLES = ("c>0", "c<0", "large")
PERCENT = "{:.1f} %"


class ShareTable(QTableView):
    """Percent of each part of one factor's field, and of the tissue's area, by region."""

    def __init__(self) -> None:
        super().__init__()
        parts = [
            Column(part, title, PERCENT, icon=swatch((255 * r, 255 * g, 255 * b)))
            for part, title, (r, g, b) in zip(PARTS, TITLES, HUES.values(), strict=True)
        ]
        self.shares = TableModel([*parts, Column("area", "area", PERCENT)], parent=self)
        self.setModel(self.shares)
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.DescendingOrder)
        self.setSortingEnabled(True)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().setDefaultSectionSize(20)
        self.setMinimumHeight(120)

    def fill(self, table: pd.DataFrame | None) -> None:
        """Show what `field_by_region` says of one factor, in the order chosen; nothing without."""
        self.shares.show_table(None if table is None else shares(table))
        header = self.horizontalHeader()
        self.shares.sort(header.sortIndicatorSection(), header.sortIndicatorOrder())
