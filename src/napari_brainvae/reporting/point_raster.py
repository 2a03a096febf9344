"""Points as pixels: a hundred thousand of them in the time of one frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.intp]


def disc(radius: float) -> Offsets:
    """Give the pixels of a disc around its centre, ``(K, 2)`` as (row, column)."""
    reach = int(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    within = np.hypot(rows, columns) <= radius
    return np.stack([rows[within], columns[within]], axis=-1)


def ring(radius: float, width: float) -> Offsets:
    """Give the pixels of a disc that are not in the one inside it, ``(K, 2)``."""
    pixels = disc(radius)
    return np.asarray(pixels[np.hypot(*pixels.T) > radius - width])


def cross(radius: float, width: float) -> Offsets:
    """Give the pixels of two diagonal lines, ``(K, 2)``."""
    reach = int(radius)
    rows, columns = (part.ravel() for part in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    near = np.minimum(abs(rows - columns), abs(rows + columns)) <= width / np.sqrt(2)
    return np.stack([rows[near], columns[near]], axis=-1)


def stamp(picture: Pixels, places: npt.NDArray[np.intp], colours: Pixels, pixels: Offsets) -> None:
    """Draw the same mark at many places of a picture; later ones cover earlier ones.

    Parameters
    ----------
    picture
        ``(H, W)``; what would lie outside is left out.
    places
        ``(n, 2)`` as (row, column).
    colours
        ``(n,)``.
    pixels
        Of the mark, ``(K, 2)``.
    """
    if not len(places):
        return
    height, width = picture.shape
    rows, columns = places.T
    reach = int(np.abs(pixels).max())
    inner = (rows >= reach) & (rows < height - reach)
    inner &= (columns >= reach) & (columns < width - reach)
    at, shades = (rows * width + columns)[inner], colours[inner]
    # Of those at the same pixel only the last is seen.
    last = np.empty(picture.size, np.intp)
    order = np.arange(len(at))
    last[at] = order
    seen = last[at] == order
    at, shades = at[seen], shades[seen]
    # Point by point, of which the last is what NumPy leaves where several are drawn.
    covered = at[:, None] + pixels @ np.array([width, 1])
    picture.reshape(-1)[covered.ravel()] = np.repeat(shades, len(pixels))
    for place, colour in zip(places[~inner], colours[~inner], strict=True):
        rows, columns = (place + pixels).T
        there = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        picture[rows[there], columns[there]] = colour


def draw_points(
    shape: tuple[int, int],
    places: npt.NDArray[np.float64],
    colours: npt.NDArray[np.uint8],
    hollow: npt.NDArray[np.bool_],
    crossed: npt.NDArray[np.bool_],
    *,
    radius: float,
    line: float,
) -> Pixels:
    """Draw the same n points in several planes of one picture: as discs, rings and crosses.

    Parameters
    ----------
    shape
        ``(H, W)`` of the picture.
    places
        ``(P, 2, n)``: in each plane the points' x and y, px; those not finite are left out.
    colours
        ``(n, 3)``.
    hollow, crossed
        ``(n,)``.
    radius, line
        Of a point, and the width of its lines, px.

    Returns
    -------
    numpy.ndarray
        Qt's ARGB32, ``(H, W)``; nothing where no point is.
    """
    picture = np.zeros(shape, np.uint32)
    shades = packed(colours)
    marks: tuple[tuple[npt.NDArray[np.bool_], Offsets], ...] = (
        (~hollow & ~crossed, disc(radius)),
        (hollow, ring(radius, line)),
        (crossed, cross(radius + line, line)),
    )
    for which, mark in marks:
        x, y = places[:, :, which].swapaxes(0, 1).reshape(2, -1)
        drawn = np.isfinite(x) & np.isfinite(y)
        if not drawn.all():
            x, y = x[drawn], y[drawn]
        pixels = np.stack([np.floor(y), np.floor(x)], axis=-1).astype(np.intp)
        stamp(picture, pixels, np.tile(shades[which], len(places))[drawn], mark)
    return picture


def packed(colours: npt.NDArray[np.uint8], alpha: int = 255) -> Pixels:
    """Pack colours ``(n, 3)`` as Qt's ARGB32, ``(n,)``."""
    red, green, blue = colours.astype(np.uint32).T
    return np.asarray((np.uint32(alpha) << 24) | (red << 16) | (green << 8) | blue)
