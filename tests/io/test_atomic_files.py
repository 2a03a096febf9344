from __future__ import annotations

import pytest

from napari_brainvae.io.atomic_files import filling, remove_leftovers, replacing, write_text
from napari_brainvae.io.progress import Stopped, report


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "old")
    with pytest.raises(OSError, match="disk full"), replacing(path) as beside:
        beside.write_text("half of the n")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


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
