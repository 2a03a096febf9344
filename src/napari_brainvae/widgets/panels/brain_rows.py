"""Rows of brains, of which those that are selected are selected in all panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QEvent, QItemSelection, QItemSelectionModel, QModelIndex, Signal
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QStyledItemDelegate, QTableView

from napari_brainvae.widgets.panels.table_model import TableModel
from napari_brainvae.widgets.shared_brains import SharedBrains

Flag = QItemSelectionModel.SelectionFlag
BAR = 3
"""Width of what marks the brain on show, px."""


class BrainRows(QTableView):
    """A table with a row a brain; a click shows a brain and selects it alone.

    A click on one of several that are selected only shows it: so she can look at them one by one.
    Ctrl and Shift select more of them.

    Parameters
    ----------
    table
        What is shown.
    shared
        Which brains are selected.

    Signals
    -------
    chosen
        Position in the stack of the brain that is to be shown.
    """

    chosen = Signal(int)

    def __init__(self, table: TableModel, shared: SharedBrains) -> None:
        super().__init__(sortingEnabled=True)
        self.table, self.shared = table, shared
        self._following = self._showing = False
        self._positions: npt.NDArray[np.intp] = np.arange(0)
        self._at = -1
        self.setToolTip(
            "<p>Click a brain to show it, with Ctrl or Shift to select more; a title to sort.</p>"
        )
        self.setModel(table)
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QTableView.SelectionMode.ExtendedSelection)
        self.setItemDelegate(_OnShow(self))
        self.verticalHeader().setDefaultSectionSize(20)
        self.verticalHeader().hide()
        self.selectionModel().currentRowChanged.connect(self._choose)
        self.selectionModel().selectionChanged.connect(self._pick)
        shared.selection_changed.connect(self.show_selected)

    def release(self) -> None:
        """Follow nobody any more."""
        self.shared.selection_changed.disconnect(self.show_selected)

    def show_brains(self, positions: Sequence[int] | None = None) -> None:
        """Note which brains of the stack the rows of a table just shown are; by default all."""
        count = self.table.rowCount()
        self._positions = np.arange(count) if positions is None else np.asarray(positions, np.intp)
        self.show_selected()
        self.follow(self._at)

    def follow(self, position: int) -> None:
        """Mark the brain that the slider is at, without leading there or selecting it."""
        self._at = position
        at = np.flatnonzero(self._positions == position)
        row = self.table.row(int(at[0])) if len(at) else None
        index = QModelIndex() if row is None else self.table.index(row, 0)
        if index.row() == self.currentIndex().row():
            return
        self._following = True
        self.selectionModel().setCurrentIndex(index, Flag.NoUpdate)
        self._following = False
        self.viewport().update()
        self.scrollTo(index)

    def show_selected(self) -> None:
        """Select the rows of the brains that all panels have selected."""
        if self._selected() == self.shared.selected:
            return
        chosen = np.isin(self._positions[self.table.order], list(self.shared.selected))
        edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen, [0]])))
        rows, last = QItemSelection(), self.table.columnCount() - 1
        for first, end in edges.reshape(-1, 2).tolist():
            rows.select(self.table.index(first, 0), self.table.index(end - 1, last))
        self._showing = True
        self.selectionModel().select(rows, Flag.ClearAndSelect)
        self._showing = False

    def selectionCommand(self, index: QModelIndex, event: QEvent | None = None) -> Any:
        """Leave the selection as it is where one of several is clicked."""
        plain = isinstance(event, QMouseEvent) and not event.modifiers()
        if plain and len(self.shared.selected) > 1 and self.selectionModel().isSelected(index):
            return Flag.NoUpdate
        return super().selectionCommand(index, event)

    def _selected(self) -> frozenset[int]:
        order = self._positions[self.table.order]
        ranges = self.selectionModel().selection()
        parts = [order[each.top() : each.bottom() + 1] for each in ranges]
        return frozenset(np.concatenate(parts).tolist() if parts else ())

    def _pick(self) -> None:
        if not self._showing:
            self.shared.select(self._selected())

    def _choose(self, current: QModelIndex, _: QModelIndex) -> None:
        if current.isValid() and not self._following:
            self.chosen.emit(int(self._positions[self.table.position(current.row())]))


class _OnShow(QStyledItemDelegate):
    """Marks the row of the brain on show by a bar: others may be selected."""

    def paint(self, painter: Any, option: Any, index: QModelIndex) -> None:
        super().paint(painter, option, index)
        view = self.parent()
        if index.column() == 0 and index.row() == view.currentIndex().row():
            bar = option.rect
            painter.fillRect(bar.x(), bar.y(), BAR, bar.height(), option.palette.text())
