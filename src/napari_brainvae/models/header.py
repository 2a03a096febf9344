"""What a checkpoint says beside its tensors: a header that travels with every model."""

from __future__ import annotations

from collections.abc import Mapping
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

from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.measures import kl_divergence
from napari_brainvae.models.training_record import check_training_record

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
    residual_spread: list[list[float]] | None = Field(
        None, description="Typical residual by place, see models.residual_spread."
    )

    @classmethod
    def measure(
        cls,
        error: npt.ArrayLike,
        mean: npt.ArrayLike,
        log_variance: npt.ArrayLike,
        residual_spread: npt.ArrayLike | None = None,
    ) -> Reference:
        """Summarise per-section errors ``(N,)``, posteriors ``(N, L)``, and residuals by place."""
        error_median, error_spread = _median_and_spread(np.asarray(error))
        by_place = None
        if residual_spread is not None:
            # Three digits: a header is text.
            by_place = [[float(f"{v:.3g}") for v in row] for row in np.asarray(residual_spread)]
        return cls(
            error_median=error_median,
            error_spread=error_spread,
            residual_spread=by_place,
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

    def outlier_by(self, error: npt.ArrayLike, kl: npt.ArrayLike) -> list[str]:
        """Say of each section whether its error or its KL divergence makes it an outlier, or both.

        Returns
        -------
        list of str
            ``"error"``, ``"KL"``, ``"error and KL"``, or nothing for what is no outlier.
        """
        error, kl = np.atleast_1d(error), np.atleast_1d(kl)
        nothing = np.full(error.shape, -np.inf)
        by = {"error": self.is_outlier(error, nothing), "KL": self.is_outlier(nothing, kl)}
        return [" and ".join(name for name, is_out in by.items() if is_out[i])
                for i in range(len(error))]  # fmt: skip


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


class Stability(BaseModel):
    """Which factors came again in split halves of the brains; see `factors.stability`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    splits: int = Field(ge=1)
    sections: int = Field(ge=6, description="Brains that were split.")
    similarity: tuple[float, ...] = Field(description="Of each factor's map, median over splits.")
    came_again: tuple[int, ...] = Field(description="Halves in which a factor did.")
    replicated: tuple[bool, ...]
    arch_of: tuple[int, ...] = Field(
        description="Number, from 0, of the factor that a factor is only the arch of, or -1."
    )


class Header(BaseModel):
    """All that a checkpoint says beside its tensors, so that the file alone is enough."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    kind: Literal["vae", "pca", "displacing"]
    height: int = Field(ge=64, le=LONGEST, description="Rows of a section, px.")
    width: int = Field(ge=64, le=LONGEST, description="Columns of a section, px.")
    latent_dim: int = Field(ge=1, le=MOST_FACTORS, description="Number of latent factors L.")
    shortcut: bool = Field(False, description="A linear path beside the network (recipe fast).")
    preprocessing: Preprocessing
    pixel_size_um: float | None = Field(None, gt=0, allow_inf_nan=False)
    plane: int | None = Field(None, ge=0, le=LONGEST)
    reference: Reference | None = None
    rotation: Rotation | None = None
    stability: Stability | None = None
    checksum: str | None = Field(None, description="Of the tensors in the file.")
    header_checksum: str | None = Field(None, description="Of this header, with zeros here.")
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
        """Say nothing of what is optional and is not there, as older files do."""
        said: dict[str, Any] = plain(self)
        left_out = {"rotation", "stability", "checksum", "header_checksum"}
        return {k: v for k, v in said.items() if v is not None or k not in left_out}

    @model_validator(mode="after")
    def _stability_of_all_factors(self) -> Self:
        told = self.stability
        each = (told.similarity, told.came_again, told.replicated, told.arch_of) if told else ()
        for values in each:
            if len(values) != self.latent_dim:
                raise ValueError(f"stability of {len(values)} factors, not {self.latent_dim}")
        return self


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
