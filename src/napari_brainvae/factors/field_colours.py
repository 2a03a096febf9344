"""Projective fields as pictures: over a section, and on black with the atlas's borders."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.factors.projective_field import compose_rgb

DIMMED = 0.65
"""How much a field darkens the section beneath it."""

Pixels = npt.NDArray[np.uint8]


def overlay(maps: Images) -> Pixels:
    """Colours of three maps ``(3, H, W)`` to lie over a section, which they dim.

    Where all three overlap the colour is white, which would not be seen on bright tissue.

    Returns
    -------
    numpy.ndarray
        ``(H, W, 4)`` uint8, red, green, blue and opacity.
    """
    rgb = compose_rgb(maps)
    opacity = np.maximum(rgb.max(axis=-1, keepdims=True), DIMMED)
    return np.asarray(np.concatenate([rgb / opacity, opacity], axis=-1) * 255, dtype=np.uint8)


def panel(maps: Images, borders: Mask | None) -> Pixels:
    """Colours of three maps ``(3, H, W)`` on black, with borders ``(H, W)``.

    Returns
    -------
    numpy.ndarray
        ``(H, W, 4)`` uint8, opaque.
    """
    rgb = compose_rgb(maps)
    if borders is not None:
        rgb[borders] = 0.55 * rgb[borders] + 0.25
    opaque = np.ones((*rgb.shape[:2], 1), rgb.dtype)
    return np.asarray(np.concatenate([rgb, opaque], axis=-1) * 255, dtype=np.uint8)
