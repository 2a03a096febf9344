"""Perturbing one brain: what it does to the section, and to the factors of a known encoder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError

from napari_brainvae.data.tissue import tissue_level
from napari_brainvae.factors.perturbation import ImpactOptions, Perturbation
from napari_brainvae.factors.receptive_field import (
    Probe,
    check_content,
    perturb,
    region_weights,
)
from tests.linear_model import LinearModel, reference

SHAPE = (64, 80)
MASK = np.zeros(SHAPE, bool)
MASK[10:20, 30:50] = True


@pytest.fixture
def section(rng):
    """Bright tissue with a dark hole on a black ground."""
    image = np.zeros(SHAPE, np.float32)
    image[5:60, 10:70] = rng.uniform(0.3, 0.4, (55, 60))
    image[30:35, 38:42] = 0
    return image


def test_content_scales_the_region_and_nothing_else(section):
    for weight in (-1, -0.5, 0, 0.5, 1):
        changed = perturb(section, MASK, weight)
        assert_allclose(changed[MASK], (1 + weight) * section[MASK], rtol=1e-6)
        assert_array_equal(changed[~MASK], section[~MASK])


def test_fill_puts_the_tissue_level_there_whatever_was_there(section):
    level = tissue_level(section)
    assert level == pytest.approx(0.35, abs=0.01)
    for weight, expected in [(1, level), (0.5, level / 2), (0, 0), (-1, 0)]:
        changed = perturb(section, MASK, weight, "fill")
        assert_allclose(changed[MASK], expected, rtol=1e-6)
        assert_array_equal(changed[~MASK], section[~MASK])


@pytest.mark.parametrize("mode", ["content", "fill"])
def test_many_sections_are_changed_one_by_one(section, mode):
    stack = np.stack([section, 0.5 * section, section**2])
    together = perturb(stack, MASK, 0.7, mode)
    assert together.dtype == np.float32
    assert_array_equal(together, [perturb(each, MASK, 0.7, mode) for each in stack])


@given(
    weight=st.floats(-10, 10),
    mode=st.sampled_from(["content", "fill"]),
    edge=st.floats(0, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_result_stays_a_section(weight, mode, edge, seed):
    image = np.random.default_rng(seed).random(SHAPE, dtype=np.float32)
    changed = perturb(image, region_weights(MASK, SHAPE, edge), weight, mode)
    assert changed.shape == SHAPE
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_a_soft_edge_keeps_the_area_and_blurs_the_border():
    soft = region_weights(MASK, SHAPE, 2.0)
    assert soft.sum() == pytest.approx(MASK.sum(), rel=1e-3)
    assert soft[15, 40] == pytest.approx(1, abs=0.02)
    assert soft[9, 40] + soft[10, 40] == pytest.approx(1, abs=1e-3)
    assert soft[9, 40] < 0.5 < soft[10, 40]


@pytest.mark.parametrize("weight", [-1, 0.3, 1])
def test_shift_of_a_linear_encoder(section, weight, rng):
    encoder = rng.standard_normal((3, *SHAPE)) / 100
    model = LinearModel(encoder, reference=reference([0, 0, 0], [2.0, 0.5, 1e-6]))
    region = region_weights(MASK, SHAPE)
    result = Probe(model, section).shift(region, weight)
    expected = weight * (encoder * MASK * section).sum((1, 2)) / [2.0, 0.5, 0.1]
    assert_allclose(result.shift, expected, rtol=1e-4, atol=1e-6)
    assert_array_equal(result.section, perturb(section, MASK, weight))
    without = Probe(LinearModel(encoder), section).shift(region, weight).shift
    assert_allclose(without, result.shift * [2.0, 0.5, 0.1], rtol=1e-5)


def test_a_step_of_the_weight_costs_one_encode(section, rng, monkeypatch):
    class Counting(LinearModel):
        encodes = 0

        def _encode(self, images):
            self.encodes += len(images)
            return super()._encode(images)

    model = Counting(rng.standard_normal((2, *SHAPE)))
    probe, region = Probe(model, section), region_weights(MASK, SHAPE)
    levels = []
    monkeypatch.setattr(
        "napari_brainvae.factors.receptive_field.tissue_level", lambda s: levels.append(s) or 0.3
    )
    for weight in (1, 0.5, -1):
        probe.check("x", region)
        probe.shift(region, weight, "fill")
    assert model.encodes == 1 + 3
    assert len(levels) == 1


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros(SHAPE), "is empty"),
        (np.ones((3, 3)), r"shape \(3, 3\)"),
        (2 * MASK.astype(float), "values from 0 to 1"),
        (-MASK.astype(float), "values from 0 to 1"),
        (np.where(MASK, np.nan, 0), "values from 0 to 1"),
    ],
)
def test_masks_that_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        region_weights(mask, SHAPE)


def test_regions_with_nothing_to_perturb(section):
    corner, hole = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    corner[:3, :3] = True
    hole[31:34, 39:41] = True
    probe = Probe(LinearModel(np.ones((1, *SHAPE))), section)
    for mask, message in [(corner, "'x' lies outside the tissue"), (hole, "'x' has no content")]:
        with pytest.raises(ValueError, match=message):
            check_content(section[None], {"x": region_weights(mask, SHAPE)})
        with pytest.raises(ValueError, match=message):
            probe.check("x", region_weights(mask, SHAPE))
    check_content(section[None], {"x": region_weights(MASK, SHAPE)})
    probe.check("x", region_weights(MASK, SHAPE))


@pytest.mark.parametrize(
    "options",
    [
        {"low": 1, "high": 1},
        {"low": 1, "high": -1},
        {"low": np.nan},
        {"mode": "remove"},
        {"soft_edge": -1},
        {"confidence": 1},
        {"direction": "sideways"},
        {"unknown": 1},
    ],
)
def test_options_that_are_refused(options):
    with pytest.raises(ValidationError):
        ImpactOptions(**options)


def test_every_option_explains_itself():
    for schema in (Perturbation, ImpactOptions):
        for name, field in schema.model_fields.items():
            assert field.description, name
