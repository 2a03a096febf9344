"""What a factor does, in colours: its signed change, and the paper's map of its variance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.factors.projective_field import HUES, compose_rgb

BRIGHTER, DARKER = (1.0, 0.30, 0.10), (0.15, 0.50, 1.0)
"""Colours of more and of less, which grey sections do not have."""

MOST_OPAQUE = 0.8
"""Of a colour over a section, so that its anatomy is still seen."""

DIMMED = 0.65
"""How much a field of variance darkens the section beneath it."""

Pixels = npt.NDArray[np.uint8]
Color = tuple[float, float, float]


def signed_overlay(
    values: npt.NDArray[np.floating], limit: float, strength: float | Mask = 1.0
) -> npt.NDArray[np.float64]:
    """Colour values by their sign, transparent at 0 and `MOST_OPAQUE` from ``limit`` on.

    Parameters
    ----------
    values
        ``(H, W)``.
    strength
        What opacity is multiplied with, a number in [0, 1] or ``(H, W)``.

    Returns
    -------
    numpy.ndarray
        ``(H, W, 4)`` in [0, 1].
    """
    share = np.clip(np.asarray(values, np.float64) / max(limit, 1e-12), -1, 1)
    color = np.where(share[..., None] > 0, BRIGHTER, DARKER)
    opacity = MOST_OPAQUE * np.abs(share) * strength
    return np.concatenate([color, opacity[..., None]], axis=-1)


def change_limit(change: Images) -> float:
    """Change ``(H, W)`` from which on a colour is full: 0.5 % of pixels change more."""
    return max(float(np.percentile(np.abs(change), 99.5)), 1e-6)


def signed_panel(
    change: Images,
    section: Images,
    bright: float,
    borders: Mask | None,
    limit: float | None = None,
) -> Pixels:
    """Signed change ``(H, W)`` over a grey section ``(H, W)``, to stand alone.

    Parameters
    ----------
    bright
        Brightness of the section that is drawn white.
    borders
        ``(H, W)``, drawn faintly beneath the colours.
    limit
        Change from which on a colour is full; by default `change_limit`.

    Returns
    -------
    numpy.ndarray
        ``(H, W, 4)`` uint8, opaque.
    """
    grey = np.clip(section / bright, 0, 1)[..., None].repeat(3, axis=-1)
    if borders is not None:
        grey[borders] = 0.75 * grey[borders] + 0.2
    colors = signed_overlay(change, change_limit(change) if limit is None else limit)
    return _opaque(grey * (1 - colors[..., 3:]) + colors[..., :3] * colors[..., 3:])


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
    return _opaque(rgb)


def mixed_hues() -> list[tuple[tuple[bool, bool, bool], Color]]:
    """Every combination of the `PARTS` that a pixel may vary in, and the colour it then has."""
    which = [tuple(bool(i >> part & 1) for part in range(len(HUES))) for i in (1, 2, 4, 3, 5, 6, 7)]
    strength = np.array(which, dtype=float).T[:, None]
    rgb = compose_rgb(strength, np.ones(len(HUES)))[0]
    return [
        (parts, tuple(float(each) for each in color))  # type: ignore[misc]
        for parts, color in zip(which, rgb, strict=True)
    ]


def _opaque(rgb: npt.NDArray[np.floating]) -> Pixels:
    whole = np.ones((*rgb.shape[:2], 1), rgb.dtype)
    return np.asarray(np.concatenate([rgb, whole], axis=-1) * 255, dtype=np.uint8)
