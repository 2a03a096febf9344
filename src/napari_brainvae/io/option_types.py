"""Kinds of options that the schemas of several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""What NumPy, torch and a spin box take alike."""

Steps = Annotated[int, Field(ge=1, le=10**9)]
"""Of a fit."""

Workers = Annotated[int, Field(ge=1, le=1024)]
"""Processes on this machine."""

Threads = Annotated[int, Field(ge=1, le=1024)]
"""More, and the threads' own memory is what fails, in the middle of C."""

MarksFile = Annotated[
    Path | None,
    Field(
        description="Marks of the brains, as the plugin writes them: excluded ones are left out. "
        "By default POPULATION.marks.csv beside the population, if it is there; 'none' for none."
    ),
]
"""What a person has marked; see `data.marks`."""
