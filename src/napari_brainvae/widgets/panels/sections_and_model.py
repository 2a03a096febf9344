"""The top of every widget: on which sections, model and atlas all of them work."""

from __future__ import annotations

from html import escape
from pathlib import Path

import napari.viewer
from napari.layers import Image
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_brainvae.models.base import Model
from napari_brainvae.widgets.panels.layer_choice import LayerChoice
from napari_brainvae.widgets.panels.misfit_note import MisfitNote
from napari_brainvae.widgets.workers import warning
from napari_brainvae.widgets.workspace import name_of_model, workspace_of

FILES = "Checkpoints (*.safetensors *.pth *.pt);;All files (*)"


class SectionsAndModel(QWidget):
    """Shows what the workspace has chosen, and lets other things be chosen.

    Parameters
    ----------
    atlas
        Whether the widget works with an atlas, too.

    Signals
    -------
    changed
        Another layer or another model was chosen, the model was loaded, or the sections were
        replaced or moved.
    """

    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, *, atlas: bool = False) -> None:
        super().__init__()
        self.viewer, self.workspace = viewer, workspace_of(viewer)
        self._layers = LayerChoice(
            viewer,
            "sections",
            "Image layer with one section per brain, (N, H, W), or a single section.",
        )
        self._models = QComboBox(toolTip="Model that all panels use.")
        self._models.setMinimumContentsLength(8)
        shrink = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        self._models.setSizeAdjustPolicy(shrink)
        self._open = QPushButton("Open …")
        self._open.setToolTip("Checkpoint written by brainvae fit, or the published one.")
        self._about, self._said = QLabel(wordWrap=True), QLabel(wordWrap=True)
        for label in (self._about, self._said):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        form = QFormLayout()
        form.addRow("Sections", self._layers.native)
        row = QHBoxLayout()
        row.addWidget(self._models, 1)
        row.addWidget(self._open)
        form.addRow("Model", row)
        self.atlas = LayerChoice(viewer, "atlas", "Layer of an atlas.") if atlas else None
        if self.atlas is not None:
            form.addRow("Atlas", self.atlas.native)
        self.misfit = MisfitNote(viewer)
        layout = QVBoxLayout(self)  # a form gives some of its lines the height of others
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        for each in (self._about, self.misfit, self._said):
            layout.addWidget(each)
        self._layers.changed.connect(self._changed)
        self._layers.altered.connect(self._changed)
        self._models.activated.connect(self._pick)
        self._open.clicked.connect(self._ask)
        self.workspace.model_changed.connect(self._changed)
        self.workspace.said_changed.connect(self._say)
        self.workspace.atlas_changed.connect(self._tell)
        self._tell()
        self._say()

    @property
    def layer(self) -> Image | None:
        """The chosen layer, None if there is none."""
        return self.workspace.sections

    @layer.setter
    def layer(self, layer: Image) -> None:
        self.workspace.sections = layer

    @property
    def model(self) -> Model | None:
        """The chosen model, None while it is loaded."""
        return self.workspace.model

    @property
    def checkpoint(self) -> Path | None:
        """The chosen file."""
        return self.workspace.checkpoint

    @checkpoint.setter
    def checkpoint(self, path: str | Path) -> None:
        self.workspace.checkpoint = Path(path)

    @property
    def ready(self) -> bool:
        """Whether both are chosen and the model is loaded."""
        return self.workspace.ready

    def release(self) -> None:
        """Leave no callback behind."""
        self._layers.release()
        if self.atlas is not None:
            self.atlas.release()
        self.workspace.model_changed.disconnect(self._changed)
        self.workspace.said_changed.disconnect(self._say)
        self.workspace.atlas_changed.disconnect(self._tell)

    def _changed(self) -> None:
        self._tell()
        self.changed.emit()

    def _tell(self) -> None:
        """Show the models by name, and what is known of the chosen one."""
        known, path = self.workspace.checkpoints, self.workspace.checkpoint
        self._models.clear()
        self._models.addItems([name_of_model(each) for each in known])
        for row, each in enumerate(known):
            self._models.setItemData(row, str(each), Qt.ItemDataRole.ToolTipRole)
        self._models.setCurrentIndex(-1 if path is None else known.index(path))
        self._models.setEnabled(bool(known))
        if wrong := self.workspace.problem or self.workspace.unusable:
            self._about.setText(warning(escape(wrong)))
        elif self.model is not None:
            self._about.setText(about(self.model) + self._cropped() + self._other_plane())
        elif path is not None:
            self._about.setText(f"Loading {name_of_model(path)} …")
        else:
            self._about.setText("Open a model to begin: drop its file or its run's folder.")
        self.misfit.tell()

    def _cropped(self) -> str:
        """Say that the model sees less than the whole sections."""
        inputs = self.workspace.inputs(atlas=False)
        if inputs is None or not inputs.cropped:
            return ""
        height, width = inputs.population.shape
        return f"\nSections of {height} x {width} px are cropped to that about their centre."

    def _other_plane(self) -> str:
        """Say that the atlas shows another plane than the sections are of."""
        atlas, population = self.workspace.atlas, self.workspace.population
        known = None if population is None else population.description.plane
        if atlas is None or known is None or known == atlas.section.plane:
            return ""
        return f"\n\u26a0 The sections are of plane {known}, the atlas shows {atlas.section.plane}."

    def _say(self) -> None:
        self._said.setText(self.workspace.said)
        self._said.setVisible(bool(self.workspace.said))

    def _pick(self, row: int) -> None:
        self._choose(self.workspace.checkpoints[row])

    def _ask(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open model", "", FILES)
        if name:
            self._choose(Path(name))

    def _choose(self, path: Path) -> None:
        self.workspace.say("")  # it was said of what was chosen before
        self.checkpoint = path


def about(model: Model) -> str:
    """What a person wants to know of a model, in two lines."""
    header = model.header
    plane = f", plane {header.plane}" if header.plane is not None else ""
    size = f", {header.pixel_size_um:g} µm" if header.pixel_size_um else ""
    return f"{model.summary}\n{header.height} x {header.width} px{size}{plane}"
