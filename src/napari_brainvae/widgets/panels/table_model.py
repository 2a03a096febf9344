"""A pandas table as Qt's views show and sort it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt
from qtpy.QtGui import QFont, QIcon

NOTHING = "–"
"""What stands where a number is not finite."""
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


@dataclass(frozen=True)
class Column:
    """One column on show.

    Attributes
    ----------
    name
        Of the table's column.
    title, tooltip, icon
        Of the header.
    form
        How a value is written, as `str.format` takes it.
    """

    name: str
    title: str
    form: str = "{}"
    tooltip: str = ""
    icon: QIcon | None = None


class TableModel(QAbstractTableModel):
    """Some columns of a pandas table; a click on a header sorts by values, not by their text.

    Parameters
    ----------
    columns
        What is shown, in this order; a column that a table lacks is empty.
    tooltip, strong
        Names of the table's columns, if it has them, with a tooltip for each row and
        whether it is in bold.

    The labels of the table's index are the row headers.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        tooltip: str = "tooltip",
        strong: str = "strong",
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.columns = list(columns)
        self._tooltip, self._strong = tooltip, strong
        self._table, self.order = pd.DataFrame(), np.arange(0)
        """Of the rows on show: where each is in the table."""
        self._values: list[list[Any]] = []
        self._tooltips: list[Any] = []
        self._strongs: list[Any] = []

    def show_table(
        self, table: pd.DataFrame | None, columns: Sequence[Column] | None = None
    ) -> None:
        """Show another table, in its own order, or other columns of it; no rows without."""
        self.beginResetModel()
        self.columns = self.columns if columns is None else list(columns)
        self._table = pd.DataFrame() if table is None else table
        self.order = np.arange(len(self._table))
        # Looked up for every cell at every paint: pandas would take a hundred times as long.
        self._values = [self._list(column.name) for column in self.columns]
        self._tooltips, self._strongs = self._list(self._tooltip), self._list(self._strong)
        self.endResetModel()

    def show_column(self, name: str, values: Sequence[Any]) -> None:
        """Show other values in a column, in the order of the table; rows stay where they are."""
        at = next(i for i, column in enumerate(self.columns) if column.name == name)
        self._values[at] = list(values)
        if len(self._table):
            self.dataChanged.emit(self.index(0, at), self.index(len(self._table) - 1, at))

    def position(self, row: int) -> int:
        """Where the row on show is in the table."""
        return int(self.order[row])

    def row(self, position: int) -> int | None:
        """Row on show of a position in the table."""
        rows = np.flatnonzero(self.order == position)
        return int(rows[0]) if len(rows) else None

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Rows of the table."""
        return 0 if parent is not None and parent.isValid() else len(self.order)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Columns on show."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, tooltip, weight and alignment of a cell."""
        row = self.position(index.row())
        if role == Qt.ItemDataRole.DisplayRole:
            column = self.columns[index.column()]
            return _text(self._values[index.column()][row], column.form)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tooltips[row] or None
        if role == Qt.ItemDataRole.FontRole:
            return _bold() if self._strongs[row] else None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            is_text = isinstance(self._values[index.column()][row], str)
            return None if is_text else int(RIGHT)
        return None

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Titles of the columns, labels of the rows."""
        if orientation == Qt.Orientation.Vertical:
            shown = role == Qt.ItemDataRole.DisplayRole
            return str(self._table.index[self.position(section)]) if shown else None
        column = self.columns[section]
        return {
            Qt.ItemDataRole.DisplayRole: column.title,
            Qt.ItemDataRole.ToolTipRole: column.tooltip or None,
            Qt.ItemDataRole.DecorationRole: column.icon,
        }.get(Qt.ItemDataRole(role))

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column's values; NaN comes last either way, equals stay as they were."""
        if not 0 <= column < len(self.columns) or not len(self.order):
            return
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        rows = [self.position(index.row()) for index in before]
        values = pd.Series(self._values[column])[self.order].reset_index(drop=True)
        ascending = order == Qt.SortOrder.AscendingOrder
        moved = values.sort_values(ascending=ascending, kind="stable", na_position="last").index
        self.order = self.order[moved.to_numpy()]
        where = np.argsort(self.order)
        after = [
            self.index(int(where[row]), index.column())
            for row, index in zip(rows, before, strict=True)
        ]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _list(self, name: str) -> list[Any]:
        if name in self._table:
            return self._table[name].tolist()
        return [None] * len(self._table)


def _text(value: Any, form: str) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return NOTHING
    return form.format(value)


def _bold() -> QFont:
    font = QFont()
    font.setBold(True)
    return font
