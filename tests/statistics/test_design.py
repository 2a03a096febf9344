"""From a table of covariates to a comparison, or to one sentence that says why not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from napari_brainvae.io.errors import InputError
from napari_brainvae.statistics.design import make_design

N = 24


@pytest.fixture
def mice():
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "genotype": ["ko", "wt"] * 12,
            "line": ["a", "b", "c"] * 8,
            "age": rng.normal(60, 2, N),
            "dose": np.repeat([0.0, 1.0, 3.0], 8),
            "treated": [True, False] * 12,
            "code": [1, 0] * 12,
            "litter": np.repeat(list("uvwx"), 6),
            "cage": np.repeat([f"cage {i}" for i in range(6)], 4),
            "drug": np.repeat(["salt", "drug"], 12),
            "empty": [np.nan] * N,
            "unique": [f"word {i}" for i in range(N)],
            "same": ["x"] * N,
            "one": ["x"] + ["y"] * (N - 1),
        }
    )


@pytest.mark.parametrize(
    ("by", "groups", "contrast", "sizes"),
    [
        ("genotype", (), "ko minus wt", (12, 12)),
        ("genotype", ("wt", "ko"), "wt minus ko", (12, 12)),
        ("line", ("c", "a"), "c minus a", (8, 8)),
        ("treated", (), "True minus False", (12, 12)),
        ("code", (), "1 minus 0", (12, 12)),
        ("dose", ("3", "0"), "3 minus 0", (8, 8)),
        ("dose", (), "per standard deviation of dose", (24, 0)),
    ],
)
def test_two_groups_or_a_number(mice, by, groups, contrast, sizes):
    design = make_design(mice, by, groups=groups)
    assert (design.contrast, design.sizes) == (contrast, sizes)


def test_a_number_is_tested_in_its_standard_deviations(mice):
    design = make_design(mice, "dose")
    assert_allclose([design.tested.mean(), design.tested.std()], [0, 1], atol=1e-12)


BAD = {
    "no such column": ({"by": "gender"}, "there is no covariate 'gender': those of these brains"),
    "no such confound": ({"by": "genotype", "adjust": ["sex"]}, "there is no covariate 'sex'"),
    "nothing known": ({"by": "empty"}, "the covariate 'empty' is empty in all brains"),
    "confound not known": ({"by": "genotype", "adjust": ["empty"]}, "'empty' is empty"),
    "one group": ({"by": "same"}, "all brains are 'x' in same: there is nothing to compare"),
    "three groups": ({"by": "line"}, "line has 3 different values ('a', 'b', 'c'): name the two"),
    "a text of its own in every brain": ({"by": "unique"}, "unique has 24 different values ("),
    "no such group": ({"by": "line", "groups": ["a", "z"]}, "no brain is 'z' in line: there are"),
    "one group twice": ({"by": "line", "groups": ["a", "a"]}, "two groups are compared, A,B"),
    "a group of one": ({"by": "one"}, "1 brain of one 'x' is left: a group needs 2 at least"),
    "more columns than brains": (
        {"by": "genotype", "adjust": ["unique"]},
        "24 brains are too few to take out unique: that takes",
    ),
    "itself taken out": ({"by": "genotype", "adjust": ["genotype"]}, "it cannot be taken out"),
    "all taken out": (
        {"by": "genotype", "adjust": ["treated"]},
        "treated says all that genotype says: with it taken out",
    ),
    "no two blocks": ({"by": "drug", "blocks": "drug"}, "it cannot be taken out as well"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_compared_is_said_in_one_sentence(mice, case):
    asked, sentence = BAD[case]
    by = asked.pop("by")
    with pytest.raises(InputError) as error:
        make_design(mice, by, **asked)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_brains_of_which_the_dose_is_not_known_are_left_out_and_counted(mice):
    mice.loc[:4, "dose"] = np.nan
    mice.loc[4:5, "age"] = np.nan
    design = make_design(mice, "dose", adjust=["age"])
    assert design.units == N - 6
    assert design.notes == (
        "5 brains left out, of which dose is not known",
        "1 brain left out, of which age is not known",
    )


def test_a_column_that_is_the_same_everywhere_takes_nothing_out(mice):
    plain, same = make_design(mice, "genotype"), make_design(mice, "genotype", adjust=["same"])
    assert same.degrees_of_freedom == plain.degrees_of_freedom


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_a_number_of_any_size_is_compared_and_taken_out(mice, size):
    plain = make_design(mice, "dose", adjust=["age"])
    mice[["dose", "age"]] *= size
    scaled = make_design(mice, "dose", adjust=["age"])
    assert_allclose(scaled.tested, plain.tested)
    assert_allclose(scaled.confounds, plain.confounds)


def test_two_hundred_words_are_too_many_to_take_out():
    rng = np.random.default_rng(0)
    mice = pd.DataFrame({"g": ["a", "b"] * 125, "note": rng.permutation(np.arange(250) % 200)})
    mice["note"] = mice["note"].map("note {}".format)
    design = make_design(mice, "g", adjust=["note"])
    assert design.degrees_of_freedom == 250 - 200 - 1, "right, while brains are left"
    with pytest.raises(InputError, match="name the two groups"):
        make_design(mice, "note")


def test_brains_of_which_something_is_not_known_are_left_out_and_counted(mice):
    mice.loc[[0, 5], "age"] = np.nan
    mice.loc[3, "age"] = np.inf
    mice.loc[[7], "genotype"] = ""
    design = make_design(mice, "genotype", adjust=["age"])
    assert sorted(set(range(N)) - set(design.brains)) == [0, 3, 5, 7]
    assert design.notes == (
        "1 brain left out, of which genotype is not known",
        "3 brains left out, of which age is not known",
    )


def test_confounds_that_say_the_same_count_once(mice):
    mice["months"] = mice["age"] / 30
    mice["constant"] = 5.0
    once = make_design(mice, "genotype", adjust=["age"])
    twice = make_design(mice, "genotype", adjust=["age", "months", "constant", "line"])
    assert once.confounds.shape == (N, 1)
    assert twice.confounds.shape == (N, 3)
    assert twice.degrees_of_freedom == N - 1 - 3 - 1


def test_littermates_are_compared_within_their_litter(mice):
    design = make_design(mice, "genotype", blocks="litter")
    assert design.units == N
    assert design.degrees_of_freedom == N - 4 - 1
    assert design.notes == ("brains are compared within their litter",)


def test_where_whole_cages_were_treated_the_cage_is_what_is_compared(mice):
    design = make_design(mice, "drug", blocks="cage", adjust=["age"])
    assert (design.units, design.sizes) == (6, (3, 3))
    assert "the unit is the cage, of which there are 6" in design.notes[0]
    values = np.arange(N, dtype=float)
    assert_allclose(design.of_units(values), values.reshape(6, 4).mean(axis=1))
