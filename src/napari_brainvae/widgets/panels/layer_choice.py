"""A choice among the viewer's layers that follows additions, removals and renames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import napari.viewer
from magicgui.widgets import ComboBox
from napari.layers import Image, Layer
from qtpy.QtCore import QObject, Signal

from napari_brainvae.widgets.layers.section_layers import (
    ATLAS_FOLDER,
    CHECKPOINT,
    MADE_HERE,
    place_events,
)


class LayerChoice(QObject):
    """A combo box of those layers that ``accepts`` takes; the last one unless another is chosen.

    Signals
    -------
    changed
        Another layer is chosen, or none is left.
    altered
        The chosen layer's data were replaced, or lie elsewhere.
    """

    changed, altered = Signal(), Signal()

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        accepts: Callable[[Layer], bool],
        tooltip: str,
    ) -> None:
        super().__init__()
        self._viewer, self._accepts = viewer, accepts
        self._box = ComboBox(choices=self._choices, nullable=True, tooltip=tooltip)
        self.native = self._box.native
        # Long names of layers must not widen the dock.
        self.native.setMinimumContentsLength(8)
        self._box.changed.connect(lambda _: self.changed.emit())
        self._followed: dict[Layer, list[Any]] = {}
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        for layer in viewer.layers:
            self._follow(layer)
        self._reset()

    @property
    def layer(self) -> Any:
        """The chosen layer; None if there is none."""
        return self._box.value

    @layer.setter
    def layer(self, layer: Layer) -> None:
        self._box.value = layer

    def release(self) -> None:
        """Leave no callback behind."""
        self._viewer.layers.events.inserted.disconnect(self._inserted)
        self._viewer.layers.events.removed.disconnect(self._removed)
        for layer in [*self._followed]:
            self._leave(layer)

    def _choices(self, _: Any = None) -> list[Layer]:
        return [layer for layer in self._viewer.layers if self._accepts(layer)]

    def _inserted(self, event: Any) -> None:
        self._follow(event.value)
        self._reset()

    def _removed(self, event: Any) -> None:
        if event.value in self._followed:
            self._leave(event.value)
        self._reset()

    def _follow(self, layer: Layer) -> None:
        layer.events.name.connect(self._reset)
        self._followed[layer] = place_events(layer) if self._accepts(layer) else []
        for event in self._followed[layer]:
            event.connect(self._moved)

    def _leave(self, layer: Layer) -> None:
        layer.events.name.disconnect(self._reset)
        for event in self._followed.pop(layer):
            event.disconnect(self._moved)

    def _moved(self, event: Any) -> None:
        if event.source is self.layer:
            self.altered.emit()

    def _reset(self, event: Any = None) -> None:
        before = self.layer
        with self._box.changed.blocked():
            self._box.reset_choices()
            if self._box.value is None and (choices := self._choices()):
                self._box.value = choices[-1]
        if self.layer is not before:
            self.changed.emit()


def has_sections(layer: Layer) -> bool:
    """Whether a layer may show sections: a gray image, not made here nor of a model or atlas."""
    return (
        isinstance(layer, Image)
        and not layer.rgb
        and layer.ndim in (2, 3)
        and not layer.metadata.keys() & {MADE_HERE, CHECKPOINT, ATLAS_FOLDER}
    )
