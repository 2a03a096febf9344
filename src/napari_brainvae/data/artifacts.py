"""The three corruptions of the paper (section 3.2, Fig. 2B): leakage, missing tissue, tile grid.

Each function takes a section and its tissue and gives the corrupted section with the mask of what
changed. They serve the phantom and, on any other image, augmentation: lengths are relative to the
section, intensities to its tissue.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy  # whose modules are imported when they are first used
from numpy.typing import NDArray

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.io.errors import InputError

ARTIFACTS = ("none", "leakage", "missing", "grid")


def add_leakage(image: Images, tissue: Mask, rng: np.random.Generator) -> tuple[Images, Mask]:
    """Let another channel shine through: one or two injection sites, some with a faint tract.

    Parameters
    ----------
    image
        (H, W) float32, not negative.
    tissue
        (H, W) bool; sites are put inside it.
    rng
        Where all that is random comes from.

    Returns
    -------
    image : ndarray
        (H, W) float32; saturates at 2 to 4 times the tissue's mean.
    mask : ndarray
        (H, W) bool, where the image was changed.
    """
    mean = _mean(image, tissue)
    size = image.shape[0]
    light = np.zeros(image.shape)
    for _ in range(rng.integers(1, 3)):
        y, x = _pick(tissue, rng)
        across, along = _rotated(image.shape, (y, x), rng.uniform(0, np.pi))
        radius = size * rng.uniform(0.025, 0.055)
        squared = (across / radius) ** 2 + (along / (radius * rng.uniform(1, 1.8))) ** 2
        ragged = squared * np.exp(0.5 * smooth_noise(image.shape, 14, rng))
        light += rng.uniform(2, 6) * mean * np.exp(-ragged / 2)
        if rng.random() < 0.5:
            light += rng.uniform(0.15, 0.5) * mean * _tract((y, x), tissue, rng)
    # The brain shines, not the empty glass around it.
    light *= scipy.ndimage.gaussian_filter(tissue.astype(np.float32), size / 160)
    ceiling = rng.uniform(2, 4) * mean
    # Nothing is left of the tails that no eye would find.
    light = np.maximum(light - 0.02 * mean, 0)
    bright = np.minimum(image + light, np.maximum(image, ceiling)).astype(np.float32)
    return bright, bright != image


def remove_tissue(image: Images, tissue: Mask, rng: np.random.Generator) -> tuple[Images, Mask]:
    """Lose tissue: a chunk torn from the edge, or a band that was not imaged.

    Parameters and returns are those of `add_leakage`; what is lost keeps 3 % of its brightness.
    """
    size = image.shape[0]
    if rng.random() < 0.6:
        rim = tissue & ~scipy.ndimage.binary_erosion(tissue, border_value=1)
        across, along = _rotated(image.shape, _pick(rim, rng), rng.uniform(0, np.pi))
        radius = size * rng.uniform(0.1, 0.22)
        beyond = np.hypot(across, along / rng.uniform(1, 1.8)) - radius
        rough = 0.3 * radius
    else:
        # Most bands follow the scan or the cut.
        angle = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.15)
        across, _ = _rotated(image.shape, _pick(tissue, rng), angle)
        half = size * rng.uniform(0.02, 0.055)
        beyond = np.abs(across) - half
        rough = 0.35 * half
    beyond += rough * smooth_noise(image.shape, 9, rng)
    beyond += 0.3 * rough * smooth_noise(image.shape, 40, rng)
    kept = np.clip(beyond / max(1.0, size / 200) + 0.5, 0.03, 1)
    # The glass around the brain is dark as it is; its noise is not lost.
    around = scipy.ndimage.binary_dilation(tissue, iterations=max(1, size // 100))
    torn = np.where(around, image * kept, image).astype(np.float32)
    return torn, torn != image


def add_grid(image: Images, tissue: Mask, rng: np.random.Generator) -> tuple[Images, Mask]:
    """Show the tiles of the scanning microscope: each fades to its rim, dark seams between.

    Parameters and returns are those of `add_leakage`.
    """
    size = image.shape[0]
    period = size * rng.uniform(0.085, 0.16)
    seam_width = size * rng.uniform(0.002, 0.004)
    fade, seam = rng.uniform(0.1, 0.35), rng.uniform(0.1, 0.4)
    inside, seams = [], []
    for length in image.shape:
        position = (np.arange(length) / period + rng.random()) % 1 - 0.5
        inside.append(4 * position**2)
        from_seam = (0.5 - np.abs(position)) * period
        seams.append(np.exp(-((from_seam / max(seam_width, 0.5)) ** 2) / 2))
    vignette = 1 - fade * np.add.outer(*inside) / 2
    tiles = vignette * (1 - seam * np.maximum.outer(*seams))
    tiled = np.where(tissue, image * tiles, image).astype(np.float32)
    return tiled, tiled != image


def smooth_noise(
    shape: tuple[int, ...], nodes: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Gaussian noise of zero mean and unit variance at every pixel, smooth.

    Parameters
    ----------
    shape
        (H, W).
    nodes
        How many independent bumps fit into H; the bumps are round.
    rng
        Where the noise comes from.

    Returns
    -------
    ndarray
        (H, W) float64.
    """
    rows, columns = (_bumps(size, shape[0] / nodes) for size in shape)
    return np.asarray(rows @ rng.standard_normal((rows.shape[1], columns.shape[1])) @ columns.T)


@lru_cache(maxsize=32)
def _bumps(size: int, spacing: float) -> NDArray[np.float64]:
    """Gaussian bumps at equal distances, (size, bumps), scaled so that noise has unit variance."""
    position = (np.arange(size) + 0.5) / spacing
    centres = np.arange(-1, np.ceil(size / spacing) + 2)
    bumps = np.exp(-((position[:, None] - centres) ** 2) / (2 * 0.6**2))
    bumps /= np.linalg.norm(bumps, axis=1, keepdims=True)
    bumps.flags.writeable = False
    return np.asarray(bumps)


def _mean(image: Images, tissue: Mask) -> float:
    if not tissue.any():
        raise InputError("there is no tissue in the section")
    return float(image[tissue].mean())


def _pick(where: Mask, rng: np.random.Generator) -> tuple[int, int]:
    candidates = np.flatnonzero(where)
    if candidates.size == 0:
        raise InputError("there is no tissue in the section")
    row, column = divmod(int(rng.choice(candidates)), where.shape[1])
    return row, column


def _rotated(
    shape: tuple[int, ...], centre: tuple[int, int], angle: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates about ``centre``; at angle 0 the first runs down, the second to the right."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    down, right = y - centre[0], x - centre[1]
    cosine, sine = np.cos(angle), np.sin(angle)
    return down * cosine + right * sine, right * cosine - down * sine


def _tract(start: tuple[int, int], tissue: Mask, rng: np.random.Generator) -> NDArray[np.float64]:
    """Brightness in [0, 1] along a bent line through the tissue."""
    height, width = tissue.shape
    points = np.array([start, _pick(tissue, rng), _pick(tissue, rng)], float)
    t = np.linspace(0, 1, height + width)[:, None]
    line = (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t**2 * points[2]
    rows, columns = np.round(line).astype(int).T
    away = np.ones(tissue.shape, bool)
    away[rows.clip(0, height - 1), columns.clip(0, width - 1)] = False
    distance = np.asarray(scipy.ndimage.distance_transform_edt(away))
    return np.asarray(np.exp(-((distance / (0.009 * height)) ** 2) / 2))
