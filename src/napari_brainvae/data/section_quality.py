"""Signs that a section is corrupted, measured on each section by itself: bands, leakage, grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage
from skimage.filters import gaussian
from skimage.morphology import convex_hull_image
from skimage.transform import downscale_local_mean, radon

from napari_brainvae.arrays import Images
from napari_brainvae.data.preprocessing import check_sections
from napari_brainvae.data.tissue import tissue_without_specks

LIMITS = {"quality_dark_bands": 0.005, "quality_saturated": 0.005, "quality_grid": 0.025}
"""Above one of these a section is flagged. Set on a few intact sections of several microscopes and
on the same sections corrupted on purpose; docs/acquire.md says how to set others."""

LEAKAGE = 3.8
"""The paper clips at so many times the mean (section 3.1)."""


def measure_quality(images: npt.ArrayLike) -> pd.DataFrame:
    """Measure what the paper names as corruptions (section 3.2) on raw sections.

    Parameters
    ----------
    images
        ``(N, H, W)`` raw sections of any real type; not clipped, not matched in brightness.

    Returns
    -------
    pandas.DataFrame
        N rows; ``quality_dark_bands``, ``quality_saturated`` and ``quality_grid`` (see
        `dark_bands`, `saturated`, `grid_strength`), 0 for a perfect section, and ``flagged``, true
        where one of them is above its entry in `LIMITS`.

    Raises
    ------
    InputError
        For unusable sections (see `preprocessing.check_sections`).
    """
    sections = check_sections(images)
    table = pd.DataFrame(
        {
            "quality_dark_bands": [dark_bands(s) for s in sections],
            "quality_saturated": [saturated(s) for s in sections],
            "quality_grid": [grid_strength(s) for s in sections],
        }
    )
    table["flagged"] = (table > pd.Series(LIMITS)).any(axis=1)
    return table


def dark_bands(section: Images) -> float:
    """Share of the lines across a section ``(H, W)``, in the worst direction, that are dark.

    A line counts if at least three quarters of it within the convex hull of the tissue have less
    than 35 % of the median brightness, and if there is tissue on both of its sides: so ventricles,
    tracts and the outline do not count. Bands of 12 px are found in any direction, and of 8 px
    along rows and columns.
    """
    small = downscale_local_mean(section, (4, 4))
    tissue = tissue_without_specks(small)
    if not tissue.any():
        return 0.0
    hull = convex_hull_image(tissue)
    dark = hull & (small < 0.35 * np.median(small[tissue]))
    angles = np.arange(0, 180, 3)
    lengths = radon(hull.astype(float), angles, circle=False).T
    dark_lengths = radon(dark.astype(float), angles, circle=False).T
    worst = 0.0
    for length, dark_length in zip(lengths, dark_lengths, strict=True):
        long = length > 0.3 * length.max()
        share = dark_length[long] / length[long]
        bright = np.flatnonzero(share < 0.5)
        if bright.size:
            between = share[bright[0] : bright[-1]]
            worst = max(worst, float((between >= 0.75).sum()) / share.size)
    return worst


def saturated(section: Images) -> float:
    """Share of a section ``(H, W)`` so bright that it will be clipped: leakage of the tracer."""
    return float((section > LEAKAGE * section.mean()).mean())


def grid_strength(section: Images) -> float:
    """Strength of the best comb of periodic lines along both axes, relative to the brightness.

    The tissue is divided by its local mean and averaged along each axis. In the spectrum of such a
    profile the sharp seams between tiles stand out as a peak at each harmonic of the tile's size:
    peaks above their surroundings are summed for every size from 6 to 64 px, the best size counts,
    and the two axes are added.
    """
    inner = ndimage.binary_erosion(tissue_without_specks(section), iterations=3)
    if not inner.any():
        return 0.0
    weight = gaussian(inner.astype(np.float64), 6)
    local = gaussian(np.where(inner, section, 0).astype(np.float64), 6)
    # Clipped: cell bodies and vessels are no grid, however bright.
    relative = np.clip(section * weight / np.maximum(local, 1e-9) - 1, -0.5, 0.5)
    profiles = []
    for axis in (0, 1):
        count = inner.sum(axis)
        long = np.flatnonzero(count > 0.3 * count.max())
        lines = slice(long[0], long[-1] + 1)
        profiles.append(np.where(inner, relative, 0).sum(axis)[lines] / np.maximum(count[lines], 1))
    return sum(_comb(profile) for profile in profiles)


def _comb(profile: npt.NDArray[np.float64]) -> float:
    """Sum of a profile's peaks at the harmonics of the best period, over the root of their number.

    Only periods of 2.2 to 26 px are looked at: slower changes are anatomy.
    """
    if profile.size < 32:
        return 0.0
    window = np.hanning(profile.size)
    padded = 4 * profile.size
    frequency = np.fft.rfftfreq(padded)
    band = (frequency > 1 / 26) & (frequency < 1 / 2.2)
    amplitude = 2 * np.abs(np.fft.rfft((profile - profile.mean()) * window, padded)) / window.sum()
    peaks = amplitude[band] - ndimage.median_filter(amplitude[band], 61)
    best = 0.0
    for period in np.arange(6, 64, 0.25):
        harmonics = np.arange(1, period) / period
        harmonics = harmonics[(harmonics > 1 / 26) & (harmonics < 1 / 2.2)]
        found = np.interp(harmonics, frequency[band], peaks)
        best = max(best, float(found.sum()) / np.sqrt(found.size))
    return best
