"""The options of projective fields: what a command's flags and a panel's controls are made from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LIMIT = 7.0
STEP = 0.005
"""The paper's range and grid: 2,801 values of c."""


class FieldOptions(BaseModel):
    """How a factor is moved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Literal["population mean", "brain on show"] = Field(
        "population mean", description="Codes from which the factor is moved."
    )
    limit: float = Field(
        LIMIT,
        gt=0,
        le=100,
        description="Range: the factor is moved from -limit to +limit. Up to half of it counts as "
        "small, the rest as large.",
    )
