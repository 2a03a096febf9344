"""Everything that a comparison can be told: the flags of ``training.compare``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from napari_brainvae.statistics.comparison_options import ComparisonOptions


class CompareOptions(ComparisonOptions):
    """Compare two groups of brains, or follow a dose, with honest p-values.

    Writes to the output folder: compare.csv (effect on each factor, its interval, p alone, over
    factors, and q over covariates), compare_regions.csv (brightness and size of each region),
    difference_COLUMN as a figure and as .ome.tif (of the model and of the sections, displacement
    and brightness, t of every pixel), effects_COLUMN (forest plot), deviations.csv (how far each
    brain lies from what its covariates predict), batches.csv, pcntoolkit.csv with its call,
    report.html with a summary in plain words, and record.json.
    """

    population: CliPositionalArg[Path] = Field(
        description="Sections of many brains: .zarr, .npz (array 'images'), .npy or a TIFF stack."
    )
    model: Path = Field(description="Checkpoint whose codes are compared.")
    out: Path = Field(description="Folder for the results; new or empty.")
    atlas: Path | None = Field(
        None,
        description="Atlas directory, for a table by region. By default POPULATION.atlas beside "
        "the population, which is what a drawn phantom has.",
    )
    regions: list[str] = Field(
        [],
        description="Structures of the atlas, by acronym: A,B,C. By default every one that the "
        "section shows.",
    )
    plane: int | None = Field(
        None,
        ge=0,
        le=100_000,
        description="Coronal plane of the atlas; needed where no file says it.",
    )
    pixel_size_um: float | None = Field(
        None, gt=0, le=100_000, description="Side of a pixel, um; needed where no file says it."
    )
    covariates: Path | None = Field(
        None,
        description="What is known of the brains: a CSV of any kind, or a spreadsheet, of which a "
        "column (id, subject, file name) names them. By default what the population file says.",
    )
    overwrite: bool = Field(
        False, description="Write into a folder that holds files, and over those of the same name."
    )
