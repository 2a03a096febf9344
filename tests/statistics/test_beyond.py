"""Which factors differ of their own, on codes whose truth is planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom, pearsonr

from napari_brainvae.io.progress import Stopped
from napari_brainvae.statistics.beyond import BEYOND, beyond
from napari_brainvae.statistics.comparison import compare
from napari_brainvae.statistics.design import make_design, with_taken_out
from napari_brainvae.statistics.permutation import permutation_test

ORDERS = 199


def asked(codes, design, orders=ORDERS):
    effects = compare(codes, design, permutations=orders)
    return effects, beyond(codes, effects, permutations=orders)


@pytest.fixture
def mice():
    return pd.DataFrame({"group": ["ko", "wt"] * 50})


def planted(mice, rng, follows=0.0, own=0.0):
    """F2 differs by two spreads; F1 has a part of F2, and a difference of its own."""
    group = (mice["group"] == "ko").to_numpy()
    codes = pd.DataFrame(rng.standard_normal((len(mice), 4)), columns=["F1", "F2", "F3", "F4"])
    codes["F2"] += 2.0 * group
    codes["F1"] += follows * codes["F2"] + own * group
    return codes


def test_a_factor_that_only_follows_goes_with_the_one_that_leads(mice, rng):
    codes = planted(mice, rng, follows=1.0)
    effects, table = asked(codes, make_design(mice, "group"))
    assert tuple(table) == BEYOND
    assert effects.found.tolist() == [True, True, False, False]
    assert table["goes_with"].tolist() == ["F2", None, None, None]
    assert table["p_beyond"][0] > 0.05
    assert table["p_beyond"].isna().tolist() == [False, True, True, True]
    inside = codes - codes.groupby(mice["group"]).transform("mean")
    assert table["r_with"][0] == pytest.approx(pearsonr(inside["F1"], inside["F2"]).statistic)


def test_a_factor_with_a_difference_of_its_own_is_named(mice, rng):
    codes = planted(mice, rng, follows=0.5, own=1.5)
    _, table = asked(codes, make_design(mice, "group"))
    assert table["goes_with"].tolist() == [None] * 4
    assert table["p_beyond"][0] <= 0.05


def test_p_is_that_of_a_test_with_the_leading_one_taken_out(mice, rng):
    mice["age"] = rng.standard_normal(len(mice))
    codes = planted(mice, rng, follows=1.0)
    design = make_design(mice, "group", adjust=["age"])
    _, table = asked(codes, design)
    inner = with_taken_out(design, codes[["F2"]].to_numpy())
    assert inner.degrees_of_freedom == design.degrees_of_freedom - 1
    expected = permutation_test(codes[["F1"]].to_numpy(), inner, ORDERS)
    assert_allclose(table["p_beyond"][0], expected.p_fwe[0])


def test_one_that_follows_is_named_of_its_own_once_in_twenty_times(mice):
    """Of 200 populations, within the quantiles of the binomial distribution."""
    count, named, rng = 200, 0, np.random.default_rng(3)
    design = make_design(mice, "group")
    for _ in range(count):
        effects, table = asked(planted(mice, rng, follows=1.0), design)
        assert effects.found[0]
        named += table["goes_with"][0] is None
    assert binom.ppf(0.001, count, 0.05) <= named <= binom.ppf(0.999, count, 0.05)


def test_a_factor_that_is_another_one_goes_with_it_whole(mice, rng):
    """Nothing is left of F1 with F2 taken out, and nothing of the group once both are."""
    codes = planted(mice, rng)
    codes["F1"] = -codes["F2"]
    codes["F3"] = 1.0 * (mice["group"] == "ko")
    _, table = asked(codes, make_design(mice, "group"))
    assert table["p_beyond"].tolist()[:2] == [1.0, 1.0]
    assert table["goes_with"].tolist()[:2] == ["F3", "F3"], "F3 is the group"


def test_none_is_asked_where_none_differs(mice, rng):
    codes = pd.DataFrame(rng.standard_normal((100, 3)), columns=["F1", "F2", "F3"])
    effects = compare(codes, make_design(mice, "group"), permutations=ORDERS)
    assert not effects.found.any()
    assert beyond(codes, effects, permutations=ORDERS).isna().all(axis=None)


def test_a_factor_that_acts_elsewhere_is_named_though_a_leading_one_hides_it(mice):
    """F2 all but tells the groups apart, and has a part in F1, which differs of its own."""
    rng = np.random.default_rng(7)
    group = (mice["group"] == "ko").to_numpy()
    noise = rng.standard_normal((100, 4))
    noise[:, 1] += 0.4 * noise[:, 0]
    noise[:, 2] += 0.6 * noise[:, 0]
    codes = pd.DataFrame(noise, columns=["F1", "F2", "F3", "F4"])
    codes["F2"] += 3.0 * group
    codes["F1"] += 0.9 * group
    codes["F3"] += 0.7 * group
    effects = compare(codes, make_design(mice, "group"), permutations=ORDERS)
    assert effects.found.tolist() == [True, True, True, False]
    by_codes = beyond(codes, effects, permutations=ORDERS)
    assert by_codes["goes_with"].tolist() == ["F2", None, "F2", None]
    overlap = np.eye(4)
    overlap[0, 2] = overlap[2, 0] = 0.9
    table = beyond(codes, effects, overlap, permutations=ORDERS)
    assert table["goes_with"].tolist() == [None, None, "F1", None]
    assert table["p_beyond"][0] == by_codes["p_beyond"][0] > 0.05
    inside = codes - codes.groupby(mice["group"]).transform("mean")
    assert table["r_with"][2] == pytest.approx(pearsonr(inside["F1"], inside["F3"]).statistic)


def test_blocks_are_kept(rng):
    """Littermates: what litters have of F1 and F2 is not what F1 has of F2."""
    mice = pd.DataFrame({"group": ["ko", "wt"] * 30, "litter": np.repeat(np.arange(10), 6)})
    codes = planted(mice, rng, follows=1.0)
    codes += 5 * rng.standard_normal((10, 4))[mice["litter"]]
    _, table = asked(codes, make_design(mice, "group", blocks="litter"))
    assert table["goes_with"][0] == "F2"


def test_too_few_brains_to_take_anything_out_leave_it_open():
    """A factor that could not be asked is not said to follow."""
    rng = np.random.default_rng(1)
    mice = pd.DataFrame(rng.standard_normal((8, 5)), columns=list("vwxyz"))
    mice["group"] = list("aaaabbbb")
    group = (mice["group"] == "a").to_numpy(float)
    codes = pd.DataFrame({f"F{i}": group + 1e-4 * rng.standard_normal(8) for i in (1, 2)})
    design = make_design(mice, "group", adjust=list("vwxyz"))
    effects, table = asked(codes, design, 999)
    assert effects.found.all()
    assert design.degrees_of_freedom == 1
    assert table.isna().all(axis=None)


def test_it_stops_when_it_is_asked_to(mice, rng):
    codes = planted(mice, rng, follows=1.0)
    effects = compare(codes, make_design(mice, "group"), permutations=ORDERS)
    with pytest.raises(Stopped):
        beyond(codes, effects, permutations=ORDERS, progress=lambda done, total: False)
