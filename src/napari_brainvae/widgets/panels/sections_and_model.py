"""The top of every widget: which sections, which model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import napari.viewer
from magicgui.widgets import FileEdit
from napari.layers import Image, Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget

from napari_brainvae.io.file_stamp import Stamp, file_stamp
from napari_brainvae.models.base import Model
from napari_brainvae.widgets.layers.section_layers import CHECKPOINT
from napari_brainvae.widgets.panels.layer_choice import LayerChoice, has_sections
from napari_brainvae.widgets.workers import Latest


class SectionsAndModel(QWidget):
    """Choose an image layer with sections and a checkpoint.

    Signals
    -------
    changed
        Another layer or another model was chosen, the model was loaded, or the sections were
        replaced or moved.
    """

    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.model: Model | None = None
        self._layers = LayerChoice(
            viewer,
            has_sections,
            "Image layer with one section per brain, (N, H, W), or a single section.",
        )
        self._file = FileEdit(
            label="Model",
            filter="Checkpoints (*.safetensors *.pth *.pt);;All files (*)",
            nullable=True,
            tooltip="Checkpoint written by training.fit, or the published one.",
        )
        self._about = QLabel("Open a checkpoint to begin.")
        self._about.setWordWrap(True)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Sections", self._layers.native)
        form.addRow("Model", self._file.native)
        form.addRow(self._about)
        self._load = Latest(_load, self._loaded, self._failed, parent=self)
        self._layers.changed.connect(self.changed)
        self._layers.altered.connect(self.changed)
        self._file.changed.connect(self._open)
        viewer.layers.events.inserted.connect(self._inserted)
        for layer in viewer.layers:
            self._take_checkpoint(layer)

    @property
    def layer(self) -> Image | None:
        """The chosen layer, None if there is none."""
        chosen: Image | None = self._layers.layer
        return chosen

    @layer.setter
    def layer(self, layer: Image) -> None:
        self._layers.layer = layer

    @property
    def checkpoint(self) -> Path | None:
        """The chosen file."""
        path = self._file.value
        return path if isinstance(path, Path) else None

    @checkpoint.setter
    def checkpoint(self, path: str | Path) -> None:
        if self._file.value == Path(path):
            self._open(Path(path))  # it may have been written again
        self._file.value = Path(path)

    @property
    def ready(self) -> bool:
        """Whether both are chosen and the model is loaded.

        A layer that is just being removed moves the slider before this widget hears of it: nothing
        is to be computed for it any more.
        """
        return self.model is not None and self.layer in self.viewer.layers

    def release(self) -> None:
        """Leave no callback behind."""
        self._load.close()
        self._layers.release()
        self.viewer.layers.events.inserted.disconnect(self._inserted)

    def _inserted(self, event: Any) -> None:
        self._take_checkpoint(event.value)

    def _take_checkpoint(self, layer: Layer) -> None:
        """Choose the model that a layer was opened with, unless one is chosen."""
        if CHECKPOINT in layer.metadata and self._file.value is None:
            self.checkpoint = layer.metadata[CHECKPOINT]

    def _open(self, path: Path | None) -> None:
        self.model = None
        if path is None:
            return
        self._about.setText(f"Loading {path.name} …")
        self._load.request(path, file_stamp([path]))
        self.changed.emit()

    def _loaded(self, model: Model) -> None:
        self.model = model
        self._about.setText(about(model))
        self.changed.emit()

    def _failed(self) -> None:
        self._about.setText("This file is no model; see the notification.")


@lru_cache(maxsize=2)
def _load(path: Path, stamp: Stamp) -> Model:
    """Load a checkpoint once for all widgets; one that was written again is loaded again."""
    from napari_brainvae.models.checkpoint import load_checkpoint

    return load_checkpoint(path)


def about(model: Model) -> str:
    """What a person wants to know of a model, in two lines."""
    header, training = model.header, model.header.training
    beta = training.get("options", {}).get("beta")
    first = f"{model.label}, {header.latent_dim} factors" + (f", beta {beta:g}" if beta else "")
    plane = f", plane {header.plane}" if header.plane is not None else ""
    size = f", {header.pixel_size_um:g} µm" if header.pixel_size_um else ""
    return f"{first}\n{header.height} x {header.width} px{size}{plane}"
