"""Which brains lie in files and folders, and what they are called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_brainvae.data.gather_inputs import find_sources
from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from tests.registered_brains import write_brainreg, write_registration

BRAIN = np.zeros((3, 8, 8), np.uint16)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def ids(*inputs: Path, **options: object) -> list[str]:
    return [source.id for source in find_sources(list(inputs), **options)]


def test_brains_come_in_the_order_of_their_numbers(tmp_path):
    touch(*(tmp_path / f"m{i}.nii.gz" for i in (10, 2, 1)))
    assert ids(tmp_path) == ["m1", "m2", "m10"]


def test_what_is_no_brain_is_left_alone(tmp_path):
    touch(tmp_path / "a.nrrd", tmp_path / "notes.docx", tmp_path / ".hidden.nii")
    touch(tmp_path / "out.zarr.work" / "sections" / "a.npy")
    (tmp_path / "back").symlink_to(tmp_path)
    assert ids(tmp_path) == ["a"]


def test_of_brainregs_folder_only_what_is_in_the_space_of_the_atlas(tmp_path):
    write_brainreg(tmp_path / "deep" / "m1", BRAIN)
    write_registration(tmp_path / "m2", BRAIN)
    first, second = find_sources([tmp_path])
    assert (first.id, first.path.name) == ("m1", "downsampled_standard.tiff")
    assert (second.id, second.path.name) == ("m2", "downsampled_standard_cfos.tiff")
    assert first.registered and first.atlas == second.atlas == "phantom_100um"


def test_brainregs_file_alone_is_as_good_as_its_folder(tmp_path):
    folder = write_brainreg(tmp_path / "m1", BRAIN)
    [source] = find_sources([folder / "downsampled_standard.tiff"])
    assert (source.id, source.atlas, source.registered) == ("m1", "phantom_100um", True)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"atlas": 3}', "null"])
def test_a_damaged_brainreg_json_names_no_atlas(tmp_path, content):
    folder = write_brainreg(tmp_path / "m1", BRAIN)
    (folder / "brainreg.json").write_text(content)
    [source] = find_sources([tmp_path])
    assert (source.atlas, source.problem) == ("", "")


def test_a_registration_that_did_not_end_is_a_brain_with_a_problem(tmp_path):
    touch(tmp_path / "m1" / "registered_atlas.tiff")
    (tmp_path / "m1" / "brainreg.json").write_text(json.dumps({"atlas": "x_25um"}))
    [source] = find_sources([tmp_path])
    assert "did not come to its end" in source.problem


def test_which_of_several_channels_is_asked(tmp_path):
    folder = write_registration(tmp_path / "m1", BRAIN, "cfos")
    touch(folder / "downsampled_standard_dapi.tiff")
    [source] = find_sources([tmp_path])
    assert "cfos, dapi with --channel" in source.problem
    [source] = find_sources([tmp_path], channel="dapi")
    assert source.path.name == "downsampled_standard_dapi.tiff"


def test_the_same_file_given_twice_is_one_brain(tmp_path):
    touch(tmp_path / "a.nii", tmp_path / "b.nii")
    assert ids(tmp_path / "a.nii", tmp_path, tmp_path / "b.nii") == ["a", "b"]


def test_brains_of_one_name_are_called_by_what_tells_them_apart(tmp_path):
    touch(*(tmp_path / f"m{i}" / "reg" / "warped.nii" for i in (1, 2, 3)))
    assert ids(tmp_path) == ["m1", "m2", "m3"]
    touch(tmp_path / "m1" / "other" / "warped.nii")
    assert ids(tmp_path) == ["m1_other", "m1_reg", "m2_reg", "m3_reg"]


def test_sections_of_two_populations_keep_their_names_behind_those_of_the_files(tmp_path, rng):
    for name in ("old", "new"):
        images = rng.integers(1, 9, (2, 64, 64))
        Population(images, ["a", f"b_{name}"]).save(tmp_path / f"{name}.zarr")
    found = ids(tmp_path)
    assert found == ["new_a", "b_new", "old_a", "b_old"]


def test_nothing_and_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no brain in"):
        find_sources([tmp_path])
    with pytest.raises(FileNotFoundError, match="there is no"):
        find_sources([tmp_path / "nowhere"])
