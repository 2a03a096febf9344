"""Writing files so that nobody loses work."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: writers such as tifffile choose the format by it.
    beside = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        yield beside
        _sync(beside)
        if path.is_dir() and not path.is_symlink():
            # A folder cannot be renamed over a folder that has content.
            old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
            os.replace(path, old)
            os.replace(beside, path)
            shutil.rmtree(old)
        else:
            os.replace(beside, path)
        _sync_folder(path.parent)
    except BaseException:
        if beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
        else:
            beside.unlink(missing_ok=True)
        raise


@contextmanager
def filling(folder: str | Path) -> Iterator[Path]:
    """Give an empty folder to write to; its files move into ``folder`` at the end, oldest first.

    Files of the same names are replaced, others stay. If the block raises, or the process is
    killed in it, ``folder`` is as it was before.

    Yields
    ------
    Path
        A folder beside ``folder``.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    beside.mkdir()
    try:
        yield beside
        _sync(beside)
        if not folder.exists():
            os.replace(beside, folder)
            _sync_folder(folder.parent)
            return
        files = [path for path in beside.rglob("*") if path.is_file()]
        for file in sorted(files, key=lambda path: path.stat().st_mtime_ns):
            target = folder / file.relative_to(beside)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
            _sync_folder(target.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def remove_leftovers(folder: str | Path) -> None:
    """Remove what `replacing` leaves in ``folder`` when its process is killed."""
    for path in Path(folder).glob(".*.partial*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` in one step."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    """Put a file, or every file of a folder, on disk."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            with open(file, "rb+") as handle:
                os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    """Put a rename on disk; Windows has no handle on a folder and needs none."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
