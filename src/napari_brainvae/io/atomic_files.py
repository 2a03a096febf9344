"""Writing files so that nobody loses work."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RECORD = "record.json"
"""Says where the files of a folder come from."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write a file or folder to; it takes the final name at the end.

    Whatever stood at ``path`` stays until the new content is complete and on disk. If the block
    raises, or the process is killed, the final name holds just what it held before.

    Yields
    ------
    Path
        A path that does not exist yet, in the same folder.
    """
    path = recover(path)
    make_folder(path.parent)
    # The suffix is kept: writers such as tifffile choose the format by it.
    beside = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        yield beside
        _sync(beside)
        _put(beside, path)
    except BaseException as error:
        if beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
        else:
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and " requested and " in str(error):  # as NumPy says it
            raise OSError(f"{path} was not written, is the disk full? ({error})") from error
        raise


def _put(beside: Path, path: Path) -> None:
    """Give what lies ``beside`` its final name, file for file and folder for folder."""
    if path.is_dir() and not beside.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give another name")
    if beside.is_dir() and path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file: give another name")
    if not path.is_dir() or path.is_symlink():
        os.replace(beside, path)
        _sync_folder(path.parent)
        return
    # A folder cannot be renamed over a folder that has content. Between the two renames a kill
    # leaves the old one under this name, where `recover` finds it.
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
    os.replace(path, old)
    try:
        os.replace(beside, path)
    except BaseException:
        os.replace(old, path)
        raise
    # The old one goes when the new one is sure to be there after a power cut.
    _sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(path: str | Path) -> Path:
    """Finish what `replacing` or `filling` was killed in, whichever way that leaves all there.

    A folder that was moved aside comes back; files that were on their way into a folder arrive.

    Returns
    -------
    Path
        ``path`` itself, which holds what it held before, or its new content if that was complete.
    """
    path = Path(path)
    for old in _moved_aside(path.parent):
        if _name_before(old) == path.name:
            _bring_back(old)
    for files in path.parent.glob(".*.moving"):
        if _name_before(files) == path.name:
            _move_in(files, path)
    return path


@contextmanager
def filling(folder: str | Path) -> Iterator[Path]:
    """Give an empty folder to write to; its files move into ``folder`` at the end, all of them.

    Files of the same names are replaced, others stay. If the block raises, or the process is
    killed in it, ``folder`` is as it was before. A kill while files move leaves a folder without
    its `RECORD`, and `recover` moves the rest.

    Yields
    ------
    Path
        A folder beside ``folder``.
    """
    # Under its whole name, since this folder is called "." and may not be renamed over.
    folder = recover(os.path.abspath(folder))
    make_folder(folder.parent)
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    beside.mkdir()
    try:
        yield beside
        _sync(beside)
        if not folder.exists():
            os.replace(beside, folder)
            _sync_folder(folder.parent)
            return
        for path in beside.rglob("*"):
            target = folder / path.relative_to(beside)
            if target.exists() and target.is_dir() != path.is_dir():
                raise FileExistsError(f"{target} is in the way: move it, or give another folder")
        files = beside.with_suffix(".moving")
        os.replace(beside, files)
        _sync_folder(folder.parent)
        _move_in(files, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _move_in(files: Path, folder: Path) -> None:
    """Move files into a folder, which has no record while it holds some of both."""
    if (files / RECORD).exists():
        (folder / RECORD).unlink(missing_ok=True)
        _sync_folder(folder)
    for file in sorted(files.rglob("*"), key=lambda path: path == files / RECORD):
        if not file.is_dir():
            target = folder / file.relative_to(files)
            make_folder(target.parent)
            os.replace(file, target)
            _sync_folder(target.parent)
    shutil.rmtree(files)


def remove_leftovers(folder: str | Path) -> None:
    """Remove what `replacing` leaves in ``folder`` when its process is killed.

    A folder that it had moved aside, and that nothing took the place of, gets its name back.
    """
    for path in Path(folder).glob(".*.partial*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for old in _moved_aside(Path(folder)):
        _bring_back(old)


def _moved_aside(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".*.old") if path.is_dir() and _name_before(path)]


def _name_before(old: Path) -> str:
    """The name that a folder had, or is to have, where it was moved; empty if it was not."""
    match = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.(old|moving)", old.name)
    return match[1] if match else ""


def _bring_back(old: Path) -> None:
    path = old.with_name(_name_before(old))
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(old, path)
        _sync_folder(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` in one step."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each on disk."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        _sync_folder(made.parent)


def put_on_disk(path: Path) -> None:
    """Put a file that was written under its final name on disk, and its name in its folder."""
    _sync(path)
    _sync_folder(path.parent)


def _sync(path: Path) -> None:
    """Put a file on disk, or a folder with all files and folders in it."""
    if not path.is_dir():
        _sync_file(path)
        return
    for folder, _, files in os.walk(path, topdown=False):
        for file in files:
            _sync_file(Path(folder, file))
        _sync_folder(Path(folder))


def _sync_file(path: Path) -> None:
    with open(path, "rb+") as handle:
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    """Put a rename on disk; Windows has no handle on a folder and needs none."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
