"""The searchable tree of an atlas's structures."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap, QStandardItem, QStandardItemModel
from qtpy.QtWidgets import QCheckBox, QLineEdit, QSizePolicy, QTreeView, QVBoxLayout, QWidget

from napari_brainvae.atlas.ontology import StructureTree

ID = Qt.ItemDataRole.UserRole


class StructureView(QWidget):
    """Structures by acronym and name, searchable, those of the plane unless all are wanted.

    Signals
    -------
    chosen
        Id of the structure that was selected.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        # Else napari leaves the lower half of the dock empty.
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._items = QStandardItemModel(self)
        self._filter = _Filter(self)
        self._filter.setSourceModel(self._items)
        self._search = QLineEdit(placeholderText="Search acronym or name", clearButtonEnabled=True)
        self._all = QCheckBox("Also structures outside this plane")
        self._tree = QTreeView(headerHidden=True, indentation=12, uniformRowHeights=True)
        self._tree.setModel(self._filter)
        self._tree.setEditTriggers(QTreeView.EditTrigger.NoEditTriggers)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self._search, self._tree, self._all):
            layout.addWidget(widget)
        self._search.textChanged.connect(self.search)
        self._all.toggled.connect(self._set_all)
        self._tree.selectionModel().currentChanged.connect(self._current)
        self._shown: StructureTree | None = None

    def show_tree(self, tree: StructureTree, present: set[int]) -> None:
        """Show the structures of an atlas; ``present`` are those in the plane."""
        if tree is not self._shown:
            self._shown = tree
            self._items.clear()
            parents: dict[int | None, Any] = {}
            for structure in tree:
                item = QStandardItem(swatch(structure.color), tree.names[structure.id])
                item.setData(structure.id, ID)
                item.setToolTip(structure.name)
                parents[structure.id] = item
                parents.get(structure.parent, self._items).appendRow(item)
        self._filter.present = present
        self._refresh()

    def search(self, text: str) -> None:
        """Keep the structures whose acronym or name holds ``text``, and what they are part of."""
        self._filter.text = text.strip().casefold()
        self._refresh()

    def choose(self, key: int) -> None:
        """Select a structure."""
        for index in self._items.match(
            self._items.index(0, 0),
            ID,
            key,
            1,
            Qt.MatchFlag.MatchExactly | Qt.MatchFlag.MatchRecursive,
        ):
            self._tree.setCurrentIndex(self._filter.mapFromSource(index))

    def visible(self) -> list[int]:
        """Ids of the structures that pass search and plane, in order."""
        found, pending = [], [self._filter.index(i, 0) for i in range(self._filter.rowCount())]
        while pending:
            index = pending.pop(0)
            found.append(index.data(ID))
            below = self._filter.rowCount(index)
            pending[:0] = [self._filter.index(i, 0, index) for i in range(below)]
        return found

    def _set_all(self, on: bool) -> None:
        self._filter.everything = on
        self._refresh()

    def _refresh(self) -> None:
        self._filter.invalidate()
        if self._filter.text:
            self._tree.expandAll()
        else:
            self._tree.collapseAll()
            self._tree.expandToDepth(3)

    def _current(self, index: QModelIndex, _: QModelIndex) -> None:
        if index.isValid():
            self.chosen.emit(index.data(ID))


class _Filter(QSortFilterProxyModel):
    """Passes what matches, and what it is part of."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.text, self.everything = "", False
        self.present: set[int] = set()
        self.setRecursiveFilteringEnabled(True)

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        index = self.sourceModel().index(row, 0, parent)
        if not self.everything and index.data(ID) not in self.present:
            return False
        return self.text in index.data().casefold()


def swatch(color: tuple[int, int, int]) -> QIcon:
    """Give a little square of a colour."""
    pixmap = QPixmap(10, 10)
    pixmap.fill(QColor(*color))
    return QIcon(pixmap)
