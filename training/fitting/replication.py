"""Which of a fitted model's factors come again in split halves of the brains it was fitted on."""

from __future__ import annotations

from napari_brainvae.arrays import Images
from napari_brainvae.factors.stability import SplitHalves
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model
from napari_brainvae.models.header import Stability

SPLITS = 10

SMOOTHING = "smoothing_px"
"""Under which the training record of a checkpoint keeps how smooth its start was."""


def replication(model: Model, images: Images, seed: int, splits: int = SPLITS) -> Stability | None:
    """Hold a model's factors against the linear path in halves of the brains.

    Parameters
    ----------
    model
        What will be saved.
    images
        ``(N, H, W)`` prepared sections of the brains that were fitted.
    seed, splits
        Random divisions of the brains in halves.

    Returns
    -------
    Stability or None
        For the checkpoint; nothing where too few brains, or too much alike, tell nothing.
    """
    try:
        smoothing = model.header.training.get(SMOOTHING, 0.0)
        found = SplitHalves(images, splits, seed, smoothing).measure_model(model, images)
    except InputError:
        return None
    return Stability(
        splits=splits,
        sections=len(images),
        similarity=tuple(float(round(each, 4)) for each in found.similarity),
        came_again=tuple(found.came_again.tolist()),
        replicated=tuple(found.replicated.tolist()),
        arch_of=tuple(found.arch_of.tolist()),
    )
