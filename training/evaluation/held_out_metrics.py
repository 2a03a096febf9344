"""What is measured of a model on held-out brains, with intervals over brains.

A measure is either a mean over brains (an image's quality) or one number of the whole set (a
distance of distributions). Both end as a `Measurement`, which can be compared in pairs: models are
held against the same brains, and their difference is known far better than either of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from napari_brainvae.arrays import Images
from napari_brainvae.data.covariates import column_of
from napari_brainvae.data.lazy_sections import ZarrSections
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing, crop_to
from napari_brainvae.data.tissue import tissue_mask
from napari_brainvae.denoising.reconstruction import denoise_sections
from napari_brainvae.io.errors import DAMAGED, InputError
from napari_brainvae.io.regular_files import regular_tree
from napari_brainvae.metrics.cw_ssim import cw_ssim
from napari_brainvae.metrics.disentanglement import dci, mig, sap
from napari_brainvae.metrics.image_quality import image_quality, pca_frechet_distance
from napari_brainvae.metrics.latent_use import active_units, elbo
from napari_brainvae.models.base import Model
from napari_brainvae.models.measures import kl_divergence, squared_error

Values = npt.NDArray[np.float64]

AS_IT_IS = "as it is"
CLEAN = "clean truth"
ERROR, FRECHET = "squared error", "PCA-Frechet distance"
STEERABLE, CENTRE = "CW-SSIM steerable, tissue", "CW-SSIM steerable, Gaussian"
DTCWT = "CW-SSIM dtcwt, tissue"
INSIDE, OUTSIDE = "squared error inside artifact", "squared error outside artifact"
DENOISED = "squared error, denoised"
"""Of the reconstruction without what is artifact, where the model calls the brain an outlier."""

SQUARED_ERRORS = (ERROR, DENOISED, INSIDE, OUTSIDE)

HIGHER_IS_BETTER = {
    ERROR: False,
    DENOISED: False,
    INSIDE: False,
    OUTSIDE: False,
    "PSNR, dB": True,
    "SSIM": True,
    STEERABLE: True,
    CENTRE: True,
    DTCWT: True,
    FRECHET: False,
}
"""The measures by which one model is better than another; the rest describe it."""

GROUPS = 20
"""Groups of brains that are left out in turn for the interval of a whole set's number."""
FEWEST = 8
"""Brains below which nothing is said of the set as a whole."""
FEWEST_RESAMPLED = 5
"""Brains below which a bootstrap interval would be an illusion, and is left out."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Brains that no model was fitted on, as a model sees them, and what is known of them.

    Attributes
    ----------
    sections
        ``(n, H, W)`` prepared.
    clean, mask
        ``(n, H, W)`` the sections without artifact and noise, and where the artifact is; None if
        the population does not know.
    artifact
        ``(n,)`` class of artifact.
    factors
        ``(n, F)`` planted causes.
    """

    sections: Images
    clean: Images | None = None
    mask: npt.NDArray[np.bool_] | None = None
    artifact: npt.NDArray[Any] | None = None
    factors: npt.NDArray[Any] | None = None

    @classmethod
    def read(
        cls, path: Path, population: Population, preprocessing: Preprocessing, index: list[int]
    ) -> HeldOut:
        """Read some brains of the population at ``path``, and its truth if it holds one."""
        sections = population.prepared(preprocessing, index)
        store = zarr.open(path, mode="r") if path.suffix == ".zarr" else None
        if not isinstance(store, zarr.Group) or "truth" not in store:
            return cls(sections)
        truth = store["truth"]
        try:
            regular_tree(path / "truth")
            return cls(
                sections,
                preprocessing.apply(ZarrSections(path, truth["clean"]).read_many(index)),
                np.asarray(crop_to(truth["artifact_mask"].oindex[index], sections.shape[1:]), bool),
                column_of(truth, "artifact", len(population))[index].astype(object),
                truth["factors"][:][index],
            )
        except InputError:
            raise
        except (*DAMAGED, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{path.name}: its truth cannot be read: {reason}") from error


@dataclass(frozen=True, eq=False)
class Measurement:
    """One measure of one model, with what its interval is made of.

    Attributes
    ----------
    metric, kind
        What was measured, and on which class of brains against what.
    value
        The measure.
    replicates
        The measure on other choices of the same brains; equal choices for all models.
    count
        Brains.
    jackknife
        Whether the choices leave out one group of brains each; else they are bootstrap resamples.
    """

    metric: str
    kind: str
    value: float
    replicates: Values
    count: int
    jackknife: bool

    @classmethod
    def plain(cls, metric: str, kind: str, count: int) -> Measurement:
        """A number of brains, which has no interval."""
        return cls(metric, kind, float(count), np.full(1, np.nan), count, False)

    def __sub__(self, other: Measurement) -> Measurement:
        """Paired difference of the same measure of two models."""
        if (self.metric, self.kind) != (other.metric, other.kind):
            raise TypeError(f"{self.metric}, {self.kind}, less {other.metric}, {other.kind}")
        return Measurement(
            self.metric,
            self.kind,
            self.value - other.value,
            self.replicates - other.replicates,
            self.count,
            self.jackknife,
        )

    def interval(self) -> tuple[float, float]:
        """95 %: bootstrap percentiles, or 1.96 jackknife standard errors; NaN for too few."""
        if self.count < FEWEST_RESAMPLED:
            return np.nan, np.nan
        if not self.jackknife:
            low, high = np.percentile(self.replicates, [2.5, 97.5])
            return float(low), float(high)
        groups = len(self.replicates)
        variance = (groups - 1) / groups * np.square(self.replicates - self.replicates.mean()).sum()
        reach = 1.96 * float(np.sqrt(variance))
        return self.value - reach, self.value + reach


def measure_model(
    model: Model, held: HeldOut, *, resamples: int, seed: int, dtcwt_sections: int
) -> list[Measurement]:
    """Everything that is measured of one model."""
    mean, log_variance = model.encode(held.sections)
    decoded = model.decode(mean)
    denoised = None
    if held.clean is not None:
        denoised = denoise_sections(model, held.sections).reconstructions
    each = image_values(held, decoded, seed, dtcwt_sections, denoised)
    if model.has_posterior:
        each |= posterior_values(model, held.sections, decoded, mean, log_variance)
    measured = []
    for (metric, kind), values in each.items():
        values = values[~np.isnan(values)]
        rng = np.random.default_rng(seed)
        chosen = rng.integers(len(values), size=(resamples, len(values)))
        means = values[chosen].mean(axis=1)
        measured.append(Measurement(metric, kind, values.mean(), means, len(values), False))
    for (metric, kind), statistic in set_statistics(held, decoded, mean).items():
        count = len(mean)
        order = np.random.default_rng(seed).permutation(count)
        left_out = np.array_split(order, min(GROUPS, count))
        without = [statistic(np.setdiff1d(order, group)) for group in left_out]
        value = statistic(np.arange(count))
        measured.append(Measurement(metric, kind, value, np.array(without), count, True))
    return measured


def image_values(
    held: HeldOut,
    decoded: Images,
    seed: int,
    dtcwt_sections: int,
    denoised: Images | None = None,
) -> dict[tuple[str, str], Values]:
    """Quality of each reconstruction by (metric, class), ``(n,)``, NaN for brains not in it.

    With ``denoised`` reconstructions, from `denoise_sections`, also theirs against the clean truth.
    """
    values: dict[tuple[str, str], Values] = {}
    dtcwt = np.random.default_rng(seed).permutation(len(decoded))[:dtcwt_sections]
    for metric, value in image_metrics(held.sections, decoded, dtcwt).items():
        values[metric, AS_IT_IS] = value
    if held.clean is None or held.artifact is None or held.mask is None:
        return values
    against_clean = image_metrics(held.clean, decoded, dtcwt)
    square = np.square(held.clean - decoded, dtype=np.float64)
    marked = held.mask.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        against_clean[INSIDE] = (square * held.mask).sum(axis=(1, 2)) / marked
        against_clean[OUTSIDE] = (square * ~held.mask).mean(axis=(1, 2)) / (~held.mask).mean((1, 2))
    against_clean[OUTSIDE][marked == 0] = np.nan
    if denoised is not None:
        against_clean[DENOISED] = squared_error(held.clean, denoised)
    for metric, value in against_clean.items():
        for kind in artifact_classes(held.artifact):
            of_kind = np.where(held.artifact == kind, value, np.nan)
            if not np.isnan(of_kind).all():
                values[metric, f"{CLEAN}, {kind}"] = of_kind
    return values


def artifact_classes(artifact: npt.NDArray[Any]) -> list[str]:
    """The classes that there are, 'none' first."""
    return sorted(set(artifact.tolist()), key=lambda kind: (kind != "none", kind))


def image_metrics(real: Images, decoded: Images, dtcwt: npt.NDArray[np.intp]) -> dict[str, Values]:
    """Each pair's quality, by metric; DTCWT at the given positions alone, because it is slow."""
    quality = image_quality(real, decoded)
    tissue = tissue_weights(real)
    values = {
        ERROR: quality["mse"],
        "PSNR, dB": quality["psnr"],
        "SSIM": quality["ssim"],
        STEERABLE: np.asarray(cw_ssim(real, decoded, weights=tissue)),
        CENTRE: np.asarray(cw_ssim(real, decoded)),
    }
    if len(dtcwt):
        values[DTCWT] = np.full(len(real), np.nan)
        values[DTCWT][dtcwt] = cw_ssim(
            real[dtcwt],
            decoded[dtcwt],
            transform="dtcwt",
            level=dtcwt_scales(real.shape[1:]),
            weights=tissue,
        )
    return values


def tissue_weights(sections: Images) -> npt.NDArray[np.float64]:
    """1 in the tissue of the mean section, 0 outside, ``(H, W)``: where CW-SSIM looks."""
    return tissue_mask(sections.mean(axis=0)).astype(np.float64)


def dtcwt_scales(shape: tuple[int, ...]) -> int:
    """Scales 1 to 4 of the dual-tree transform, or as many as sections of this size have."""
    return max(level for level in range(1, 5) if min(shape) > 6 * 2**level)


def posterior_values(
    model: Model, sections: Images, decoded: Images, mean: Images, log_variance: Images
) -> dict[tuple[str, str], Values]:
    """KL divergence per factor and evidence lower bound of each brain."""
    kl = kl_divergence(mean, log_variance)
    values = {(f"KL F{i + 1}, nats", AS_IT_IS): kl[:, i] for i in range(kl.shape[1])}
    if model.noise_variance is not None:
        bound = elbo(sections, decoded, mean, log_variance, 2 * model.noise_variance)
        values["ELBO, nats", AS_IT_IS] = bound
    return values


def set_statistics(
    held: HeldOut, decoded: Images, mean: Images
) -> dict[tuple[str, str], Callable[[npt.NDArray[np.intp]], float]]:
    """What is a number of the whole set, as functions of the positions that are in it."""
    if len(decoded) < FEWEST:
        return {}
    sections, clean, factors = held.sections, held.clean, held.factors
    statistics: dict[tuple[str, str], Callable[[Any], float]] = {
        (FRECHET, AS_IT_IS): lambda i: pca_frechet_distance(sections[i], decoded[i])
    }
    if clean is not None:
        statistics[FRECHET, CLEAN] = lambda i: pca_frechet_distance(clean[i], decoded[i])
    if not np.ptp(mean, axis=0).any():  # the mean section has no code
        return statistics
    statistics["active units", AS_IT_IS] = lambda i: active_units(mean[i])
    if factors is not None:
        statistics |= {
            ("MIG", "planted factors"): lambda i: mig(mean[i], factors[i]),
            ("SAP", "planted factors"): lambda i: sap(mean[i], factors[i]),
        }
        statistics |= {
            ("DCI disentanglement", "planted factors"): lambda i: (
                dci(mean[i], factors[i]).disentanglement
            ),
            ("DCI completeness", "planted factors"): lambda i: (
                dci(mean[i], factors[i]).completeness
            ),
            ("DCI informativeness", "planted factors"): lambda i: (
                dci(mean[i], factors[i]).informativeness
            ),
        }
    return statistics
