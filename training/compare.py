"""``python -m training.compare``: two groups or a dose, with confounds and honest p-values."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from napari_brainvae.statistics.comparison_options import ComparisonOptions
from training.cli import main, progress_bar
from training.comparing.options import CompareOptions
from training.located import check_out, known_of, locate

if TYPE_CHECKING:  # torch and all that follows wait until there is something to compare
    from napari_brainvae.data.population import Population
    from napari_brainvae.models.base import Model
    from napari_brainvae.statistics.study import Study
    from training.located import Place

log = logging.getLogger(__name__)


def compare(options: CompareOptions) -> None:
    """Run `training.compare` with these options.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.atlas.atlas_section import measured_regions
    from napari_brainvae.data.population import Population
    from napari_brainvae.models.checkpoint import load_checkpoint
    from napari_brainvae.reporting.comparison_report import comparison_table
    from napari_brainvae.reporting.comparison_words import headline
    from napari_brainvae.statistics.study import compare_population

    check_out(options)
    population, model = (
        Population.open(options.population, options.marks),
        load_checkpoint(options.model),
    )
    covariates = known_of(options, population)
    place = locate(options, population, model)
    plain = ComparisonOptions(**options.model_dump(include=set(ComparisonOptions.model_fields)))
    masks = measured_regions(place.section, options.regions)
    with progress_bar("compare", unit="‰") as progress:
        study = compare_population(
            model,
            population,
            covariates,
            plain,
            masks=masks,
            pixel_size_um=place.pixel_size_um,
            progress=progress,
        )
    _export(options, population, model, place, study)
    for warning in study.warnings:
        log.warning("note: %s", warning)
    for line in headline(study, comparison_table(study, model)):
        log.info(line)
    log.info("results: %s", options.out)


def _export(
    options: CompareOptions, population: Population, model: Model, place: Place, study: Study
) -> None:
    from napari_brainvae.atlas.atlas_section import labels_and_tree
    from napari_brainvae.factors.cards import factor_cards
    from napari_brainvae.reporting.comparison_report import export_comparison
    from napari_brainvae.reporting.export import results_folder
    from napari_brainvae.reporting.provenance import provenance
    from napari_brainvae.reporting.section_axes import structure_outlines

    labels, tree = labels_and_tree(place.section)
    cards = factor_cards(model, labels=labels, tree=tree, pixel_size_um=place.pixel_size_um)
    about = provenance(
        options,
        population,
        {model.label: model},
        without={"out", "overwrite"},
        measured=study.brains.positions,
        plane=place.plane,
        pixel_size_um=place.pixel_size_um,
        atlas=None if place.section is None else str(place.section.atlas.directory),
    )
    with results_folder(options.out, about, overwrite=options.overwrite) as folder:
        export_comparison(
            folder,
            study,
            model,
            about,
            cards=cards,
            pixel_size_um=place.pixel_size_um,
            outlines=[] if labels is None else structure_outlines(labels, tree),
        )


if __name__ == "__main__":
    main(CompareOptions, compare, program="python -m training.compare")
