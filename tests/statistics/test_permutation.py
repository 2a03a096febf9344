"""Permutations: exact where they can be enumerated, nilearn's elsewhere, honest in blocks."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from nilearn.mass_univariate import permuted_ols
from numpy.testing import assert_allclose
from scipy.stats import binom, ttest_ind

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Stopped
from napari_brainvae.statistics import permutation
from napari_brainvae.statistics.design import make_design, with_taken_out
from napari_brainvae.statistics.permutation import Crossed, permutation_test
from tests.statistics.populations import simulate


def t_of(values, tested, confounds):
    """Textbook least squares."""
    columns = np.column_stack([tested, np.ones(len(tested)), confounds])
    found, *_ = np.linalg.lstsq(columns, values, rcond=None)
    left = values - columns @ found
    dof = len(tested) - columns.shape[1]
    inverse = np.linalg.inv(columns.T @ columns)
    return found[0] / np.sqrt(np.square(left).sum(axis=0) / dof * inverse[0, 0])


def test_two_groups_without_confounds_are_those_of_student(rng):
    values = rng.normal(size=(30, 3))
    mice = pd.DataFrame({"g": ["a"] * 12 + ["b"] * 18})
    result = permutation_test(values, make_design(mice, "g"), 99)
    assert_allclose(result.t, ttest_ind(values[:12], values[12:]).statistic, rtol=1e-10)


def test_p_is_exact_where_all_orders_can_be_tried(rng):
    values = rng.normal(size=(8, 3)) + 1.2 * (np.arange(8) < 3)[:, None]
    result = permutation_test(values, make_design(pd.DataFrame({"g": list("aaabbbbb")}), "g"))
    t = []
    for chosen in combinations(range(8), 3):
        inside = np.isin(np.arange(8), chosen)
        t.append(np.abs(ttest_ind(values[inside], values[~inside]).statistic))
    t = np.array(t)
    assert (result.exact, result.orders) == (True, 56)
    assert_allclose(result.p, (t >= t[0] - 1e-9).mean(axis=0))
    assert_allclose(result.p_fwe, stepped_down(t))


def stepped_down(t):
    """p of Westfall and Young (1993, algorithm 2.8) from all orders ``(P, T)``, observed first."""
    p, falling = np.empty(t.shape[1]), np.argsort(-t[0])
    least = 0.0
    for place, value in enumerate(falling):
        left = t[:, falling[place:]].max(axis=1)
        p[value] = least = max(least, (left >= t[0, value] - 1e-9).mean())
    return p


def test_what_stands_out_is_no_obstacle_for_what_stands_out_less(rng):
    """The second of two effects is held against what is left: exact, and less than by one step."""
    values = rng.normal(size=(9, 4)) + np.outer(np.arange(9) < 4, [4, 1.5, 0, 0])
    result = permutation_test(values, make_design(pd.DataFrame({"g": list("aaaabbbbb")}), "g"))
    t = [
        np.abs(ttest_ind(values[inside], values[~inside]).statistic)
        for inside in (np.isin(np.arange(9), chosen) for chosen in combinations(range(9), 4))
    ]
    t = np.array(t)
    one_step = np.array([(t.max(axis=1) >= each - 1e-9).mean() for each in t[0]])
    assert result.exact
    assert_allclose(result.p_fwe, stepped_down(t))
    assert (result.p_fwe <= one_step).all()
    assert (result.p_fwe < one_step).any()


def test_family_wise_errors_stay_rare_beside_effects_that_are_real():
    """Seven true effects are stepped past: the eighth factor is named no more often than alone."""
    count, rng = 200, np.random.default_rng(5)
    mice = pd.DataFrame({"g": ["a", "b"] * 20})
    wrong = 0
    for _ in range(count):
        values = rng.normal(size=(40, 8))
        values[::2, :7] += 3
        wrong += permutation_test(values, make_design(mice, "g"), 199, seed=1).p_fwe[-1] <= 0.05
    assert binom.ppf(0.001, count, 0.05) <= wrong <= binom.ppf(0.999, count, 0.05)


def test_a_map_of_pixels_takes_one_step_and_says_no_less(rng, monkeypatch):
    values = rng.normal(size=(20, 12)) + np.outer(np.arange(20) < 10, np.linspace(0, 2, 12))
    design = make_design(pd.DataFrame({"g": ["a"] * 10 + ["b"] * 10}), "g")
    stepped = permutation_test(values, design, 199)
    monkeypatch.setattr(permutation, "_BLOCK", 100)
    one_step = permutation_test(values, design, 199)
    assert_allclose(one_step.t, stepped.t)
    assert (one_step.p_fwe >= stepped.p_fwe).all()
    assert one_step.p_fwe.min() == stepped.p_fwe.min()


def test_p_is_exact_with_a_confound_by_the_rule_of_freedman_and_lane(rng):
    tested = rng.normal(size=6)
    mice = pd.DataFrame({"dose": tested, "age": rng.normal(size=6)})
    values = rng.normal(size=(6, 2)) + mice[["age"]].to_numpy()
    result = permutation_test(values, make_design(mice, "dose", adjust=["age"]))
    reduced = np.column_stack([np.ones(6), mice["age"]])
    residual = values - reduced @ np.linalg.lstsq(reduced, values, rcond=None)[0]
    fitted = values - residual
    orders = [np.array(order) for order in permutations(range(6))]
    t = np.abs([t_of(fitted + residual[order], tested, mice["age"]) for order in orders])
    assert (result.exact, result.orders) == (True, 720)
    assert_allclose(result.p, (t >= t[0] - 1e-9).mean(axis=0))
    assert_allclose(np.abs(result.t), t[0])


def test_exact_p_in_blocks_exchanges_within_blocks_alone(rng):
    mice = pd.DataFrame({"g": list("abaabb"), "litter": list("uuvvvv")})
    values = rng.normal(size=(6, 1)) + 50 * (mice["litter"] == "v").to_numpy()[:, None]
    result = permutation_test(values, make_design(mice, "g", blocks="litter"))
    assert (result.exact, result.orders) == (True, 2 * 6)
    t = []
    in_u = (mice["litter"] == "u").to_numpy(float)
    for first in ((0,), (1,)):
        for second in combinations(range(2, 6), 2):
            tested = np.isin(np.arange(6), [*first, *second]).astype(float)
            t.append(np.abs(t_of(values, tested, in_u))[0])
    observed = np.abs(t_of(values, (mice["g"] == "a").to_numpy(float), in_u))[0]
    assert_allclose(result.p, [(np.array(t) >= observed - 1e-9).mean()])


@pytest.mark.parametrize("adjust", [[], ["age"]])
def test_the_numbers_are_those_of_nilearn(rng, adjust):
    codes, mice = simulate(rng, 60)
    codes["F8"] += 0.6 * (mice["group"] == "ko")
    design = make_design(mice, "group", adjust=adjust)
    confounds = mice[adjust].to_numpy() if adjust else None
    orders = 2000
    ours = permutation_test(codes, design, orders, seed=1)
    theirs = permuted_ols(
        design.tested[:, None], codes.to_numpy(), confounds, n_perm=orders, random_state=1
    )
    assert_allclose(ours.t, theirs["t"][0], rtol=1e-8)
    p = 10.0 ** -theirs["logp_max_t"][0]
    # Two draws of as many orders differ by chance: by four standard errors at most.
    noise = 4 * np.sqrt(2 * p * (1 - p) / orders) + 1 / orders
    assert (ours.p_fwe - p < noise).all(), "nilearn takes one step, and has no less"
    first = np.abs(ours.t).argmax()
    assert abs(ours.p_fwe - p)[first] < noise[first]


def test_single_precision_says_the_same(rng):
    codes, mice = simulate(rng, 50)
    design = make_design(mice, "group", adjust=["age"])
    double = permutation_test(codes, design, 199)
    single = permutation_test(codes.to_numpy(np.float32), design, 199)
    assert_allclose(single.t, double.t, rtol=1e-3)
    assert_allclose(single.p_fwe, double.p_fwe, atol=0.006)


def test_what_never_varies_differs_never(rng):
    mice = pd.DataFrame({"g": ["a", "b"] * 10})
    values = np.column_stack([np.full(20, 0.1), np.zeros(20), rng.normal(size=20)])
    result = permutation_test(values, make_design(mice, "g"), 99)
    assert_allclose(result.t[:2], 0)
    assert_allclose(result.p[:2], 1)


def test_too_few_orders_for_any_effect_are_said_to_be_so():
    mice = pd.DataFrame({"g": list("aabb")})
    result = permutation_test(np.array([[9.0], [8], [1], [0]]), make_design(mice, "g"))
    assert result.p[0] == pytest.approx(2 / 6)
    assert result.critical == np.inf


def test_it_stops_when_asked(rng):
    codes, mice = simulate(rng)
    with pytest.raises(Stopped):
        permutation_test(codes, make_design(mice, "group"), 99, progress=lambda *_: False)


def test_nan_is_refused(rng):
    codes, mice = simulate(rng)
    codes.iloc[3, 2] = np.nan
    with pytest.raises(InputError, match="all finite"):
        permutation_test(codes, make_design(mice, "group"), 99)


def test_family_wise_errors_and_power_with_a_confound_that_goes_with_the_group():
    """Bounds are quantiles of the binomial distribution: right code passes in 999 of 1,000."""
    count, orders = 200, 199
    rng = np.random.default_rng(17)
    wrong = unadjusted = found = 0
    for _ in range(count):
        codes, mice = simulate(rng)
        adjusted = make_design(mice, "group", adjust=["age"])
        wrong += permutation_test(codes, adjusted, orders, seed=1).p_fwe.min() <= 0.05
        plain = permutation_test(codes, make_design(mice, "group"), orders, seed=1)
        unadjusted += plain.p_fwe.min() <= 0.05
        codes, mice = simulate(rng, partial_r=0.3)
        adjusted = make_design(mice, "group", adjust=["age"])
        found += permutation_test(codes, adjusted, orders, seed=1).p[-1] <= 0.05
    assert wrong <= binom.ppf(0.999, count, 0.05)
    assert found >= binom.ppf(0.001, count, 0.8)
    assert unadjusted > 0.9 * count, "what the confound does where it is not taken out"


def test_pups_of_one_litter_are_no_brains_of_their_own():
    """Whole litters treated: brains counted one by one find what is not there, litters do not."""
    count, rng = 200, np.random.default_rng(3)
    mice = pd.DataFrame({"drug": np.repeat(["a", "b"], 30), "litter": np.repeat(range(10), 6)})
    mice["litter"] = mice["litter"].map("litter {}".format)
    by_litter, by_brain = make_design(mice, "drug", blocks="litter"), make_design(mice, "drug")
    wrong = naive = 0
    for _ in range(count):
        values = rng.normal(size=(60, 1)) + np.repeat(rng.normal(size=(10, 1)), 6, axis=0)
        wrong += permutation_test(by_litter.of_units(values), by_litter, 199).p[0] <= 0.05
        naive += permutation_test(values, by_brain, 199).p[0] <= 0.05
    assert wrong <= binom.ppf(0.999, count, 0.05)
    assert naive > binom.ppf(0.999, count, 0.05)


def test_one_set_of_products_serves_every_test_of_the_columns(rng):
    """Of the second value with the first taken out: the numbers are those of orders of its own."""
    codes, mice = simulate(rng, 60)
    mice["litter"] = np.arange(60) // 6
    values = codes.to_numpy()
    for blocks in (None, "litter"):
        design = make_design(mice, "group", adjust=["age"], blocks=blocks)
        inner = with_taken_out(design, values[:, [0]])
        crossed = Crossed.of(values, design, 199, 5)
        found = permutation_test(values[:, 1:], inner, 199, 5, crossed=crossed)
        expected = permutation_test(values[:, 1:], inner, 199, 5)
        for name in ("t", "p", "p_fwe", "critical"):
            assert_allclose(getattr(found, name), getattr(expected, name))
    with pytest.raises(Stopped):
        Crossed.of(values, design, 199, 5, progress=lambda done, total: False)
