"""Sections on another grid: nothing moves, nothing is skipped, the same pixels stay the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_brainvae.data.population import Description, Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.data.resampling import (
    SAME,
    Grid,
    fit_sections,
    fit_to_model,
    misfit,
    overlap,
    resample,
)
from napari_brainvae.io.errors import InputError

SIZES = st.integers(5, 40)


@given(SIZES, SIZES, st.floats(0.2, 5))
def test_a_constant_stays_constant_within_the_section(size, available, ratio):
    positions = (np.arange(size) + 0.5 - size / 2) * ratio + (available - 1) / 2
    sums = overlap(positions, available, ratio).sum(axis=1)
    inside = (positions > -0.4) & (positions < available - 0.6)
    outside = (positions < -0.7) | (positions > available - 0.3)
    np.testing.assert_allclose(sums[inside], 1, atol=1e-5)
    np.testing.assert_array_equal(sums[outside], 0)


@given(SIZES, SIZES, st.floats(0.2, 5))
def test_left_and_right_are_treated_alike(size, available, ratio):
    positions = (np.arange(size) + 0.5 - size / 2) * ratio + (available - 1) / 2
    weights = overlap(positions, available, ratio)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-5)


@given(st.floats(0.3, 4))
def test_what_is_linear_stays_where_it_is(ratio):
    """A ramp, in um from the middle, has the same value at the same place on every grid."""
    assume(abs(ratio - 1) > SAME)
    ramp = np.tile(np.arange(60.0) - 29.5, (8, 1)) * 25
    size = int(40 / ratio)
    new = resample(ramp, (25, 25), Grid((8, size), 25 * ratio))
    expected = (np.arange(size) + 0.5 - size / 2) * 25 * ratio
    np.testing.assert_allclose(new[3], expected, atol=1e-3)


def test_at_the_same_pixel_size_not_one_value_changes(rng):
    image = rng.normal(size=(20, 31)).astype(np.float32)
    np.testing.assert_array_equal(resample(image, (25, 25), Grid((20, 31), 25)), image)
    cropped = resample(image, (25, 25.0005), Grid((24, 27), 25))
    np.testing.assert_array_equal(cropped[2:22], image[:, 2:29])
    assert not cropped[:2].any() and not cropped[22:].any()


def test_half_the_pixels_lose_no_tissue(rng):
    image = np.zeros((64, 64), np.float32)
    image[16:48, 16:48] = rng.random((32, 32))
    half = resample(image, (25, 25), Grid((32, 32), 50))
    assert half.sum() * 4 == pytest.approx(image.sum(), rel=1e-5)


def test_pixels_need_not_be_square_before():
    image = np.arange(40.0)[:, None] * np.ones(10)
    new = resample(image, (25, 100), Grid((20, 20), 50))
    np.testing.assert_allclose(new[5, :], new[5, 0])
    assert new.shape == (20, 20)


def test_sections_are_made_to_fit_a_model_one_at_a_time(tmp_path, rng):
    images = rng.integers(1, 200, (3, 128, 160)).astype(np.uint16)
    about = Description(pixel_size_um=25, plane=286)
    Population(images, ["a", "b", "c"], description=about).save(tmp_path / "p.zarr")
    fitted = fit_sections(Population.open(tmp_path / "p.zarr"), Grid((64, 72), 50))
    assert (fitted.shape, fitted.ids) == ((64, 72), ["a", "b", "c"])
    assert (fitted.description.pixel_size_um, fitted.description.plane) == (50, 286)
    np.testing.assert_array_equal(
        fitted.sections([2])[0], resample(images[2], (25, 25), Grid((64, 72), 50))
    )
    ready = fitted.prepared(Preprocessing(height=64, width=72), slice(None))
    assert ready.shape == (3, 64, 72) and ready.max() <= 1


def test_negative_sections_are_offered_a_background(rng):
    images = rng.normal(0, 5, (2, 64, 80)).astype(np.float32) - 100
    images[:, 20:40, 20:40] += 300
    mice = Population(images, description=Description(pixel_size_um=25))
    grid = Grid((64, 80), 25)
    with pytest.raises(InputError, match="negative values"):
        fit_sections(mice, grid).sections()
    sections = fit_sections(mice, grid, negatives="subtract").sections()
    assert sections.min() == 0
    assert sections[:, 25:35, 25:35].mean() == pytest.approx(300, abs=2)


def test_without_a_pixel_size_it_is_asked_for(rng):
    mice = Population(rng.random((2, 64, 80)))
    with pytest.raises(InputError, match="how large the pixels are"):
        fit_sections(mice, Grid((64, 80), 25))
    assert fit_sections(mice, Grid((32, 40), 25), pixel_size_um=12.5).shape == (32, 40)


@pytest.mark.parametrize(("shape", "size"), [((0, 5), 1), ((5, 5), 0), ((5, 5), np.inf)])
def test_what_is_no_grid(shape, size):
    with pytest.raises(InputError, match="there are no sections"):
        Grid(shape, size)


def test_too_many_pixels_are_refused():
    with pytest.raises(InputError, match="too large"):
        Grid((100_000, 100_000), 1)


def test_what_keeps_a_model_from_taking_sections_is_found_and_only_that_taken_away(rng):
    fine = Population(rng.random((2, 64, 80)), description=Description(pixel_size_um=25))
    found = misfit(fine, (32, 40), 50)
    assert "64 x 80 px of 25" in found.sizes and not found.negatives
    assert fit_to_model(fine, found, (32, 40), 50).shape == (32, 40)
    assert not any(misfit(fine, (64, 80), 25)) and not any(misfit(fine, (64, 80), None))
    low = Population(rng.random((2, 64, 80)) - 0.5)
    found = misfit(low, (64, 80), 25)
    assert not found.sizes and "such as in 0000" in str(found)
    fitted = fit_to_model(low, found, (64, 80), 25, negatives="clip")
    assert fitted.description.pixel_size_um is None, "nobody knows it"
    assert np.array_equal(fitted.sections(), np.maximum(low.images, 0).astype(np.float32))
