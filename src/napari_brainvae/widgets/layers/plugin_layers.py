"""The layers that a widget has made: kept up to date, laid out side by side, removed again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from weakref import ref

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from napari.utils.colormaps import Colormap

from napari_brainvae.widgets.layers.atlas_layers import ATLAS, hide_colours
from napari_brainvae.widgets.layers.section_layers import (
    MADE_BY,
    MADE_HERE,
    add_quietly,
    made_here,
    section_geometry,
    update_layer,
)

HIDDEN = "brainvae_hidden_with_its_panel"
"""Metadata key of layers to be seen again, if its value says so: when there is something to show
in them, or their panel lies in front again, or is reopened."""


class PluginLayers(dict[str, Any]):
    """Layers by what they show; one that the user removes is forgotten.

    Parameters
    ----------
    owner
        Name of the panel: what a panel of that name has left in the viewer is found again.

    Attributes
    ----------
    behind
        Whether another panel lies in front: what is made is out of sight until then.
    """

    def __init__(self, viewer: Any, owner: str) -> None:
        super().__init__()
        self._viewer, self._owner, self.behind = viewer, owner, False
        self._empty: set[str] = set()
        self._named: dict[str, tuple[str, str]] = {}
        for layer in viewer.layers:
            if layer.metadata.get(MADE_BY) == owner:
                self[layer.metadata[MADE_HERE]] = layer
                self._empty.add(layer.metadata[MADE_HERE])
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
            Where a new layer goes; by default above all but shapes and outlines.

        The atlas's colours are hidden when a layer is made: they would mix with its own.
        """
        geometry = section_geometry(sections, picture.shape[:2])
        if part in self:
            # Of the same thing as before a name that differs is the user's.
            asked, given = self._named.get(part, ("", ""))
            kept = name == asked and self[part].name != given
            with nobody_looks_where(self[part], picture.shape):
                update_layer(self[part], picture, self[part].name if kept else name, geometry)
            if not kept:
                self._named[part] = name, self[part].name
            self._empty.discard(part)
            self._see(part)
            return
        about: dict[str, Any] = {MADE_HERE: part, MADE_BY: self._owner}
        if self.behind:
            about[HIDDEN] = look.pop("visible", True)
            look["visible"] = False
        self[part] = Image(picture, name=name, metadata=about, **look, **geometry)
        if position is None:
            position = below_line_drawings(self._viewer)
        if not self.behind:
            hide_colours(self._viewer)
        add_quietly(self._viewer, self[part], position)
        self._named[part] = name, self[part].name

    def _see(self, part: str) -> None:
        """Let a layer that has something to show be seen, if its panel lies in front."""
        if not self.behind and part not in self._empty and self[part].metadata.pop(HIDDEN, False):
            self[part].visible = True

    def remove(self, part: str) -> None:
        """Remove the layer of a part, if there is one."""
        layer = self.pop(part, None)
        self._empty.discard(part)
        # It may be gone already, and the viewer yet to say so.
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def hide_all(self) -> None:
        """Take every layer out of sight until there is something to show in it.

        So they keep the look that the user gave them, and nothing jumps while the slider moves.
        """
        for part in self:
            self.hide(part)

    def hide(self, part: str) -> None:
        """Take the layer of a part, if there is one, out of sight until it is shown again."""
        if part in self:
            self._empty.add(part)
            self._put_away(part)

    def stand_back(self) -> None:
        """Take every layer out of sight, as another panel lies in front; they are kept up to date.

        One that the user then makes visible by hand stays so.
        """
        self.behind = True
        for part in self:
            self._put_away(part)

    def come_forward(self) -> None:
        """Let all be seen that there is something to show in, as it was seen before."""
        self.behind = False
        for part in self:
            self._see(part)

    def _put_away(self, part: str) -> None:
        layer = self[part]
        layer.metadata.setdefault(HIDDEN, layer.visible)
        layer.visible = False

    def remove_all(self) -> None:
        """Remove every layer, all at once: napari collects garbage after each removal."""
        at_once = getattr(self._viewer.layers, "batched_update", nullcontext)
        with at_once() if self else nullcontext():
            for part in list(self):
                self.remove(part)

    def release(self) -> None:
        """Leave no callback behind; the layers stay, out of sight: nobody keeps them up to date.

        The panel finds them again when it is reopened, and shows what it showed.
        """
        self.hide_all()
        self.leave()

    def leave(self) -> None:
        """Leave no callback behind, and the layers as they are."""
        self._viewer.layers.events.removed.disconnect(self._removed)

    def _removed(self, event: Any) -> None:
        for part, layer in list(self.items()):
            if layer is event.value:
                del self[part]
                self._empty.discard(part)


class SideBySide:
    """Some of the viewer's layers in a grid, named, the others hidden; and all as it was again."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._before: tuple[Any, ...] = ()
        self._fitted = False
        self._visible: dict[Layer, bool] = {}
        self._named: list[Layer] = []
        self._grounded: dict[Layer, tuple[Colormap, Colormap, float]] = {}

    def show(self, layers: Sequence[Layer]) -> None:
        """Lay layers out as large as the canvas allows, each of them whole."""
        grid, scene = canvas_grid(self._viewer), camera(self._viewer)
        if not self._before:
            self._fitted = is_fitted(self._viewer)
            self._before = grid.enabled, grid.shape, grid.stride, scene.zoom, scene.center
            self._visible = {each: wanted(each) for each in self._viewer.layers}
            for layer in self._viewer.layers:
                layer.visible = layer in layers
        for layer in layers:  # some may have been made meanwhile, hidden above the others
            if layer not in self._visible:
                self._visible[layer], layer.visible = wanted(layer), True
        height, width = np.ptp(layers[0].extent.world, axis=0)[-2:]
        grid.shape = grid_shape(len(layers), height / width, canvas_size(self._viewer))
        grid.stride, grid.enabled = 1, True
        self._name([*layers])
        for layer in layers:
            self._ground(layer)
        self._viewer.reset_view()

    def end(self) -> None:
        """Give the viewer back."""
        if self._before:
            grid, scene = canvas_grid(self._viewer), camera(self._viewer)
            grid.enabled, grid.shape, grid.stride, scene.zoom, scene.center = self._before
            for layer, visible in self._visible.items():
                if HIDDEN in layer.metadata:  # its panel was closed, or has nothing to show in it
                    layer.metadata[HIDDEN] = visible
                else:
                    layer.visible = visible
            self._before, self._visible = (), {}
            self._name([])
            self._lift()
            if self._fitted:  # the canvas may have another size by now
                self._viewer.reset_view()

    def _ground(self, layer: Layer) -> None:
        """Lay what is clear over black: in a cell of its own there is no section beneath it.

        Such colours are made for a section, and hardly to be seen on the canvas of a light theme.
        """
        if isinstance(layer, Image) and not layer.rgb and (layer.colormap.colors[:, 3] < 1).any():
            ours = over_black(layer.colormap)
            self._grounded[layer] = layer.colormap, ours, layer.opacity
            layer.colormap, layer.opacity = ours, 1

    def _lift(self) -> None:
        """Give clear colours back, unless the user has chosen others."""
        for layer, (before, ours, opacity) in self._grounded.items():
            if layer.colormap == ours:
                layer.colormap, layer.opacity = before, opacity
        self._grounded = {}

    def _name(self, layers: list[Layer]) -> None:
        for layer in {*self._named, *layers}:
            # napari before 0.6.3 has no names on the canvas.
            if hasattr(layer, "name_overlay"):
                layer.name_overlay.visible = layer in layers
                layer.name_overlay.font_size = 7
        self._named = layers


def over_black(colours: Colormap) -> Colormap:
    """Give the colours that a map's have over black."""
    colors = np.array(colours.colors)
    colors[:, :3] *= colors[:, 3:]
    colors[:, 3] = 1
    return Colormap(colors, name=colours.name, controls=colours.controls)


def wanted(layer: Layer) -> bool:
    """Whether a layer is to be seen, now or once its panel lies in front again."""
    return bool(layer.metadata.get(HIDDEN, layer.visible))


def leave_copy(layer: Layer) -> None:
    """Leave what napari has copied or converted from a panel's layer to the user.

    No panel keeps it up to date, nor takes it for its own; it says of no atlas what is on show.
    """
    if layer not in made_here:
        for key in (MADE_BY, HIDDEN, ATLAS):
            layer.metadata.pop(key, None)


@contextmanager
def nobody_looks_where(layer: Layer, shape: tuple[int, ...]) -> Iterator[None]:
    """Spare viewers looking where all layers lie, while one of them gets data as large as before.

    That is half of what new data of a visible layer cost, and all of a hidden one's. Everybody
    else is told of them: a histogram must not show the data of before.
    """
    with ExitStack() as spared:
        for listener in layer.events.data.callbacks if layer.data.shape == shape else ():
            # As napari keeps methods; in any other form they are called, which only takes longer.
            match listener:
                case ref() as of, str() as name if isinstance(viewer := of(), ViewerModel):
                    spared.enter_context(layer.events.data.blocker(getattr(viewer, name)))
        yield


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


def is_fitted(viewer: Any) -> bool:
    """Whether the view is as napari has fitted it, not as the user has moved it."""
    if viewer.dims.ndisplay != 2:
        return False
    view = camera(viewer)
    before = view.zoom, view.center
    viewer.reset_view()
    fitted = before == (view.zoom, view.center)
    view.zoom, view.center = before
    return fitted


def grid_shape(count: int, aspect: float, canvas: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns in which pictures are largest.

    Parameters
    ----------
    aspect
        Height of a picture / its width.
    canvas
        Height and width of what they are laid out on.
    """

    def size(rows: int) -> tuple[float, int]:
        columns = math.ceil(count / rows)
        return min(canvas[0] / rows / aspect, canvas[1] / columns), -rows * columns

    rows = max(range(1, count + 1), key=size)
    return rows, math.ceil(count / rows)


def canvas_size(viewer: Any) -> tuple[int, int]:
    """Height and width of the viewer's canvas, which napari 0.9 made a part of its own."""
    height, width = viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size
    return int(height), int(width)


def canvas_grid(viewer: Any) -> Any:
    """The viewer's grid mode, which napari 0.9 moved to its canvas."""
    return viewer.canvas.grid if hasattr(viewer, "canvas") else viewer.grid
