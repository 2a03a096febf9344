"""A whole comparison of a population: codes, effects, pictures, regions, deviations, batches."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.data.population import Population
from napari_brainvae.denoising.reconstruction import denoise_sections
from napari_brainvae.factors.impact import usable_sections
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model
from napari_brainvae.statistics.batch import (
    combat,
    entanglement,
    entanglement_warning,
    variance_explained,
)
from napari_brainvae.statistics.comparison import Effects, compare, with_q
from napari_brainvae.statistics.comparison_options import ComparisonOptions
from napari_brainvae.statistics.design import Design, make_design, missing
from napari_brainvae.statistics.deviation import deviations, overall
from napari_brainvae.statistics.difference import (
    BRIGHTNESS,
    Difference,
    measure_difference,
    region_means,
    region_measures,
)

log = logging.getLogger(__name__)

BATCH = 16
FEWEST_PIXELS = 10
"""Pixels, at least, of a region that is measured."""


@dataclass(frozen=True, eq=False)
class Brains:
    """The brains of a population as they are compared.

    Attributes
    ----------
    positions
        ``(N,)`` in the population: those that can be used.
    codes
        ``(N, L)`` posterior means, indexed by id, columns F1 to FL.
    sections
        ``(N, H, W)`` preprocessed; of repaired ones without what the model takes for artifact.
    repaired
        ``(N,)``, which ones are outliers and were repaired.
    regions
        ``raw`` and ``denoised``: mean brightness of each region ``(N, R)``.
    """

    positions: Sequence[int]
    codes: pd.DataFrame
    sections: Images
    repaired: Mask
    regions: Mapping[str, pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Compared:
    """What goes with one covariate: effects on factors and regions, and the picture."""

    factors: Effects
    difference: Difference
    regions: Effects | None

    @property
    def design(self) -> Design:
        """Who was compared with whom."""
        return self.factors.design


@dataclass(frozen=True, eq=False)
class Study:
    """All that a comparison found.

    Attributes
    ----------
    options
        What was asked for.
    brains
        What was compared.
    compared
        By covariate.
    deviations
        ``(N, ...)`` z by id: ``deviation`` over all factors, the factors, and each region as
        ``REGION raw`` and ``REGION denoised``.
    batches
        A row a factor and batch covariate: share explained before, and after ComBat.
    warnings
        What a reader must know first.
    replicated
        ``(L,)``, whether each factor came again in other brains; None if nobody looked.
    """

    options: ComparisonOptions
    brains: Brains
    compared: Mapping[str, Compared]
    deviations: pd.DataFrame
    batches: pd.DataFrame
    warnings: tuple[str, ...] = ()
    replicated: Sequence[bool] | None = None
    covariates: pd.DataFrame = field(default_factory=pd.DataFrame)

    def table(self) -> pd.DataFrame:
        """Give compare.csv: replicated factors first; q over all covariates."""
        table = with_q([each.factors.table() for each in self.compared.values()])
        if self.replicated is None:
            return table.assign(replicated=pd.array([pd.NA] * len(table), "Int64"))
        again = dict(zip(self.brains.codes.columns, self.replicated, strict=True))
        table["replicated"] = table["factor"].map(again).astype(int)
        order = np.lexsort((np.arange(len(table)), -table["replicated"]))
        return table.iloc[order].reset_index(drop=True)

    def region_table(self) -> pd.DataFrame:
        """Give a row a covariate, region and measure; empty without regions."""
        tables = [c.regions.table("region") for c in self.compared.values() if c.regions]
        if not tables:
            return pd.DataFrame()
        table = with_q(tables)
        of_measure = table.pop("region").str.rpartition(" ")
        table.insert(0, "region", of_measure[0])
        table.insert(1, "what", of_measure[2])
        return table


def compare_population(
    model: Model,
    population: Population,
    covariates: pd.DataFrame,
    options: ComparisonOptions,
    *,
    masks: Mapping[str, Mask] | None = None,
    pixel_size_um: float | None = None,
    replicated: Sequence[bool] | None = None,
    progress: Progress | None = None,
) -> Study:
    """Compare the brains of a population, by all that is to be known of the difference.

    Parameters
    ----------
    model
        Whose codes are compared.
    covariates
        A row for each brain of the population.
    masks
        Regions ``(H, W)`` by name; those of fewer than `FEWEST_PIXELS` pixels are left out.
    replicated
        ``(L,)``, whether each factor came again in other brains; by default what the checkpoint
        says, if it does.
    progress
        Called as ``progress(done, total)`` with parts of a thousand.

    Raises
    ------
    InputError
        If nothing can be compared; the message says why, before anything long is done.
    Stopped
        If ``progress`` asked to stop.
    """
    masks = {name: mask for name, mask in (masks or {}).items() if mask.sum() >= FEWEST_PIXELS}
    replicated = _replication(model, replicated)
    chosen = usable_sections(population, include_flagged=options.include_flagged)
    known = covariates.iloc[chosen]
    warnings, adjust = _warnings_of_batches(known, options)
    _designs(known, adjust, options)  # what cannot be compared is refused before anything long
    brains = measure_brains(
        model, population, chosen, masks, robust=options.robust, progress=_part(progress, 0, 400)
    )
    kept = [chosen.index(each) for each in brains.positions]
    if len(kept) < len(chosen):
        warnings.append(f"{len(chosen) - len(kept)} sections cannot be used and are left out")
        known = known.iloc[kept]
    designs = _designs(known, adjust, options)
    measures = None
    if masks:
        measures = region_measures(brains.sections, masks, progress=_part(progress, 400, 700))
    compared, batches, codes = {}, [], brains.codes
    for i, (by, design) in enumerate(designs.items()):
        part = _part(progress, *(700 + round(280 * each / len(designs)) for each in (i, i + 1)))
        codes, of_batches = _harmonized(brains.codes, known, design, options)
        batches.append(of_batches)
        compared[by] = _compare_by(
            *(model, brains, codes, measures, design, options, pixel_size_um), progress=part
        )
    z = _deviations(codes, brains, known[options.adjust], options.seed)
    report(progress, 1000, 1000)
    return Study(
        options=options,
        brains=brains,
        compared=compared,
        deviations=z,
        batches=pd.concat(batches, ignore_index=True),
        warnings=(*warnings, *(f"{by}: {note}" for by, d in designs.items() for note in d.notes)),
        replicated=replicated,
        covariates=known,
    )


def measure_brains(
    model: Model,
    population: Population,
    chosen: Sequence[int],
    masks: Mapping[str, Mask],
    *,
    robust: bool = True,
    progress: Progress | None = None,
) -> Brains:
    """Encode brains; repair those first that are outliers of the model.

    Raises
    ------
    InputError
        If the sections do not fit the model, or none can be used.
    Stopped
        If ``progress`` asked to stop.
    """
    sections = np.empty((len(chosen), *model.shape), np.float32)
    codes = np.empty((len(chosen), model.latent_dim))
    repaired = np.zeros(len(chosen), bool)
    means: dict[str, list[npt.NDArray[Any]]] = {"raw": [], "denoised": []}
    used: list[int] = []
    problem: InputError | None = None
    for done, position in enumerate(chosen):
        report(progress, done, len(chosen))
        i = len(used)
        try:
            section = population.prepared(model.header.preprocessing, [position])
        except InputError as error:
            problem = error
            continue
        seen = denoise_sections(model, section, robust=None if robust else False)
        means["raw"].append(region_means(section, masks)[0])
        means["denoised"].append(region_means(seen.reconstructions, masks)[0])
        sections[i], codes[i], repaired[i] = seen.repaired[0], seen.mean[0], seen.robust[0]
        used.append(position)
    report(progress, len(chosen), len(chosen))
    if not used:
        raise InputError(f"no section can be used: {problem}")
    ids = pd.Index([population.ids[i] for i in used], name="id")
    names = [f"F{i + 1}" for i in range(model.latent_dim)]
    return Brains(
        positions=used,
        codes=pd.DataFrame(codes[: len(used)], ids, names),
        sections=sections[: len(used)],
        repaired=repaired[: len(used)],
        regions={
            how: pd.DataFrame(np.array(rows).reshape(len(used), -1), ids, list(masks))
            for how, rows in means.items()
        },
    )


def _replication(model: Model, replicated: Sequence[bool] | None) -> Sequence[bool] | None:
    """Which factors came again, as it is given, or as the checkpoint says if it does."""
    if replicated is None:
        return None if model.header.stability is None else model.header.stability.replicated
    if len(replicated) != model.latent_dim:
        count = len(replicated)
        raise InputError(f"{count} factors are said to replicate or not, of {model.latent_dim}")
    return replicated


def _designs(
    known: pd.DataFrame, adjust: Mapping[str, Sequence[str]], options: ComparisonOptions
) -> dict[str, Design]:
    """Read all comparisons from the table of brains, each of which can be harmonized as asked."""
    designs = {by: _design(known, by, adjust[by], options) for by in options.by}
    for design in designs.values():
        _harmonized(pd.DataFrame({"F1": np.zeros(len(known))}), known, design, options)
    return designs


def _design(
    covariates: pd.DataFrame, by: str, adjust: Sequence[str], options: ComparisonOptions
) -> Design:
    return make_design(covariates, by, groups=options.groups, adjust=adjust, blocks=options.blocks)


def _warnings_of_batches(
    covariates: pd.DataFrame, options: ComparisonOptions
) -> tuple[list[str], dict[str, list[str]]]:
    """Say what goes with the batches; for each covariate, what is taken out."""
    warnings, adjust = [], {}
    for by in options.by:
        adjust[by] = list(options.adjust)
        for name in options.batch:
            if name in options.adjust or name == options.blocks:
                continue
            plain = make_design(covariates, by, groups=options.groups, adjust=[])
            batch = _known_batch(covariates, name, plain)
            if text := entanglement_warning(by, plain.tested[batch.notna()], batch.dropna()):
                warnings.append(text)
            if entanglement(plain.tested[batch.notna()], batch.dropna()) < 1 - 1e-9:
                adjust[by].append(name)
    return warnings, adjust


def _known_batch(covariates: pd.DataFrame, name: str, design: Design) -> pd.Series:
    if name not in covariates:
        make_design(covariates, design.by, groups=design.groups or (), adjust=[name])
    batch = covariates[name].iloc[design.brains].astype(object)
    return batch.mask(missing(covariates[name].iloc[design.brains]))


def _harmonized(
    codes: pd.DataFrame, covariates: pd.DataFrame, design: Design, options: ComparisonOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Codes, by ComBat if that was asked for; what the batches explain before and after."""
    kept = [name for name in options.adjust if name not in options.batch]
    plain = make_design(
        covariates.iloc[design.brains], design.by, groups=options.groups, adjust=kept
    )
    preserve, before = np.column_stack([plain.tested, plain.confounds]), codes
    rows = []
    for number, name in enumerate(options.batch):
        batch = covariates[name].iloc[design.brains]
        known = ~missing(batch)
        these = design.brains[known]
        if options.harmonize and number == 0:
            codes = codes.copy()
            codes.iloc[these] = combat(codes.iloc[these], batch[known], preserve[known])
        share, p = variance_explained(before.iloc[these], batch[known], preserve[known])
        left, _ = variance_explained(codes.iloc[these], batch[known], preserve[known])
        after = left if options.harmonize else np.full_like(left, np.nan)
        of_batch = zip(codes.columns, share, p, after, strict=True)
        rows += [(factor, name, design.by, *each) for factor, *each in of_batch]
    return codes, pd.DataFrame(rows, columns=["factor", "batch", "by", "before", "p", "after"])


def _compare_by(
    model: Model,
    brains: Brains,
    codes: pd.DataFrame,
    measures: pd.DataFrame | None,
    design: Design,
    options: ComparisonOptions,
    pixel_size_um: float | None,
    progress: Progress | None,
) -> Compared:
    how = partial(compare, design=design, permutations=options.permutations, seed=options.seed)
    factors = how(codes, progress=_part(progress, 0, 100))
    difference = measure_difference(
        model,
        codes.to_numpy(),
        brains.sections,
        design,
        pixel_size_um=pixel_size_um,
        permutations=options.pixel_permutations,
        seed=options.seed,
        progress=_part(progress, 100, 700),
    )
    regions = None
    if measures is not None:
        matched = measures.to_numpy(copy=True)
        bright = np.array([name.endswith(BRIGHTNESS) for name in measures.columns])
        shift = 100 * difference.offset * design.tested[design.unit]
        matched[np.ix_(design.brains, bright)] -= shift[:, None]
        table = pd.DataFrame(matched, columns=measures.columns)
        regions = how(table, progress=_part(progress, 700, 1000))
    return Compared(factors, difference, regions)


def _deviations(
    codes: pd.DataFrame, brains: Brains, predictors: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Deviations of factors and regions, by id; the brain that deviates most comes first."""
    predictors = predictors.set_axis(codes.index, axis=0)
    z = deviations(codes, predictors, seed=seed)
    table = pd.DataFrame({"deviation": overall(z)}).join(z)
    for how, means in brains.regions.items():
        if means.shape[1]:
            table = table.join(deviations(means, predictors, seed=seed).add_suffix(f" {how}"))
    return table.sort_values("deviation", ascending=False)


def _part(progress: Progress | None, begin: int, end: int) -> Progress | None:
    """Progress of a part of the whole, which is 1,000."""
    if progress is None:
        return None
    return lambda done, total: progress(begin + (end - begin) * done // max(total, 1), 1000)
