from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_brainvae.data.population import Population
from napari_brainvae.io.atomic_files import (
    filling,
    recover,
    remove_leftovers,
    replacing,
    write_text,
)
from napari_brainvae.io.progress import Stopped, report

REPOSITORY = Path(__file__).parents[2]


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "old")
    with pytest.raises(OSError, match="disk full"), replacing(path) as beside:
        beside.write_text("half of the n")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_array_that_does_not_fit_on_the_disk_is_said_with_the_file(tmp_path):
    path = tmp_path / "all.tif"
    says = pytest.raises(OSError, match=r"all\.tif was not written, is the disk full\?")
    with says, replacing(path), Path("/dev/full").open("wb") as full:
        np.ones(100_000).tofile(full)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "population.zarr"
    path.mkdir()
    (path / "old").touch()
    with replacing(path) as beside:
        beside.mkdir()
        (beside / "new").touch()
        assert (path / "old").exists(), "the old one stays until the new one is complete"
    assert [p.name for p in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_the_suffix_is_kept_for_writers_that_choose_by_it(tmp_path):
    with replacing(tmp_path / "stack.tif") as beside:
        assert beside.suffix == ".tif"
        beside.touch()


@pytest.mark.parametrize("answer", [None, True])
def test_progress_goes_on_unless_it_says_false(answer):
    report(lambda done, total: answer, 1, 2)


def test_progress_stops_a_computation():
    with pytest.raises(Stopped, match="1 of 2"):
        report(lambda done, total: False, 1, 2)


def test_what_a_kill_leaves_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / ".model.0a1b2c3d.partial.safetensors").touch()
    (tmp_path / ".p.0a1b2c3d.partial.zarr").mkdir()
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "model.safetensors"]


def folder_with(path, name):
    path.mkdir()
    (path / name).write_text(name)


def content(path):
    return [file.name for file in path.iterdir()]


KILLED = """
import os, signal, sys
from pathlib import Path
from napari_brainvae.io.atomic_files import replacing
path, survive, put = Path(sys.argv[1]), int(sys.argv[2]), os.replace
def replace(source, target):
    global survive
    if not survive:
        os.kill(os.getpid(), signal.SIGKILL)
    survive -= 1
    put(source, target)
os.replace = replace
with replacing(path) as beside:
    beside.mkdir()
    (beside / "new").write_text("new")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("renames", "held"), [(0, "old"), (1, "old"), (2, "new")])
@pytest.mark.parametrize("by", [recover, lambda path: remove_leftovers(path.parent)])
def test_a_folder_survives_a_kill_at_any_rename(tmp_path, renames, held, by):
    path = tmp_path / "p.zarr"
    folder_with(path, "old")
    command = [sys.executable, "-c", KILLED, str(path), str(renames)]
    assert subprocess.run(command, check=False).returncode == -9
    assert path.exists() == (renames != 1)
    by(path)
    assert content(path) == [held]
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_population_that_was_moved_aside_opens_again(tmp_path):
    images = np.random.default_rng(0).integers(1, 9, (3, 8, 8))
    path = tmp_path / "p.zarr"
    Population(images).save(path)
    path.rename(tmp_path / ".p.zarr.0a1b2c3d.old")
    np.testing.assert_array_equal(Population.open(path).sections(), images)
    assert list(tmp_path.iterdir()) == [path]


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    path, put = tmp_path / "p.zarr", os.replace
    folder_with(path, "old")

    def replace(source, target):
        if "partial" in Path(source).name:
            raise OSError("no")
        put(source, target)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no"), replacing(path) as new:
        patch.setattr(os, "replace", replace)
        folder_with(new, "new")
    assert content(path) == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_folders_of_others_are_left_alone(tmp_path):
    for name in (".backup.old", ".p.zarr.old", "p.0a1b2c3d.old"):
        (tmp_path / name).mkdir()
    recover(tmp_path / "p.zarr")
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.skipif(os.name != "posix", reason="folders have no handle")
def test_everything_is_on_disk_before_it_is_renamed_and_the_rename_before_the_old_goes(
    tmp_path, monkeypatch
):
    """For a power cut: the order of what is put on disk, renamed and removed."""
    path = tmp_path / "made" / "too" / "p.zarr"
    done: list[tuple[str, str]] = []
    put, sync = os.replace, os.fsync

    def replace(source, target):
        done.append(("rename", str(target)))
        put(source, target)

    def fsync(handle):
        done.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        sync(handle)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "fsync", fsync)
    for first in (True, False):
        done.clear()
        with replacing(path) as beside:
            (beside / "a" / "b").mkdir(parents=True)
            (beside / "a" / "b" / "file").write_text("x")
            (beside / "top").write_text("x")
            written = {str(beside), *(str(file) for file in beside.rglob("*"))}
            if first:
                made = {what for _, what in done}
                assert {str(tmp_path), str(tmp_path / "made")} <= made, "the folders above it"
        renamed = [i for i, (kind, _) in enumerate(done) if kind == "rename"]
        assert {what for kind, what in done[: renamed[0]] if kind == "sync"} >= written
        assert ("sync", str(path.parent)) in done[renamed[-1] :]
        folders = [what for kind, what in done[: renamed[0]] if what in written]
        assert folders.index(f"{beside}/a/b/file") < folders.index(f"{beside}/a/b")
        assert folders.index(f"{beside}/a") < folders.index(str(beside))


def test_a_folder_is_filled_at_the_end_and_what_else_it_holds_stays(tmp_path):
    folder = tmp_path / "results"
    for text in ("first", "second"):
        with filling(folder) as beside:
            (beside / "more").mkdir()
            (beside / "more" / "table.csv").write_text(text)
            assert not (folder / "notes").exists() or text == "second"
        (folder / "notes").touch()
    assert (folder / "more" / "table.csv").read_text() == "second"
    assert {path.name for path in folder.iterdir()} == {"more", "notes"}
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_was_not_filled_is_as_it_was(tmp_path):
    for before in (False, True):
        folder = tmp_path / "results"
        with pytest.raises(OSError, match="disk full"), filling(folder) as beside:
            (beside / "table.csv").touch()
            raise OSError("disk full")
        assert folder.exists() == before
        folder.mkdir(exist_ok=True)
    assert list(folder.iterdir()) == []


KILLED_FILLING = """
import os, signal, sys
from pathlib import Path
from napari_brainvae.io.atomic_files import filling
folder, survive, put = Path(sys.argv[1]), int(sys.argv[2]), os.replace
def replace(source, target):
    global survive
    if not survive:
        os.kill(os.getpid(), signal.SIGKILL)
    survive -= 1
    put(source, target)
os.replace = replace
with filling(folder) as beside:
    (beside / "record.json").write_text("new")
    (beside / "cards").mkdir()
    (beside / "cards" / "F1").write_text("new")
    (beside / "table").write_text("new")
os.kill(os.getpid(), signal.SIGKILL)
"""


def texts(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*")
            if p.is_file()}  # fmt: skip


@pytest.mark.parametrize("renames", range(5))
def test_a_folder_of_results_survives_a_kill_at_any_rename(tmp_path, renames):
    """All old, or all new; and while it is some of both, without the record that speaks for it."""
    folder = tmp_path / "results"
    folder.mkdir()
    for name in ("record.json", "table", "notes"):
        (folder / name).write_text("old")
    old, new = texts(folder), {"record.json": "new", "table": "new", "cards/F1": "new"}
    command = [sys.executable, "-c", KILLED_FILLING, str(folder), str(renames)]
    assert subprocess.run(command, check=False).returncode == -9
    found = texts(folder)
    if renames == 0:
        assert found == old
    else:
        assert ("record.json" in found) == (renames == 4)
    recover(folder)
    assert texts(folder) == (old if renames == 0 else old | new)
    with filling(folder) as beside:
        (beside / "record.json").write_text("newer")
    assert texts(folder) == (old if renames == 0 else old | new) | {"record.json": "newer"}
    assert not list(tmp_path.glob(".*.moving"))


def test_a_kill_before_the_end_makes_no_folder_at_all(tmp_path):
    folder = tmp_path / "results"
    command = [sys.executable, "-c", KILLED_FILLING, str(folder), "0"]
    assert subprocess.run(command, check=False).returncode == -9
    assert not folder.exists()


def test_what_is_in_the_way_of_results_is_named_before_any_moves(tmp_path):
    folder = tmp_path / "results"
    (folder / "table").mkdir(parents=True)
    (folder / "record.json").write_text("old")
    with pytest.raises(FileExistsError, match="table is in the way"), filling(folder) as beside:
        (beside / "record.json").write_text("new")
        (beside / "table").write_text("new")
    assert texts(folder) == {"record.json": "old"}
    assert list(tmp_path.iterdir()) == [folder]


def test_the_folder_one_stands_in_is_filled_and_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with filling(".") as beside:
        (beside / "table").write_text("new")
    assert Path("table").read_text() == "new"


def test_no_overwrite_crosses_from_file_to_folder(tmp_path):
    folder, file = tmp_path / "d.safetensors", tmp_path / "p.zarr"
    folder_with(folder, "her work")
    file.write_text("her work")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write_text(folder, "new")
    with pytest.raises(NotADirectoryError, match="is a file"), replacing(file) as beside:
        folder_with(beside, "new")
    assert content(folder) == ["her work"]
    assert file.read_text() == "her work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.safetensors", "p.zarr"]


def test_a_folder_that_holds_no_population_is_not_replaced_by_one(tmp_path):
    path = tmp_path / "p.zarr"
    folder_with(path, "her work")
    images = np.random.default_rng(0).integers(1, 9, (3, 8, 8))
    with pytest.raises(FileExistsError, match="holds no population"):
        Population(images).save(path, overwrite=True)
    assert content(path) == ["her work"]


# nobody else renames


def renames(source: str) -> list[int]:
    """Lines of a program that give a file another name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil"):
            named = {alias.name for alias in node.names}
            found += [node.lineno] * bool(named & {"replace", "rename", "renames", "move", "link"})
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        called = ast.unparse(node.func)
        # A path's takes one argument in its place; that of a text takes two, of a table keywords.
        one = len(node.args) == 1 and not node.keywords
        if called in ("os.replace", "os.rename", "os.renames", "os.link", "shutil.move") or (
            one and node.func.attr in ("rename", "replace", "hardlink_to", "move", "move_into")
        ):
            found.append(node.lineno)
    return found


def test_every_rename_stands_in_one_file():
    """Where what is renamed is on disk before, and its folder after it."""
    checked = []
    for folder in (REPOSITORY / "src", REPOSITORY / "training"):
        for file in folder.rglob("*.py"):
            lines = renames(file.read_text(encoding="utf-8"))
            assert not lines or file.name == "atomic_files.py", f"{file}, line {lines}"
            checked += lines
    assert len(checked) > 5, "those of atomic_files.py are seen"


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("os.replace(a, b)", True),
        ("shutil.move(a, b)", True),
        ("path.rename(b)", True),
        ("(folder / 'a').replace(path)", True),
        ("from os import replace", True),
        ("text.replace('a', 'b')", False),
        ("table.rename(columns=names)", False),
        ("dataclasses.replace(job, device=3)", False),
    ],
)
def test_a_rename_is_told_from_what_is_only_called_so(line, seen):
    assert bool(renames(line)) == seen
