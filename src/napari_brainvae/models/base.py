"""What every model is, VAE or PCA: one face, whatever lies beneath."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.real_numbers import finite_float32, real_numbers
from napari_brainvae.models.header import Header, Rotation

RegionEncoder = Callable[[Images, Sequence[npt.NDArray[np.bool_]]], tuple[Latents, Latents]]

Family = Literal["beta-VAE", "VAE", "PCA"]
"""Kinds of model that the paper ranks (section 3.2)."""

ROTATION = "rotation"
"""Name of the tensor that takes codes from the axes of the fit to those of the model."""


class Model(ABC):
    """A low-dimensional model of sections: NumPy in, NumPy out.

    Attributes
    ----------
    header
        What the checkpoint says beside its tensors.
    rotation
        ``(L, L)`` float64, orthogonal, or None: codes are those in the axes of the fit times this.
        What lies beneath (a network, components) stays in the axes of the fit.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self.rotation: npt.NDArray[np.float64] | None = None

    has_posterior = True
    """Whether the log-variances say anything."""

    @property
    def label(self) -> str:
        """What kind of model it is, in a word to show."""
        return type(self).__name__

    @property
    def summary(self) -> str:
        """What tells it from others of its kind: factors, and beta if it was fitted with one."""
        beta = self.header.training.get("options", {}).get("beta")
        return f"{self.label}, {self.latent_dim} factors" + (f", beta {beta:g}" if beta else "")

    @property
    def family(self) -> Family | None:
        """What the paper would call it; None for a model of which it claims nothing."""
        return None

    @property
    def noise_variance(self) -> float | None:
        """Variance of a pixel's Gaussian noise in its ELBO; None if it is fitted by none."""
        return None

    @property
    def latent_dim(self) -> int:
        """Number of latent factors L."""
        return self.header.latent_dim

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)`` of a section, px."""
        return self.header.height, self.header.width

    def pixel_size_um(self, known_um: float | None) -> float | None:
        """Side of a pixel of sections, µm: what their file says, else that of the fit, or None."""
        return known_um or self.header.pixel_size_um

    def encode(self, images: npt.ArrayLike) -> tuple[Latents, Latents]:
        """Posterior over the latent factors of each section.

        Parameters
        ----------
        images
            ``(N, H, W)`` preprocessed sections in [0, 1].

        Returns
        -------
        mean, log_variance
            Both ``(N, L)`` float32.

        Raises
        ------
        InputError
            If the sections do not have the model's size, or are no finite numbers.
        """
        return self._turned(*self._encode(self._fitting(images)))

    def near(self, section: npt.ArrayLike) -> RegionEncoder:
        """Prepare to encode versions of one section that differ from it in regions.

        What a region does not reach need not be computed again: the smaller it is, the less an
        encode may cost.

        Parameters
        ----------
        section
            ``(H, W)`` preprocessed.

        Returns
        -------
        callable
            Takes versions ``(N, H, W)`` and N masks ``(H, W)``, outside of which each version
            equals the section, and gives the same as `encode`, up to rounding. Not to be called
            from several threads at once.

        Raises
        ------
        InputError
            If the section does not have the model's size.
        """
        encode = self._near(self._fitting(real_numbers(section, "a section")[None])[0])
        return lambda versions, regions: self._turned(*encode(versions, regions))

    def decode(self, latents: npt.ArrayLike) -> Images:
        """Sections that the model decodes from latent factors.

        Parameters
        ----------
        latents
            ``(N, L)``.

        Returns
        -------
        numpy.ndarray
            ``(N, H, W)`` float32 in [0, 1].

        Raises
        ------
        InputError
            If there are not L factors, or they are no finite numbers.
        """
        array = finite_float32(latents, "latents")
        if array.ndim != 2 or array.shape[1] != self.latent_dim:
            raise InputError(
                f"the model has {self.latent_dim} latent factors, as (N, L); "
                f"these latents have shape {array.shape}"
            )
        if self.rotation is not None:
            array = (array @ self.rotation.T).astype(np.float32)
        return self._decode(array)

    def reconstruct(self, images: npt.ArrayLike) -> Images:
        """Encode sections ``(N, H, W)`` and decode their posterior means."""
        return self.decode(self.encode(images)[0])

    def with_rotation(
        self, rotation: npt.NDArray[np.float64] | None, record: Rotation | None
    ) -> Self:
        """Give the model other axes of the latent space; weights are shared.

        Parameters
        ----------
        rotation
            ``(L, L)`` orthogonal, from the axes of the fit to the new ones; None for those of the
            fit.
        record
            How it was chosen, for the header.

        Raises
        ------
        InputError
            If the matrix is not orthogonal, or not of L factors.
        """
        if rotation is not None:
            rotation = np.asarray(rotation, dtype=np.float64)
            if rotation.shape != (self.latent_dim, self.latent_dim) or not np.allclose(
                rotation @ rotation.T, np.eye(self.latent_dim), atol=1e-6
            ):
                raise InputError(
                    f"a rotation of {self.latent_dim} factors is an orthogonal matrix of that size"
                )
        model = copy(self)
        model.rotation = rotation
        model.header = self.header.model_copy(update={"rotation": record}, deep=True)
        return model

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Every array that the checkpoint must hold, by name."""
        if self.rotation is None:
            return self._tensors()
        return self._tensors() | {ROTATION: np.ascontiguousarray(self.rotation)}

    def _turned(self, mean: Latents, log_variance: Latents) -> tuple[Latents, Latents]:
        """Take a posterior from the axes of the fit to the model's; exact for its marginals."""
        if self.rotation is None:
            return mean, log_variance
        variance = np.exp(log_variance, dtype=np.float64) @ np.square(self.rotation)
        turned = (mean @ self.rotation, np.log(variance))
        return turned[0].astype(np.float32), turned[1].astype(np.float32)

    def _fitting(self, images: npt.ArrayLike) -> Images:
        array = real_numbers(images, "sections")
        if array.ndim != 3 or array.shape[1:] != self.shape:
            raise InputError(
                f"the model is for sections of {self.shape[0]} x {self.shape[1]} px, "
                f"as (N, H, W); these have shape {array.shape}"
            )
        return finite_float32(array, "sections")

    @abstractmethod
    def _tensors(self) -> dict[str, npt.NDArray[Any]]: ...

    @abstractmethod
    def _encode(self, images: Images) -> tuple[Latents, Latents]: ...

    def _near(self, section: Images) -> RegionEncoder:
        return lambda versions, regions: self._encode(versions)

    @abstractmethod
    def _decode(self, latents: Latents) -> Images: ...
