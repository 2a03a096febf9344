"""Buttons and keys that mark brains, and what is marked: in lists of brains, in the gallery."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import napari.viewer
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_brainvae.widgets.layers.section_layers import shown_index
from napari_brainvae.widgets.shared_marks import KEYS, REDO, UNDO
from napari_brainvae.widgets.workspace import workspace_of

TIPS = {
    "accept": "Looked at, and good.",
    "exclude": "Leave it out of every fit from now on; nothing is deleted.",
    "unsure": "To be looked at again; it is fitted.",
    "": "Take the mark back.",
}


class MarkBar(QWidget):
    """Marks the selected brains, or the one on show if none is selected; keys, always that one.

    Parameters
    ----------
    by
        What the file of marks says they were set with.
    """

    def __init__(self, viewer: napari.viewer.Viewer, by: str) -> None:
        super().__init__()
        self.viewer, self._by = viewer, by
        self._workspace = workspace_of(viewer)
        self._marks, self._brains = self._workspace.marks, self._workspace.brains
        self._which, self._about = QLabel(), QLabel(wordWrap=True)
        self._about.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.marking: list[QAction] = []
        """For the menu of a list of brains."""
        row = QHBoxLayout()
        for mark, tip in TIPS.items():
            key = f" ({KEYS[mark].replace('-', '+')}: the brain on show)" if mark else ""
            self._add(row, mark.capitalize() or "Clear", tip + key, partial(self.mark, mark))
        self._undo = self._add(row, "Undo", f"Take the last mark back ({_said(UNDO)}).", self.undo)
        self._redo = self._add(row, "Redo", f"Mark again ({_said(REDO)}).", self.redo)
        row.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._which)
        layout.addLayout(row)
        layout.addWidget(self._about)
        self._of_brains: list[str] = []
        self._marks.changed.connect(self._tell)
        self._brains.selection_changed.connect(self._tell_which)
        viewer.dims.events.point.connect(self._tell_which)
        self._marks.hold_keys(viewer, self._shown)
        self._tell()

    def _add(self, row: QHBoxLayout, text: str, tip: str, done: Any) -> QAction:
        action = QAction(text, self)
        action.setToolTip(tip)
        action.triggered.connect(lambda _=False: done())
        button = QToolButton()
        button.setDefaultAction(action)
        row.addWidget(button)
        self.marking.append(action)
        return action

    def mark(self, mark: str) -> None:
        """Mark what is selected, or the brain on show."""
        self._marks.mark(self._chosen(), mark, self._by)

    def undo(self) -> None:
        """Take the last mark back."""
        self._marks.undo()

    def redo(self) -> None:
        """Mark again what was undone."""
        self._marks.redo()

    def release(self) -> None:
        """Leave no callback and no key behind."""
        self._marks.leave_keys(self.viewer)
        self._marks.changed.disconnect(self._tell)
        self._brains.selection_changed.disconnect(self._tell_which)
        self.viewer.dims.events.point.disconnect(self._tell_which)

    def _shown(self) -> int | None:
        layer = self._workspace.sections
        return None if layer is None else shown_index(layer, self.viewer.dims.point)

    def _chosen(self) -> list[int]:
        shown = self._shown()
        return sorted(self._brains.selected) or ([] if shown is None else [shown])

    def _tell(self) -> None:
        """Say what is marked in all; looked up once, not again at each step of the slider."""
        self._of_brains = self._marks.of_brains
        self._about.setText(self._marks.sentence if self._of_brains else "")
        self._tell_which()

    def _tell_which(self, event: Any = None) -> None:
        """Say which brains a button marks, and how they are marked."""
        marks, chosen, population = self._of_brains, self._chosen(), None
        if marks and chosen:
            population = self._workspace.population
        for action in self.marking:
            action.setEnabled(population is not None)
        self._undo.setEnabled(self._marks.undoable)
        self._redo.setEnabled(self._marks.redoable)
        if population is None:
            self._which.setText("")
        elif len(chosen) == 1:
            mark = marks[chosen[0]]
            is_so = f", marked <b>{mark}</b>" if mark else ""
            self._which.setText(f"Mark {escape(population.ids[chosen[0]])}{is_so}:")
        else:
            self._which.setText(f"Mark {len(chosen)} selected brains:")


def _said(key: str) -> str:
    return key.replace("-", "+")
