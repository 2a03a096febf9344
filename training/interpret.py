"""``python -m training.interpret``: what each latent factor sees and where it acts, headless."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from napari_brainvae.factors.field_options import MEAN
from napari_brainvae.factors.perturbation import ImpactOptions
from napari_brainvae.io.errors import InputError
from training.cli import main, progress_bar
from training.interpretation.options import InterpretOptions
from training.located import check_out, known_of, locate

if TYPE_CHECKING:  # torch and all that follows wait until there is something to interpret
    import pandas as pd

    from napari_brainvae.data.population import Population
    from napari_brainvae.factors.cards import FactorCard
    from napari_brainvae.factors.impact import Impact
    from napari_brainvae.models.base import Model
    from napari_brainvae.reporting.export import Fields
    from training.interpretation.inputs import Regions
    from training.located import Place

log = logging.getLogger(__name__)


def interpret(options: InterpretOptions) -> None:
    """Run `training.interpret` with these options.

    The sections are read once for the impacts of each model, once for the list of brains, and their
    bytes once for the fingerprint. A single pass would save a tenth of the time (32 brains of
    320 x 448 px, six regions).

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.data.population import Population
    from napari_brainvae.factors.impact import usable_sections
    from napari_brainvae.models.checkpoint import load_checkpoint
    from napari_brainvae.reporting import export
    from napari_brainvae.reporting.brain_map import best_covariate, export_brain_pairs
    from napari_brainvae.reporting.provenance import provenance
    from training.interpretation.inputs import choose_regions, name_models

    check_out(options)
    population = Population.open(options.population, options.marks)
    models = name_models({path: load_checkpoint(path) for path in options.model})
    model = next(iter(models.values()))
    covariates = known_of(options, population)
    place = locate(options, population, model)
    regions = choose_regions(options, place)
    sections = usable_sections(population, include_flagged=options.include_flagged)

    impacts = _impacts(options, models, population, regions, sections)
    fields = _fields(options, model, population, regions, place)
    brains = _brains(options, model, population, covariates, sections)
    cards = _cards(options, model, place, brains, sections)
    about = provenance(
        options,
        population,
        models,
        without={"out", "overwrite"},
        measured=sections,
        plane=place.plane,
        pixel_size_um=place.pixel_size_um,
        atlas=None if place.section is None else str(place.section.atlas.directory),
        atlas_orientation=None if place.section is None else place.section.atlas.orientation,
    )
    with export.results_folder(options.out, about, overwrite=options.overwrite) as folder:
        if "regions" in options.parts:
            export.export_regions(folder, regions.files)
        if impacts:
            export.export_impact(folder, impacts, about)
        if fields is not None:
            export.export_fields(folder, fields, about)
        if brains is not None:
            known = population.known(covariates)
            export.export_brain_table(folder, *brains, about, known)
            export_brain_pairs(folder, brains[0], known, about, best_covariate(brains[1]))
        if cards is not None:
            export.export_cards(folder, cards, about, place.section)
    log.info("results: %s", options.out)


def _impacts(
    options: InterpretOptions,
    models: Mapping[str, Model],
    population: Population,
    regions: Regions,
    sections: Sequence[int],
) -> dict[str, Impact]:
    """Impacts by every model; none without regions, or if they were not asked for."""
    from napari_brainvae.factors.impact import impact_matrix

    if "impact" not in options.parts:
        return {}
    if not regions.masks:
        log.info("no regions, so no impacts: give --atlas, or --region-file for drawn ones")
        return {}
    plain = ImpactOptions(**options.model_dump(include=set(ImpactOptions.model_fields)))
    impacts = {}
    for name, model in models.items():
        with progress_bar(f"impact, {name}") as progress:
            impacts[name] = impact_matrix(
                model, population, regions.masks, plain, sections=sections, progress=progress
            )
    return impacts


def _fields(
    options: InterpretOptions,
    model: Model,
    population: Population,
    regions: Regions,
    place: Place,
) -> Fields | None:
    """Projective fields with their tables, unless they were not asked for."""
    from napari_brainvae.factors.projective_field import (
        field_by_region,
        population_mean,
        projective_field,
    )
    from napari_brainvae.reporting.export import Fields

    if "fields" not in options.parts:
        return None
    numbers = options.factors or range(1, model.latent_dim + 1)
    if wrong := [number for number in numbers if not 1 <= number <= model.latent_dim]:
        raise InputError(f"no factor F{wrong[0]}: the model has {model.latent_dim}")
    factors = [number - 1 for number in numbers]
    if options.start == MEAN:
        z0 = population_mean(model)
    elif options.start in population.ids:
        brain = population.prepared(
            model.header.preprocessing, [population.ids.index(options.start)]
        )
        z0 = model.encode(brain)[0][0]
    else:
        raise InputError(f"--start is '{MEAN}' or the id of a brain, not {options.start!r}")
    with progress_bar("projective fields") as progress:
        maps = projective_field(
            model,
            factors,
            z0=z0,
            limit=options.limit,
            tolerance=options.tolerance,
            progress=progress,
        )
    section, tables = place.section, {}
    tissue = None if section is None else section.tissue
    if regions.masks:
        tables["field_by_region"] = field_by_region(maps, regions.masks, factors, tissue=tissue)
    if section is not None:
        tables["field_by_structure"] = field_by_region(
            maps, section.structures, factors, tissue=tissue
        )
    said = {"start": options.start, "limit": options.limit, "z0": z0.tolist()}
    return Fields(maps, factors, said, place.pixel_size_um, tables, section)


def _brains(
    options: InterpretOptions,
    model: Model,
    population: Population,
    covariates: pd.DataFrame,
    sections: Sequence[int],
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """List the brains, and what their factors go with, unless that was not asked for."""
    from napari_brainvae.denoising.brain_table import brain_table, factors_of
    from napari_brainvae.statistics.association import associate

    if "brains" not in options.parts:
        return None
    with progress_bar("brains") as progress:
        robust = None if options.robust else False
        brains = brain_table(model, population, robust=robust, progress=progress)
    return brains, associate(factors_of(brains).iloc[list(sections)], covariates)


def _cards(
    options: InterpretOptions,
    model: Model,
    place: Place,
    brains: tuple[pd.DataFrame, pd.DataFrame] | None,
    sections: Sequence[int],
) -> list[FactorCard] | None:
    """Say of each factor what it does, unless that was not asked for."""
    from napari_brainvae.atlas.atlas_section import labels_and_tree
    from napari_brainvae.denoising.brain_table import factors_of
    from napari_brainvae.factors.cards import factor_cards

    if "cards" not in options.parts:
        return None
    labels, tree = labels_and_tree(place.section)
    codes = associations = None
    if brains is not None:
        table, associations = brains
        codes = factors_of(table).iloc[list(sections)]
    with progress_bar("factors") as progress:
        return factor_cards(
            model,
            labels=labels,
            tree=tree,
            pixel_size_um=place.pixel_size_um,
            codes=codes,
            associations=associations,
            progress=progress,
        )


if __name__ == "__main__":
    main(InterpretOptions, interpret, program="python -m training.interpret")
