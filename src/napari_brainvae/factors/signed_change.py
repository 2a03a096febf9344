"""What one standard deviation of a factor does to the mean brain: brighter here, darker there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.factors.projective_field import chosen_factors, traverse
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model


def signed_change(
    model: Model,
    factors: int | Sequence[int] | None = None,
    *,
    progress: Progress | None = None,
) -> Images:
    """Change of every pixel per standard deviation of a factor, with its sign.

    Half the difference of what is decoded at +1 and at -1 SD about the population's mean code, the
    other factors left at their mean: what is quadratic in the factor cancels.

    Parameters
    ----------
    model
        Anything that decodes.
    factors
        Index of a factor from 0, several of them, or None for all.

    Returns
    -------
    numpy.ndarray
        ``(F, H, W)`` float32 in [-0.5, 0.5], in the sections' own brightness per SD.

    Raises
    ------
    InputError
        If the model has no such factor.
    Stopped
        If ``progress`` asked to stop.
    """
    chosen = chosen_factors(model, factors)
    changes = np.empty((len(chosen), *model.shape), np.float32)
    for i, factor in enumerate(chosen):
        report(progress, i, len(chosen))
        low, high = sections_at(model, factor, [-1, 1])
        changes[i] = (high - low) / 2
    report(progress, len(chosen), len(chosen))
    return changes


def sections_at(model: Model, factor: int, deviations: Sequence[float]) -> Images:
    """Sections ``(n, H, W)`` decoded with one factor so many SD from the population's mean code."""
    return traverse(model, factor, np.asarray(deviations) * code_spread(model)[factor])


def code_spread(model: Model) -> Latents:
    """Standard deviation ``(L,)`` of the codes over the population, or the prior's if not known."""
    reference = model.header.reference
    spread = np.ones(model.latent_dim) if reference is None else np.array(reference.code_std)
    return np.asarray(spread, dtype=np.float32)
