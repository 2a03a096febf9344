"""Choosing another checkpoint, to stand beside the one that all panels work on."""

from __future__ import annotations

from html import escape
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_brainvae.io.file_stamp import file_stamp
from napari_brainvae.models.base import Model
from napari_brainvae.widgets.panels.sections_and_model import FILES, about
from napari_brainvae.widgets.workers import Latest, warning
from napari_brainvae.widgets.workspace import Workspace, load_once, name_of_model


class SecondModel(QWidget):
    """A model of this panel alone; the workspace keeps its own.

    Signals
    -------
    changed
        Another one is chosen, or it was loaded.
    """

    changed = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self.model: Model | None = None
        self.checkpoint: Path | None = None
        self._problem = ""
        self._models = QComboBox(toolTip="Model that is held against the one above.")
        self._models.setMinimumContentsLength(8)
        shrink = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        self._models.setSizeAdjustPolicy(shrink)
        self._open = QPushButton("Open …", toolTip="Checkpoint to hold against the one above.")
        self._about = QLabel(wordWrap=True)
        self._about.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.addWidget(QLabel("Model B"), 0, 0)
        grid.addWidget(self._models, 0, 1)
        grid.addWidget(self._open, 0, 2)
        grid.addWidget(self._about, 1, 0, 1, 3)
        self._load = Latest(load_once, self._loaded, self._failed, parent=self)
        self._models.activated.connect(self._pick)
        self._open.clicked.connect(self._ask)
        workspace.model_changed.connect(self._tell)
        self._tell()

    @property
    def name(self) -> str:
        """Run and file of the model; empty without."""
        return "" if self.checkpoint is None else name_of_model(self.checkpoint)

    def choose(self, path: Path) -> None:
        """Load a checkpoint, in the background."""
        self.checkpoint, self.model, self._problem = path, None, ""
        if path not in self._workspace.checkpoints:
            self._workspace.checkpoints.append(path)
        self._load.request(path, file_stamp([path]))
        self._tell()
        self.changed.emit()

    def release(self) -> None:
        """Leave no callback behind."""
        self._load.close()
        self._workspace.model_changed.disconnect(self._tell)

    def _tell(self) -> None:
        known = self._workspace.checkpoints
        self._models.clear()
        self._models.addItems([name_of_model(each) for each in known])
        for row, each in enumerate(known):
            self._models.setItemData(row, str(each), Qt.ItemDataRole.ToolTipRole)
        chosen = self.checkpoint
        self._models.setCurrentIndex(-1 if chosen is None else known.index(chosen))
        self._models.setEnabled(bool(known))
        if self._problem:
            self._about.setText(warning(escape(self._problem)))
        elif self.model is not None:
            self._about.setText(about(self.model))
        elif chosen is not None:
            self._about.setText(f"Loading {self.name} …")
        else:
            self._about.setText("Choose a second model, B; the one above is A.")

    def _pick(self, row: int) -> None:
        self.choose(self._workspace.checkpoints[row])

    def _ask(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open model B", "", FILES)
        if name:
            self.choose(Path(name))

    def _loaded(self, result: tuple[Path, Model]) -> None:
        path, model = result
        if path == self.checkpoint:
            self.model = model
            self._tell()
            self.changed.emit()

    def _failed(self, message: str) -> None:
        self._problem = message
        self._tell()
        self.changed.emit()
