"""What every model is, VAE or PCA: one face, and one header that travels with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.training_record import check_training_record

RegionEncoder = Callable[[Images, Sequence[npt.NDArray[np.bool_]]], tuple[Latents, Latents]]

Family = Literal["beta-VAE", "VAE", "PCA"]
"""Kinds of model that the paper ranks (section 3.2)."""


ROTATION = "rotation"
"""Name of the tensor that takes codes from the axes of the fit to those of the model."""

LONGEST = 8192
"""Pixels of a side, and planes of an atlas: larger numbers in a header are damage."""

MOST_FACTORS = 1_000_000

_TINY = 1e-12


class Reference(BaseModel):
    """How the sections that a model was fitted on look through it: the yardstick for new ones.

    Errors are squared errors averaged over pixels; spreads are median absolute deviations
    times 1.4826, which is the standard deviation of a Gaussian.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    error_median: float
    error_spread: float = Field(ge=0)
    kl_median: float
    kl_spread: float = Field(ge=0)
    code_mean: list[float] = Field(description="Mean of the posterior means, per factor.")
    code_std: list[float] = Field(description="Spread of the posterior means, per factor.")
    kl_per_factor: list[float] = Field(description="Mean KL divergence per factor, nats.")

    @classmethod
    def measure(
        cls, error: npt.ArrayLike, mean: npt.ArrayLike, log_variance: npt.ArrayLike
    ) -> Reference:
        """Summarise per-section errors ``(N,)`` and posteriors ``(N, L)``."""
        error_median, error_spread = _median_and_spread(np.asarray(error))
        return cls(
            error_median=error_median,
            error_spread=error_spread,
            **_of_codes(mean, log_variance),
        )

    def recoded(self, mean: npt.ArrayLike, log_variance: npt.ArrayLike) -> Reference:
        """Summarise posteriors ``(N, L)`` anew; the errors stay, as they do under a rotation."""
        return self.model_copy(update=_of_codes(mean, log_variance))

    def deviation(self, error: npt.ArrayLike, kl: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Spreads above the median of error or KL divergence, whichever is more, ``(N,)``."""
        high_error = (np.asarray(error) - self.error_median) / max(self.error_spread, _TINY)
        high_kl = (np.asarray(kl) - self.kl_median) / max(self.kl_spread, _TINY)
        return np.asarray(np.maximum(high_error, high_kl))

    def is_outlier(self, error: npt.ArrayLike, kl: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Sections that fit the model worse, or lie further out, than nearly all it was fitted on.

        The rule: a deviation of more than four spreads.
        """
        return np.asarray(self.deviation(error, kl) > 4)


def _of_codes(mean: npt.ArrayLike, log_variance: npt.ArrayLike) -> dict[str, Any]:
    """All of a `Reference` that follows from the posteriors ``(N, L)``."""
    mean, log_variance = np.asarray(mean, np.float64), np.asarray(log_variance, np.float64)
    kl = kl_divergence(mean, log_variance)
    kl_median, kl_spread = _median_and_spread(kl.sum(axis=1))
    return {
        "kl_median": kl_median,
        "kl_spread": kl_spread,
        "code_mean": np.mean(mean, axis=0).tolist(),
        "code_std": np.std(mean, axis=0).tolist(),
        "kl_per_factor": kl.mean(axis=0).tolist(),
    }


def _median_and_spread(values: npt.NDArray[Any]) -> tuple[float, float]:
    median = np.median(values)
    return float(median), float(1.4826 * np.median(np.abs(values - median)))


class Rotation(BaseModel):
    """By what rule the axes of the latent space were chosen after the fit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["varimax"]
    sections: int = Field(ge=1, description="Brains around whose codes the fields were taken.")
    order: Literal["variance explained, largest first"] = "variance explained, largest first"
    sign: Literal["positive codes brighten more than they darken"] = (
        "positive codes brighten more than they darken"
    )


class Header(BaseModel):
    """All that a checkpoint says beside its tensors, so that the file alone is enough."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    kind: Literal["vae", "pca"]
    height: int = Field(ge=64, le=LONGEST, description="Rows of a section, px.")
    width: int = Field(ge=64, le=LONGEST, description="Columns of a section, px.")
    latent_dim: int = Field(ge=1, le=MOST_FACTORS, description="Number of latent factors L.")
    shortcut: bool = Field(False, description="A linear path beside the network (recipe fast).")
    preprocessing: Preprocessing
    pixel_size_um: float | None = Field(None, gt=0, allow_inf_nan=False)
    plane: int | None = Field(None, ge=0, le=LONGEST)
    reference: Reference | None = None
    rotation: Rotation | None = None
    checksum: str | None = Field(None, description="Of the tensors in the file.")
    training: dict[str, Any] = Field(
        default_factory=dict,
        description="Options, seeds, versions, data fingerprint, held-out ids.",
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Refuse parts that are of other sizes, or that cannot be what readers of them expect."""
        if (self.preprocessing.height, self.preprocessing.width) != (self.height, self.width):
            raise InputError("preprocessing is for sections of another size")
        if (known := self.reference) is not None:
            of_factors = known.code_mean, known.code_std, known.kl_per_factor
            if any(len(values) != self.latent_dim for values in of_factors):
                raise InputError(f"reference is not of {self.latent_dim} factors")
        check_training_record(self.training)
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Say nothing of a rotation or checksum where there is none, as older files do."""
        said: dict[str, Any] = plain(self)
        left_out = {"rotation", "checksum"}
        return {k: v for k, v in said.items() if v is not None or k not in left_out}


def check_comparable(headers: Mapping[str, Header]) -> None:
    """Refuse to hold models, by name, against each other whose errors are in different units.

    A section is in units of ``clip`` times its mean brightness: one number means something else
    under another clip or another mean. The reference brightness drops out (`Preprocessing`).

    Raises
    ------
    InputError
        If sizes or what is done to a section differ.
    """
    (first, header), *others = headers.items()
    wanted = header.preprocessing.model_dump(exclude={"reference_brightness"})
    for name, other in others:
        found = other.preprocessing.model_dump(exclude={"reference_brightness"})
        for setting, value in wanted.items():
            if found[setting] != value:
                raise InputError(
                    f"{name} and {first} cannot be compared, their sections are prepared with "
                    f"{setting} {found[setting]} and {value}: fit both on sections prepared alike"
                )


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
            If the sections do not have the model's size.
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
        encode = self._near(self._fitting(np.asarray(section)[None])[0])
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
            If there are not L factors.
        """
        array = np.asarray(latents, dtype=np.float32)
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
        array = np.asarray(images, dtype=np.float32)
        if array.ndim != 3 or array.shape[1:] != self.shape:
            raise InputError(
                f"the model is for sections of {self.shape[0]} x {self.shape[1]} px, "
                f"as (N, H, W); these have shape {array.shape}"
            )
        return array

    @abstractmethod
    def _tensors(self) -> dict[str, npt.NDArray[Any]]: ...

    @abstractmethod
    def _encode(self, images: Images) -> tuple[Latents, Latents]: ...

    def _near(self, section: Images) -> RegionEncoder:
        return lambda versions, regions: self._encode(versions)

    @abstractmethod
    def _decode(self, latents: Latents) -> Images: ...


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
