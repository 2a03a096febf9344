"""What phantom population to make: the flags of ``training.phantom``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.option_types import Seed

BRIGHTNESS_FACTORS = ("SSp", "RSP", "HPF", "STR", "TH", "HY")
SHAPE_FACTORS = {"cortical thickness": "Isocortex", "ventricle size": "VS"}
FACTORS = (*BRIGHTNESS_FACTORS, *SHAPE_FACTORS)
"""The planted factors, in the order of `PhantomBrain.factors`."""

BRIGHTNESS_PER_SD = 0.12
THICKNESS_PER_SD = 0.08
VENTRICLE_MM_PER_SD = 0.018
CASE_REGION, CASE_BRIGHTNESS, CASE_THICKNESS_UM = "HPF", 0.10, 30
"""What the cases of a phantom have more than its controls."""


class PhantomOptions(BaseModel):
    """What population to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(512, ge=1, le=1_000_000, description="number of brains")
    seed: Seed = Field(0, description="brains depend on this number and their index alone")
    height: int = Field(320, ge=64, le=8192, description="rows of a section, in pixels")
    width: int = Field(448, ge=64, le=8192, description="columns of a section, in pixels")
    artifacts: float = Field(0.2, ge=0, le=1, description="share of brains with an artifact")
    plane: int = Field(286, ge=0, le=100_000, description="coronal plane, where an atlas is given")
    planted: str = Field(
        ",".join(FACTORS), description="factors that vary, by name; others stay at the mean"
    )
    brightness: float = Field(
        BRIGHTNESS_PER_SD, ge=0, le=1, description="change of a region's brightness, share per SD"
    )
    thickness: float = Field(
        THICKNESS_PER_SD, ge=0, le=1, description="change of the cortex's thickness, share per SD"
    )
    ventricles_mm: float = Field(
        VENTRICLE_MM_PER_SD, ge=0, le=1, description="how far ventricles swell, mm per SD"
    )
    illumination: float = Field(0.04, ge=0, le=1, description="uneven illumination, share, SD")
    misalignment_um: float = Field(25.0, ge=0, le=1000, description="left by registration, SD")

    cases: float = Field(
        0,
        ge=0,
        le=1,
        description=f"share of brains that are cases: their {CASE_REGION} is "
        f"{100 * CASE_BRIGHTNESS:.0f} % brighter and their cortex {CASE_THICKNESS_UM} um thicker; "
        "the covariate 'group' says who is one",
    )

    pairs: bool = Field(
        False,
        description="brains come in pairs with the same planted factors: half of them cases, the "
        "groups differ in nothing that was planted but what cases have more",
    )

    @field_validator("planted")
    @classmethod
    def _are_factors(cls, text: str) -> str:
        for name in text.split(","):
            if name not in FACTORS:
                raise InputError(f"no factor {name!r}: give some of {', '.join(FACTORS)}")
        return text

    @model_validator(mode="after")
    def _cases_can_differ(self) -> PhantomOptions:
        if self.cases and not self.brightness * self.thickness:
            raise InputError("cases differ in brightness and thickness: give neither of them as 0")
        return self
