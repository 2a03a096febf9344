"""A workspace as a file: which files are open, what was drawn and selected, which panels are open.

Paths are relative to the file, so that a folder can be moved as a whole. Of each file its size and
a SHA-256 are kept: of all of a file up to `WHOLE` bytes, of the first `WHOLE` bytes of a larger
one, and of the names and sizes of the files in a folder. Without Qt.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from napari_brainvae.atlas.regions import Region
from napari_brainvae.io.atomic_files import write_text
from napari_brainvae.io.errors import InputError, MissingFileError
from napari_brainvae.reporting.brain_map import MapOptions

SUFFIX = ".brainvae.json"
WHOLE = 2**24
MOST_BYTES = 2**28
"""Of the file itself; a larger one is no workspace."""

Name = Annotated[str, Field(max_length=4096)]


class LinkedFile(BaseModel):
    """A file or folder, and what it was when the workspace was saved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Name = Field(min_length=1)
    size: int = Field(ge=0, le=2**62)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def to(cls, path: Path, folder: Path) -> LinkedFile:
        """Describe a file as it is now, from a folder."""
        size, digest = measured(path)
        try:
            relative = os.path.relpath(path.absolute(), folder.absolute())
        except ValueError:  # another drive of Windows
            relative = str(path.absolute())
        return cls(path=Path(relative).as_posix(), size=size, sha256=digest)

    def found(self, folder: Path) -> Path:
        """Where it should be now."""
        return Path(os.path.normpath(folder / self.path))

    def changed(self, path: Path) -> bool:
        """Whether a file is another than was saved."""
        return measured(path) != (self.size, self.sha256)


def measured(path: Path) -> tuple[int, str]:
    """Size, and SHA-256 as the module says, of a file or folder."""
    digest = hashlib.sha256()
    if path.is_dir():
        size = 0
        for file in sorted(each for each in path.rglob("*") if each.is_file()):
            bytes_of_it = file.stat().st_size
            digest.update(f"{file.relative_to(path).as_posix()}\0{bytes_of_it}\n".encode())
            size += bytes_of_it
        return size, digest.hexdigest()
    with open(path, "rb") as opened:
        digest.update(opened.read(WHOLE))
    return path.stat().st_size, digest.hexdigest()


class AtlasOnShow(BaseModel):
    """An atlas, its plane, and the structures that were chosen as regions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: LinkedFile
    plane: int | None = Field(None, ge=0, le=100_000)
    regions: tuple[tuple[Name, Literal["both", "left", "right"]], ...] = ()


class SavedWorkspace(BaseModel):
    """All that is needed to go on where one was."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Format 1 says neither factor nor codes nor map.
    format: Literal["napari-brainvae workspace 1", "napari-brainvae workspace 2"] = (
        "napari-brainvae workspace 2"
    )
    sections: LinkedFile | None = None
    models: tuple[LinkedFile, ...] = Field((), max_length=100)
    model: int | None = Field(None, ge=0, description="Which of the models is chosen.")
    atlas: AtlasOnShow | None = None
    marks: LinkedFile | None = Field(None, description="Where marks are kept, if elsewhere.")
    regions: tuple[Region, ...] = Field((), max_length=1000, description="Drawn ones.")
    panels: tuple[Name, ...] = Field((), max_length=100)
    raised: Name = ""
    brain: Name = Field("", description="Id of the one on show.")
    selected: tuple[Name, ...] = ()
    factor: int | None = Field(None, ge=0, le=10_000, description="Of the projective field.")
    codes: tuple[FiniteFloat, ...] = Field((), max_length=10_000, description="Of the sliders.")
    map: MapOptions | None = Field(None, description="Axes and colours of the map of brains.")

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write it as JSON, in one step.

        Raises
        ------
        FileExistsError
            If ``path`` exists and ``overwrite`` was not asked for.
        """
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists already: give another name")
        write_text(path, json.dumps(self.model_dump(mode="json"), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> SavedWorkspace:
        """Open a workspace that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        InputError
            If it is no workspace.
        """
        if not path.is_file():
            raise MissingFileError(f"no such file of a workspace: {path}")
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path.name} is too large for a workspace")
        try:
            saved = cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"][:4])
            reason = " ".join(f"{place}: {first['msg']}".removeprefix(": ").split())
            raise InputError(f"{path.name} is no workspace: {reason[:300]}") from None
        if "format" not in saved.model_fields_set:
            raise InputError(f"{path.name} is no workspace: it does not say its format")
        if saved.model is not None and saved.model >= len(saved.models):
            raise InputError(f"{path.name} is no workspace: model: there are not so many")
        return saved


def is_workspace(path: Path) -> bool:
    """Whether a JSON file is meant as a workspace, by its name or its first words."""
    if path.name.endswith(SUFFIX):
        return True
    with open(path, "rb") as opened:
        return b'"napari-brainvae workspace' in opened.read(200)
