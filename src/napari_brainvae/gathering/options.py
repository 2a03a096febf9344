"""Everything that gathering can be told: the flags of ``training.gather``."""

from __future__ import annotations

import shlex
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg

from napari_brainvae.data.gather_options import GatherOptions
from napari_brainvae.io.command_line import command_words
from napari_brainvae.io.places import NewPopulation


class GatherCommand(GatherOptions):
    """Make one population of registered brains, whatever wrote them; the same command goes on.

    INPUTs are folders of brainreg and brainglobe-registration (found in any folder above them),
    NIfTI, NRRD, MetaImage, TIFF, NumPy, OME-Zarr, single registered sections (an image a brain)
    and populations. What is in them comes to lie from the animal's left to its right.
    OUT.zarr.work/manifest.csv says of each brain its source, checksum, orientation and scale, and
    why it was left out.
    """

    inputs: CliPositionalArg[list[Path]] = Field(
        min_length=1, description="Files, and folders that are searched."
    )
    out: NewPopulation = Field(
        description="Population to write (.zarr); several planes: OUT_p280.zarr ..."
    )
    covariates: Path | None = Field(
        None, description="Table of the brains; a column names them as their files do."
    )
    atlas: str | None = Field(
        None,
        description="Atlas to which the brains are registered and in which --plane counts: its "
        "name, such as allen_mouse_25um, or its folder.",
    )
    like: Path | None = Field(
        None, description="Model (.safetensors) that the sections are to fit: size, pixels, plane."
    )

    def as_command(self) -> str:
        """Give the command line that does the same, for a shell."""
        return shlex.join(command_words("gather", self))
