"""Kinds of options that the schemas of several verbs share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""What NumPy, torch and a spin box take alike."""

Threads = Annotated[int, Field(ge=1, le=1024)]
"""More, and the threads' own memory is what fails, in the middle of C."""
