"""How much each place of a section usually differs from its reconstruction.

A model leaves out more where anatomy is fine (striatum, borders of tracts) than in even tissue.
What is strange must be judged by what is usual there, or clean striatum looks like an artifact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # whose modules are imported when they are first used

from napari_brainvae.arrays import Images

Array = npt.NDArray[Any]

ROWS = 40
"""Blocks from top to bottom of the map: it varies slowly, and travels in a checkpoint's header."""

TO_DEVIATION = 1.4826
"""What a median absolute deviation is multiplied by to be the standard deviation of a Gaussian."""


def smooth_residual(section: Images, decoded: Images) -> Images:
    """What a section ``(H, W)`` has beyond its reconstruction, without the noise of single pixels.

    By a Gaussian of a 96th of the height: artifacts are larger than that.
    """
    return np.asarray(scipy.ndimage.gaussian_filter(section - decoded, len(section) / 96))


def residual_spread(sections: Images, decoded: Images) -> Array:
    """Typical size of `smooth_residual` over brains ``(N, H, W)``, in square blocks.

    Returns
    -------
    numpy.ndarray
        ``(h, w)`` float32, h near `ROWS`: median over brains, as a standard deviation.
    """
    height, width = sections.shape[1:]
    block = _block(height)
    over = ((0, -height % block), (0, -width % block))
    sizes = []
    for section, image in zip(sections, decoded, strict=True):
        size = np.pad(np.abs(smooth_residual(section, image)), over, mode="edge")
        rows, columns = size.shape[0] // block, size.shape[1] // block
        sizes.append(size.reshape(rows, block, columns, block).mean(axis=(1, 3)))
    return np.asarray(TO_DEVIATION * np.median(sizes, axis=0), dtype=np.float32)


def on_pixels(spread: npt.ArrayLike, shape: tuple[int, int]) -> Array:
    """Interpolate a map of `residual_spread` to the pixels ``(H, W)`` of a section."""
    block = _block(shape[0])
    centres = [(np.arange(size) + 0.5) / block - 0.5 for size in shape]
    where = np.meshgrid(*centres, indexing="ij")
    coarse = np.asarray(spread, dtype=np.float32)
    return np.asarray(
        scipy.ndimage.map_coordinates(coarse, where, order=1, mode="nearest"), dtype=np.float32
    )


def _block(height: int) -> int:
    """Side of a block, pixels."""
    return max(1, round(height / ROWS))
