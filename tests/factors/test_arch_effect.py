"""Arches: a parabola or a cubic of a stronger code is no factor of its own."""

from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.factors.arch_effect import arch_of


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("brains", [40, 100, 500])
def test_codes_that_are_independent_have_no_arches(seed, brains):
    codes = np.random.default_rng(seed).standard_normal((brains, 12))
    assert (arch_of(codes) == -1).all()


@pytest.mark.parametrize("power", [2, 3])
def test_a_power_of_a_stronger_code_is_its_arch(power):
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, 200))
    bent = one**power - (3 * one if power == 3 else 0)
    codes = np.stack([one, two, bent + 0.5 * bent.std() * rng.standard_normal(200)], axis=1)
    assert arch_of(codes).tolist() == [-1, -1, 0]


def test_what_goes_with_another_in_a_line_is_no_arch():
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, 200))
    assert arch_of(np.stack([one, one + 0.3 * two], axis=1)).tolist() == [-1, -1]


def test_the_stronger_one_is_the_factor():
    """Of an arch the line it belongs to cannot be told: a parabola has no inverse."""
    one = np.random.default_rng(0).standard_normal(200)
    assert arch_of(np.stack([one**2, one], axis=1)).tolist() == [-1, -1]


def test_an_arch_has_no_arches_of_its_own():
    one = np.random.default_rng(0).standard_normal(400)
    codes = np.stack([one, one**2, one**4], axis=1)
    assert arch_of(codes).tolist() == [-1, 0, 0]


def test_units_do_not_matter_and_collapsed_codes_say_nothing():
    rng = np.random.default_rng(0)
    one = rng.standard_normal(200)
    codes = np.stack([one, one**2, np.zeros(200)], axis=1)
    assert arch_of(codes).tolist() == arch_of(100 - 7 * codes).tolist() == [-1, 0, -1]


def test_of_very_few_brains_nothing_is_said():
    one = np.arange(7.0)
    assert arch_of(np.stack([one, (one - 3) ** 2], axis=1)).tolist() == [-1, -1]
