"""How a latent factor is moved: the options of the window and of the command.

Apart from what they are used for, so that a command can say its options at once.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

LIMIT = 7.0
STEP = 0.005
"""The paper's range and grid: 2,801 values of c."""

MEAN = "population mean"


class FieldOptions(BaseModel):
    """How a factor is moved; the controls of the widget and the flags of the command."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: str = Field(
        MEAN,
        description="Codes from which the factor is moved: 'population mean', or the id of a "
        "brain.",
    )
    limit: float = Field(
        LIMIT,
        gt=0,
        le=100,
        description="Range: the factor is moved from -limit to +limit. Up to half of it counts as "
        "small, the rest as large.",
    )
