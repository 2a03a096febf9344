"""What one standard deviation of a factor does to the mean brain: brighter here, darker there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy  # whose modules are imported when they are first used

from napari_brainvae.arrays import Images, Latents, Mask
from napari_brainvae.factors.projective_field import chosen_factors, traverse
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model


def signed_change(
    model: Model,
    factors: int | Sequence[int] | None = None,
    *,
    z0: npt.ArrayLike | None = None,
    progress: Progress | None = None,
) -> Images:
    """Change of every pixel per standard deviation of a factor, with its sign.

    Half the difference of what is decoded at +1 and at -1 SD about the population's mean code, the
    other factors left where they are: what is quadratic in the factor cancels.

    Parameters
    ----------
    model
        Anything that decodes.
    factors
        Index of a factor from 0, several of them, or None for all.
    z0
        ``(L,)`` codes to move from; by default the population's mean.

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
        low, high = sections_at(model, factor, [-1, 1], z0=z0)
        changes[i] = (high - low) / 2
    report(progress, len(chosen), len(chosen))
    return changes


def sections_at(
    model: Model, factor: int, deviations: Sequence[float], *, z0: npt.ArrayLike | None = None
) -> Images:
    """Sections ``(n, H, W)`` decoded with one factor so many SD from ``z0``, or the mean code."""
    return traverse(model, factor, np.asarray(deviations) * code_spread(model)[factor], z0=z0)


def change_by_region(
    change: Images, regions: Mapping[str, Mask], *, tissue: Mask | None = None
) -> pd.DataFrame:
    """How much of one factor's change lies in each region, and which way it goes there.

    Parameters
    ----------
    change
        ``(H, W)`` from `signed_change`.
    regions
        ``(H, W)`` masks by name, each with a pixel of the tissue.
    tissue
        ``(H, W)``: count only these pixels; all by default.

    Returns
    -------
    pandas.DataFrame
        By region: ``share`` of the summed absolute change (NaN if nothing changes), ``mean`` change
        with its sign, ``area`` (share of the pixels).
    """
    counted = np.ones(change.shape, bool) if tissue is None else tissue
    size = np.abs(change)
    whole = float(size[counted].sum(dtype=np.float64)) or np.nan
    rows = {}
    for name, mask in regions.items():
        inside = mask & counted
        share = float(size[inside].sum(dtype=np.float64)) / whole
        rows[name] = share, float(change[inside].mean()), inside.sum() / counted.sum()
    return pd.DataFrame.from_dict(rows, orient="index", columns=["share", "mean", "area"])


def overlap_of_place(changes: Images) -> npt.NDArray[np.float64]:
    """How far factors act in the same place, whatever they do there.

    Parameters
    ----------
    changes
        ``(F, H, W)`` from `signed_change`.

    Returns
    -------
    numpy.ndarray
        ``(F, F)`` in [0, 1]: cosine of the squared changes, smoothed over a fiftieth of the height,
        as the two sides of a border that moves are one place. A factor that does nothing has 0.
    """
    smooth = [
        scipy.ndimage.gaussian_filter(np.square(change, dtype=np.float64), len(change) / 50)
        for change in changes
    ]
    flat = np.reshape(smooth, (len(changes), -1))
    size = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = flat / np.where(size > 0, size, 1)
    return np.asarray((unit @ unit.T).clip(0, 1))


def code_spread(model: Model) -> Latents:
    """Standard deviation ``(L,)`` of the codes over the population, or the prior's if not known."""
    reference = model.header.reference
    spread = np.ones(model.latent_dim) if reference is None else np.array(reference.code_std)
    return np.asarray(spread, dtype=np.float32)
