"""How latent factors and regions, or latent factors and known causes, go together.

Impact scores of regions on factors and what they say of disentanglement (paper, section 3.3), and
the measures that need the true causes, which a phantom has: MIG, SAP, DCI.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from napari_brainvae.io.errors import InputError
from napari_brainvae.metrics.inputs import Array, checked_values


def gaussian_kl(mean_a: ArrayLike, std_a: ArrayLike, mean_b: ArrayLike, std_b: ArrayLike) -> Array:
    """Kullback-Leibler divergence KL(a || b) of normal distributions, in nats, elementwise.

    ln(sb / sa) + (sa^2 + (ma - mb)^2) / (2 sb^2) - 1/2. The arguments are broadcast.

    Raises
    ------
    InputError
        If a standard deviation is not positive, or a value not finite.
    """
    ma, sa, mb, sb = (np.asarray(x, np.float64) for x in (mean_a, std_a, mean_b, std_b))
    if not ((sa > 0).all() and (sb > 0).all()):
        raise InputError("standard deviations must be positive")
    if not all(np.isfinite(x).all() for x in (ma, sa, mb, sb)):
        raise InputError("means and standard deviations must be finite")
    return np.asarray(np.log(sb / sa) + (sa**2 + (ma - mb) ** 2) / (2 * sb**2) - 0.5)


def jeffreys(mean_a: ArrayLike, std_a: ArrayLike, mean_b: ArrayLike, std_b: ArrayLike) -> Array:
    """Jeffreys divergence KL(a || b) + KL(b || a), the symmetric form of `gaussian_kl`."""
    return gaussian_kl(mean_a, std_a, mean_b, std_b) + gaussian_kl(mean_b, std_b, mean_a, std_a)


@dataclass(frozen=True, eq=False)
class Disentanglement(float):
    r"""Disentanglement of an impact matrix: the paper's score, as a number, and others beside.

    Every score is infinite when no two factors share anything.

    Attributes
    ----------
    paper : float
        s = Tr A / (sum A - Tr A) with A = ``covariance`` (paper, section 3.3). Not an ordinary
        scale: factors that react alike give 1 / (L - 1), but perfectly selective ones -1, because
        covariances may be negative.
    trace_over_absolute : float
        Tr A / sum of \|A_ij\| off the diagonal: positive, larger for less similar factors.
    log_correlation : float
        The same of the correlations of log(1 + impact), so that no single strong region or factor
        decides. Factors that react alike to all regions are left out.
    covariance : numpy.ndarray, shape (L, L)
        A, over regions, of the factors' impact.
    """

    paper: float
    trace_over_absolute: float
    log_correlation: float
    covariance: Array

    def __new__(cls, paper: float, *_others: Any, **_named: Any) -> Self:
        """Be the paper's score to whoever compares it with a number."""
        return super().__new__(cls, paper)


def disentanglement_score(impact: ArrayLike) -> Disentanglement:
    """How differently the latent factors react to regions.

    Parameters
    ----------
    impact : array or tensor, shape (R, L)
        Impact score of each of R regions on each of L latent factors, not negative.

    Raises
    ------
    InputError
        For fewer than 2 regions or factors, values negative or not finite, or a matrix in which all
        regions have the same impact.

    Examples
    --------
    >>> score = disentanglement_score([[2.0, 0.1], [0.1, 1.0], [0.2, 0.3]])
    >>> score.trace_over_absolute > 0
    True
    """
    matrix = checked_values(impact, 2, "impact")
    if min(matrix.shape) < 2:
        raise InputError(f"at least 2 regions and 2 factors are needed, not {matrix.shape}")
    if (matrix < 0).any():
        raise InputError("impact scores must not be negative")
    if not np.ptp(matrix, axis=0).any():
        raise InputError("all regions have the same impact: there is nothing to compare")
    scores = {name: float(value) for name, value in disentanglement_scores(matrix).items()}
    return Disentanglement(covariance=np.cov(matrix, rowvar=False), **scores)


def reading(score: str, value: float, low: float, high: float, factors: int) -> str:
    """Say what is good in a score of `Disentanglement`, and what this one comes to.

    Parameters
    ----------
    score
        Name of the attribute.
    value, low, high
        The score and the ends of its interval; NaN ends if there is none.
    factors
        Number of factors L.
    """
    alike = 1 / (factors - 1)
    scale = f"more is better, {alike:.2g} is what factors have that all react alike"
    found = (
        f"{value:.3g} [{low:.3g}, {high:.3g}]" if np.isfinite([low, high]).all() else f"{value:.3g}"
    )
    if score == "paper" and not min(value, low) > 0:
        return (
            f"{found}; says nothing here: below 0, or where its interval reaches there, "
            "covariances cancel, and more is not better. Look at Tr A / sum |off-diagonal|"
        )
    if low > alike:
        return f"{found}; {scale}: factors react to different regions"
    return f"{found}; {scale}: not shown to be more than that"


def disentanglement_scores(impact: Array) -> dict[str, Array]:
    """Give the scores of `Disentanglement` by name for many impact matrices, unchecked.

    Parameters
    ----------
    impact : array, shape (..., R, L)

    Returns
    -------
    dict of numpy.ndarray, shape (...)
    """
    covariance = _covariance(impact)
    trace = np.trace(covariance, axis1=-2, axis2=-1)
    logarithm = np.log1p(impact)
    spread = logarithm.std(axis=-2, ddof=1, keepdims=True)
    varies = np.ptp(impact, axis=-2, keepdims=True) > 0
    # A factor that does not vary becomes a column of zeros, which adds nothing to any sum.
    standard = np.where(varies, logarithm, 0) / np.where(varies, spread, 1)
    return {
        "paper": _ratio(trace, covariance.sum((-2, -1)) - trace),
        "trace_over_absolute": _trace_over_absolute(covariance),
        "log_correlation": _trace_over_absolute(_covariance(standard)),
    }


def _covariance(rows: Array) -> Array:
    """Covariance (..., L, L) of the columns of (..., R, L)."""
    centred = rows - rows.mean(axis=-2, keepdims=True)
    return np.asarray(centred.swapaxes(-1, -2) @ centred / (rows.shape[-2] - 1))


def _trace_over_absolute(matrix: Array) -> Array:
    trace = np.trace(matrix, axis1=-2, axis2=-1)
    return _ratio(trace, np.abs(matrix).sum((-2, -1)) - trace)


def _ratio(trace: Array, rest: Array) -> Array:
    apart = rest == 0
    return np.asarray(np.where(apart, math.inf, trace / np.where(apart, 1, rest)))


# Codes against known factors


def mig(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> float:
    """Mutual information gap (Chen et al., NeurIPS 2018), for continuous factors.

    The mean over factors of the difference between the two largest mutual informations with a code,
    divided by the factor's entropy. Codes and factors are cut into ``bins`` bins of equal width, as
    usual; with N samples the information of unrelated ones is about ``bins**2 / (2 N)`` nats, so
    that the value is too low by that part of the entropy when N is small.

    Parameters
    ----------
    codes : array or tensor, shape (N, L)
    factors : array or tensor, shape (N, F)
    bins : int

    Returns
    -------
    float
        0 (no factor has a code of its own) to 1.

    Raises
    ------
    InputError
        For unequal N, a factor that does not vary, or values that are not finite.
    """
    z, v = _codes_and_factors(codes, factors)
    gaps = []
    for factor in v.T:
        joints = [np.histogram2d(code, factor, bins)[0] / len(z) for code in z.T]
        entropy = _entropy(joints[0].sum(0))
        information = [_entropy(p.sum(1)) + entropy - _entropy(p.ravel()) for p in joints]
        gaps.append(_gap(np.array(information)) / entropy)
    return float(np.mean(gaps))


def sap(codes: ArrayLike, factors: ArrayLike) -> float:
    """Separated attribute predictability (Kumar et al., ICLR 2018), for continuous factors.

    The mean over factors of the difference between the two largest R^2 of a linear fit of the
    factor by a single code. Arguments and errors as for `mig`.

    Returns
    -------
    float
        0 to 1.
    """
    z, v = _codes_and_factors(codes, factors)
    correlation = _standardised(z).T @ _standardised(v) / len(z)
    return float(np.mean([_gap(r_squared) for r_squared in correlation.T**2]))


@dataclass(frozen=True, eq=False)
class DCI:
    """Disentanglement, completeness and informativeness, each at most 1.

    Attributes
    ----------
    disentanglement : float
        1 when each code matters for one factor only.
    completeness : float
        1 when each factor needs one code only.
    informativeness : float
        Mean R^2 of the factors, predicted from all codes in samples not used for the fit. Near 0
        (or below) the two others describe noise: read them together.
    importance : numpy.ndarray, shape (L, F)
        On which they stand.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Array


def dci(codes: ArrayLike, factors: ArrayLike, *, ridge: float = 1e-3, seed: int = 0) -> DCI:
    """Disentanglement, completeness, informativeness (Eastwood & Williams, ICLR 2018).

    Importance is the absolute coefficient of a ridge regression of each standardised factor on all
    standardised codes: linear and without a parameter to search, where the authors use a lasso or a
    random forest. A code's disentanglement is 1 less the entropy, to base F, of its importances as
    shares; codes are weighted by their total importance, and factors likewise in completeness.
    Coefficients of unrelated codes are small but not zero, so chance alone gives both 0.1 to 0.15.

    Parameters
    ----------
    codes : array or tensor, shape (N, L)
    factors : array or tensor, shape (N, F)
    ridge : float
        Penalty, relative to N.
    seed : int
        Of the random halves for fitting and for predicting.

    Raises
    ------
    InputError
        For unequal N, N < 4, a factor that does not vary, or values that are not finite.
    """
    z, v = _codes_and_factors(codes, factors)
    z, v = _standardised(z), _standardised(v)
    importance = np.abs(_ridge(z, v, ridge))

    order = np.random.default_rng(seed).permutation(len(z))
    fit, held = order[: len(z) // 2], order[len(z) // 2 :]
    centre_z, centre_v = z[fit].mean(0), v[fit].mean(0)
    coefficients = _ridge(z[fit] - centre_z, v[fit] - centre_v, ridge)
    error = v[held] - centre_v - (z[held] - centre_z) @ coefficients
    return DCI(
        disentanglement=_selectivity(importance),
        completeness=_selectivity(importance.T),
        informativeness=float(1 - np.mean(error**2)),
        importance=importance,
    )


def _ridge(z: Array, v: Array, penalty: float) -> Array:
    gram = z.T @ z + penalty * len(z) * np.eye(z.shape[1])
    return np.asarray(np.linalg.solve(gram, z.T @ v))


def _selectivity(importance: Array) -> float:
    """Mean over rows, weighted by their sums, of 1 less the entropy of the row's shares."""
    total = importance.sum(1)
    if importance.shape[1] == 1 or total.sum() == 0:
        return float(total.sum() > 0)
    shares = importance[total > 0] / total[total > 0, None]
    selectivity = [1 - _entropy(row) / math.log(len(row)) for row in shares]
    return float(np.average(selectivity, weights=total[total > 0]))


def _codes_and_factors(codes: ArrayLike, factors: ArrayLike) -> tuple[Array, Array]:
    z, v = checked_values(codes, 2, "codes"), checked_values(factors, 2, "factors")
    if len(z) != len(v) or len(z) < 4:
        raise InputError(f"4 or more rows, equally many, are needed, not {len(z)} and {len(v)}")
    if (np.ptp(v, axis=0) == 0).any():
        raise InputError("a factor does not vary")
    return z, v


def _standardised(values: Array) -> Array:
    """Mean 0 and variance 1; columns that do not vary become 0."""
    constant = np.ptp(values, axis=0) == 0
    centred = np.where(constant, 0, values - values.mean(0))
    return np.asarray(centred / np.where(constant, 1, values.std(0)))


def _entropy(p: Array) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _gap(values: Array) -> float:
    """Subtract the second largest, which is 0 if there is none, from the largest."""
    top = np.sort(np.append(values, 0.0))
    return float(top[-1] - top[-2])
