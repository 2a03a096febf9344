"""The brains in the order of one factor's code, in the widget "Factors"."""

from __future__ import annotations

import pandas as pd
from qtpy.QtCore import QModelIndex, Qt
from qtpy.QtWidgets import QHeaderView

from napari_brainvae.widgets.panels.brain_rows import BrainRows, Flag
from napari_brainvae.widgets.panels.table_model import Column, TableModel
from napari_brainvae.widgets.shared_brains import SharedBrains

COLUMNS = [
    Column("id", "brain", tooltip="Click a brain to show it."),
    Column("code", "code", "{:+.2f}", "Posterior mean of the factor."),
]


class BrainsByCode(BrainRows):
    """Brains with their codes of one factor, sorted by them.

    Parameters
    ----------
    shared
        Which brains are selected, in all panels.
    """

    def __init__(self, shared: SharedBrains) -> None:
        super().__init__(TableModel(COLUMNS), shared)
        self.table.setParent(self)
        self.setTextElideMode(Qt.TextElideMode.ElideLeft)  # ids tend to differ at the end
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def show_codes(self, codes: pd.Series | None, positions: list[int] | None = None) -> None:
        """List brains, the highest first; none without codes.

        Parameters
        ----------
        codes
            ``(N,)``, indexed by id.
        positions
            Of these brains in the stack.
        """
        if codes is None:
            self.table.show_table(None)
            self.show_brains([])
            return
        self.table.show_table(pd.DataFrame({"id": codes.index.astype(str), "code": codes.array}))
        self.sortByColumn(1, Qt.SortOrder.DescendingOrder)
        self.show_brains(positions)

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
        # So that it is chosen again if it was.
        self.selectionModel().setCurrentIndex(QModelIndex(), Flag.NoUpdate)
        self.selectRow(0)
