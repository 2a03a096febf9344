"""Files that can be read to their end, told apart from pipes and devices, which may never end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from napari_brainvae.io.errors import InputError, MissingFileError


def regular_file(path: Path) -> Path:
    """Give back the path of a file that is to be read; a pipe would be waited for.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    InputError
        If it is a folder, a pipe, a socket or a device.
    """
    if not path.exists():
        raise MissingFileError(f"there is no {path}")
    if not path.is_file():
        raise InputError(f"{path} is no regular file")
    return path


def regular_tree(folder: Path, skipped: Callable[[Path, str], bool] | None = None) -> Path:
    """Give back the path of a folder whose files are all regular, at any depth.

    Parameters
    ----------
    skipped
        Whether something is not looked at, by its folder and name.

    Raises
    ------
    InputError
        If one is not, or ``folder`` is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder.name} is no folder, as a Zarr group is")
    for inner, folders, files in os.walk(folder):
        if skipped is not None:
            folders[:] = [name for name in folders if not skipped(Path(inner), name)]
            files = [name for name in files if not skipped(Path(inner), name)]
        for name in files:
            if not os.path.isfile(os.path.join(inner, name)):
                raise InputError(f"{folder.name}: {name} is no regular file")
    return folder
