"""Principal components of smoothed sections, for few brains: the amount by cross-validation.

Components of few brains hold the noise of these brains. Fitted to smoothed sections they hold less
of it, and reconstruct the sharp sections of other brains better. A section is smoothed by damping
its cosine transform, which is orthonormal: inner products, and with them every fit, are had there,
for all amounts from one transform.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy  # whose modules are imported when they are first used

from napari_brainvae.arrays import Images
from napari_brainvae.models.gram import components_of, trimmed_components_of
from napari_brainvae.models.pca import BLOCK, trimmed_components

Matrix = npt.NDArray[np.float64]

SIGMAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Amounts that are tried: standard deviations of the Gaussian, px."""

FOLDS = 4
CROSS_VALIDATED = 256
"""Sections, at most, on which the amount is chosen."""


def smooth_components(
    images: Images, count: int, sigma: float
) -> tuple[Images, Images, npt.NDArray[np.float64]]:
    """Trimmed components of Gaussian-smoothed sections, and what the sharp sections have of them.

    Parameters
    ----------
    images
        ``(N, H, W)``.
    count
        How many components; with ``sigma`` 0 those of `pca.trimmed_components`.
    sigma
        Standard deviation of the Gaussian, px.

    Returns
    -------
    mean, components, eigenvalues
        ``(H, W)`` float32, sharp; ``(count, H, W)`` float32, orthonormal and smooth; ``(count,)``
        variances of the sharp sections' scores, largest first, which are uncorrelated.
    """
    if sigma == 0:
        return trimmed_components(images, count)
    (sharp, _), (gram, cross) = products(images, [0.0, sigma])
    # Smoothing hides what is thin, such as a grid: outliers are found in the sharp sections.
    kept = trimmed_components_of(sharp, np.ones(len(images), dtype=bool), count).kept
    fitted = components_of(gram, kept, count)
    # In the span of the smooth components, the principal axes of the sharp sections.
    scores = (cross @ fitted.weights)[kept]
    variances, axes = np.linalg.eigh(np.cov(scores.T).reshape(count, count))
    weights = fitted.weights @ axes[:, ::-1]
    sums, flat = (
        np.hstack([(kept / kept.sum())[:, None], weights]).T,
        images.reshape(len(images), -1),
    )
    blocks = [
        (sums @ flat[:, start : start + BLOCK].astype(np.float64)).astype(np.float32)
        for start in range(0, flat.shape[1], BLOCK)
    ]
    mean, *fields = np.hstack(blocks).reshape(-1, *images.shape[1:])
    components = smoothed(np.stack(fields), sigma)
    return mean, components, variances[::-1].copy()


def smoothed(images: Images, sigma: float) -> Images:
    """Sections ``(N, H, W)`` under a Gaussian of ``sigma`` px, reflected at the border, float32."""
    factors, result = damping(images.shape[1:], sigma), np.empty(images.shape, np.float32)
    for image, to in zip(images, result, strict=True):
        to[:] = scipy.fft.idctn(scipy.fft.dctn(image, norm="ortho") * factors, norm="ortho")
    return result


def choose_smoothing(
    images: Images, count: int, sigmas: Sequence[float] = SIGMAS, seed: int = 0
) -> tuple[float, dict[float, float]]:
    """Find the amount of smoothing with which components reconstruct held-out sections best.

    Parameters
    ----------
    images
        ``(N, H, W)``; `CROSS_VALIDATED` of them, evenly spread, are used.
    count
        Number of components.
    sigmas
        Amounts to try, px.
    seed
        Of the division in `FOLDS`.

    Returns
    -------
    sigma, left
        The best amount, and for each the share of the held-out sections' variance that is left. No
        smoothing, and nothing, if there are too few sections to hold any out.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, CROSS_VALIDATED).round().astype(int))
    sections = images[chosen]
    if len(sections) - -(-len(sections) // FOLDS) <= count:
        return 0.0, {}
    grams = products(sections, [0.0, *sigmas])
    sharp = grams[0][0]
    everyone = np.ones(len(sections), dtype=bool)
    usual = trimmed_components_of(sharp, everyone, count).kept
    fold = np.random.default_rng(seed).permutation(len(sections)) % FOLDS
    left = {}
    for sigma, (gram, cross) in zip(sigmas, grams[1:], strict=True):
        residual = total = 0.0
        for number in range(FOLDS):
            kept = trimmed_components_of(sharp, fold != number, count).kept
            unexplained, energy = components_of(gram, kept, count).residuals(sharp, cross)
            which = usual & (fold == number)
            residual += unexplained[which].sum()
            total += energy[which].sum()
        left[sigma] = residual / total
    return min(left, key=lambda sigma: left[sigma]), left


def damping(shape: tuple[int, ...], sigma: float) -> Matrix:
    """Gaussian of ``sigma`` px as factors ``(H, W)`` of an orthonormal cosine transform."""
    rows, columns = (np.square(np.pi * np.arange(size) / size) for size in shape)
    return np.asarray(np.exp(-0.5 * sigma**2 * (rows[:, None] + columns)))


def products(images: Images, sigmas: Sequence[float]) -> list[tuple[Matrix, Matrix]]:
    """Inner products ``(N, N)`` of smoothed sections, and of sharp with smoothed ones.

    Sections are taken about their mean. One pair for each amount.
    """
    mean = images.mean(axis=0, dtype=np.float64).astype(np.float32)
    waves = np.empty((len(images), mean.size), dtype=np.float32)
    for to, image in enumerate(images):
        waves[to] = scipy.fft.dctn(image - mean, norm="ortho").ravel()
    damped = [damping(mean.shape, sigma).ravel() for sigma in sigmas]
    pairs = [(np.zeros((len(images),) * 2), np.zeros((len(images),) * 2)) for _ in sigmas]
    for start in range(0, mean.size, BLOCK):
        part = slice(start, start + BLOCK)
        block = waves[:, part].astype(np.float64)
        for factors, (gram, cross) in zip(damped, pairs, strict=True):
            smoothed = block * factors[part]
            gram += smoothed @ smoothed.T
            cross += block @ smoothed.T
    return pairs
