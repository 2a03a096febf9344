"""The impact of regions on latent factors over a population (paper, section 3.3, Fig. 3B, 3C).

A region is perturbed in every brain at two extreme weights. The codes of a factor under each
extreme are fitted by a Gaussian, and how far the two Gaussians are apart is the region's impact on
the factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import check_sections
from napari_brainvae.data.tissue import tissue_level
from napari_brainvae.factors.perturbation import DIRECTIONS, Direction, ImpactOptions, Mode
from napari_brainvae.factors.receptive_field import (
    check_content,
    perturb,
    region_weights,
)
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.io.real_numbers import real_numbers
from napari_brainvae.metrics.disentanglement import (
    Disentanglement,
    disentanglement_score,
    disentanglement_scores,
    gaussian_kl,
    jeffreys,
)
from napari_brainvae.metrics.inputs import Array
from napari_brainvae.models.base import Model

BATCH = 16


@dataclass(frozen=True, eq=False)
class Impact:
    """What perturbing each of R regions does to each of L factors, over N brains.

    Attributes
    ----------
    regions
        R names.
    options
        How it was measured.
    mean, variance
        ``(R, 2, N, L)`` float32, posterior means and variances of every brain's codes, at the low
        and the high weight.
    sections
        N positions of the brains in the population (or array) that was measured.
    """

    regions: list[str]
    options: ImpactOptions
    mean: Latents
    variance: Latents
    sections: npt.NDArray[np.intp]

    @cached_property
    def gaussians(self) -> tuple[Array, Array]:
        """Mean and standard deviation ``(R, 2, L)`` of the Gaussians fitted to the codes.

        The variance is that of the codes themselves, ``Var(mu) + E[sigma^2]``, not of their
        posterior means alone: those of a collapsed factor hardly vary, and any ratio of two such
        variances would be arbitrary.
        """
        mean = self.mean.astype(np.float64)
        variance = mean.var(axis=2) + self.variance.mean(axis=2, dtype=np.float64)
        return mean.mean(axis=2), np.sqrt(variance)

    def matrix(self, direction: Direction | None = None) -> Array:
        """Impact scores ``(R, L)``, nats; in the options' direction by default."""
        return _impact(*self.gaussians, direction or self.options.direction)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Be the matrix, in the options' direction, to NumPy and `disentanglement_score`."""
        return np.asarray(self.matrix(), dtype=dtype)

    @cached_property
    def disentanglement(self) -> Disentanglement:
        """Scores of the matrix in the options' direction.

        Raises
        ------
        InputError
            For fewer than 2 regions or factors.
        """
        return disentanglement_score(self.matrix())

    @cached_property
    def intervals(self) -> Intervals:
        """Bootstrap intervals over brains, as the options ask for."""
        return bootstrap(self)

    def table(self) -> pd.DataFrame:
        """Every impact in long form: region, factor (from 1), direction, value, low, high."""
        parts = []
        for direction in DIRECTIONS:
            low, high = self.intervals.impact[direction]
            index = pd.MultiIndex.from_product(
                [self.regions, range(1, self.mean.shape[-1] + 1)], names=["region", "factor"]
            )
            values = {"value": self.matrix(direction).ravel(), "low": low.ravel()}
            part = pd.DataFrame(values | {"high": high.ravel()}, index=index).reset_index()
            part.insert(2, "direction", direction)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def scores(self) -> pd.DataFrame:
        """Disentanglement scores in long form: score, direction, value, low, high.

        Empty for fewer than 2 regions or factors: there is nothing to compare.
        """
        columns = ["score", "direction", "value", "low", "high"]
        rows = [
            (name, direction, float(value), *self.intervals.scores[direction][name].tolist())
            for direction in DIRECTIONS
            for name, value in _scores(self.matrix(direction)).items()
        ]
        return pd.DataFrame(rows, columns=columns)


def impact_matrix(
    model: Model,
    images: npt.ArrayLike | Population,
    regions: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
    options: ImpactOptions | None = None,
    *,
    sections: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Impact:
    """Measure the impact of regions on factors over a population (Fig. 3B).

    Parameters
    ----------
    model
        Anything that encodes.
    images
        ``(N, H, W)`` preprocessed sections in [0, 1], or a population, prepared in batches.
    regions
        ``(H, W)`` masks by name; or ``(R, H, W)``, which are named by their number.
    options
        Perturbation, direction, sections, bootstrap.
    sections
        Which ones to measure; by default all, of a population `usable_sections`.
    progress
        Called with encoded sections and how many there will be.

    Raises
    ------
    InputError
        For no regions, an unusable one (see `region_weights`), or fewer than two sections.
    Stopped
        If ``progress`` asked to stop.

    Examples
    --------
    >>> from napari_brainvae.models.pca import PCA
    >>> sections = np.random.default_rng(0).random((12, 64, 80), dtype=np.float32)
    >>> region = np.arange(80) < np.full((64, 1), 40)
    >>> impact_matrix(PCA.fit(sections, 2), sections, {"left half": region}).matrix().shape
    (1, 2)
    """
    options = options or ImpactOptions()
    masks = _by_name(regions)
    if not masks:
        raise InputError("name at least one region")
    chosen = _sections_to_measure(images, sections, options)
    weights = {
        name: region_weights(mask, model.shape, options.soft_edge, f"region {name!r}")
        for name, mask in masks.items()
    }
    changes = [(r, weight) for r in weights.values() for weight in (options.low, options.high)]
    codes = np.empty((2, len(changes), len(chosen), model.latent_dim), dtype=np.float32)
    for start, batch in _batches(model, images, chosen):
        if start == 0:
            check_content(batch, weights)
        for i, section in enumerate(batch, start):
            report(progress, i * len(changes), codes[0, ..., 0].size)
            codes[:, :, i] = _perturbed_codes(model, section, changes, options.mode)
    report(progress, codes[0, ..., 0].size, codes[0, ..., 0].size)
    mean, log_variance = codes.reshape(2, len(masks), 2, len(chosen), model.latent_dim)
    return Impact(list(masks), options, mean, np.exp(log_variance), chosen)


def unusable_regions(
    model: Model,
    images: npt.ArrayLike | Population,
    regions: Mapping[str, npt.ArrayLike],
    options: ImpactOptions | None = None,
) -> dict[str, str]:
    """Say of each region that `impact_matrix` would refuse, by name, why.

    Raises
    ------
    InputError
        For fewer than two sections.
    """
    options = options or ImpactOptions()
    chosen = _sections_to_measure(images, None, options)
    _, batch = next(_batches(model, images, chosen))
    reasons = {}
    for name, mask in regions.items():
        try:
            weights = region_weights(mask, model.shape, options.soft_edge, f"region {name!r}")
            check_content(batch, {name: weights})
        except InputError as error:
            reasons[name] = str(error)
    return reasons


def _by_name(regions: Mapping[str, npt.ArrayLike] | npt.ArrayLike) -> Mapping[str, npt.ArrayLike]:
    if isinstance(regions, Mapping):
        return regions
    masks = np.atleast_1d(real_numbers(regions, "masks of regions"))
    return {str(i): mask for i, mask in enumerate(masks, 1)}


def _sections_to_measure(
    images: npt.ArrayLike | Population, sections: Sequence[int] | None, options: ImpactOptions
) -> npt.NDArray[np.intp]:
    """Positions of the sections that were named, or of all that count; at least two."""
    if sections is None and isinstance(images, Population):
        sections = usable_sections(images, include_flagged=options.include_flagged)
    total = len(images) if isinstance(images, Population) else len(np.asarray(images))
    chosen = np.arange(total) if sections is None else np.asarray(sections, dtype=np.intp)
    if len(chosen) < 2:
        raise InputError(f"a Gaussian cannot be fitted to {len(chosen)} section(s): 2 are needed")
    return chosen


def _perturbed_codes(
    model: Model, section: Images, changes: Sequence[tuple[Images, float]], mode: Mode
) -> Latents:
    """Posterior means and log-variances ``(2, C, L)`` of one section after each of C changes."""
    encode = model.near(section)
    level = tissue_level(section) if mode == "fill" else None
    parts = []
    for start in range(0, len(changes), BATCH):
        part = changes[start : start + BATCH]
        versions = np.stack([perturb(section, *change, mode, level=level) for change in part])
        parts.append(np.stack(encode(versions, [region > 0 for region, _ in part])))
    return np.concatenate(parts, axis=1)


def usable_sections(population: Population, *, include_flagged: bool = False) -> list[int]:
    """Positions of the sections that count: those not flagged, unless all are wanted.

    Raises
    ------
    InputError
        If none is left.
    """
    keep = np.flatnonzero(~population.left_out(include_flagged=include_flagged)).tolist()
    if not keep:
        excluded = int(population.excluded.sum())
        marked = f" or marked as excluded ({excluded})" if excluded else ""
        raise InputError(
            f"all {len(population)} sections are flagged{marked}: include the flagged ones"
        )
    return list(keep)


@dataclass(frozen=True, eq=False)
class Intervals:
    """Percentile bootstrap intervals over brains.

    Attributes
    ----------
    impact
        By direction, ``(2, R, L)``: lower and upper ends.
    scores
        By direction and name of the disentanglement score, ``(2,)``.
    """

    impact: dict[Direction, Array]
    scores: dict[Direction, dict[str, Array]]


def bootstrap(impact: Impact) -> Intervals:
    """Say how sure impacts and scores are: brains are drawn again with replacement, all at once.

    A brain is drawn with its codes at both weights and in all regions. Without resamples all
    intervals are NaN.
    """
    options = impact.options
    percent = 50 * (1 + np.array([-1, 1]) * options.confidence)
    means, variances = _resampled(impact)
    stds = np.sqrt(variances)

    def ends(values: Array) -> Array:
        if not options.resamples:
            return np.full((2, *values.shape[1:]), np.nan)
        # 'inverted_cdf' gives values that occur, and so allows for infinite scores.
        return np.asarray(np.percentile(values, percent, axis=0, method="inverted_cdf"))

    intervals, scores = {}, {}
    for direction in DIRECTIONS:
        values = _impact(means, stds, direction)
        intervals[direction] = ends(values)
        scores[direction] = {name: ends(value) for name, value in _scores(values).items()}
    return Intervals(intervals, scores)


def _resampled(impact: Impact) -> tuple[Array, Array]:
    """Means and variances ``(B, R, 2, L)`` of the codes in B resamples of the brains."""
    options, (regions, extremes, count, factors) = impact.options, impact.mean.shape
    mean = np.moveaxis(impact.mean, 2, 0).reshape(count, -1).astype(np.float64)
    variance = np.moveaxis(impact.variance, 2, 0).reshape(count, -1)
    centre = mean.mean(axis=0)
    terms = np.hstack([mean - centre, (mean - centre) ** 2 + variance])
    rng = np.random.default_rng(options.bootstrap_seed)
    moments = np.empty((options.resamples, terms.shape[1]))
    for i in range(options.resamples):
        # How often each brain was drawn; one product with it is both moments of everything.
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        moments[i] = drawn @ terms / count
    first, second = np.split(moments, 2, axis=1)
    shape = (options.resamples, regions, extremes, factors)
    return (first + centre).reshape(shape), (second - first**2).reshape(shape)


def _impact(mean: Array, std: Array, direction: Direction) -> Array:
    """Divergence ``(..., R, L)`` of Gaussians ``(..., R, 2, L)`` at the low and high weights."""
    low = mean[..., 0, :], std[..., 0, :]
    high = mean[..., 1, :], std[..., 1, :]
    if direction == "symmetric":
        divergence = jeffreys(*low, *high)
    elif direction == "forward":
        divergence = gaussian_kl(*low, *high)
    else:
        divergence = gaussian_kl(*high, *low)
    # Rounding can leave a divergence of equal Gaussians a hair below zero.
    return np.maximum(divergence, 0)


def _scores(matrix: Array) -> dict[str, Array]:
    """Disentanglement of matrices ``(..., R, L)``; none of one region or one factor."""
    return disentanglement_scores(matrix) if min(matrix.shape[-2:]) > 1 else {}


def _batches(
    model: Model, images: npt.ArrayLike | Population, chosen: npt.NDArray[np.intp]
) -> Iterator[tuple[int, Images]]:
    for start in range(0, len(chosen), BATCH):
        part = chosen[start : start + BATCH]
        if isinstance(images, Population):
            yield start, images.prepared(model.header.preprocessing, part)
        else:
            batch = check_sections(np.asarray(images)[part], [str(i) for i in part])
            if batch.shape[1:] != model.shape:
                size = batch.shape[1:]
                raise InputError(f"the model is for sections of {model.shape} px, not {size}")
            if batch.max() > 1:
                raise InputError("the sections are not preprocessed: values must be within [0, 1]")
            yield start, batch
