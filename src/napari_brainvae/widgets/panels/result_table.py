"""A table of results that leads to what a row is about."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from qtpy.QtCore import QModelIndex, Signal
from qtpy.QtWidgets import QHeaderView, QTableView

from napari_brainvae.widgets.panels.table_model import Column, TableModel


class ResultTable(QTableView):
    """Rows that are sorted by a click on a header, and chosen by a click on them.

    Signals
    -------
    chosen
        Position of the row in the table that was given.
    """

    chosen = Signal(int)

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__(sortingEnabled=True)
        self.setToolTip("Click a row to see what it is of, a title to sort by it.")
        self.table = TableModel(columns, parent=self)
        self.setModel(self.table)
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        self.verticalHeader().setDefaultSectionSize(20)
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        header.setSortIndicator(-1, header.sortIndicatorOrder())
        # A click on the row that is chosen already leads there again.
        self.clicked.connect(self._choose)
        self.selectionModel().currentRowChanged.connect(self._moved)

    def show_table(self, table: pd.DataFrame | None) -> None:
        """Show other rows, in their own order; none without a table."""
        self.horizontalHeader().setSortIndicator(-1, self.horizontalHeader().sortIndicatorOrder())
        self.table.show_table(table)

    def _moved(self, index: QModelIndex, before: QModelIndex) -> None:
        if before.isValid():  # of the first, the click tells
            self._choose(index)

    def _choose(self, index: QModelIndex) -> None:
        if index.isValid():
            self.chosen.emit(self.table.position(index.row()))
