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
    reach = np.abs(pixels).max()
    inner = ((places >= reach) & (places < np.array([height, width]) - reach)).all(axis=1)
    steps = np.array([width, 1])
    # Point by point, of which the last is what NumPy leaves where several are drawn.
    at = (places[inner] @ steps)[:, None] + pixels @ steps
    picture.reshape(-1)[at.ravel()] = np.repeat(colours[inner], len(pixels))
    for place, colour in zip(places[~inner], colours[~inner], strict=True):
        rows, columns = (place + pixels).T
        seen = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        picture[rows[seen], columns[seen]] = colour


def packed(colours: npt.NDArray[np.uint8], alpha: int = 255) -> Pixels:
    """Pack colours ``(n, 3)`` as Qt's ARGB32, ``(n,)``."""
    red, green, blue = colours.astype(np.uint32).T
    return np.asarray((np.uint32(alpha) << 24) | (red << 16) | (green << 8) | blue)
