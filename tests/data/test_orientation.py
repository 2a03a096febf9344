"""Left stays left: every orientation is turned as its letters say."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import zarr

from napari_brainvae.data.orientation import (
    check_orientation,
    of_axis_ends,
    of_words,
    read_planes,
    reorient,
    spacing_inside,
    turned_section,
)
from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError

EVERY = ["".join(ends) for axes in permutations(("ap", "si", "lr")) for ends in product(*axes)]


@pytest.fixture
def volume(rng):
    return rng.normal(size=(4, 5, 6))


@pytest.mark.parametrize("orientation", EVERY)
def test_there_and_back(volume, orientation):
    there = reorient(volume, "asl", orientation)
    np.testing.assert_array_equal(reorient(there, orientation), volume)
    assert np.shares_memory(there, volume)


@pytest.mark.parametrize("orientation", EVERY)
def test_planes_count_from_the_front_however_the_volume_lies(volume, orientation):
    there = reorient(volume, "asl", orientation)
    np.testing.assert_array_equal(read_planes(there, orientation, 1, 2), volume[1:3])


@pytest.mark.parametrize("orientation", EVERY)
def test_the_spacing_goes_with_its_axis(orientation):
    grid = reorient(np.empty((4, 5, 6)), "asl", orientation)
    assert spacing_inside(grid.shape, orientation) == (4, 5, 6)


def test_asr_is_the_mirror_of_asl(volume):
    np.testing.assert_array_equal(reorient(volume, "asr"), volume[..., ::-1])
    np.testing.assert_array_equal(turned_section(volume[0], "asr"), volume[0, :, ::-1])
    np.testing.assert_array_equal(turned_section(volume[0], "ail"), volume[0, ::-1])


def test_nibabel_says_where_axes_end_and_files_use_words():
    assert of_axis_ends(("L", "P", "S")) == "rai"
    assert of_words(["rostral-to-caudal", "dorsal-to-ventral", "left-to-right"]) == "asl"
    assert of_words(["up", "dorsal-to-ventral", "left-to-right"]) is None
    assert of_words([]) is None


@pytest.mark.parametrize("text", ["", "as", "asx", "aas", "asrl", "apl", "ASLR", "lll"])
def test_what_is_no_orientation_is_refused(text):
    with pytest.raises(InputError, match="three letters such as asr"):
        check_orientation(text)


def test_a_population_opens_from_left_to_right_whatever_its_file_says(tmp_path, rng):
    images = rng.integers(1, 200, (3, 64, 80))
    path = tmp_path / "p.zarr"
    Population(images).save(path)
    assert Population.open(path).description.orientation == "asl"
    np.testing.assert_array_equal(Population.open(path).images[:], images)
    group = zarr.open_group(path)
    group.attrs["orientation"] = "asr"
    turned = Population.open(path)
    np.testing.assert_array_equal(turned.sections([0, 2]), images[[0, 2], :, ::-1])
    assert turned.description.original_orientation == "asr"
    assert turned.description.orientation == "asl"
    # A copy lies as the program holds it, and is not turned again.
    turned.save(tmp_path / "copy.zarr")
    np.testing.assert_array_equal(
        Population.open(tmp_path / "copy.zarr").images[:], images[..., ::-1]
    )


def test_a_file_of_before_has_no_orientation_and_lies_from_left_to_right(tmp_path, rng):
    images = rng.integers(1, 200, (3, 64, 80))
    Population(images).save(tmp_path / "p.zarr")
    del zarr.open_group(tmp_path / "p.zarr").attrs["orientation"]
    np.testing.assert_array_equal(Population.open(tmp_path / "p.zarr").images[:], images)


@pytest.mark.parametrize(
    ("orientation", "message"), [("xyz", "three letters"), ("lsa", "sections are coronal")]
)
def test_an_impossible_orientation_of_a_file_is_one_line(tmp_path, rng, orientation, message):
    Population(rng.integers(1, 200, (3, 64, 80))).save(tmp_path / "p.zarr")
    zarr.open_group(tmp_path / "p.zarr").attrs["orientation"] = orientation
    with pytest.raises(InputError, match=rf"p\.zarr: .*{message}"):
        Population.open(tmp_path / "p.zarr")
