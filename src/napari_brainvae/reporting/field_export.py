"""Fields as a panel shows them, written as the command writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from napari_brainvae.arrays import Images
from napari_brainvae.factors.field_refinement import FieldJob
from napari_brainvae.reporting.export import Fields, export_fields, results_folder, write_maps
from napari_brainvae.reporting.provenance import provenance


def write_fields(
    folder: Path,
    job: FieldJob,
    maps: Images,
    changes: Images,
    factors: Sequence[int],
    table: pd.DataFrame | None,
) -> None:
    """Write maps, signed changes, table and figure of some factors to a folder.

    Parameters
    ----------
    maps, changes
        ``(F, 3, H, W)`` variances and ``(F, H, W)`` signed changes per SD.
    factors
        Indices of the F factors, from 0.
    table
        What `field_by_region` says of them, if there is an atlas.
    """
    population, section = job.population, job.section
    said = {"start": job.start, "limit": job.options.limit, "z0": job.z0.tolist()}
    about = provenance(said, population, {job.model.label: job.model})
    which = "field_by_structure" if section and job.regions is None else "field_by_region"
    size = population.description.pixel_size_um if population else None
    size = size or job.model.header.pixel_size_um
    tables = {} if table is None else {which: table}
    fields = Fields(maps, list(factors), said, size, tables, section)
    with results_folder(folder, about) as beside:
        export_fields(beside, fields, about)
        write_maps(
            beside / "signed_change.ome.tif",
            changes[:, None],
            factors,
            size,
            about,
            title="Signed change per SD",
            channels=["change"],
        )
