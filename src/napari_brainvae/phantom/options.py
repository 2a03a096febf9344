"""What phantom population to make: the flags of ``training.phantom``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

CASE_REGION, CASE_BRIGHTNESS, CASE_THICKNESS_UM = "HPF", 0.10, 30
"""What the cases of a phantom have more than its controls."""


class PhantomOptions(BaseModel):
    """What population to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(512, ge=1, le=1_000_000, description="number of brains")
    seed: int = Field(0, ge=0, description="brains depend on this number and their index alone")
    height: int = Field(320, ge=64, le=8192, description="rows of a section, in pixels")
    width: int = Field(448, ge=64, le=8192, description="columns of a section, in pixels")
    artifacts: float = Field(0.2, ge=0, le=1, description="share of brains with an artifact")
    plane: int = Field(286, ge=0, description="coronal plane, where an atlas is given")
    cases: float = Field(
        0,
        ge=0,
        le=1,
        description=f"share of brains that are cases: their {CASE_REGION} is "
        f"{100 * CASE_BRIGHTNESS:.0f} % brighter and their cortex {CASE_THICKNESS_UM} um thicker; "
        "the covariate 'group' says who is one",
    )
    spread: float = Field(
        1, ge=0, description="how much brains differ in the planted factors, 1 being as usual"
    )
