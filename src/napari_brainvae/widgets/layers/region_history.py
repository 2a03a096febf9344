"""What drawn regions were before they were edited or removed: Shapes layers have no undo."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Shapes

MOST_STEPS = 50
DONE = ("added", "changed", "removed")
"""Actions of a Shapes layer after which its shapes are others."""

Drawn = tuple[list[npt.NDArray[Any]], list[str]]
"""Vertices and kind of each shape."""


class RegionHistory:
    """Goes back over the edits of a viewer's Shapes layers, the latest first."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._now: dict[Shapes, Drawn] = {}
        self._steps: list[tuple[Shapes, Drawn | None]] = []
        self._going_back = False

    def follow(self, layer: Shapes) -> None:
        """Remember a layer from now on."""
        self._now[layer] = _drawn(layer)
        layer.events.data.connect(self._edited)

    def leave(self, layer: Shapes, *, removed: bool) -> None:
        """Follow a layer no longer; one that was removed can be brought back."""
        layer.events.data.disconnect(self._edited)
        drawn, _ = self._now.pop(layer)
        if removed and drawn and not self._going_back:
            self._push(layer, None)

    def undo(self) -> bool:
        """Bring back what was before the latest edit or removal; say whether there was one."""
        while self._steps:
            layer, drawn = self._steps.pop()
            self._going_back = True
            try:
                if drawn is None and layer not in self._viewer.layers:
                    self._viewer.layers.append(layer)
                    return True
                if drawn is not None and layer in self._now:
                    layer.data = list(zip(*drawn, strict=True)) if drawn[0] else []
                    self._now[layer] = _drawn(layer)
                    return True
            finally:
                self._going_back = False
        return False

    def _edited(self, event: Any) -> None:
        layer = event.source
        if layer not in self._now or str(getattr(event, "action", DONE[1])) not in DONE:
            return
        before, self._now[layer] = self._now[layer], _drawn(layer)
        if not self._going_back and not _same(before, self._now[layer]):
            self._push(layer, before)

    def _push(self, layer: Shapes, drawn: Drawn | None) -> None:
        self._steps = [*self._steps[1 - MOST_STEPS :], (layer, drawn)]


def _drawn(layer: Shapes) -> Drawn:
    return [np.array(vertices) for vertices in layer.data], list(layer.shape_type)


def _same(one: Drawn, other: Drawn) -> bool:
    return one[1] == other[1] and all(
        np.array_equal(a, b) for a, b in zip(one[0], other[0], strict=True)
    )
