"""Everything that an evaluation can be told: the flags of ``training.evaluate``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from napari_brainvae.io.option_types import Seed


class EvaluateOptions(BaseModel):
    """Compare models on the brains that none of them was fitted on.

    Beside the models stand the mean section and a PCA with as many factors, both fitted on the
    brains that no model was kept from. Where a population knows its truth (a phantom), the
    reconstructions are also held against the clean sections, by class of artifact. Writes
    metrics.csv, differences.csv (to that PCA, paired), claims.csv (the paper's order of models),
    figures as PNG and SVG, and report.html, which holds all of it.
    """

    population: CliPositionalArg[Path] = Field(description="The population the models know.")
    model: list[Path] = Field(min_length=1, description="Checkpoint, or several: A B.")
    out: Path = Field(description="Folder for the results; new or empty.")
    brains: int = Field(
        512,
        ge=2,
        le=1_000_000,
        description="Held-out brains, at most, that are measured: chosen by the seed from more.",
    )
    resamples: int = Field(
        1000,
        ge=10,
        le=100_000,
        description="Bootstrap resamples of the brains for the 95 % intervals.",
    )
    dtcwt_sections: int = Field(
        64,
        ge=0,
        le=1_000_000,
        description="Brains, at most, for the slow one of the CW-SSIM transforms.",
    )
    seed: Seed = Field(0, description="Of the choice of brains and of the resampling.")
