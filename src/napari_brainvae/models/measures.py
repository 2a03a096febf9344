"""What a model is judged by, section by section."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images


def kl_divergence(
    mean: npt.NDArray[Any], log_variance: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """KL divergence of each factor's posterior from the standard normal prior, nats.

    ``(mean^2 + exp(log_variance) - log_variance - 1) / 2`` (Kingma and Welling 2013, appendix B).

    Parameters
    ----------
    mean, log_variance
        ``(N, L)``.

    Returns
    -------
    numpy.ndarray
        ``(N, L)``, not negative.
    """
    mean, log_variance = mean.astype(np.float64), log_variance.astype(np.float64)
    return np.asarray(0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1.0))


def squared_error(images: Images, reconstructions: Images) -> npt.NDArray[np.float64]:
    """Squared error of each section, averaged over its pixels, ``(N,)``."""
    return np.asarray(np.square(images - reconstructions).mean(axis=(1, 2), dtype=np.float64))
