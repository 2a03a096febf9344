"""Artifact augmentation: corrupt sections on purpose, so that a model learns to see through it."""

from __future__ import annotations

import numpy as np

from napari_brainvae.arrays import Images
from napari_brainvae.data.artifacts import add_grid, add_leakage, remove_tissue
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.data.tissue import tissue_mask

CORRUPTIONS = (add_leakage, remove_tissue, add_grid)


def corrupt_by_chance(
    section: Images, share: float, preprocessing: Preprocessing, rng: np.random.Generator
) -> Images:
    """Corrupt a section, or leave it as it is, by chance.

    Leakage, missing tissue and tile grid are equally likely (paper, section 3.2). The corrupted
    section is matched in brightness again, as it would have been had it come like this: leakage
    darkens the rest of a matched section, and missing tissue brightens it.

    Parameters
    ----------
    section
        ``(H, W)`` float32 in [0, 1], prepared; not changed.
    share
        Probability that it is corrupted, in [0, 1].
    preprocessing
        How it was prepared.
    rng
        Where all that is random comes from.

    Returns
    -------
    numpy.ndarray
        ``(H, W)`` float32 in [0, 1].
    """
    if rng.random() >= share:
        return section
    corrupt = CORRUPTIONS[rng.integers(len(CORRUPTIONS))]
    corrupted, _ = corrupt(section, tissue_mask(section), rng)
    return np.asarray(preprocessing.apply(corrupted[None])[0])
