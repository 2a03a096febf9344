"""The searchable tree of an atlas's structures."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor, QFont, QIcon, QPixmap, QStandardItem, QStandardItemModel
from qtpy.QtWidgets import (
    QCheckBox,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QTreeView,
    QVBoxLayout,
    QWidget,
)

from napari_brainvae.atlas.ontology import StructureTree

ID = Qt.ItemDataRole.UserRole


class StructureView(QWidget):
    """Structures by acronym and name, searchable; those outside the plane on request, in italics.

    A search that finds nothing in the plane shows what it finds elsewhere.

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
        self._search.setToolTip("Show the structures whose acronym or name holds this.")
        self._all = QCheckBox("Also structures outside this plane")
        self._all.setToolTip("They are in italics: nothing of them is in the section.")
        self._found = QLabel(wordWrap=True)
        self._found.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._tree = QTreeView(headerHidden=True, indentation=12, uniformRowHeights=True)
        self._tree.setToolTip("Select a structure to see where it lies.")
        self._tree.setModel(self._filter)
        self._tree.setEditTriggers(QTreeView.EditTrigger.NoEditTriggers)
        self._tree.setMinimumHeight(90)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self._search, self._found, self._tree, self._all):
            layout.addWidget(widget)
        self._found.hide()
        self._search.textChanged.connect(self._refresh)
        self._all.toggled.connect(self._refresh)
        self._tree.selectionModel().currentChanged.connect(self._current)
        self._shown: StructureTree | None = None
        self._by_id: dict[int, QStandardItem] = {}
        self._present: set[int] = set()

    def show_tree(self, tree: StructureTree, present: set[int]) -> None:
        """Show the structures of an atlas; ``present`` are those in the plane."""
        if tree is not self._shown:
            self._shown = tree
            self._items.clear()
            self._by_id = {}
            for structure in tree:
                item = QStandardItem(swatch(structure.color), tree.names[structure.id])
                item.setData(structure.id, ID)
                item.setToolTip(structure.name)
                self._by_id[structure.id] = item
                above: Any = self._items
                if structure.parent is not None:
                    above = self._by_id.get(structure.parent, self._items)
                above.appendRow(item)
        elsewhere = QFont(self._tree.font())
        elsewhere.setItalic(True)
        for key, item in self._by_id.items():
            item.setFont(self._tree.font() if key in present else elsewhere)
        self._present = present
        self._refresh()

    def search(self, text: str) -> None:
        """Keep what matches, what it is part of and what is part of it."""
        self._search.setText(text)

    def choose(self, key: int) -> None:
        """Select a structure; a search that hides it is given up."""
        index = self._filter.mapFromSource(self._by_id[key].index())
        if not index.isValid():
            self._search.clear()
            index = self._filter.mapFromSource(self._by_id[key].index())
        self._tree.setCurrentIndex(index)
        self._tree.scrollTo(index)

    def visible(self) -> list[int]:
        """Ids of the structures that pass search and plane, in order."""
        found, pending = [], [self._filter.index(i, 0) for i in range(self._filter.rowCount())]
        while pending:
            index = pending.pop(0)
            found.append(index.data(ID))
            below = self._filter.rowCount(index)
            pending[:0] = [self._filter.index(i, 0, index) for i in range(below)]
        return found

    def _refresh(self, event: Any = None) -> None:
        tree = self._shown
        if tree is None:
            return
        text = self._search.text().strip()
        everywhere = tree.matching(text)
        hits = everywhere if self._all.isChecked() else everywhere & self._present
        self._found.setVisible(not hits)
        if not everywhere:
            self._found.setText(f"No structure of this atlas is called \u201c{text}\u201d.")
        elif not hits and not text:
            self._found.setText("Nothing of this atlas lies in this plane.")
        elif not hits:
            self._found.setText(f"Not in this plane; {len(everywhere)} elsewhere in the atlas:")
            hits = everywhere
        outside = self._all.isChecked() or not hits <= self._present
        self._filter.show_only(tree.around(hits) if outside else tree.around(hits) & self._present)
        self._expand(tree, hits if text else set())

    def _expand(self, tree: StructureTree, hits: set[int]) -> None:
        """Open the tree down to the parts of what was found, or a few levels."""
        self._tree.collapseAll()
        if not hits:
            self._tree.expandToDepth(3)
        for key in {above for hit in hits for above in tree.structure(hit).path}:
            if (item := self._by_id.get(key)) is not None:
                self._tree.setExpanded(self._filter.mapFromSource(item.index()), True)

    def _current(self, index: QModelIndex, _: QModelIndex) -> None:
        if index.isValid():
            self.chosen.emit(index.data(ID))


class _Filter(QSortFilterProxyModel):
    """Passes the structures that it is told to."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._shown: set[int] = set()

    def show_only(self, keys: set[int]) -> None:
        """Let these ids pass, and no others."""
        self._shown = keys
        self.invalidate()

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        return self.sourceModel().index(row, 0, parent).data(ID) in self._shown


def swatch(color: tuple[int, int, int]) -> QIcon:
    """Give a little square of a colour."""
    pixmap = QPixmap(10, 10)
    pixmap.fill(QColor(*color))
    return QIcon(pixmap)
