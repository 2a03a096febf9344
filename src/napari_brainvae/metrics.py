"""What is measured: image quality, distance of distributions, use of the latent space.

Images are ``(N, H, W)`` and codes ``(N, L)``, as NumPy arrays or torch tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from napari_brainvae.model import kl_divergence
from napari_brainvae.wavelets import Array, Images, cw_ssim, to_tensor

__all__ = [
    "DCI",
    "Disentanglement",
    "active_units",
    "cw_ssim",
    "dci",
    "disentanglement_score",
    "elbo",
    "gaussian_kl",
    "image_quality",
    "jeffreys",
    "kl_per_factor",
    "mig",
    "pca_frechet_distance",
    "sap",
    "split_half_floor",
]

_VALUES_AT_ONCE = 2**23  # of the images, in float64, while their Gram matrix is summed up


# Images


def image_quality(a: Images, b: Images) -> dict[str, Array]:
    """Mean squared error, PSNR and SSIM of each pair of images, by scikit-image.

    Parameters
    ----------
    a, b : array or tensor, shape (N, H, W)
        Intensities in [0, 1].

    Returns
    -------
    dict of numpy.ndarray, shape (N,)
        "mse"; "psnr" in dB for a peak of 1, infinite for equal images; "ssim" with the Gaussian
        window of Wang et al. (IEEE Trans. Image Process. 2004).

    Raises
    ------
    ValueError
        For other shapes than (N, H, W) twice, or values that are not finite.
    """
    wang: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    rows = []
    for x, y in _pairs(a, b):
        with np.errstate(divide="ignore"):
            psnr = peak_signal_noise_ratio(x, y, data_range=1.0)
        ssim = structural_similarity(x, y, data_range=1.0, **wang)
        rows.append((mean_squared_error(x, y), psnr, ssim))
    return dict(zip(("mse", "psnr", "ssim"), np.array(rows).T, strict=True))


def pca_frechet_distance(real: Images, generated: Images, *, components: int = 100) -> float:
    r"""PCA-based Frechet distance between two sets of images (paper, section 3.2).

    Both sets are projected on the first principal components of ``real``; with means m and
    covariances S there, the distance is \|m1 - m2\|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    Parameters
    ----------
    real, generated : array or tensor, shapes (N, H, W) and (M, H, W)
        Computed in float64 on the device of ``real``. Everything comes from the two Gram matrices,
        summed over blocks of pixels, so that the components themselves are never formed.
    components : int
        Capped by the rank of ``real``, hence by N - 1.

    Returns
    -------
    float
        In squared intensity summed over pixels; 0 for equal sets, never negative. Differences
        outside the components are not seen. See `split_half_floor` for what to compare it with.

    Raises
    ------
    ValueError
        For unequal sizes, fewer than 2 images in a set, ``real`` all equal, values not finite.
    """
    return _frechet(*_principal_scores(real, generated, components))


def split_half_floor(real: Images, *, components: int = 100, seed: int = 0) -> float:
    """Give the PCA-Frechet distance between two random halves of the real images.

    It is the floor of `pca_frechet_distance`: what sampling alone makes between two sets of one
    population. Halves are smaller than the whole, so it errs on the high side. Reconstructions of
    the real images themselves share their sampling and can lie below it.

    Parameters
    ----------
    real : array or tensor, shape (N, H, W)
        At least 4 images.
    components : int
        Capped by the rank of a half.
    seed : int
        Of the split.

    Raises
    ------
    ValueError
        For fewer than 4 images, a half that is all equal, or values not finite.
    """
    if len(real) < 4:
        raise ValueError(f"two halves need at least 4 images, not {len(real)}")
    order, half = np.random.default_rng(seed).permutation(len(real)), len(real) // 2
    return pca_frechet_distance(real[order[:half]], real[order[half:]], components=components)


@torch.no_grad()
def _principal_scores(
    real: Images, other: Images, components: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (N, k) and (M, k) on the principal components of ``real``."""
    if real.ndim != 3 or other.ndim != 3 or real.shape[1:] != other.shape[1:]:
        raise ValueError(
            f"two sets (N, H, W) of one size are needed, not {(*real.shape,)} and {(*other.shape,)}"
        )
    if len(real) < 2:
        raise ValueError(f"a covariance needs at least 2 images, not {len(real)}")
    if components < 1:
        raise ValueError(f"components must be at least 1, not {components}")

    device = real.device if isinstance(real, torch.Tensor) else torch.device("cpu")
    n = len(real)
    flat = [x.reshape(len(x), math.prod(x.shape[1:])) for x in (real, other)]
    gram = torch.zeros(n + len(other), n, dtype=torch.float64, device=device)
    step = max(1, _VALUES_AT_ONCE // len(gram))
    for start in range(0, flat[0].shape[1], step):
        block = [to_tensor(x[:, start : start + step], torch.float64).to(device) for x in flat]
        joint = torch.cat(block) - block[0][0]  # first of all exactly zero where images are equal
        joint -= joint[:n].mean(0)
        gram += joint @ joint[:n].T
    if not torch.isfinite(gram).all():
        raise ValueError("images contain NaN or infinite values")

    power, vectors = torch.linalg.eigh(gram[:n])
    power, vectors = power.flip(0), vectors.flip(1)
    if power[0] <= 0:
        raise ValueError("the real images are all equal: they have no principal components")
    rank = int((power > n * torch.finfo(power.dtype).eps * power[0]).sum())
    k = min(components, rank)
    scores = gram @ (vectors[:, :k] / power[:k].sqrt())
    return scores[:n], scores[n:]


def _frechet(a: torch.Tensor, b: torch.Tensor) -> float:
    """Frechet distance between the Gaussians fitted to two sets of points (N, k) and (M, k)."""
    if min(len(a), len(b)) < 2:
        raise ValueError("a covariance needs at least 2 images in each set")
    means = a.mean(0), b.mean(0)
    # Factors R with R'R = S. Tr (S1 S2)^(1/2) is the sum of the singular values of R2 R1', which
    # keeps the digits that the square roots of the eigenvalues of a product would lose: singular
    # covariances are the rule here.
    roots = [
        torch.linalg.qr((x - mean) / math.sqrt(len(x) - 1), mode="r").R
        for x, mean in zip((a, b), means, strict=True)
    ]
    spread = sum(root.square().sum() for root in roots)
    shared = torch.linalg.svdvals(roots[1] @ roots[0].T).sum()
    return max(0.0, float((means[0] - means[1]).square().sum() + spread - 2 * shared))


# Impact scores


def gaussian_kl(mean_a: ArrayLike, std_a: ArrayLike, mean_b: ArrayLike, std_b: ArrayLike) -> Array:
    """Kullback-Leibler divergence KL(a || b) of normal distributions, in nats, elementwise.

    ln(sb / sa) + (sa^2 + (ma - mb)^2) / (2 sb^2) - 1/2. The arguments are broadcast.

    Raises
    ------
    ValueError
        If a standard deviation is not positive, or a value not finite.
    """
    ma, sa, mb, sb = (np.asarray(x, np.float64) for x in (mean_a, std_a, mean_b, std_b))
    if not ((sa > 0).all() and (sb > 0).all()):
        raise ValueError("standard deviations must be positive")
    if not all(np.isfinite(x).all() for x in (ma, sa, mb, sb)):
        raise ValueError("means and standard deviations must be finite")
    return np.asarray(np.log(sb / sa) + (sa**2 + (ma - mb) ** 2) / (2 * sb**2) - 0.5)


def jeffreys(mean_a: ArrayLike, std_a: ArrayLike, mean_b: ArrayLike, std_b: ArrayLike) -> Array:
    """Jeffreys divergence KL(a || b) + KL(b || a), the symmetric form of `gaussian_kl`."""
    return gaussian_kl(mean_a, std_a, mean_b, std_b) + gaussian_kl(mean_b, std_b, mean_a, std_a)


@dataclass(frozen=True, eq=False)
class Disentanglement:
    r"""Disentanglement of an impact matrix; ``float()`` gives the paper's score.

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

    def __float__(self) -> float:
        return self.paper


def disentanglement_score(impact: Images) -> Disentanglement:
    """How differently the latent factors react to regions.

    Parameters
    ----------
    impact : array or tensor, shape (R, L)
        Impact score of each of R regions on each of L latent factors, not negative.

    Raises
    ------
    ValueError
        For fewer than 2 regions or factors, values negative or not finite, or a matrix in which all
        regions have the same impact.
    """
    matrix = _values(impact, 2, "impact")
    if min(matrix.shape) < 2:
        raise ValueError(f"at least 2 regions and 2 factors are needed, not {matrix.shape}")
    if (matrix < 0).any():
        raise ValueError("impact scores must not be negative")
    varying = np.ptp(matrix, axis=0) > 0
    if not varying.any():
        raise ValueError("all regions have the same impact: there is nothing to compare")
    covariance = np.cov(matrix, rowvar=False)
    correlation = np.atleast_2d(np.corrcoef(np.log1p(matrix[:, varying]), rowvar=False))
    trace = np.trace(covariance)
    return Disentanglement(
        paper=_ratio(trace, covariance.sum() - trace),
        trace_over_absolute=_trace_over_absolute(covariance),
        log_correlation=_trace_over_absolute(correlation),
        covariance=covariance,
    )


def _trace_over_absolute(matrix: Array) -> float:
    trace = np.trace(matrix)
    return _ratio(trace, np.abs(matrix).sum() - trace)


def _ratio(trace: float, rest: float) -> float:
    return float(trace / rest) if rest != 0 else math.inf


# Codes against known factors


def mig(codes: Images, factors: Images, *, bins: int = 20) -> float:
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
    ValueError
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


def sap(codes: Images, factors: Images) -> float:
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


def dci(codes: Images, factors: Images, *, ridge: float = 1e-3, seed: int = 0) -> DCI:
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
    ValueError
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


def _codes_and_factors(codes: Images, factors: Images) -> tuple[Array, Array]:
    z, v = _values(codes, 2, "codes"), _values(factors, 2, "factors")
    if len(z) != len(v) or len(z) < 4:
        raise ValueError(f"4 or more rows, equally many, are needed, not {len(z)} and {len(v)}")
    if (np.ptp(v, axis=0) == 0).any():
        raise ValueError("a factor does not vary")
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


# Use of the latent space


def active_units(mean: Images, *, threshold: float = 0.01) -> int:
    """Count the latent factors whose posterior mean varies: Var mu > 0.01 (Burda et al. 2016).

    Parameters
    ----------
    mean : array or tensor, shape (N, L)
        Posterior means of N images.
    threshold : float
    """
    return int((_values(mean, 2, "means").var(0) > threshold).sum())


def kl_per_factor(mean: Images, log_variance: Images) -> Array:
    """KL divergence of the posterior from the prior N(0, 1), per latent factor, in nats.

    Parameters
    ----------
    mean, log_variance : array or tensor, shape (N, L)

    Returns
    -------
    numpy.ndarray, shape (L,)
        Mean over images.
    """
    return np.asarray(_posterior_kl(mean, log_variance).mean(0))


def _posterior_kl(mean: Images, log_variance: Images) -> Array:
    mu, log_var = _values(mean, 2, "means"), _values(log_variance, 2, "log-variances")
    if mu.shape != log_var.shape:
        raise ValueError(f"means and log-variances of shapes {mu.shape} and {log_var.shape}")
    return np.asarray(kl_divergence(mu, log_var), np.float64)


def elbo(
    images: Images, reconstructions: Images, mean: Images, log_variance: Images, beta: float
) -> Array:
    """Evidence lower bound of each image, in nats.

    The loss, squared error summed over the D pixels plus beta times the KL divergence, is the
    negative bound of a model whose pixels are normal with variance beta / 2, times beta and up to a
    constant. The constant is kept here,

        ELBO = -(squared error) / beta - KL - (D / 2) ln(pi beta),

    so that models of different beta can be compared. The expectation over the posterior is replaced
    by the one reconstruction given: of a sample it is unbiased, of the mean a little too high.

    Parameters
    ----------
    images, reconstructions : array or tensor, shape (N, H, W)
    mean, log_variance : array or tensor, shape (N, L)
    beta : float
        Positive.

    Returns
    -------
    numpy.ndarray, shape (N,)

    Raises
    ------
    ValueError
        For shapes that do not fit, values not finite, beta not positive.
    """
    error = np.array([np.square(x - y).sum() for x, y in _pairs(images, reconstructions)])
    divergence = _posterior_kl(mean, log_variance).sum(1)
    if len(divergence) != len(error):
        raise ValueError(f"{len(error)} images but {len(divergence)} codes")
    if not 0 < beta < math.inf:
        raise ValueError(f"beta must be positive, not {beta}")
    constant = math.prod(images.shape[1:]) / 2 * math.log(math.pi * beta)
    return np.asarray(-error / beta - divergence - constant)


# Checks


def _values(data: Images, rank: int, name: str) -> Array:
    """As float64, of the rank asked for, not empty and finite."""
    array = np.asarray(data.detach().cpu() if isinstance(data, torch.Tensor) else data, np.float64)
    if array.ndim != rank or array.size == 0:
        raise ValueError(f"{name} must have {rank} axes and not be empty, not shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contain NaN or infinite values")
    return array


def _pairs(a: Images, b: Images) -> Iterator[tuple[Array, Array]]:
    """Images (N, H, W) one pair at a time, since float64 copies of all would fill the memory."""
    if a.shape != b.shape or a.ndim != 3 or 0 in a.shape:
        raise ValueError(
            f"two sets of images (N, H, W) of one shape are needed, not {(*a.shape,)} and "
            f"{(*b.shape,)}"
        )
    return ((_values(x, 2, "images"), _values(y, 2, "images")) for x, y in zip(a, b, strict=True))
