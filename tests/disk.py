"""Watching what is put on disk and what is renamed, as a power cut would tell them apart."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

can_be_watched = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="no /proc to tell which file a handle is of"
)

State = tuple[int, int]


def state(path: Path) -> State:
    """What changes when a file is written, or a name in a folder."""
    found = path.lstat()
    return found.st_size, found.st_mtime_ns


class Watch:
    """What was put on disk and renamed, and what of it a power cut would have undone."""

    def __init__(self, within: Path) -> None:
        self.within = within
        self.synced: dict[Path, State] = {}
        self.names_at_risk: set[Path] = set()
        self.renamed: list[str] = []
        self.lost: list[str] = []

    def ours(self, path: Path) -> bool:
        return self.within in (path, *path.parents)

    def sync(self, handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        self.synced[path] = state(path)
        self.names_at_risk = {name for name in self.names_at_risk if name.parent != path}

    def make(self, path: Path) -> None:
        if self.ours(path):
            self.names_at_risk.add(path)

    def rename(self, source: Path, target: Path) -> None:
        if not self.ours(target) or ".partial" in target.parent.as_posix():
            return  # within what is not yet under its final name
        self.renamed.append(target.name)
        moved_aside = target.name.endswith(".old") or source.name.endswith(".old")
        inner = [] if moved_aside else [source, *source.rglob("*")]
        for path in inner:
            if not path.is_symlink() and self.synced.get(path) != state(path):
                self.lost.append(f"{path} was renamed before it was on disk")
        for path in inner:  # the same inodes under their new names
            self.synced[target / path.relative_to(source)] = self.synced.get(path, (-1, -1))
        self.names_at_risk = {n for n in self.names_at_risk if source not in (n, *n.parents)}
        self.names_at_risk.add(target)


@contextmanager
def watching(within: Path) -> Iterator[Watch]:
    watch = Watch(within)
    own = pytest.MonkeyPatch()
    fsync, replace, rename, mkdir = os.fsync, os.replace, os.rename, os.mkdir

    def noted(do: Callable[..., Any], note: Callable[..., None], *, before: bool) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            paths = [Path(os.path.abspath(a)) if not isinstance(a, int) else a for a in args]
            if before:
                note(*paths)
            done = do(*args, **more)
            if not before:
                note(*paths)
            return done

        return call

    own.setattr(os, "fsync", noted(fsync, watch.sync, before=False))
    own.setattr(os, "replace", noted(replace, watch.rename, before=True))
    own.setattr(os, "rename", noted(rename, watch.rename, before=True))
    own.setattr(os, "mkdir", noted(mkdir, lambda path, *_: watch.make(path), before=False))
    try:
        yield watch
    finally:
        own.undo()


def check(watch: Watch, folder: Path, kept_elsewhere: tuple[str, ...] = ("lock",)) -> None:
    """Say what of ``folder`` would not be there, or not whole, after a power cut."""
    assert watch.lost == []
    assert {path for path in watch.names_at_risk if path.exists()} == set()
    # Nothing reached its place in another way than by a rename of what was on disk.
    written = [p for p in folder.rglob("*") if p.is_file() and p.name not in kept_elsewhere]
    assert written
    assert [p for p in written if watch.synced.get(p) != state(p)] == []
