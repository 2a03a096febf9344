"""Principal components of any of the sections, from one matrix of their inner products.

A component is a weighted sum of centred sections. Its weights, its variance, the scores of every
section and the residuals all follow from the ``(N, N)`` Gram matrix, so that fitting again to other
sections (without outliers, to half of the brains) costs no look at the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from napari_brainvae.io.errors import InputError
from napari_brainvae.models.pca import BLOCK, TRIMMING_ROUNDS

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components as sums of sections.

    Attributes
    ----------
    weights
        ``(N, L)``: component l is the sum over sections of ``weights[n, l]`` times section n. Each
        column sums to zero, so that it does not matter whether, and about what, the sections are
        centred; it is zero for sections that were not fitted.
    variances
        ``(L,)`` of the scores, largest first, denominator n - 1.
    kept
        ``(N,)`` bool, the n sections that were fitted.
    """

    weights: Matrix
    variances: Matrix
    kept: npt.NDArray[np.bool_]

    def leading(self, count: int) -> Components:
        """The first ``count`` of them."""
        return Components(self.weights[:, :count], self.variances[:count], self.kept)

    def scores(self, gram: Matrix) -> Matrix:
        """``(N, L)``, what every section has of each component about the mean of those fitted."""
        products = gram @ self.weights
        return np.asarray(products - products[self.kept].mean(axis=0))

    def residuals(self, gram: Matrix, cross: Matrix | None = None) -> tuple[Matrix, Matrix]:
        """Squared distance of every section from the mean of those fitted: what is left, and all.

        Both ``(N,)``, summed over pixels. For sections other than those whose weighted sums the
        components are (sharp ones, where components are smooth), ``gram`` is theirs, and ``cross``
        holds their products with the others.
        """
        to_mean = gram[:, self.kept].mean(axis=1)
        energy = np.diag(gram) - 2 * to_mean + to_mean[self.kept].mean()
        # Components are orthonormal: what is left is the total less what they explain.
        scores = self.scores(gram if cross is None else cross)
        return energy - np.square(scores).sum(axis=1), energy


def gram_matrix(images: npt.NDArray[Any]) -> Matrix:
    """Inner products ``(N, N)`` of sections ``(N, H, W)`` about their mean, float64."""
    flat = images.reshape(len(images), -1)
    mean = flat.mean(axis=0, dtype=np.float64)
    gram = np.zeros((len(flat), len(flat)))
    for start in range(0, flat.shape[1], BLOCK):
        block = flat[:, start : start + BLOCK] - mean[start : start + BLOCK]
        gram += block @ block.T
    return gram


def components_of(gram: Matrix, kept: npt.NDArray[np.bool_], count: int) -> Components:
    """Exact leading components of the kept sections.

    Parameters
    ----------
    gram
        ``(N, N)`` of all sections; see `gram_matrix`.
    kept
        ``(N,)`` bool.
    count
        How many; at most one less than there are kept sections.

    Raises
    ------
    InputError
        If the sections do not carry that many components.
    """
    chosen = np.flatnonzero(kept)
    n = len(chosen)
    if count > n - 1:
        raise InputError(f"{n} sections carry at most {n - 1} principal components, not {count}")
    part = gram[np.ix_(chosen, chosen)]
    centred = part - part.mean(axis=0) - part.mean(axis=1)[:, None] + part.mean()
    values, vectors = eigh(centred, subset_by_index=[n - count, n - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    floor = n * np.finfo(np.float64).eps * max(values[0], np.finfo(np.float64).tiny)
    if values[-1] <= floor:
        rank = int((values > floor).sum())
        raise InputError(f"the sections carry only {rank} principal components, not {count}")
    weights = np.zeros((len(gram), count))
    weights[chosen] = (vectors - vectors.mean(axis=0)) / np.sqrt(values)
    return Components(weights, values / (n - 1), kept)


def trimmed_components_of(gram: Matrix, members: npt.NDArray[np.bool_], count: int) -> Components:
    """Leading components of some sections, in which those unlike the rest have no say.

    Members whose residual is more than three spreads above the median are left out and the
    components fitted again, `TRIMMING_ROUNDS` times at most.

    Parameters
    ----------
    gram
        ``(N, N)``.
    members
        ``(N,)`` bool.
    count
        How many components.

    Raises
    ------
    InputError
        If the members do not carry that many components.
    """
    kept = members
    for _ in range(TRIMMING_ROUNDS):
        components = components_of(gram, kept, count)
        left, _ = components.residuals(gram)
        median = np.median(left[members])
        spread = 1.4826 * np.median(np.abs(left[members] - median))
        before, kept = kept, members & (left <= median + 3 * spread)
        if kept.sum() <= count or (kept == before).all():
            break
    return components
