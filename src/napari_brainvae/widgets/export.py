"""Tables, maps and figures into files that say which model and which options made them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.atlas.regions import Region
from napari_brainvae.data.population import Population
from napari_brainvae.factors.impact import Impact
from napari_brainvae.io.atomic_files import replacing, write_text
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model
from napari_brainvae.models.checkpoint import describe, fingerprint
from napari_brainvae.reporting.export import file_name, impact_figures, write_maps
from napari_brainvae.reporting.paper_figures import (
    association_heatmap,
    projective_fields,
    save_figure,
)
from napari_brainvae.widgets.panels.figure_view import MATPLOTLIB


def write_table(table: pd.DataFrame, path: Path, model: Model, options: Mapping[str, Any]) -> None:
    """Write a table as CSV; two columns more say the checkpoint's fingerprint and the options."""
    signed = table.assign(checkpoint=fingerprint(model), options=json.dumps(options))
    with replacing(path) as beside:
        signed.to_csv(beside, index=False)


def export_impact(
    folder: Path,
    impact: Impact,
    regions: Mapping[str, Region],
    model: Model,
    population: Population,
    progress: Progress | None = None,
) -> None:
    """Write what was measured: tables, figures, and the regions as files that open again."""
    options = impact.options.model_dump(mode="json")
    about = {
        "options": options,
        "model": describe(model),
        "measured": [population.ids[i] for i in impact.sections],
        "regions": impact.regions,
    }
    matrix = pd.DataFrame(impact.matrix(), columns=[f"F{i + 1}" for i in range(model.latent_dim)])
    matrix.insert(0, "region", impact.regions)
    write_table(matrix, folder / "impact_matrix.csv", model, options)
    write_table(impact.table(), folder / "impact.csv", model, options)
    write_table(impact.scores(), folder / "scores.csv", model, options)
    for name, region in regions.items():
        region.save(folder / "regions" / f"{file_name(name)}.json")
    write_text(folder / "record.json", json.dumps(about, indent=2) + "\n")
    figures = impact_figures({"this model": impact})
    for done, (name, draw) in enumerate(figures.items()):
        report(progress, done, len(figures))
        with MATPLOTLIB:
            save_figure(draw(), folder / name, about)


def export_brain_table(
    folder: Path, brains: pd.DataFrame, associations: pd.DataFrame, model: Model
) -> None:
    """Write the list of brains, and what goes with their covariates as table and figure."""
    write_table(brains.reset_index(), folder / "brains.csv", model, {})
    if len(associations):
        write_table(associations, folder / "covariates.csv", model, {})
        with MATPLOTLIB:
            about = {"model": describe(model), "measured": brains.index.tolist()}
            save_figure(association_heatmap(associations), folder / "covariates", about)


def export_fields(
    folder: Path,
    maps: Images,
    factors: list[int],
    table: pd.DataFrame | None,
    borders: Mask | None,
    model: Model,
    options: Mapping[str, Any],
    pixel_size_um: float | None,
) -> None:
    """Write projective fields ``(F, 3, H, W)`` as OME-TIFF in micrometres, table and figure."""
    about = {"options": dict(options), "model": describe(model)}
    write_maps(folder / "projective_field.ome.tif", maps, factors, pixel_size_um, about)
    if table is not None:
        write_table(table, folder / "field_by_region.csv", model, options)
    write_text(folder / "record.json", json.dumps(about, indent=2) + "\n")
    with MATPLOTLIB:
        figure = projective_fields(
            maps, factors=factors, outlines=borders, limit=float(options["limit"])
        )
        save_figure(figure, folder / "projective_fields", about)
