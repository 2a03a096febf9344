"""The three signs of a corrupted section, on real sections and with planted truths."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from napari_brainvae.data.artifacts import add_grid, add_leakage
from napari_brainvae.data.section_quality import (
    LIMITS,
    dark_bands,
    grid_strength,
    measure_quality,
    saturated,
)
from napari_brainvae.phantom.phantom import draw_section

REAL = [
    "sections/registered_section_plane_293.tif",
    "sections/raw_section.tif",
    "ccf/template_planes/plane_293.tif",
    "ccf/template_planes/plane_210.tif",
]


@pytest.fixture(scope="module")
def section() -> np.ndarray:
    """A drawn coronal section with ventricles and tracts, (320, 448), with some noise."""
    template = draw_section(320, 448).template
    noise = np.random.default_rng(0).normal(0, 0.02 * template.max(), template.shape)
    return np.maximum(template + noise, 0).astype(np.float32)


def band(section: np.ndarray, degrees: float, centre: float, width: float) -> np.ndarray:
    """Darken a band to a tenth; at 0 degrees it runs from left to right."""
    y, x = np.mgrid[: section.shape[0], : section.shape[1]]
    angle = np.deg2rad(degrees)
    across = (y - 160) * np.cos(angle) + (x - 224) * np.sin(angle) - centre
    return np.where(np.abs(across) < width / 2, 0.1 * section, section).astype(np.float32)


@pytest.mark.parametrize("name", REAL)
def test_real_intact_sections_are_not_flagged(shared_data, name):
    image = np.maximum(tifffile.imread(shared_data / name), 0)
    table = measure_quality(image[None])
    assert not table["flagged"].any(), table


@pytest.mark.parametrize("name", REAL)
def test_real_sections_corrupted_on_purpose_are_flagged(shared_data, name):
    image = np.maximum(tifffile.imread(shared_data / name), 0).astype(np.float32)
    tissue = ndimage.binary_fill_holes(image > 0.3 * np.median(image[image > image.mean()]))
    rng = np.random.default_rng(3)
    grids = [add_grid(image, tissue, rng)[0] for _ in range(5)]
    assert (measure_quality(grids)["quality_grid"] > LIMITS["quality_grid"]).all()
    bands = [band(image, rng.uniform(0, 180), rng.uniform(-50, 50), 14) for _ in range(5)]
    assert (measure_quality(bands)["quality_dark_bands"] > LIMITS["quality_dark_bands"]).all()


def test_an_intact_section(section):
    row = measure_quality(section[None]).iloc[0]
    assert row["quality_dark_bands"] == 0
    assert not row["flagged"]


@pytest.mark.parametrize("degrees", range(0, 180, 20))
@pytest.mark.parametrize("centre", [-40, 0, 40])
def test_a_dark_band_is_found_in_any_direction(section, degrees, centre):
    assert dark_bands(band(section, degrees, centre, 12)) > LIMITS["quality_dark_bands"]


def test_the_measure_of_a_band_is_its_share_of_the_lines(section):
    rows = np.flatnonzero(section.max(axis=1) > 0.3 * section.max())
    height = rows[-1] - rows[0]
    for width in (20, 40, 80):
        assert dark_bands(band(section, 0, 0, width)) == pytest.approx(width / height, abs=0.03)


def test_a_hole_is_no_band(section):
    y, x = np.mgrid[:320, :448]
    hole = np.where(np.hypot(y - 160, x - 224) < 30, 0, section).astype(np.float32)
    assert dark_bands(hole) == 0


def test_saturated_is_the_share_that_will_be_clipped():
    image = np.ones((100, 100), np.float32)
    image[:10, :10] = 1000
    assert saturated(image) == 0.01
    image[:10, :10] = 4.0  # 4 / 1.03 = 3.88 times the mean
    assert saturated(image) == 0.01
    image[:10, :10] = 3.8
    assert saturated(image) == 0


@pytest.mark.parametrize(("radius", "flagged"), [(6, False), (20, True)])
def test_leakage_measures_its_area(section, radius, flagged):
    y, x = np.mgrid[:320, :448]
    site = np.hypot(y - 120, x - 300) < radius
    leaked = np.where(site, 8 * section.mean(), section).astype(np.float32)
    row = measure_quality(leaked[None]).iloc[0]
    assert row["quality_saturated"] == pytest.approx(site.mean(), abs=1e-4)
    assert row["flagged"] == flagged


def test_leakage_and_grid_do_not_raise_the_other_measures(section):
    tissue = ndimage.binary_fill_holes(section > 0.2 * section.max())
    rng = np.random.default_rng(1)
    leaked = measure_quality([add_leakage(section, tissue, rng)[0] for _ in range(10)])
    assert (leaked["quality_grid"] < LIMITS["quality_grid"]).all()
    assert (leaked["quality_dark_bands"] == 0).all()
    gridded = measure_quality([add_grid(section, tissue, rng)[0] for _ in range(10)])
    assert (gridded["quality_grid"] > LIMITS["quality_grid"]).all()
    assert (gridded["quality_dark_bands"] == 0).all()


@pytest.mark.parametrize("period", [12, 27, 33.5, 48])
def test_a_stronger_grid_measures_more(section, period):
    y, x = np.mgrid[:320, :448]
    seams = (y % period < 1.5) | (x % period < 1.5)
    strengths = [grid_strength(section * (1 - a * seams)) for a in (0, 0.1, 0.2, 0.4)]
    assert strengths == sorted(strengths)
    assert strengths[2] > LIMITS["quality_grid"]


def test_units_do_not_matter_and_sections_do_not_touch_each_other(section):
    corrupted = band(section, 30, 0, 20)
    together = measure_quality(np.stack([section, corrupted, 500 * section]))
    alone = pd.concat([measure_quality(s[None]) for s in (section, corrupted)], ignore_index=True)
    pd.testing.assert_frame_equal(together.iloc[:2], alone)
    np.testing.assert_allclose(
        together.iloc[2, :3].astype(float), together.iloc[0, :3].astype(float), rtol=1e-4, atol=1e-6
    )
    assert list(together["flagged"]) == [False, True, False]


def test_integers_are_taken(section):
    table = measure_quality((section / section.max() * 60000).astype(np.uint16)[None])
    assert list(table) == [*LIMITS, "flagged"]
    assert len(table) == 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.ones((4, 4)), "shape"),
        (np.zeros((1, 40, 40)), "constant"),
        (np.full((1, 40, 40), np.nan), "NaN"),
        (-np.random.default_rng(0).random((1, 40, 40)), "negative"),
    ],
)
def test_bad_input(images, message):
    with pytest.raises(ValueError, match=message):
        measure_quality(images)


def test_tiny_or_nearly_empty_sections_do_not_break_it():
    rng = np.random.default_rng(0)
    one_pixel = np.zeros((40, 40))
    one_pixel[20, 20] = 1
    for image in (rng.random((8, 8)), rng.random((64, 64)), one_pixel):
        table = measure_quality(image[None])
        assert np.isfinite(table.iloc[0, :3].astype(float)).all()
