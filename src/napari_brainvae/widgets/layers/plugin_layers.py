"""The layers that a widget has made: kept up to date, laid out side by side, removed again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from napari.layers import Image, Layer, Shapes

from napari_brainvae.widgets.layers.section_layers import (
    MADE_HERE,
    add_quietly,
    section_geometry,
    update_layer,
)

HIDDEN = "brainvae_hidden_with_its_panel"
"""Metadata key of layers that are to be seen again when there is something to show in them."""


class PluginLayers(dict[str, Any]):
    """Layers by what they show; one that the user removes is forgotten."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        viewer.layers.events.removed.connect(self._removed)

    def show(
        self,
        part: str,
        picture: npt.NDArray[Any],
        sections: Layer,
        name: str,
        position: int | None = None,
        **look: Any,
    ) -> None:
        """Show a picture ``(H, W)`` or ``(H, W, 4)`` exactly on the sections.

        Parameters
        ----------
        part
            What it shows; a layer that is missing is made, with its look, which then is the user's.
        position
            Where a new layer goes; on top by default.
        """
        geometry = section_geometry(sections, picture.shape[:2])
        if part in self:
            update_layer(self[part], picture, name, geometry)
            if self[part].metadata.pop(HIDDEN, False):
                self[part].visible = True
            return
        self[part] = Image(picture, name=name, metadata={MADE_HERE: part}, **look, **geometry)
        add_quietly(self._viewer, self[part], position)

    def remove(self, part: str) -> None:
        """Remove the layer of a part, if there is one."""
        layer = self.pop(part, None)
        # It may be gone already, and the viewer yet to say so.
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def hide_all(self) -> None:
        """Take every layer out of sight until there is something to show in it.

        Layers that are removed while the slider moves end the process where OpenGL is software:
        napari draws them once more.
        """
        for layer in self.values():
            if layer.visible:
                layer.metadata[HIDDEN] = True
                layer.visible = False

    def remove_all(self) -> None:
        """Remove every layer."""
        for part in list(self):
            self.remove(part)

    def release(self) -> None:
        """Leave no callback behind; the layers stay."""
        self._viewer.layers.events.removed.disconnect(self._removed)

    def _removed(self, event: Any) -> None:
        for part, layer in list(self.items()):
            if layer is event.value:
                del self[part]


class SideBySide:
    """Some of the viewer's layers in a grid, named, the others hidden; and all as it was again."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._grid: tuple[Any, ...] = ()
        self._visible: dict[Layer, bool] = {}
        self._named: list[Layer] = []
        self._shrunk = 1

    def show(self, layers: Sequence[Layer], shape: tuple[int, int] = (-1, -1)) -> None:
        """Lay layers out in rows and columns; -1 is as many as it takes."""
        grid = canvas_grid(self._viewer)
        if not self._grid:
            self._grid = grid.enabled, grid.shape, grid.stride
            self._visible = {layer: layer.visible for layer in self._viewer.layers}
            for layer in self._viewer.layers:
                layer.visible = layer in layers
        grid.shape, grid.stride, grid.enabled = shape, 1, True
        rows = shape[0] if shape[0] > 0 else math.ceil(math.sqrt(len(layers)))
        self._shrink(max(rows, math.ceil(len(layers) / rows)))
        self._name([*layers])

    def end(self) -> None:
        """Give the viewer back."""
        if self._grid:
            grid = canvas_grid(self._viewer)
            grid.enabled, grid.shape, grid.stride = self._grid
            for layer, visible in self._visible.items():
                layer.visible = visible
            self._grid, self._visible = (), {}
            self._shrink(1)
            self._name([])

    def _shrink(self, times: int) -> None:
        """Show in each cell as much as the whole canvas showed."""
        camera(self._viewer).zoom *= self._shrunk / times
        self._shrunk = times

    def _name(self, layers: list[Layer]) -> None:
        for layer in {*self._named, *layers}:
            # napari before 0.6.3 has no names on the canvas.
            if hasattr(layer, "name_overlay"):
                layer.name_overlay.visible = layer in layers
                layer.name_overlay.font_size = 7
        self._named = layers


def below_line_drawings(viewer: Any) -> int:
    """Where a new layer goes that is not to cover shapes and outlines: above all else."""
    layers = viewer.layers
    return min(
        (i for i, layer in enumerate(layers) if _is_line_drawing(layer)), default=len(layers)
    )


def _is_line_drawing(layer: Layer) -> bool:
    return isinstance(layer, Shapes) or layer.metadata.get(MADE_HERE) in ("outlines", "structure")


def camera(viewer: Any) -> Any:
    """The viewer's camera, which napari 0.9 moved to its scene."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def canvas_grid(viewer: Any) -> Any:
    """The viewer's grid mode, which napari 0.9 moved to its canvas."""
    return viewer.canvas.grid if hasattr(viewer, "canvas") else viewer.grid
