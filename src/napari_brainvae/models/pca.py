"""The linear baseline: exact principal components, with the face of the VAE."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.real_numbers import finite_float32, whole_number
from napari_brainvae.models.base import Family, Model
from napari_brainvae.models.header import Header

SECTIONS_AT_ONCE = 64
"""Sections whose residual is measured at a time."""

BLOCK = 8192
"""Pixels (columns of the data matrix) centred and multiplied at a time."""


def principal_components(
    images: npt.NDArray[Any], count: int
) -> tuple[Images, Images, npt.NDArray[np.float64]]:
    """Exact leading principal components by the ``(N, N)`` Gram matrix.

    Parameters
    ----------
    images
        ``(N, H, W)`` float32.
    count
        How many components; at most N - 1.

    Returns
    -------
    mean, components, eigenvalues
        ``(H, W)`` float32; ``(count, H, W)`` float32, orthonormal, largest variance first;
        ``(count,)`` float64, variances of the scores with denominator N - 1.

    Raises
    ------
    InputError
        If the images do not carry that many components.
    """
    n = len(images)
    flat = images.reshape(n, math.prod(images.shape[1:]))
    count = whole_number(count, "the number of components", 1)
    if count > min(n - 1, flat.shape[1]):
        raise InputError(f"{n} sections carry at most {n - 1} principal components, not {count}")
    mean = flat.mean(axis=0, dtype=np.float64)
    gram = np.zeros((n, n))
    for start in range(0, flat.shape[1], BLOCK):
        block = flat[:, start : start + BLOCK] - mean[start : start + BLOCK]
        gram += block @ block.T
    values, vectors = eigh(gram, subset_by_index=[n - count, n - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    if values[-1] <= n * np.finfo(np.float64).eps * values[0]:
        rank = int((values > n * np.finfo(np.float64).eps * values[0]).sum())
        raise InputError(f"the sections carry only {rank} principal components, not {count}")
    components = np.empty((count, flat.shape[1]), dtype=np.float32)
    weights = (vectors / np.sqrt(values)).T
    for start in range(0, flat.shape[1], BLOCK):
        block = flat[:, start : start + BLOCK] - mean[start : start + BLOCK]
        components[:, start : start + BLOCK] = weights @ block
    shape = images.shape[1:]
    return (
        mean.astype(np.float32).reshape(shape),
        components.reshape(count, *shape),
        values / (n - 1),
    )


TRIMMING_ROUNDS = 3
"""Fits, at most, of the components without outliers."""


def trimmed_components(images: Images, count: int) -> tuple[Any, Any, Any]:
    """Principal components that sections unlike the rest (artifacts) have no say in.

    Sections whose residual is more than three spreads above the median are left out and the
    components fitted again, a few times over. The sections stay in the training set.

    Returns
    -------
    mean, components, eigenvalues
        As `principal_components` gives them.
    """
    kept = np.ones(len(images), dtype=bool)
    for _ in range(TRIMMING_ROUNDS):
        mean, components, eigenvalues = principal_components(images[kept], count)
        flat = components.reshape(count, -1)
        left = np.empty(len(images))
        for at in range(0, len(images), SECTIONS_AT_ONCE):
            centred = (images[at : at + SECTIONS_AT_ONCE] - mean).reshape(-1, flat.shape[1])
            # Components are orthonormal: what is left is the total less what they explain.
            explained = np.square(centred @ flat.T).sum(axis=1)
            left[at : at + SECTIONS_AT_ONCE] = np.square(centred).sum(axis=1) - explained
        spread = 1.4826 * np.median(np.abs(left - np.median(left)))
        kept = left <= np.median(left) + 3 * spread
        if kept.sum() <= count:
            break
    return mean, components, eigenvalues


class PCA(Model):
    """Principal component analysis; latent factors are whitened scores.

    PCA states no posterior variance: its log-variance is the smallest that single precision
    tells from none.

    Attributes
    ----------
    mean
        ``(H, W)`` mean section.
    components
        ``(L, H, W)`` orthonormal.
    eigenvalues
        ``(L,)`` variances of the scores.

    Examples
    --------
    >>> import numpy as np
    >>> sections = np.random.default_rng(0).random((12, 64, 80), dtype=np.float32)
    >>> model = PCA.fit(sections, 3)
    >>> model.decode(model.encode(sections)[0]).shape
    (12, 64, 80)
    """

    label = "PCA"
    has_posterior = False

    def __init__(
        self, header: Header, mean: Images, components: Images, eigenvalues: npt.NDArray[Any]
    ) -> None:
        super().__init__(header)
        self.mean, self.components = mean, components
        self.eigenvalues = np.asarray(eigenvalues, dtype=np.float64)

    @property
    def family(self) -> Family | None:
        """PCA, unless it is the mean section alone: components that are all zero."""
        return "PCA" if self.components.any() else None

    @classmethod
    def fit(
        cls, images: npt.ArrayLike, latent_dim: int, *, preprocessing: Preprocessing | None = None
    ) -> PCA:
        """Fit to preprocessed sections ``(N, H, W)`` in [0, 1].

        Raises
        ------
        InputError
            For unusable sections, or too few for so many components.
        """
        sections = finite_float32(images, "sections")
        if sections.ndim != 3:
            raise InputError(f"sections must have shape (N, H, W), not {sections.shape}")
        mean, components, eigenvalues = principal_components(sections, latent_dim)
        height, width = mean.shape
        header = Header(
            kind="pca",
            height=height,
            width=width,
            latent_dim=latent_dim,
            preprocessing=preprocessing or Preprocessing(height=height, width=width),
        )
        return cls(header, mean, components, eigenvalues)

    def _tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Mean section, components and eigenvalues."""
        return {
            "mean": self.mean,
            "components": self.components,
            "eigenvalues": self.eigenvalues,
        }

    @property
    def _scales(self) -> npt.NDArray[np.float32]:
        return np.sqrt(self.eigenvalues).astype(np.float32)

    def _encode(self, images: Images) -> tuple[Latents, Latents]:
        flat = (images - self.mean).reshape(len(images), self.mean.size)
        mean = flat @ self.components.reshape(self.latent_dim, -1).T / self._scales
        # The scores are exact; a variance floor of single precision keeps the logarithm finite.
        log_variance = np.full_like(mean, np.log(np.finfo(np.float32).eps))
        return np.asarray(mean, np.float32), np.asarray(log_variance, np.float32)

    def _decode(self, latents: Latents) -> Images:
        flat = (latents * self._scales) @ self.components.reshape(self.latent_dim, -1)
        decoded = flat.reshape(-1, *self.shape) + self.mean
        return np.clip(decoded, 0.0, 1.0).astype(np.float32)
