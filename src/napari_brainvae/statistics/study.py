"""A whole comparison of a population: codes, effects, pictures, regions, deviations, batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from napari_brainvae.arrays import Mask
from napari_brainvae.data.population import Population
from napari_brainvae.factors.impact import usable_sections
from napari_brainvae.factors.signed_change import overlap_of_place, signed_change
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, part_of, report
from napari_brainvae.models.base import Model
from napari_brainvae.statistics.batch_adjustment import harmonized, warnings_of_batches
from napari_brainvae.statistics.beyond import BEYOND, beyond
from napari_brainvae.statistics.comparison import Effects, compare, with_q
from napari_brainvae.statistics.comparison_options import ComparisonOptions
from napari_brainvae.statistics.design import Design, make_design
from napari_brainvae.statistics.deviation import deviations, overall
from napari_brainvae.statistics.difference import (
    BRIGHTNESS,
    Difference,
    measure_difference,
    region_measures,
)
from napari_brainvae.statistics.measured_brains import Brains, measure_brains

FEWEST_PIXELS = 10
"""Pixels, at least, of a region that is measured."""


@dataclass(frozen=True, eq=False)
class Compared:
    """What goes with one covariate: effects on factors and regions, and the picture."""

    factors: Effects
    beyond: pd.DataFrame
    """From `beyond.beyond`: which factors differ of their own."""
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
        table = with_q(
            [
                each.factors.table().assign(**{name: each.beyond[name] for name in BEYOND})
                for each in self.compared.values()
            ]
        )
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
    warnings, adjust = warnings_of_batches(known, options)
    _designs(known, adjust, options)  # what cannot be compared is refused before anything long
    brains = measure_brains(
        model, population, chosen, masks, robust=options.robust, progress=part_of(progress, 0, 400)
    )
    kept = [chosen.index(each) for each in brains.positions]
    if len(kept) < len(chosen):
        warnings.append(f"{len(chosen) - len(kept)} sections cannot be used and are left out")
        known = known.iloc[kept]
    designs = _designs(known, adjust, options)
    compared, batches, codes = _each(
        *(model, brains, known, designs, options, masks, pixel_size_um),
        progress=part_of(progress, 400, 980),
    )
    z = _deviations(codes, brains, known[options.adjust], options.seed)
    report(progress, 1000, 1000)
    return Study(
        options=options,
        brains=brains,
        compared=compared,
        deviations=z,
        batches=batches,
        warnings=(*warnings, *(f"{by}: {note}" for by, d in designs.items() for note in d.notes)),
        replicated=replicated,
        covariates=known,
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
        harmonized(pd.DataFrame({"F1": np.zeros(len(known))}), known, design, options)
    return designs


def _design(
    covariates: pd.DataFrame, by: str, adjust: Sequence[str], options: ComparisonOptions
) -> Design:
    return make_design(covariates, by, groups=options.groups, adjust=adjust, blocks=options.blocks)


def _each(
    model: Model,
    brains: Brains,
    known: pd.DataFrame,
    designs: Mapping[str, Design],
    options: ComparisonOptions,
    masks: Mapping[str, Mask],
    pixel_size_um: float | None,
    progress: Progress | None,
) -> tuple[dict[str, Compared], pd.DataFrame, pd.DataFrame]:
    """Compare by each covariate; say what the batches explain, and give the codes as compared."""
    measures = None
    if masks:
        measures = region_measures(brains.sections, masks, progress=part_of(progress, 0, 500))
    compared, batches, codes = {}, [], brains.codes
    for i, (by, design) in enumerate(designs.items()):
        part = part_of(progress, *(500 + 500 * each // len(designs) for each in (i, i + 1)))
        codes, of_batches = harmonized(brains.codes, known, design, options)
        batches.append(of_batches)
        compared[by] = _compare_by(
            *(model, brains, codes, measures, design, options, pixel_size_um), progress=part
        )
    return compared, pd.concat(batches, ignore_index=True), codes


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
    factors = how(codes, progress=part_of(progress, 0, 60))
    own = beyond(
        *(codes, factors, overlap_of_place(signed_change(model))),
        permutations=options.permutations,
        seed=options.seed,
        progress=part_of(progress, 60, 100),
    )
    difference = measure_difference(
        model,
        codes.to_numpy(),
        brains.sections,
        design,
        pixel_size_um=pixel_size_um,
        permutations=options.pixel_permutations,
        seed=options.seed,
        progress=part_of(progress, 100, 700),
    )
    regions = None
    if measures is not None:
        matched = measures.to_numpy(copy=True)
        bright = np.array([name.endswith(BRIGHTNESS) for name in measures.columns])
        shift = 100 * difference.offset * design.tested[design.unit]
        matched[np.ix_(design.brains, bright)] -= shift[:, None]
        table = pd.DataFrame(matched, columns=measures.columns)
        regions = how(table, progress=part_of(progress, 700, 1000))
    return Compared(factors, own, difference, regions)


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
