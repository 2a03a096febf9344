"""Which of a fitted model's factors come again in split halves of the brains it was fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_brainvae.arrays import Images
from napari_brainvae.factors.stability import SplitHalves
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model

SPLITS = 10


def replication(model: Model, images: Images, seed: int) -> dict[str, Any]:
    """Hold a model's factors against the linear path in halves of the brains.

    Parameters
    ----------
    model
        What will be saved.
    images
        ``(N, H, W)`` prepared sections of the brains that were fitted.
    seed
        Of the splits.

    Returns
    -------
    dict
        ``stability``: ``splits``, and a value a factor of ``map_similarity`` (median over splits)
        and ``replicated``. Empty where too few brains, or too much alike, tell nothing.
    """
    try:
        found = SplitHalves(images, SPLITS, seed).measure_model(model)
    except InputError:
        return {}
    return {
        "stability": {
            "splits": SPLITS,
            "map_similarity": np.round(found.similarity, 4).tolist(),
            "replicated": found.replicated.tolist(),
        }
    }
