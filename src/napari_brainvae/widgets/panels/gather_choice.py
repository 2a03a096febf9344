"""What is asked before brains are gathered: plane, pixels, how they lie, covariates, where to."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_brainvae.atlas.brainglobe import available_atlases
from napari_brainvae.data.covariates import Covariates
from napari_brainvae.data.gather_options import GatherOptions
from napari_brainvae.gathering.options import GatherCommand
from napari_brainvae.gathering.preview import Preview
from napari_brainvae.widgets.workers import Latest
from napari_brainvae.widgets.workspace import name_of_model

OWN, LIKE = "as the brains have", "like the model"
TABLES = "Tables (*.csv *.tsv *.txt *.xlsx);;All files (*)"
LABELS = {
    "plane": "Plane",
    "atlas": "Atlas",
    "pixel-size-um": "Pixel size",
    "orientation": "Orientation",
    "voxel-um": "Voxel size",
    "covariates": "Covariates",
    "out": "Write to",
}
"""What the flags of the command are called here."""


class GatherChoice(QWidget):
    """Controls for what gathering can be told; how brains lie is asked only if they do not say.

    Signals
    -------
    changed
        Something else is chosen.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.plane = _line("286, or 280:290 for a mean", "plane")
        self.atlas = QComboBox(editable=True)
        self.atlas.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.atlas.lineEdit().setPlaceholderText("that of the brains")
        self.atlas.setToolTip(_tip(GatherCommand, "atlas"))
        self.pixels = QComboBox(editable=True)
        self.pixels.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.pixels.setToolTip("<p>Side of the pixels to write, µm; or all like the model.</p>")
        self.orientation = QComboBox(editable=True)
        self.orientation.addItems(["", "asr", "asl"])
        self.orientation.lineEdit().setPlaceholderText("which side is the left one?")
        self.orientation.setToolTip(_tip(GatherOptions, "orientation"))
        self.voxel = _line("25, or 100,10,10", "voxel_um")
        self.covariates, self.out = _line("none", "covariates"), _line("", "out")
        self.table = QLabel(wordWrap=True)
        self.table.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._model: Path | None = None
        self._proposed = ""
        self._arrange()
        self.listing = Latest(available_atlases, self._list, parent=self)
        self._connect()
        self.show_preview(None)
        self.offer_model(None)
        self.listing.request()

    def _arrange(self) -> None:
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._open, self._place = QPushButton("…"), QPushButton("…")
        self._open.setToolTip("Choose a table of the brains.")
        self._place.setToolTip("Choose where the population is written.")
        rows = (
            ("plane", self.plane),
            ("atlas", self.atlas),
            ("orientation", self.orientation),
            ("voxel-um", self.voxel),
            ("pixel-size-um", self.pixels),
            ("covariates", _beside(self.covariates, self._open)),
        )
        for flag, widget in rows:
            self._form.addRow(LABELS[flag], widget)
        self._form.addRow(self.table)
        self._form.addRow(LABELS["out"], _beside(self.out, self._place))

    def _connect(self) -> None:
        for line in (self.plane, self.voxel, self.covariates, self.out):
            line.editingFinished.connect(self._told)
        for combo in (self.atlas, self.orientation, self.pixels):
            combo.activated.connect(self._told)
            combo.lineEdit().editingFinished.connect(self._told)
        self._open.clicked.connect(self._ask_table)
        self._place.clicked.connect(self._ask_place)
        self._last = self._raw()

    def values(self) -> dict[str, Any]:
        """Give what is chosen by field of `GatherCommand`, to be validated by it."""
        given: dict[str, Any] = {
            "plane": self.plane.text().replace(" ", ""),
            "atlas": self.atlas.currentText().strip(),
            "orientation": self.orientation.currentText().strip(),
            "voxel_um": self.voxel.text().replace(" ", ""),
            "covariates": self.covariates.text().strip(),
            "out": self.out.text().strip(),
        }
        pixels = self.pixels.currentText().strip()
        if pixels.startswith(LIKE):
            given["like"] = self._model
        elif pixels != OWN:
            given["pixel_size_um"] = pixels.removesuffix("µm").removesuffix("um").strip()
        return {name: value for name, value in given.items() if value}

    def propose(self, first: Path) -> None:
        """Propose where to write, beside the first of the brains, unless it was chosen."""
        if self.out.text() in ("", self._proposed):
            name = first.name.partition(".")[0] or "population"
            self._proposed = str(first.absolute().with_name(f"{name}_sections.zarr"))
            self.out.setText(self._proposed)
            self._last = self._raw()

    def offer_model(self, checkpoint: Path | None) -> None:
        """Offer pixels and plane of the model that the panels use."""
        was_like = self.pixels.currentText().startswith(LIKE)
        self._model = checkpoint
        with QSignalBlocker(self.pixels):
            text = self.pixels.currentText() or OWN
            self.pixels.clear()
            self.pixels.addItems([OWN, "25 µm", "50 µm"])
            if checkpoint is not None:
                self.pixels.insertItem(1, f"{LIKE} {name_of_model(checkpoint)}")
            like = 1 if checkpoint is not None else 0
            self.pixels.setCurrentText(self.pixels.itemText(like) if was_like else text)
        self._told()

    def show_preview(self, preview: Preview | None) -> None:
        """Say what the table gives, and ask for what no file says."""
        said = "" if preview is None or preview.covariates is None else joined(preview.covariates)
        self.table.setText(said)
        self.table.setVisible(bool(said))
        problems = [] if preview is None else [*preview.brains["problem"], preview.problem]
        for flag, widget, value in (
            ("--orientation", self.orientation, self.orientation.currentText()),
            ("--voxel-um", self.voxel, self.voxel.text()),
        ):
            is_asked = bool(value) or any(flag in text for text in problems)
            widget.setVisible(is_asked)
            self._form.labelForField(widget).setVisible(is_asked)

    def close_workers(self) -> None:
        """Show nothing any more."""
        self.listing.close()

    def _raw(self) -> tuple[Any, ...]:
        return (*self.values().items(),)

    def _told(self, event: object = None) -> None:
        """Tell of a change once: leaving a line without one is none."""
        now = self._raw()
        if now != self._last:
            self._last = now
            self.changed.emit()

    def _list(self, there: dict[str, Path]) -> None:
        with QSignalBlocker(self.atlas):
            text = self.atlas.currentText()
            self.atlas.clear()
            self.atlas.addItems(["", *there])
            self.atlas.setCurrentText(text)

    def _ask_table(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Table of the brains", "", TABLES)
        if name:
            self.covariates.setText(name)
            self._told()

    def _ask_place(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Population to write", self.out.text())
        if name:
            self.out.setText(name if name.endswith(".zarr") else f"{name}.zarr")
            self._told()


def in_words(message: str) -> str:
    """Call the flags that a message names as the panel does."""
    return re.sub(
        r"--([a-z-]+)", lambda m: f"“{LABELS[m[1]]}”" if m[1] in LABELS else m[0], message
    )


def joined(found: Covariates) -> str:
    """Say what a table gives: matched, unmatched on both sides, types, flagged."""
    types = ", ".join(f"{name} ({kind})" for name, kind in list(found.types.items())[:8])
    lines = [f"{found.key}: {len(found.matched)} of {len(found.table)} brains named"]
    for names, what in ((found.without_row, "without a row"), (found.of_no_brain, "of no brain")):
        if names:
            few = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            lines.append(f"{what}: {few} ({len(names)})")
    lines += [types or "no columns", f"{found.flagged} flagged"]
    return "<br>".join(map(escape, lines))


def _line(placeholder: str, name: str) -> QLineEdit:
    line = QLineEdit(placeholderText=placeholder)
    line.setToolTip(_tip(GatherCommand, name))
    return line


def _tip(schema: type[GatherOptions], name: str) -> str:
    return f"<p>{escape(in_words(schema.model_fields[name].description or ''))}</p>"


def _beside(line: QLineEdit, button: QPushButton) -> QWidget:
    both = QWidget()
    row = QHBoxLayout(both)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(line, 1)
    button.setFixedWidth(28)
    row.addWidget(button)
    return both
