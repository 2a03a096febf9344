"""What is tissue in a section: the rules of the program, each with what it is for.

Registered sections are bright tissue on dark glass. Otsu's threshold divides the two, but puts
dark tracts and ventricles with the glass; so whoever asks *where* tissue is takes half of it, and
whoever asks *how bright* it is takes the whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # whose modules are imported when they are first used
import skimage  # whose modules are imported when they are first used

from napari_brainvae.arrays import Images, Mask

Section = npt.NDArray[Any]


def tissue_mask(section: Section) -> Mask:
    """Where a section ``(H, W)`` is no background; half of Otsu's threshold keeps dark tracts."""
    return np.asarray(section > 0.5 * skimage.filters.threshold_otsu(section))


def tissue_without_specks(section: Section) -> Mask:
    """`tissue_mask` without dust and bright single pixels: for raw sections as they come."""
    return np.asarray(scipy.ndimage.binary_opening(tissue_mask(section)))


def brain_mask(section: Section) -> Mask:
    """`tissue_mask` with its holes: the brain, ventricles and the darkest tracts included."""
    return np.asarray(scipy.ndimage.binary_fill_holes(tissue_mask(section)))


def tissue_level(section: Section) -> float:
    """Mean brightness of a section's tissue ``(H, W)``: of what is above Otsu's threshold."""
    bright = section > skimage.filters.threshold_otsu(section)
    return float(section[bright].mean()) if bright.any() else 0.0


def decoded_tissue(decoded: Images) -> Mask:
    """Where an image ``(H, W)`` that a model decoded shows tissue: above 0.3 times its mean.

    A decoded image has no noise, and its dark tracts must count: they set the spread of a
    residual. Half of Otsu's threshold lies higher where the tissue is bright, and leaves them out.
    """
    return np.asarray(decoded > 0.3 * decoded.mean())
