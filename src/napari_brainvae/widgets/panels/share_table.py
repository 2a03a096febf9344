"""The table of a field's share in each region."""

from __future__ import annotations

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem

from napari_brainvae.factors.projective_field import HUES
from napari_brainvae.widgets.field_steps import shares
from napari_brainvae.widgets.panels.structure_tree import swatch


class ShareTable(QTableWidget):
    """Percent of each part of one factor's field, and of the tissue's area, by region."""

    def __init__(self) -> None:
        super().__init__(0, 4)
        titles = ("c>0", "c<0", "large")
        for column, (title, (r, g, b)) in enumerate(zip(titles, HUES.values(), strict=True)):
            icon = swatch((255 * r, 255 * g, 255 * b))
            self.setHorizontalHeaderItem(column, QTableWidgetItem(icon, title))
        self.setHorizontalHeaderItem(3, QTableWidgetItem("area"))
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().setDefaultSectionSize(20)
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.setMinimumHeight(120)

    def fill(self, table: pd.DataFrame | None) -> None:
        """Show what `field_by_region` says of one factor; nothing without."""
        wide = None if table is None else shares(table)
        self.setRowCount(0 if wide is None else len(wide))
        if wide is None:
            return
        self.setVerticalHeaderLabels([str(region) for region in wide.index])
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for row, values in enumerate(wide.to_numpy()):
            for column, value in enumerate(values):
                item = QTableWidgetItem("–" if np.isnan(value) else f"{value:.1f} %")
                item.setTextAlignment(right)
                self.setItem(row, column, item)
