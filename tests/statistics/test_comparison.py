"""Effects and their intervals, on planted truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom, false_discovery_control, pearsonr

from napari_brainvae.io.errors import InputError
from napari_brainvae.statistics.comparison import (
    COHENS_D,
    COLUMNS,
    PARTIAL_R,
    adjusted_weights,
    compare,
    with_q,
)
from napari_brainvae.statistics.design import make_design
from tests.statistics.populations import simulate


def test_cohens_d_is_the_difference_in_pooled_spreads(rng):
    mice = pd.DataFrame({"g": ["a"] * 10 + ["b"] * 20})
    values = pd.DataFrame(rng.normal(size=(30, 1)) + (mice[["g"]] == "a").to_numpy())
    effects = compare(values, make_design(mice, "g"), permutations=99)
    a, b = values[0][:10], values[0][10:]
    pooled = np.sqrt((9 * a.var() + 19 * b.var()) / 28)
    assert effects.measure == COHENS_D
    assert effects.effect[0] == pytest.approx((a.mean() - b.mean()) / pooled)
    assert effects.difference[0] == pytest.approx(a.mean() - b.mean())
    assert effects.low[0] < effects.effect[0] < effects.high[0]


def test_partial_r_is_the_correlation_of_residuals(rng):
    mice = pd.DataFrame({"dose": rng.normal(size=40), "age": rng.normal(size=40)})
    values = pd.DataFrame({"F1": mice["dose"] + mice["age"] + rng.normal(size=40)})
    effects = compare(values, make_design(mice, "dose", adjust=["age"]), permutations=99)

    def residual(column):
        line = np.polynomial.Polynomial.fit(mice["age"], column, 1)
        return column - line(mice["age"])

    r = pearsonr(residual(mice["dose"]), residual(values["F1"])).statistic
    assert effects.measure == PARTIAL_R
    assert effects.effect[0] == pytest.approx(r)


@pytest.mark.parametrize(("by", "truth"), [("g", 0.5), ("dose", 0.4)])
def test_intervals_hold_the_truth_nineteen_times_in_twenty(by, truth):
    """Bounds are quantiles of the binomial distribution."""
    count, rng = 300, np.random.default_rng(8)
    effect = held = 0
    mice = pd.DataFrame({"g": ["a", "b"] * 20})
    values = rng.standard_normal((40, count))
    if by == "g":
        values += truth * (mice["g"] == "a").to_numpy()[:, None]
        effects = compare(pd.DataFrame(values), make_design(mice, "g"), permutations=19)
        held = ((effects.low <= truth) & (truth <= effects.high)).sum()
    else:
        for _ in range(count):
            mice["dose"] = rng.standard_normal(40)
            code = truth * mice["dose"] + np.sqrt(1 - truth**2) * rng.standard_normal(40)
            design = make_design(mice, "dose")
            effect = compare(pd.DataFrame({"F1": code}), design, permutations=19)
            held += effect.low[0] <= truth <= effect.high[0]
    assert binom.ppf(0.001, count, 0.95) <= held <= binom.ppf(0.999, count, 0.95)


def test_the_smallest_effect_is_found_four_times_in_five():
    count, rng = 100, np.random.default_rng(4)
    mice = pd.DataFrame({"g": ["a", "b"] * 25})
    design = make_design(mice, "g")
    found = 0
    for _ in range(count):
        codes = pd.DataFrame(rng.standard_normal((50, 4)))
        effects = compare(codes, design, permutations=199)
        codes[0] += effects.smallest * design.tested
        found += compare(codes, design, permutations=199).found[0]
    assert binom.ppf(0.001, count, 0.8) <= found <= binom.ppf(0.999, count, 0.8)


def test_too_few_brains_can_find_nothing():
    values = pd.DataFrame({"F1": [9.0, 8, 1, 0]})
    effects = compare(values, make_design(pd.DataFrame({"g": list("aabb")}), "g"))
    assert effects.smallest == np.inf


def test_adjusted_means_differ_by_the_difference(rng):
    codes, mice = simulate(rng)
    mice["litter"] = rng.choice(list("abcd"), 100)
    for blocks in (None, "litter"):
        design = make_design(mice, "group", adjust=["age"], blocks=blocks)
        first, second = adjusted_weights(design)
        effects = compare(codes, design, permutations=19)
        assert_allclose((first - second) @ codes.to_numpy(), effects.difference, atol=1e-12)
        assert_allclose([first.sum(), second.sum()], 1)
        # Confounds stand at their mean in both.
        assert_allclose((first - second) @ mice["age"], 0, atol=1e-12)


def test_the_table_and_q_over_covariates(rng):
    codes, mice = simulate(rng)
    tables = [
        compare(codes, make_design(mice, by), permutations=99).table() for by in ("group", "age")
    ]
    table = with_q(tables)
    assert tuple(table.columns[:7]) == ("factor", *COLUMNS)
    assert_allclose(table["q"], false_discovery_control(table["p"]))
    assert (table["p_fwe"] >= table["p"]).all()


def test_brains_that_were_not_measured_are_refused(rng):
    codes, mice = simulate(rng)
    codes.iloc[0, 0] = np.nan
    with pytest.raises(InputError, match="must have been measured"):
        compare(codes, make_design(mice, "group"))
