"""Covariates against factors: closed forms, planted truths, and what tells nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from napari_brainvae.data.covariates import read_covariates
from napari_brainvae.reporting.paper_figures import association_heatmap
from napari_brainvae.statistics.association import COLUMNS, FEWEST, associate


def factors_of(*columns) -> pd.DataFrame:
    codes = np.column_stack(columns).astype(float)
    index = pd.Index([f"b{i}" for i in range(len(codes))], name="id")
    return pd.DataFrame(codes, index, [f"F{i + 1}" for i in range(codes.shape[1])])


def covariates_of(factors, **columns) -> pd.DataFrame:
    return pd.DataFrame(columns, factors.index)


def effects(table) -> dict[tuple[str, str], float]:
    return {(row.covariate, row.factor): row.effect for row in table.itertuples()}


def test_ranks_alone_count_and_keep_their_sign(rng):
    codes = rng.normal(size=40)
    factors = factors_of(codes, -np.exp(codes))
    table = associate(factors, covariates_of(factors, age=codes**3))
    assert effects(table) == pytest.approx({("age", "F1"): 1, ("age", "F2"): -1})
    assert table["test"].unique().tolist() == ["Spearman"]
    assert (table["brains"] == 40).all()


def test_spearman_by_hand_with_ties():
    factors = factors_of([1, 2, 3, 4, 5])
    table = associate(factors, covariates_of(factors, dose=[1, 1, 2, 3, 3]))
    ranks = np.corrcoef([1, 2, 3, 4, 5], [1.5, 1.5, 3, 4.5, 4.5])[0, 1]
    assert table["effect"].item() == pytest.approx(ranks)


def test_groups_that_do_not_overlap_have_the_closed_form():
    """Two groups of n in ranks 1 .. 2n: H = 3 n^2 / (2n + 1), by its definition."""
    n = 8
    factors = factors_of(np.arange(2 * n))
    table = associate(factors, covariates_of(factors, sex=["F"] * n + ["M"] * n))
    assert table["effect"].item() == pytest.approx(3 * n**2 / (2 * n + 1) / (2 * n - 1))
    assert table["groups"].item() == 2


def test_two_groups_agree_with_mann_and_whitney(rng):
    codes, names = rng.normal(size=60), rng.choice(["F", "M"], 60)
    factors = factors_of(codes)
    p = associate(factors, covariates_of(factors, sex=names))["p"].item()
    by_two = mannwhitneyu(
        codes[names == "F"], codes[names == "M"], method="asymptotic", use_continuity=False
    )
    assert p == pytest.approx(by_two.pvalue)


def test_planted_covariates_are_found_and_others_are_not(rng):
    """Forty factors and covariates of noise: hardly ever a false one, by q; the planted always."""
    codes = rng.normal(size=(150, 8))
    factors = factors_of(codes)
    noise = {f"noise {i}": rng.normal(size=150) for i in range(5)}
    planted = {
        "weight": codes[:, 2] + rng.normal(size=150),
        "line": np.where(codes[:, 5] + 0.5 * rng.normal(size=150) > 0, "wt", "ko"),
    }
    table = associate(factors, covariates_of(factors, **noise, **planted))
    found = table[table["q"] < 0.05].sort_values("p")
    assert set(zip(found["covariate"], found["factor"], strict=True)) == {
        ("weight", "F3"),
        ("line", "F6"),
    }


@given(st.permutations(range(20)))
def test_the_order_of_brains_does_not_matter(order):
    rng = np.random.default_rng(0)
    factors = factors_of(rng.normal(size=20))
    known = covariates_of(factors, age=rng.integers(5, size=20), sex=rng.choice(["F", "M"], 20))
    expected = associate(factors, known)
    pd.testing.assert_frame_equal(associate(factors.iloc[order], known), expected)
    pd.testing.assert_frame_equal(associate(factors, known.iloc[order]), expected)


def test_only_the_measured_brains_are_looked_up(rng):
    everyone = factors_of(rng.normal(size=30))
    known = covariates_of(everyone, age=np.arange(30))
    some = everyone.iloc[3:25:2]
    expected = associate(some, known.loc[some.index])
    pd.testing.assert_frame_equal(associate(some, known), expected)
    assert (expected["brains"] == 11).all()


NAMES = ["a"] * 8 + ["b"] * 8
SILENT = {
    "the same in all": [3] * 16,
    "a name of its own for each": [f"mouse {i}" for i in range(16)],
    "one large group": ["a"] * 12 + ["b"] * 4,
    "flags that are all off": [False] * 16,
    "nothing": [None] * 16,
    "empty names": [""] * 16,
    "missing numbers": [np.nan] * 16,
    "too few numbers": [1.0, 2.0, 3.0, 4.0] + [np.nan] * 12,
}


@pytest.mark.parametrize("case", SILENT)
def test_what_tells_nothing_is_left_out(case, rng):
    factors = factors_of(rng.normal(size=16))
    table = associate(factors, covariates_of(factors, known=SILENT[case]))
    assert list(table) == COLUMNS
    assert len(table) == 0


def test_brains_without_a_value_and_small_groups_are_left_out(rng):
    factors = factors_of(rng.normal(size=20))
    age = np.arange(20.0)
    age[[2, 9]] = np.nan
    line = ["a"] * 7 + ["b"] * 7 + ["rare"] * (FEWEST - 1) + [None, ""]
    table = associate(factors, covariates_of(factors, age=age, line=line)).set_index("covariate")
    assert table["brains"].to_dict() == {"age": 18, "line": 14}
    assert table["groups"].to_dict() == {"age": 0, "line": 2}


def test_brains_that_could_not_be_used_are_left_out(rng):
    factors = factors_of(*rng.normal(size=(2, 12)))
    known = covariates_of(factors, age=rng.normal(size=12))
    expected = associate(factors.drop(["b3", "b7"]), known)
    factors.loc[["b3", "b7"]] = np.nan
    pd.testing.assert_frame_equal(associate(factors, known), expected)


def test_a_collapsed_factor_goes_with_nothing(rng):
    factors = factors_of(np.zeros(16), rng.normal(size=16))
    table = associate(factors, covariates_of(factors, age=np.arange(16), line=NAMES))
    dead = table[table["factor"] == "F1"]
    assert dead["effect"].tolist() == [0, 0]
    assert dead["p"].tolist() == [1, 1]


def test_q_is_that_of_benjamini_and_hochberg(rng):
    factors = factors_of(*rng.normal(size=(4, 16)))
    table = associate(factors, covariates_of(factors, age=np.arange(16)))
    p = np.sort(table["p"])
    by_hand = np.minimum.accumulate((p * 4 / np.arange(1, 5))[::-1])[::-1]
    np.testing.assert_allclose(np.sort(table["q"]), np.minimum(by_hand, 1))


def test_the_heat_map_says_what_the_table_says(rng):
    codes = rng.normal(size=(40, 3))
    factors = factors_of(codes)
    known = covariates_of(factors, zeta=codes[:, 1], line=["a", "b"] * 20)
    table = associate(factors, known)
    figure = association_heatmap(table)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["zeta (ρ)", "line (ε²)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["F1", "F2", "F3"]
    texts = [text.get_text() for text in axes.texts]
    assert texts[1] == "1.00*"
    assert sum(text.endswith("*") for text in texts) == (table["q"] < 0.05).sum()


def test_a_table_is_read_by_the_names_of_the_brains(tmp_path):
    path = tmp_path / "mice.csv"
    path.write_text("sex,id,age\nF,003,55\nM,001,\nF,other,57\n")
    table = read_covariates(path, ["001", "002", "003"])
    assert table.index.tolist() == ["001", "002", "003"]
    assert table["sex"].fillna("").tolist() == ["M", "", "F"]
    assert table["age"].fillna(0).tolist() == [0, 0, 55]


BAD = {
    "sex\nF\n": "has no column 'id'",
    "id,sex\n001,F\n001,M\n": "names '001' twice",
    "id,sex\nx,F\n": "names none of the brains, such as '001'",
    "": "No columns",
}


@pytest.mark.parametrize("text", BAD)
def test_tables_that_cannot_be_used_say_why(text, tmp_path):
    (tmp_path / "mice.csv").write_text(text)
    with pytest.raises(ValueError, match=BAD[text]):
        read_covariates(tmp_path / "mice.csv", ["001", "002"])
