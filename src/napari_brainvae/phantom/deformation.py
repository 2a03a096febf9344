"""Structures that grow in place: where a pixel of the changed brain takes its value from.

Both functions give displacements ``(2, H, W)`` in pixels, rows and columns, to add to a pixel's own
position.
"""

from __future__ import annotations

import numpy as np
import scipy  # whose modules are imported when they are first used
from numpy.typing import NDArray

from napari_brainvae.arrays import Images, Mask


def thickening(cortex: Mask, tissue: Mask, share: float, pixels_per_mm: float) -> Images:
    """Let the cortex grow inwards, away from the pia; what lies deep to it gives way.

    Parameters
    ----------
    cortex, tissue
        (H, W), the cortex and all of the brain.
    share
        Of its thickness that the cortex grows by.
    pixels_per_mm
        Scale of the section.

    Returns
    -------
    ndarray
        (2, H, W) float32.
    """
    field = np.zeros((2, *cortex.shape))
    columns = np.arange(cortex.shape[1])
    is_left = np.broadcast_to(2 * columns + 1 <= cortex.shape[1], cortex.shape)
    # Side by side: the midline is pia for the medial cortex of each hemisphere.
    for half in (tissue & is_left, tissue & ~is_left):
        depth = scipy.ndimage.distance_transform_edt(half)
        beyond, nearest = scipy.ndimage.distance_transform_edt(
            ~(cortex & half), return_indices=True
        )
        # Flat where the white matter begins, so that the planted growth is had there in full.
        stretch = depth[tuple(nearest)] * np.exp(-((beyond / pixels_per_mm) ** 2))
        field -= share * half * stretch * _slope(depth, 0.15 * pixels_per_mm)
    return _smoothed(field, 0.1 * pixels_per_mm)


def moved_at_border(field: Images, cortex: Mask, tissue: Mask) -> float:
    """How far ``field (2, H, W)`` moves the cortex where it borders on other tissue, px on average.

    Of a `thickening` it is what the cortex grows by.
    """
    border = cortex & scipy.ndimage.binary_dilation(tissue & ~cortex)
    return float(np.hypot(*field)[border].mean())


def swelling(ventricles: Mask, tissue: Mask, growth_mm: float, pixels_per_mm: float) -> Images:
    """Let the ventricles swell to all sides; their neighbours give way.

    Parameters
    ----------
    ventricles, tissue
        (H, W), the ventricles and all of the brain.
    growth_mm
        How far their walls move.
    pixels_per_mm
        Scale of the section.

    Returns
    -------
    ndarray
        (2, H, W) float32.
    """
    outside = scipy.ndimage.distance_transform_edt(~ventricles)
    inside = scipy.ndimage.distance_transform_edt(ventricles)
    push = growth_mm * pixels_per_mm * np.exp(-outside / (0.4 * pixels_per_mm))
    field = -push * tissue * _slope(outside - inside, 0.03 * pixels_per_mm)
    return _smoothed(field, 0.05 * pixels_per_mm)


def _slope(distance: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Which way a distance grows: length 1, but 0 where two sides meet and the way is open."""
    return np.stack(np.gradient(scipy.ndimage.gaussian_filter(distance, sigma)))


def _smoothed(field: NDArray[np.float64], sigma: float) -> Images:
    return np.asarray(scipy.ndimage.gaussian_filter(field, (0, sigma, sigma)), np.float32)
