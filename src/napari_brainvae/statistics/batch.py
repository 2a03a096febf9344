"""Runs, scan days, instruments: how much of each factor they explain, and ComBat to take it out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy  # whose modules are imported when they are first used

from napari_brainvae.io.errors import InputError
from napari_brainvae.statistics.design import Floats, as_names

ENTANGLED = 0.25
"""Share of the tested covariate that batches may explain before it is warned of: r = 0.5."""

_SETTLED = 1e-6


def variance_explained(
    values: npt.ArrayLike, batch: pd.Series, preserve: npt.ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Share of each value's variance that the batches explain beyond what is preserved.

    Parameters
    ----------
    values
        ``(n, T)``.
    batch
        ``(n,)`` names.
    preserve
        ``(n, K)`` columns, such as the group, whose part is not the batches'.

    Returns
    -------
    share, p
        ``(T,)`` each: adjusted for the number of batches, so that it is 0 on average where there is
        nothing, and may be negative; p of the F test.
    """
    array = np.asarray(values, np.float64)
    constant = np.ones((len(array), 1))
    without = np.hstack([constant, _columns(preserve, len(array))])
    full = np.hstack([without, _members(batch)])
    dof = [len(array) - np.linalg.matrix_rank(each) for each in (without, full)]
    if dof[1] < 1:
        raise InputError(f"{batch.name} has too many batches for {len(array)} brains")
    left = [np.square(_residual(array, each)).sum(axis=0) for each in (without, full)]
    between = dof[0] - dof[1]
    noise = np.maximum(left[1] / dof[1], 1e-300)
    share = 1 - noise / np.maximum(left[0] / dof[0], 1e-300)
    if between == 0:
        return np.zeros(array.shape[1]), np.ones(array.shape[1])
    f = (left[0] - left[1]) / between / noise
    return share, scipy.stats.f.sf(f, between, dof[1])


def entanglement(tested: npt.ArrayLike, batch: pd.Series) -> float:
    """Share in [0, 1] of a group or number that the batch says; 1 if they cannot be told apart."""
    column = np.asarray(tested, np.float64)[:, None]
    left = _residual(column, np.hstack([np.ones_like(column), _members(batch)]))
    return float(1 - np.square(left).sum() / np.square(column - column.mean()).sum())


def entanglement_warning(by: str, tested: npt.ArrayLike, batch: pd.Series) -> str:
    """Say it if what is compared and the batches go together; empty if they do not."""
    share = entanglement(tested, batch)
    if share > 1 - 1e-9:
        return (
            f"{by} and {batch.name} cannot be told apart: no batch holds a difference in {by}, and "
            "whatever is found may be the batches'"
        )
    if share > ENTANGLED:
        return (
            f"{by} and {batch.name} go together (r = {np.sqrt(share):.2f}): with {batch.name} "
            f"taken out, {100 * share:.0f} % of {by} is lost; without, what is found may be the "
            "batches'"
        )
    return ""


def combat(
    values: npt.ArrayLike, batch: pd.Series, preserve: npt.ArrayLike | None = None
) -> Floats:
    """Bring batches to one mean and one spread, by what all values of a batch have in common.

    ComBat (Johnson, Li and Rabinovic 2007): location and scale of every batch, drawn towards those
    of the batch's other values by empirical Bayes. What ``preserve`` explains is kept. A test of a
    preserved group on the result must still take the batch out, or it counts brains that ComBat
    has used up (Nygaard, Rodland and Hovig 2016).

    Parameters
    ----------
    values
        ``(n, T)``, such as the codes of T factors.
    batch
        ``(n,)`` names; of two brains each, at least.
    preserve
        ``(n, K)`` columns.

    Returns
    -------
    numpy.ndarray
        ``(n, T)`` float64.

    Raises
    ------
    InputError
        If a batch has one brain, or the batches say what is to be preserved.
    """
    array, member = np.asarray(values, np.float64), _members(batch)
    kept = _columns(preserve, len(array))
    counts = member.sum(axis=0)
    if counts.min() < 2:
        lonely = np.unique(as_names(batch))[counts.argmin()]
        raise InputError(f"{batch.name} {lonely!r} has one brain: ComBat needs two in a batch")
    design = np.hstack([member, kept])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise InputError(f"what is to be preserved and {batch.name} cannot be told apart")
    coefficients = np.linalg.lstsq(design, array, rcond=None)[0]
    spread = np.sqrt(np.square(array - design @ coefficients).mean(axis=0))
    spread = np.where(spread > 0, spread, 1.0)  # a factor that is constant stays so
    of_batch, of_kept = np.split(coefficients, [member.shape[1]])
    level = counts @ of_batch / len(array) + kept @ of_kept
    standard = (array - level) / spread
    for inside in member.T.astype(bool):
        shift, scale = _empirical_bayes(standard[inside])
        standard[inside] = (standard[inside] - shift) / np.sqrt(scale)
    return np.asarray(standard * spread + level)


def _empirical_bayes(values: Floats) -> tuple[Floats, Floats]:
    """Shift and squared scale ``(T,)`` of one batch ``(m, T)``: means of their posteriors."""
    shift, scale = values.mean(axis=0), values.var(axis=0, ddof=1)
    if values.shape[1] < 2 or scale.var(ddof=1) == 0 or shift.var(ddof=1) == 0:
        return shift, np.where(scale > 0, scale, 1.0)  # nothing to learn from
    prior, width = shift.mean(), shift.var(ddof=1)
    mean, variance = scale.mean(), scale.var(ddof=1)
    a, b = mean**2 / variance + 2, mean**3 / variance + mean  # of an inverse gamma
    count, found, old = len(values), shift, scale
    while True:
        new_found = (count * width * shift + old * prior) / (count * width + old)
        squares = np.square(values - new_found).sum(axis=0)
        new = (b + squares / 2) / (count / 2 + a - 1)
        change = max(np.abs(new_found - found).max(), np.abs(new / old - 1).max())
        found, old = new_found, new
        if change < _SETTLED:
            return found, old


def _members(batch: pd.Series) -> Floats:
    """One column 0 or 1 a batch, ``(n, batches)``."""
    names = as_names(batch).to_numpy()
    return np.stack([names == each for each in np.unique(names)], axis=-1).astype(np.float64)


def _columns(columns: npt.ArrayLike | None, count: int) -> Floats:
    array = np.zeros((count, 0)) if columns is None else np.asarray(columns, np.float64)
    return np.asarray(array - array.mean(axis=0)) if array.size else array


def _residual(values: npt.NDArray[Any], columns: Floats) -> Floats:
    return np.asarray(values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0])
