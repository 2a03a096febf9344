"""A power cut loses nothing that was said to be there.

Not only a kill: what the system had not yet put on disk is gone, in any order. So of every command
it is watched which file is put on disk (fsync) and which is renamed: what takes its final name was
on disk whole, with all below it, and the folder that holds the name is put on disk after it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.training.commands import commands

pytestmark = pytest.mark.skipif(
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
def watching(within: Path, patch: pytest.MonkeyPatch) -> Iterator[Watch]:
    watch = Watch(within)
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

    patch.setattr(os, "fsync", noted(fsync, watch.sync, before=False))
    patch.setattr(os, "replace", noted(replace, watch.rename, before=True))
    patch.setattr(os, "rename", noted(rename, watch.rename, before=True))
    patch.setattr(os, "mkdir", noted(mkdir, lambda path, *_: watch.make(path), before=False))
    yield watch
    patch.undo()


SMALL = ["--height", "64", "--width", "64"]
CALLS = {
    "phantom": (["OUT/p.zarr", "--count", "3", *SMALL], ["p.zarr", "p.atlas"]),
    "fit": (
        ["POPULATION", "--out", "OUT/run", "--latent-dim", "2", "--steps", "3"],
        ["model.safetensors", "record.json", "history.csv", "state.pt"],
    ),
    "pca": (["POPULATION", "--out", "OUT/p.safetensors", "--latent-dim", "2"], ["p.safetensors"]),
    "rotate": (["MODEL", "POPULATION", "--out", "OUT/r.safetensors"], ["r.safetensors"]),
    "denoise": (["POPULATION", "--model", "MODEL", "--out", "OUT/d.zarr"], ["d.zarr"]),
    "denoise tif": (["POPULATION", "--model", "MODEL", "--out", "OUT/d.tif"], ["d.tif"]),
    "evaluate": (
        ["POPULATION", "--model", "MODEL", "--out", "OUT/e", "--resamples", "10"], ["e"],
    ),
    "interpret": (
        ["POPULATION", "--model", "MODEL", "--out", "OUT/i", "--parts", "brains,regions"], ["i"],
    ),
    "interpret again": (
        ["POPULATION", "--model", "MODEL", "--out", "OUT/i", "--parts", "brains", "--overwrite"],
        ["brains.csv", "record.json"],
    ),
    "demo": (
        ["OUT/demo", "--count", "20", *SMALL, "--steps", "1"],
        ["demo.json", "phantom.zarr", "model.safetensors", "report.html"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_what_a_command_leaves_is_on_disk(call, phantom_file, run_folder, tmp_path, monkeypatch):
    schema, run = commands()[call.split()[0]]
    arguments, names = CALLS[call]
    given = {"POPULATION": phantom_file, "MODEL": run_folder / "model.safetensors"}
    arguments = [str(given.get(a, a)).replace("OUT", str(tmp_path / "new")) for a in arguments]
    from training.cli import parse

    if call.endswith("again"):
        (tmp_path / "new" / "i").mkdir(parents=True)
        (tmp_path / "new" / "i" / "record.json").write_text("{}")
    with watching(tmp_path, monkeypatch) as watch:
        run(parse(schema, call, arguments))
    assert set(names) <= set(watch.renamed)
    assert watch.lost == []
    at_risk = {path for path in watch.names_at_risk if path.exists()}
    assert at_risk == set(), "names that a power cut may undo"
    # And nothing reached its place in another way than by a rename of what was on disk.
    written = [p for p in (tmp_path / "new").rglob("*") if p.is_file() and p.name != "lock"]
    assert written
    assert [p for p in written if watch.synced.get(p) != state(p)] == []
