"""Everything that an interpretation can be told: the flags of ``training.interpret``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from napari_brainvae.factors.field_options import FieldOptions
from napari_brainvae.factors.perturbation import ImpactOptions
from napari_brainvae.io.errors import InputError
from training.located import LocatedOptions

Part = Literal["regions", "impact", "fields", "brains", "cards"]


class InterpretOptions(ImpactOptions, FieldOptions, LocatedOptions):
    """Measure which regions drive each latent factor, and where each factor acts.

    Writes to the output folder: brains.csv (latent factors of each brain, and how unusual it is),
    brains.png and .svg (all brains in the planes of all pairs of factors), covariates.csv (which
    factors go with what is known of the brains), impact.csv, scores.csv, impact_matrix.csv,
    factors.csv (each factor in numbers and in a sentence), a card of each factor
    and report.html, which shows them, field_by_region.csv, field_by_structure.csv,
    projective_field.ome.tif, shape_and_brightness.ome.tif, the regions as files that open again,
    the panels of the paper's Fig. 3 and of the covariates as PNG and SVG, and record.json. The
    first model is interpreted in full; all of them are compared by their disentanglement.
    """

    model: list[Path] = Field(
        min_length=1,
        description="Checkpoint to interpret; repeat the flag for others to compare it with, such "
        "as a VAE (beta 1) and a PCA.",
    )
    regions: list[str] = Field(
        ["SSp", "RSP", "HPF", "STR", "TH", "HY"],
        min_length=1,
        description="Structures of the atlas, by acronym: A,B,C.",
    )
    side: Literal["both", "left", "right"] = Field(
        "both", description="Side of the animal that the structures are taken from."
    )
    region_file: list[Path] = Field(
        [], description="A drawn region, as the plugin saves it; repeat the flag for more."
    )
    tolerance: float = Field(
        1e-3, gt=0, lt=1, description="Accuracy of the projective fields, share of their maximum."
    )
    factors: list[Annotated[int, Field(ge=1, le=512)]] = Field(
        [], description="Latent factors whose fields are wanted, from 1: 1,3; by default all."
    )
    parts: list[Part] = Field(
        list(get_args(Part)),
        min_length=1,
        description="What to write: regions (as files), impact (of regions on factors), fields "
        "(where factors act), brains (their factors, and what goes with them), cards (each factor "
        "in a picture and a sentence).",
    )

    robust: bool = Field(
        True,
        description="Take the factors of brains that are outliers of the model from their sections "
        "without what it takes for artifact (column robust of brains.csv).",
    )

    @field_validator("model", "regions", "region_file", "factors", "parts")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        for value in values:
            if values.count(value) > 1:
                raise InputError(f"{value} is given twice")
        return values
