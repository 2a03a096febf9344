"""What the map of brains shows: planes, and how brains look in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from napari_brainvae.widgets.panels.shift_bars import tick_step

MARGIN = 0.04
"""Around the points, in parts of their range."""


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of the map.

    Attributes
    ----------
    x, y
        Names of the axes.
    points
        ``(N, 2)``; a brain that is not finite is not drawn.
    row, column
        Where it is among others.
    outlines
        Of groups: colour, line ``(K, 2)`` and mean ``(2,)``.
    """

    x: str
    y: str
    points: npt.NDArray[np.float64]
    row: int = 0
    column: int = 0
    outlines: Sequence[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]] = ()

    @cached_property
    def limits(self) -> npt.NDArray[np.float64]:
        """Lowest and highest of both axes, ``(2, 2)``, with a margin."""
        finite = self.points[np.asarray(np.isfinite(self.points).all(axis=1))]
        if not len(finite):
            return np.array([[0.0, 0.0], [1.0, 1.0]])
        low, high = finite.min(axis=0), finite.max(axis=0)
        width = np.where(high > low, high - low, 1.0)
        return np.stack([low - MARGIN * width, high + MARGIN * width])


@dataclass(frozen=True, eq=False)
class Look:
    """How N brains look.

    Attributes
    ----------
    colours
        ``(N, 3)`` uint8.
    hollow, crossed
        ``(N,)`` bool.
    said
        Gives what is said of a brain under the mouse.
    """

    colours: npt.NDArray[np.uint8]
    hollow: npt.NDArray[np.bool_]
    crossed: npt.NDArray[np.bool_]
    said: Callable[[int], str]


def ticks(low: float, high: float) -> npt.NDArray[np.float64]:
    """Give round numbers from low to high."""
    step = tick_step(high - low)
    return step * np.arange(np.ceil(low / step), np.floor(high / step) + 1)
