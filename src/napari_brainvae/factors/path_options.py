"""Which sections are generated: between two brains, or from codes; of the window and the command.

Apart from what they are used for, so that a command can say its options at once.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_brainvae.io.errors import InputError

Code = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]

MOST_STEPS = 500
"""Frames of a movie, whose sections are in memory all at once."""


class PathOptions(BaseModel):
    """What is generated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    from_brain: str | None = Field(
        None, description="Id of the brain where a movie begins; its posterior mean."
    )
    to_brain: str | None = Field(None, description="Id of the brain where it ends.")
    steps: int = Field(30, ge=2, le=MOST_STEPS, description="Frames of the movie, ends included.")
    factors: list[Code] = Field(
        [],
        max_length=512,
        description="Instead of a movie one section, from the codes of all factors, in SD of the "
        "prior: --factors=2,0,-1,...",
    )
    against_brain: str | None = Field(
        None,
        description="Id of the brain, as the model draws it, from which the change of that one "
        "section is shown; by default from the mean section. That of a movie is from its start.",
    )

    @model_validator(mode="after")
    def _one_thing(self) -> PathOptions:
        ends = (self.from_brain is not None) + (self.to_brain is not None)
        if ends == 1:
            raise InputError("a movie needs both --from-brain and --to-brain")
        if ends and self.factors:
            raise InputError("--factors is one section, --from-brain and --to-brain are a movie")
        return self

    @property
    def movie(self) -> bool:
        """Whether it is a movie, not one section."""
        return self.from_brain is not None
