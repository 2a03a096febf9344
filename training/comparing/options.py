"""Everything that a comparison can be told: the flags of ``training.compare``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from napari_brainvae.statistics.comparison_options import ComparisonOptions
from training.located import LocatedOptions


class CompareOptions(ComparisonOptions, LocatedOptions):
    """Compare two groups of brains, or follow a dose, with honest p-values.

    Writes to the output folder: compare.csv (effect on each factor, its interval, p alone, over
    factors, and q over covariates), compare_regions.csv (brightness and size of each region),
    difference_COLUMN as a figure and as .ome.tif (of the model and of the sections, displacement
    and brightness, t of every pixel), effects_COLUMN (forest plot), deviations.csv (how far each
    brain lies from what its covariates predict), batches.csv, pcntoolkit.csv with its call,
    report.html with a summary in plain words, and record.json.
    """

    model: Path = Field(description="Checkpoint whose codes are compared.")
