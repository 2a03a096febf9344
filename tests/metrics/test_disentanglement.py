"""Impact scores, disentanglement, and codes against known factors: closed forms and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from napari_brainvae.metrics.disentanglement import (
    dci,
    disentanglement_score,
    gaussian_kl,
    jeffreys,
    mig,
    reading,
    sap,
)


@pytest.fixture
def rng():
    return np.random.default_rng(20)


# Impact and disentanglement


def test_gaussian_kl_by_quadrature_and_by_torch():
    ma, sa, mb, sb = 0.3, 0.7, -0.5, 1.2
    x = np.linspace(-15, 15, 20001)
    log_p, log_q = (
        -(((x - m) / s) ** 2) / 2 - np.log(s * np.sqrt(2 * np.pi)) for m, s in [(ma, sa), (mb, sb)]
    )
    quadrature = np.trapezoid(np.exp(log_p) * (log_p - log_q), x)
    assert gaussian_kl(ma, sa, mb, sb) == pytest.approx(quadrature, rel=1e-9)
    normal = torch.distributions.Normal
    theirs = torch.distributions.kl_divergence(normal(ma, sa), normal(mb, sb))
    assert gaussian_kl(ma, sa, mb, sb) == pytest.approx(float(theirs), rel=1e-5)


@given(st.tuples(*[st.floats(-5, 5), st.floats(0.1, 5)] * 2))
def test_divergences_are_not_negative_and_jeffreys_is_symmetric(gaussians):
    ma, sa, mb, sb = gaussians
    assert gaussian_kl(ma, sa, mb, sb) >= -1e-12
    assert gaussian_kl(ma, sa, ma, sa) == pytest.approx(0, abs=1e-15)
    forward, back = jeffreys(ma, sa, mb, sb), jeffreys(mb, sb, ma, sa)
    assert forward == pytest.approx(float(back), rel=1e-12)
    same_width = jeffreys(ma, sa, mb, sa)
    assert same_width == pytest.approx((ma - mb) ** 2 / sa**2, rel=1e-9, abs=1e-12)


def test_gaussian_kl_is_elementwise():
    matrix = gaussian_kl(np.zeros((6, 1)), 1, np.arange(8.0), 1)
    assert_allclose(matrix, np.broadcast_to(np.arange(8) ** 2 / 2, (6, 8)))


@pytest.mark.parametrize("stds", [(0, 1), (1, 0), (1, -1), (math.nan, 1), (1, math.inf)])
def test_gaussian_kl_refuses(stds):
    with pytest.raises(ValueError, match="standard deviations must be"):
        gaussian_kl(0, stds[0], 0, stds[1])


@pytest.mark.parametrize("count", [2, 5, 8])
def test_disentanglement_closed_forms(count, rng):
    selective = disentanglement_score(np.eye(count))
    assert selective == float(selective) == selective.paper == pytest.approx(-1)
    assert np.isclose(selective, -1)
    assert selective.trace_over_absolute == pytest.approx(1)
    assert selective.log_correlation == pytest.approx(1)

    alike = disentanglement_score(np.repeat(rng.random((6, 1)), count, axis=1))
    assert alike.paper == pytest.approx(1 / (count - 1))
    assert alike.trace_over_absolute == pytest.approx(1 / (count - 1))
    assert alike.log_correlation == pytest.approx(1 / (count - 1))


def test_disentanglement_by_hand():
    impact = np.array([[0.0, 1.0], [2.0, 2.0], [4.0, 6.0]])
    score = disentanglement_score(torch.tensor(impact))
    assert_allclose(score.covariance, [[4, 5], [5, 7]])
    assert score.paper == score.trace_over_absolute == pytest.approx(11 / 10)
    correlation = np.corrcoef(np.log1p(impact.T))[0, 1]
    assert score.log_correlation == pytest.approx(1 / correlation)


def test_uncorrelated_factors_are_infinitely_disentangled():
    score = disentanglement_score([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert score.paper == score.trace_over_absolute == math.inf


def test_a_collapsed_factor_is_no_nan(rng):
    impact = rng.random((6, 4))
    without = disentanglement_score(impact)
    impact = np.column_stack([impact, np.zeros(6)])
    score = disentanglement_score(impact)
    assert score.log_correlation == pytest.approx(without.log_correlation)
    assert score.paper == pytest.approx(without.paper)


@pytest.mark.parametrize(
    ("impact", "message"),
    [
        (np.ones(4), "2 axes"),
        (np.ones((1, 4)), "at least 2"),
        (np.ones((4, 1)), "at least 2"),
        (np.ones((4, 3)), "same impact"),
        (-np.eye(3), "negative"),
        (np.eye(3) * np.nan, "NaN"),
    ],
)
def test_disentanglement_refuses(impact, message):
    with pytest.raises(ValueError, match=message):
        disentanglement_score(impact)


# Known factors


def test_each_factor_its_own_code(rng):
    factors = rng.random((4000, 5))
    codes = np.column_stack([factors[:, [3, 0, 4, 1, 2]] * [1, -2, 30, 0.1, -1], np.zeros(4000)])
    codes[:, :5] += 7
    assert 0.95 < mig(codes, factors) <= 1
    assert 0.99 < sap(codes, factors) <= 1
    result = dci(codes, factors)
    assert min(result.disentanglement, result.completeness, result.informativeness) > 0.99
    assert_allclose(result.importance.argmax(0), [1, 3, 4, 0, 2])
    assert mig(torch.tensor(codes), torch.tensor(factors)) == mig(codes, factors)


def test_a_factor_in_two_codes_has_no_gap(rng):
    """Twice the same code: all informative, disentangled, and not complete."""
    factors = rng.random((2000, 3))
    codes = np.repeat(factors, 2, axis=1)
    assert mig(codes, factors) == pytest.approx(0, abs=1e-12)
    assert sap(codes, factors) == pytest.approx(0, abs=1e-12)
    result = dci(codes, factors)
    assert result.disentanglement > 0.99
    assert result.completeness == pytest.approx(1 - math.log(2) / math.log(6), abs=0.01)


def test_sap_of_a_rotation_has_a_closed_form(rng):
    angle = 0.4
    factors = rng.standard_normal((20000, 2))
    rotation = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    expected = math.cos(angle) ** 2 - math.sin(angle) ** 2
    assert sap(factors @ rotation, factors) == pytest.approx(expected, abs=0.03)


def test_unrelated_codes(rng):
    codes, factors = rng.standard_normal((2000, 8)), rng.random((2000, 6))
    assert 0 <= mig(codes, factors) < 0.01
    assert 0 <= sap(codes, factors) < 0.01
    result = dci(codes, factors)
    assert abs(result.informativeness) < 0.05
    assert result.disentanglement < 0.25  # not 0: shares of chance coefficients are uneven
    nothing = dci(0 * codes, factors)
    assert nothing.disentanglement == nothing.completeness == 0


def test_one_code_one_factor(rng):
    x = rng.random((500, 1))
    assert mig(x, x) == pytest.approx(1)
    assert sap(x, -x) == pytest.approx(1)
    assert dci(x, x).disentanglement == dci(x, x).completeness == 1


@pytest.mark.parametrize("measure", [mig, sap, dci])
@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (np.eye(5), np.eye(6), "equally many"),
        (np.eye(3), np.eye(3), "4 or more"),
        (np.eye(5), np.ones((5, 2)), "does not vary"),
        (np.eye(5), np.arange(5.0), "2 axes"),
        (np.eye(5) * np.nan, np.eye(5), "NaN"),
        (np.zeros((5, 0)), np.eye(5), "not be empty"),
    ],
)
def test_known_factors_refuse(measure, codes, factors, message):
    with pytest.raises(ValueError, match=message):
        measure(codes, factors)


@pytest.mark.parametrize(
    ("score", "value", "low", "high", "words"),
    [
        ("paper", -7.048, -40.8, 15.4, ["-7.05 [-40.8, 15.4]", "says nothing", "|off-diagonal|"]),
        ("paper", 2.0, -0.1, 5.0, ["says nothing"]),
        ("paper", 0.8, 0.5, 1.2, ["more is better", "0.14 is what", "react to different regions"]),
        ("trace_over_absolute", 0.5, 0.3, 0.6, ["more is better", "to different regions"]),
        ("log_correlation", 0.2, 0.1, 0.4, ["not shown to be more"]),
        ("log_correlation", 0.2, np.nan, np.nan, ["0.2;", "not shown to be more"]),
    ],
)
def test_a_score_says_what_is_good_in_it(score, value, low, high, words):
    said = reading(score, value, low, high, factors=8)
    assert [word for word in words if word not in said] == []
