"""Whether a command's result can be written where it is asked for, before it is computed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

from pydantic import AfterValidator, BaseModel

from napari_brainvae.io.atomic_files import recover
from napari_brainvae.io.errors import InputError

WRITTEN = ("out", "folder")
"""Options that name what a command writes; all other paths are read."""

ZARR = ("zarr.json", ".zgroup", ".zarray")
"""Each says that a folder is a Zarr group or array, of this or the former format."""


def _ends_in_zarr(path: Path) -> Path:
    if path.suffix != ".zarr":
        raise InputError(f"a population file ends in .zarr, not as {path.name or path}")
    return path


NewPopulation = Annotated[Path, AfterValidator(_ends_in_zarr)]
"""Where a population is to be written."""


def check_places(options: BaseModel) -> None:
    """Refuse a result that could not be written at the end, or would destroy what it is made of.

    Raises
    ------
    InputError, OSError
        If its place lies below a file, in a population, or where nothing can be written, or if it
        is one of the files that are read.
    """
    paths = list(_paths(options))
    for name, out in paths:
        if name in WRITTEN:
            _check_place(out)
            for other, path in paths:
                if other not in WRITTEN and out.exists() and path.exists() and out.samefile(path):
                    raise InputError(f"{out} is what is read: give another name")


def check_empty(
    out: Path, otherwise: str = "give another folder", *, overwrite: bool = False
) -> Path:
    """Refuse a folder for results in which something is, before anything is computed.

    Parameters
    ----------
    otherwise
        What to do about it, for the message.
    overwrite
        Let what is in the folder be.

    Returns
    -------
    Path
        The whole name, where a command that was killed has left nothing in between.

    Raises
    ------
    OSError, InputError
        If something is there.
    """
    out = recover(out.absolute())
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file, not a folder for results")
    check_no_population(out)
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise FileExistsError(f"{out} is not empty: {otherwise}")
    return out


def check_no_population(folder: Path) -> None:
    """Refuse a population, and any other Zarr group, in the place of a folder.

    Raises
    ------
    InputError
        If it is one.
    """
    if any((folder / name).exists() for name in ZARR):
        raise InputError(f"{folder} is a population: give another folder")


def _paths(options: BaseModel) -> Iterator[tuple[str, Path]]:
    for name, value in options:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Path):
                yield name, each
            elif isinstance(each, BaseModel):
                yield from _paths(each)


def _check_place(out: Path) -> None:
    real = Path(os.path.realpath(out))
    there = next(path for path in (real, *real.parents) if path.exists())
    if there != real and not there.is_dir():
        raise InputError(f"{out} cannot be made: {there} is a file, not a folder")
    for above in real.parents:
        if any((above / name).exists() for name in ZARR):
            raise InputError(f"{out} lies within the population {above}: give a place outside it")
    folder = there if there.is_dir() else there.parent
    try:
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"nothing can be written into {folder}: {error.strerror}") from error
