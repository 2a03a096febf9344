"""One process at a time in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from napari_brainvae.io.atomic_files import make_folder
from napari_brainvae.io.errors import InputError

LOCK = "lock"
"""Name of the file; it stays, but the lock goes with the process, however that ends."""

PATIENCE = 0.5
"""Seconds for which a lock may be held by one that only looks (`is_locked`)."""


@contextmanager
def only_one(folder: Path, what: str) -> Iterator[None]:
    """Keep other processes out of a folder, which is made if need be.

    Parameters
    ----------
    what
        What else may be working there, for the message: "fit".

    Raises
    ------
    InputError
        If another process is in the folder.
    """
    make_folder(folder)
    lock = FileLock(folder / LOCK, timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"another {what} is working in {folder}") from None
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether another process works in a folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        FileLock(folder / LOCK, blocking=False).acquire().lock.release()
    except Timeout:
        return True
    except OSError:  # nothing may be written there: nobody works there
        return False
    return False
