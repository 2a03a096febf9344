"""Whether files are still what they were when they were read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from napari_brainvae.io.regular_files import regular_file

Stamp = tuple[tuple[str, int, int], ...]
"""Path, time of change in ns and size in bytes of each file."""


def file_stamp(files: Iterable[str | Path]) -> Stamp:
    """Give what changes when one of the files is written again; a file that is gone has no size.

    As a key of a cache, it lets what was read before be used only while the files are the same.
    """
    return tuple(_one(Path(file)) for file in files)


def _one(file: Path) -> tuple[str, int, int]:
    try:
        status = file.stat()
    except OSError:
        return str(file), 0, -1
    return str(file), status.st_mtime_ns, status.st_size


def sha256_of(path: Path) -> str:
    """Give what changes when a single byte of a file does; reads all of it."""
    with open(regular_file(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
