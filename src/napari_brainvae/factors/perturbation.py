"""How a region is perturbed and its impact measured: the options of the windows and the commands.

Apart from what they are used for, so that a command can say its options at once.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.option_types import Seed

Mode = Literal["content", "fill"]
Direction = Literal["forward", "backward", "symmetric"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward", "symmetric")


class Perturbation(BaseModel):
    """How a region is changed; the labels of the widget and the flags of the command."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = Field(
        "content",
        description="'content' scales what the region shows by 1 + weight: -1 removes it, +1 "
        "doubles it. 'fill' removes it and puts weight x the mean brightness of tissue there; "
        "negative weights leave it black.",
    )
    low: float = Field(-1.0, ge=-10, le=10, description="Perturbation weight at the low extreme.")
    high: float = Field(1.0, ge=-10, le=10, description="Perturbation weight at the high extreme.")
    soft_edge: float = Field(
        0.0, ge=0, le=100, description="Width of the region's soft edge (Gaussian SD), px; 0: hard."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Perturbation:
        if self.low >= self.high:
            raise InputError(f"low weight {self.low:g} must be below high weight {self.high:g}")
        return self


class ImpactOptions(Perturbation):
    """What is measured over a population."""

    direction: Direction = Field(
        "symmetric",
        description="Which Kullback-Leibler divergence is the impact: 'forward' from the high "
        "extreme to the low one, KL(low || high), 'backward' the other way, 'symmetric' their sum "
        "(Jeffreys). The paper does not say which; all are exported.",
    )
    include_flagged: bool = Field(
        False, description="Also measure sections that are flagged as artifacts."
    )
    resamples: int = Field(
        1000, ge=0, le=100_000, description="Bootstrap resamples of the brains; 0: no intervals."
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="Level of the bootstrap intervals.")
    bootstrap_seed: Seed = Field(0, description="Seed of the bootstrap.")
