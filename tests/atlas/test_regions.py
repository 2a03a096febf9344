"""Regions: polygons to masks and back, the file, other sections, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import ndimage

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.atlas.regions import (
    DEFAULT_REGIONS,
    Region,
    edges,
    mask_to_polygons,
    polygons_to_mask,
)

SHAPE = (64, 80)
SQUARE = [(9.5, 19.5), (9.5, 39.5), (29.5, 39.5), (29.5, 19.5)]
SQUARE_MASK = np.zeros(SHAPE, bool)
SQUARE_MASK[10:30, 20:40] = True


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_pixels_whose_centre_is_inside():
    assert_array_equal(polygons_to_mask([SQUARE], SHAPE), SQUARE_MASK)


def test_shapes_are_united_and_cut_at_the_border():
    outside = [(-20, -20), (-20, 4.5), (4.5, 4.5), (4.5, -20)]
    mask = polygons_to_mask([SQUARE, outside], SHAPE)
    assert mask.sum() == 400 + 25
    assert mask[:5, :5].all()


def test_a_region_survives_the_file(tmp_path):
    region = Region.from_polygons("my region", [SQUARE, np.array(SQUARE) + 3.25], SHAPE, 25.0)
    path = tmp_path / "region.json"
    region.save(path)
    assert Region.load(path) == region
    assert_array_equal(Region.load(path).to_mask(), region.to_mask())
    assert [each.name for each in tmp_path.iterdir()] == ["region.json"]


def test_a_region_fits_sections_of_other_pixels_and_crops():
    region = Region.from_polygons("x", [SQUARE], SHAPE, 50.0)
    assert_array_equal(region.to_mask((128, 160), 25.0), SQUARE_MASK.repeat(2, 0).repeat(2, 1))
    assert_array_equal(region.to_mask((60, 72), 50.0), SQUARE_MASK[2:-2, 4:-4])
    assert_array_equal(region.to_mask((60, 72)), SQUARE_MASK[2:-2, 4:-4])
    unknown = Region.from_polygons("x", [SQUARE], SHAPE)
    assert_array_equal(unknown.to_mask(SHAPE), SQUARE_MASK)
    with pytest.raises(ValueError, match="pixel size of one of them is not known"):
        unknown.to_mask((60, 72))


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 4))
@settings(max_examples=30, deadline=None)
def test_any_mask_comes_back_from_its_outlines(seed, smoothness):
    """Parts, holes, holes at the border, single pixels: exact without simplification."""
    noise = np.random.default_rng(seed).standard_normal(SHAPE)
    mask = ndimage.gaussian_filter(noise, smoothness) > 0
    assert_array_equal(polygons_to_mask(mask_to_polygons(mask, 0), SHAPE), mask)


def test_structures_come_back_from_editable_outlines(shared_data):
    atlas = Atlas.open(shared_data / "ccf")
    section = AtlasSection.lay(atlas, 286, (320, 448), 25.0)
    for name, mask in section.regions([*DEFAULT_REGIONS, "VS", "Isocortex"]).items():
        outlines = mask_to_polygons(mask)
        assert overlap(mask, polygons_to_mask(outlines, mask.shape)) > 0.98, name
        assert sum(len(outline) for outline in outlines) < 400, name
        region = Region.from_polygons(name, outlines, mask.shape, 25.0)
        assert overlap(mask, region.to_mask()) > 0.98


def test_an_empty_mask_has_no_outline():
    with pytest.raises(ValueError, match="empty"):
        mask_to_polygons(np.zeros(SHAPE))


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        ([], "polygons: .* at least 1 item"),
        ([SQUARE[:2]], "at least 3 vertices"),
        ([[(0, 0), (1, np.nan), (2, 2)]], "not finite"),
    ],
)
def test_outlines_that_are_refused(polygons, message):
    with pytest.raises(ValueError, match=message):
        Region.from_polygons("x", polygons, SHAPE)


def test_a_region_beside_the_section_says_so():
    away = np.array(SQUARE) + 500
    with pytest.raises(ValueError, match="'x' is empty: no pixel"):
        Region.from_polygons("x", [away], SHAPE).to_mask()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no region file"),
        ("{}", "no region file"),
        ("[1, 2]", "no region file"),
        (json.dumps({"format": "something else"}), "no region file: format"),
        ("\x00\xff", "no region file"),
    ],
)
def test_files_that_are_no_regions(tmp_path, content, message):
    path = tmp_path / "region.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        Region.load(path)
    with pytest.raises(FileNotFoundError, match="no such region file"):
        Region.load(tmp_path / "missing.json")


def test_the_edges_of_a_square_are_its_four_sides():
    sides = {tuple(map(tuple, line)) for line in edges(SQUARE_MASK)}
    a, b, c, d = (9.5, 19.5), (9.5, 39.5), (29.5, 39.5), (29.5, 19.5)
    assert sides == {(a, b), (d, c), (a, d), (b, c)}
    assert len(edges(np.zeros(SHAPE, bool))) == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_edges_run_between_pixels_that_differ_and_nowhere_else(seed):
    labels = np.random.default_rng(seed).integers(0, 3, (6, 9))
    padded, drawn = np.pad(labels, 1), []
    for (row, column), (row2, column2) in edges(labels):
        assert (row == row2) != (column == column2), "straight"
        across = row == row2
        for i in range(round(column2 - column if across else row2 - row)):
            if across:
                drawn.append(((row - 0.5, column + 0.5 + i), (row + 0.5, column + 0.5 + i)))
            else:
                drawn.append(((row + 0.5 + i, column - 0.5), (row + 0.5 + i, column + 0.5)))
    rows, columns = np.indices(padded.shape) - 1
    expected = {
        ((float(r[0]), float(c[0])), (float(r[1]), float(c[1])))
        for r, c, differ in [
            *zip(
                np.stack([rows[:-1], rows[1:]], -1).reshape(-1, 2),
                np.stack([columns[:-1], columns[1:]], -1).reshape(-1, 2),
                (padded[:-1] != padded[1:]).ravel(),
                strict=True,
            ),
            *zip(
                np.stack([rows[:, :-1], rows[:, 1:]], -1).reshape(-1, 2),
                np.stack([columns[:, :-1], columns[:, 1:]], -1).reshape(-1, 2),
                (padded[:, :-1] != padded[:, 1:]).ravel(),
                strict=True,
            ),
        ]
        if differ
    }
    assert len(drawn) == len(expected) and set(drawn) == expected
