"""What a comparison can be told, by flags or by controls."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, field_validator, model_validator

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.option_types import Seed


class ComparisonOptions(BaseModel):
    """Who is compared, what is taken out, and how often chance is asked."""

    by: list[str] = Field(
        min_length=1,
        description="Covariate that is compared: two groups, or a number such as a dose. Several, "
        "A,B, are compared one after the other, and q counts them all.",
    )
    groups: list[str] = Field(
        [],
        max_length=2,
        description="The two groups, A,B; their difference is A minus B. Needed where the "
        "covariate has more than two.",
    )
    adjust: list[str] = Field(
        [], description="Covariates that are taken out, such as age,sex: numbers or names."
    )
    blocks: str | None = Field(
        None,
        description="Covariate that names litters or cages. Brains are compared within them; where "
        "all of one were treated alike, the litter or cage is what is compared.",
    )
    batch: list[str] = Field(
        [],
        description="Covariates that name runs, scan days or instruments: how much they explain is "
        "told, and they are taken out unless nothing would be left to compare.",
    )
    harmonize: bool = Field(
        False,
        description="Bring the codes of the first batch covariate's batches to one mean and one "
        "spread (ComBat), and keep what is compared and adjusted for.",
    )
    regions: list[str] = Field(
        [],
        description="Structures of the atlas, by acronym: A,B,C. By default every one that the "
        "section shows.",
    )
    permutations: int = Field(
        10_000, ge=19, le=1_000_000, description="Random orders for factors and regions."
    )
    pixel_permutations: int = Field(
        1_000, ge=0, le=100_000, description="Random orders for the map of pixels; 0: no such map."
    )
    robust: bool = Field(
        True, description="Repair brains that are outliers of the model before they are compared."
    )
    include_flagged: bool = Field(
        False, description="Compare brains too that the covariate 'flagged' marks."
    )
    seed: Seed = Field(0, description="Of the random orders and of the folds of brains.")

    @field_validator("by", "groups", "adjust", "batch", "regions")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        for value in values:
            if values.count(value) > 1:
                raise InputError(f"{value} is given twice")
        return values

    @model_validator(mode="after")
    def _fitting(self) -> ComparisonOptions:
        if self.groups and len(self.by) > 1:
            raise InputError("two groups are named of one covariate: give one to compare by")
        for name in self.by:
            if name in self.batch:
                raise InputError(f"{name} is what is compared: it cannot be the batch as well")
        if self.harmonize and not self.batch:
            raise InputError("to harmonize, name the batches: batch is empty")
        return self
