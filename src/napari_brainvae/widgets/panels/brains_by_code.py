"""The brains in the order of one factor's code, in the widget "Factors"."""

from __future__ import annotations

import pandas as pd
from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtWidgets import QHeaderView, QTableView

from napari_brainvae.widgets.panels.table_model import Column, TableModel

COLUMNS = [
    Column("id", "brain", tooltip="Click a brain to show it."),
    Column("code", "code", "{:+.2f}", "Posterior mean of the factor."),
]


class BrainsByCode(QTableView):
    """Brains with their codes of one factor, sorted by them; a click leads to a brain.

    Signals
    -------
    chosen
        Position of the brain in the stack.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__(sortingEnabled=True)
        self.setToolTip("Click a brain to show it, a title to sort by it.")
        self._positions: list[int] = []
        self.table = TableModel(COLUMNS, parent=self)
        self.setModel(self.table)
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.setTextElideMode(Qt.TextElideMode.ElideLeft)  # ids tend to differ at the end
        self.verticalHeader().setDefaultSectionSize(20)
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.selectionModel().currentRowChanged.connect(self._choose)

    def show_codes(self, codes: pd.Series | None, positions: list[int] | None = None) -> None:
        """List brains, the highest first; none without codes.

        Parameters
        ----------
        codes
            ``(N,)``, indexed by id.
        positions
            Of these brains in the stack.
        """
        self._positions = positions or []
        if codes is None:
            self.table.show_table(None)
            return
        self.table.show_table(pd.DataFrame({"id": codes.index.astype(str), "code": codes.array}))
        self.sortByColumn(1, Qt.SortOrder.DescendingOrder)

    def go_to_lowest(self) -> None:
        """Choose the brain with the smallest code."""
        self._go_to_end(Qt.SortOrder.AscendingOrder)

    def go_to_highest(self) -> None:
        """Choose the brain with the largest code."""
        self._go_to_end(Qt.SortOrder.DescendingOrder)

    def _go_to_end(self, order: Qt.SortOrder) -> None:
        if not self.table.rowCount():
            return
        self.sortByColumn(1, order)
        self.clearSelection()
        self.setCurrentIndex(QModelIndex())  # so that it is chosen again if it was
        self.selectRow(0)

    def _choose(self, current: QModelIndex, _: QModelIndex) -> None:
        if current.isValid():
            self.chosen.emit(self._positions[self.table.position(current.row())])
