"""Everything that an acquisition can be told: the flags of ``training.acquire``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import CliPositionalArg, CliSubCommand

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.places import NewPopulation

MOST_PLANES = 10_000
"""More than any atlas has; seen before a range is counted out."""


class ServiceOptions(BaseModel):
    """How the service is asked."""

    server: str | None = Field(
        None, pattern=r"^https?://.", description="Address of the Allen API; allensdk's by default."
    )
    timeout: float = Field(
        60,
        gt=0,
        le=86_400,
        description="Seconds without a byte after which a transfer counts as stalled.",
    )
    tries: int = Field(
        8, ge=1, le=1000, description="How often a transfer is tried before it has failed."
    )
    backoff: float = Field(
        2,
        gt=0,
        le=600,
        description="Seconds before the second try; doubled before each further one.",
    )


class AtlasOptions(ServiceOptions):
    """Fetch annotation, average template and structure tree of the Allen CCFv3 at 25 um."""

    folder: CliPositionalArg[Path] = Field(description="Folder of the atlas; allensdk's layout.")
    archive: str | None = Field(
        None,
        pattern=r"^https?://.",
        description="Address of the Allen download archive; allensdk's by default.",
    )


class BrainGlobeOptions(BaseModel):
    """Fetch an atlas of BrainGlobe, for --atlas NAME; without a name, list those that are there.

    Needs brainglobe-atlasapi: pip install 'napari-brainvae[brainglobe]'. To open one does not.
    """

    name: CliPositionalArg[str] = Field("", description="Such as allen_mouse_25um.")


class SectionsOptions(ServiceOptions):
    """Fetch the autofluorescence sections of many brains; the same command again goes on."""

    out: CliPositionalArg[NewPopulation] = Field(
        description="Population to write (.zarr); with several planes OUT_p280.zarr and so on."
    )
    plane: str = Field(
        "286",
        description="Coronal plane (AP index, 0 to 527), list or range: 286,290 or 280:290:5.",
    )
    experiments: Path | None = Field(
        None, description="CSV with a column 'id', or one id a line; all experiments by default."
    )
    strain: list[str] = Field([], description="Only these strains, such as C57BL/6J.")
    line: list[str] = Field([], description="Only these transgenic lines; 'none' is wild type.")
    gender: list[str] = Field([], description="Only these: M, F.")
    injection_structure: list[str] = Field(
        [], description="Only injections in these structures (acronyms) or their parts."
    )
    limit: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Fetch only the first N brains of the selection for now.",
    )
    connections: int = Field(2, ge=1, le=4, description="Transfers at a time; be polite.")
    keep_volumes: bool = Field(
        False, description="Keep the zip of every brain, 0.2 GB each, beside the population."
    )
    retry_failed: bool = Field(False, description="Try again what failed in an earlier run.")

    @field_validator("plane")
    @classmethod
    def _is_planes(cls, text: str) -> str:
        planes_of(text)
        return text

    @property
    def planes(self) -> list[int]:
        """AP indices, ascending."""
        return planes_of(self.plane)


class Acquire(BaseModel):
    """Fetch registered brain sections or an atlas: the Allen Institute's, or one of BrainGlobe.

    Attribution, non-commercial use of the Allen Institute's: https://alleninstitute.org/terms-of-use.
    """

    atlas: CliSubCommand[AtlasOptions]
    brainglobe: CliSubCommand[BrainGlobeOptions]
    sections: CliSubCommand[SectionsOptions]


def planes_of(text: str) -> list[int]:
    """Read ``286``, ``286,290`` or ``280:290:5`` (both ends included) as ascending AP indices.

    Raises
    ------
    InputError
        If it is none of these.
    """
    planes: set[int] = set()
    for part in text.split(","):
        try:
            first, *rest = (int(number) for number in part.split(":"))
            last, step = [*rest, *[first, 1][len(rest) :]]
            chosen = range(first, last + 1, step)
        except ValueError:
            raise InputError(
                f"a plane is 286, or a range such as 280:290:5, not {part!r}"
            ) from None
        if first < 0 or max(first, last) >= MOST_PLANES or not chosen:
            raise InputError(f"there are no planes {part!r}")
        planes.update(chosen)
    return sorted(planes)
