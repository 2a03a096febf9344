"""Which factors of whole models come again, each fitted anew to halves of the brains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.factors.arch_effect import arch_of
from napari_brainvae.factors.stability import FactorStability, best_pairs, correlations_of


@dataclass(frozen=True, eq=False)
class FittedFactors:
    """What one fit made of the brains.

    Attributes
    ----------
    fields
        ``(L, H, W)``, the change per SD of each factor (see `rotation.factor_fields`).
    codes
        ``(N, L)``, posterior means of all brains, whichever were fitted.
    held_out_variance
        Share of the variance that is left of the brains that were not fitted; NaN if all were.
    """

    fields: Images
    codes: Latents
    held_out_variance: float = float("nan")


def refit_stability(
    whole: FittedFactors, halves: Sequence[tuple[FittedFactors, FittedFactors]]
) -> FactorStability:
    """Hold the factors of a model against those of models fitted to halves of the brains.

    Parameters
    ----------
    whole
        Fitted to all brains.
    halves
        Both fits of each split, of as many factors.

    Returns
    -------
    FactorStability
        By the rule of `factors.stability`, at one number of factors: fits of more were not made.
    """
    similar, correlations, overlaps, left = [], [], [], []
    for pair in halves:
        matched = [_matched(whole, fit) for fit in pair]
        similar.append([similarity for similarity, _ in matched])
        correlations.append(np.min([correlation for _, correlation in matched], axis=0))
        one, other = (_basis(fit.fields) for fit in pair)
        overlaps.append(np.square(one.T @ other).sum() / len(whole.fields))
        left.append(np.mean([fit.held_out_variance for fit in pair]))
    return FactorStability(
        half_similarity=np.array(similar),
        code_correlation=np.array(correlations),
        subspace_overlap=np.array(overlaps),
        held_out_variance=np.array(left),
        arch_of=arch_of(whole.codes),
    )


def _matched(
    whole: FittedFactors, fit: FittedFactors
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Absolute cosine of each field with its partner's, correlation of their codes, ``(L,)``."""
    alike = np.abs(cosines(whole.fields, fit.fields))
    rows, partners = best_pairs(alike)
    codes, others = (each.codes.astype(np.float64) for each in (whole, fit))
    return alike[rows, partners], correlations_of(codes, others[:, partners])


def cosines(
    some: npt.NDArray[np.floating], others: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Cosine ``(L, M)`` of each of ``(L, ...)`` with each of ``(M, ...)``; of nothing it is 0."""
    return np.asarray(_directions(some) @ _directions(others).T)


def _directions(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Each of ``(L, ...)`` flat and of length 1; what is nothing stays nothing."""
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.where(lengths > 0, lengths, np.inf))


def _basis(fields: Images) -> npt.NDArray[np.float64]:
    """Orthonormal columns ``(H W, L)`` of the space that fields span."""
    return np.linalg.qr(fields.reshape(len(fields), -1).astype(np.float64).T)[0]
