"""What is usual at each place: in units of the residual, at its place, in any size."""

from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.models.header import Reference
from napari_brainvae.models.residual_spread import ROWS, on_pixels, residual_spread


@pytest.mark.parametrize("shape", [(64, 80), (160, 224), (101, 133), (320, 448)])
def test_it_is_as_large_as_the_residual_is_where_it_is(shape):
    """Residuals of +-0.1 in the left half, +-0.02 in the right, come back as such deviations."""
    halves = np.where(np.arange(shape[1]) < shape[1] // 2, 0.1, 0.02) * np.ones((shape[0], 1))
    signs = np.array([1, -1, 1])[:, None, None]
    decoded = np.full((3, *shape), 0.5, np.float32)
    spread = residual_spread((decoded + signs * halves).astype(np.float32), decoded)
    assert ROWS / 2 <= len(spread) <= 2 * ROWS
    pixels = on_pixels(spread, shape)
    assert pixels.shape == shape
    quarter = shape[1] // 4
    assert np.allclose(pixels[:, :quarter], 0.1483, rtol=0.01)
    assert np.allclose(pixels[:, -quarter:], 0.02965, rtol=0.01)


def test_a_few_artifacts_do_not_raise_it(rng):
    decoded = np.full((9, 64, 80), 0.5, np.float32)
    sections = decoded + rng.normal(0, 0.02, decoded.shape).astype(np.float32)
    without = residual_spread(sections, decoded)
    sections[:2, 20:40] = 1
    assert np.median(residual_spread(sections, decoded) / without) < 1.5


def test_it_travels_in_the_header_with_three_digits(rng):
    spread = rng.random((40, 56)) * 1e-3
    reference = Reference.measure([1.0, 2.0], np.zeros((2, 3)), np.zeros((2, 3)), spread)
    again = Reference.model_validate_json(reference.model_dump_json())
    assert np.allclose(again.residual_spread, spread, rtol=6e-3)
    old = Reference.model_validate_json(reference.model_dump_json(exclude={"residual_spread"}))
    assert old.residual_spread is None
