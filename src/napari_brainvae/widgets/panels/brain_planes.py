"""What the map of brains shows: planes, and how brains look in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QPointF, QRectF
from qtpy.QtGui import QPolygonF

from napari_brainvae.widgets.panels.shift_bars import tick_step

MARGIN = 0.04
"""Around the points, in parts of their range."""

ROOM, GAP = 44, 4
"""Left and below for ticks and names; between planes, px."""

Floats = npt.NDArray[np.float64]


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
    points: Floats
    row: int = 0
    column: int = 0
    outlines: Sequence[tuple[str, Floats, Floats]] = ()


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


class Layout:
    """Where planes, and the brains in them, are in a widget of a size.

    Attributes
    ----------
    frames
        Of each plane.
    limits
        Lowest and highest of both axes of each plane, ``(P, 2, 2)``, with a margin.
    places
        Of the brains in each plane, x and y, ``(P, 2, N)``, px; NaN of those that are not drawn.
    """

    def __init__(self, planes: Sequence[Plane], width: int, height: int) -> None:
        self.planes = planes
        rows, columns = (
            1 + max((getattr(plane, way) for plane in planes), default=0)
            for way in ("row", "column")
        )
        wide, high = (width - ROOM - GAP) / columns, (height - ROOM - GAP) / rows
        gap = GAP if len(planes) > 1 else 0
        self.frames = [
            QRectF(ROOM + p.column * wide, GAP + p.row * high, wide - gap, high - gap)
            for p in planes
        ]
        # All planes at once: one by one they take longer than a frame.
        points = np.stack([plane.points.T for plane in planes])
        known = np.isfinite(points).all(axis=1, keepdims=True)
        if not known.all():
            points = np.where(known, points, np.nan)
        self.limits = _limits(points, planes)
        self._corners = np.array([(each.left(), each.bottom()) for each in self.frames])
        sizes = np.array([(each.width(), -each.height()) for each in self.frames])
        self._scales = sizes / (self.limits[:, 1] - self.limits[:, 0])
        self.places = self._corners[..., None] + self._scales[..., None] * (
            points - self.limits[:, 0, :, None]
        )

    def pixels(self, plane: int, points: Floats) -> Floats:
        """Where points ``(n, 2)`` of a plane are, px."""
        return np.asarray(
            self._corners[plane] + self._scales[plane] * (points - self.limits[plane, 0])
        )

    def plane_at(self, x: float, y: float, reach: float = 0) -> int | None:
        """Index of the plane that a pixel is in, or that is nearest to it and within reach."""
        away = [
            max(frame.left() - x, x - frame.right(), frame.top() - y, y - frame.bottom(), 0)
            for frame in self.frames
        ]
        nearest = int(np.argmin(away)) if away else 0
        return nearest if away and away[nearest] <= reach else None


def _limits(points: Floats, planes: Sequence[Plane]) -> Floats:
    """Lowest and highest ``(P, 2, 2)`` of points ``(P, 2, N)`` and outlines, with a margin."""
    low, high = (
        np.fmin.reduce(points, axis=2, initial=np.inf),
        np.fmax.reduce(points, axis=2, initial=-np.inf),
    )
    for i, plane in enumerate(planes):
        if plane.outlines:
            lines = np.concatenate([line for _, line, _ in plane.outlines])
            low[i] = np.minimum(low[i], lines.min(axis=0))
            high[i] = np.maximum(high[i], lines.max(axis=0))
    some = low <= high
    low, high = np.where(some, low, 0.0), np.where(some, high, 1.0)
    width = np.where(high > low, high - low, 1.0)
    return np.stack([low - MARGIN * width, high + MARGIN * width], axis=1)


def polygon(line: Floats) -> QPolygonF:
    """Make a line ``(K, 2)`` Qt's."""
    return QPolygonF([QPointF(x, y) for x, y in line.tolist()])


def ticks(low: float, high: float) -> Floats:
    """Give round numbers from low to high."""
    step = tick_step(high - low)
    return step * np.arange(np.ceil(low / step), np.floor(high / step) + 1)
