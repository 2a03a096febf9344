"""What is measured of the latent space: active factors, evidence lower bound."""

from __future__ import annotations

import math

import numpy as np

from napari_brainvae.io.errors import InputError
from napari_brainvae.metrics.inputs import Array, ImageStack, checked_values, image_pairs
from napari_brainvae.models.measures import kl_divergence


def active_units(mean: ImageStack, *, threshold: float = 0.01) -> int:
    """Count the latent factors whose posterior mean varies: Var mu > 0.01 (Burda et al. 2016).

    Parameters
    ----------
    mean : array or tensor, shape (N, L)
        Posterior means of N images.
    threshold : float
    """
    return int((checked_values(mean, 2, "means").var(0) > threshold).sum())


def _posterior_kl(mean: ImageStack, log_variance: ImageStack) -> Array:
    mu, log_var = checked_values(mean, 2, "means"), checked_values(log_variance, 2, "log-variances")
    if mu.shape != log_var.shape:
        raise InputError(f"means and log-variances of shapes {mu.shape} and {log_var.shape}")
    return np.asarray(kl_divergence(mu, log_var), np.float64)


def elbo(
    images: ImageStack,
    reconstructions: ImageStack,
    mean: ImageStack,
    log_variance: ImageStack,
    beta: float,
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
    InputError
        For shapes that do not fit, values not finite, beta not positive.
    """
    error = np.array([np.square(x - y).sum() for x, y in image_pairs(images, reconstructions)])
    divergence = _posterior_kl(mean, log_variance).sum(1)
    if len(divergence) != len(error):
        raise InputError(f"{len(error)} images but {len(divergence)} codes")
    if not 0 < beta < math.inf:
        raise InputError(f"beta must be positive, not {beta}")
    constant = math.prod(images.shape[1:]) / 2 * math.log(math.pi * beta)
    return np.asarray(-error / beta - divergence - constant)
