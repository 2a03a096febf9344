"""The map of brains on paper, and the tables that go with it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from napari_brainvae.reporting.brain_map import (
    MapOptions,
    best_covariate,
    export_brain_map,
    export_brain_pairs,
    pairs_figure,
    plane_figure,
)
from tests.reporting.paper import assert_fit_for_paper

ABOUT = {"models": {"VAE": {"fingerprint": "abc"}}, "options": {}}


@pytest.fixture
def table(rng):
    codes = rng.normal(size=(30, 4))
    ids = pd.Index([f"b{i:02d}" for i in range(30)], name="id")
    table = pd.DataFrame(codes, ids, ["F1", "F2", "F3", "F4"])
    table["unusual"] = np.arange(30) < 3
    table["line"] = ["wt", "ko", "het"] * 10
    table["age"] = rng.normal(60, 9, 30)
    table["flagged"] = np.arange(30) >= 26
    table.loc["b10", "F1"] = np.nan
    return table


def points_of(axes):
    return np.concatenate([np.ma.filled(c.get_offsets(), np.nan) for c in axes.collections])


def test_the_plane_has_every_brain_once_and_says_what_colours_mean(table):
    figure = plane_figure(table, MapOptions(x="F1", y="F3", colour="line"), selected=[4, 5])
    axes, legend = figure.axes[0], figure.legends[0]
    plain, hollow, crossed = axes.collections
    assert (len(plain.get_offsets()), len(hollow.get_offsets()), len(crossed.get_offsets())) == (
        23,
        4,
        3,
    )
    finite = points_of(axes)
    expected = table[["F1", "F3"]].dropna().to_numpy()
    assert np.array_equal(np.sort(finite[~np.isnan(finite).any(axis=1)], 0), np.sort(expected, 0))
    said = [text.get_text() for text in legend.get_texts()]
    assert said[:5] == ["het (10)", "ko (10)", "wt (10)", "flagged (4)", "outlier (3)"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("F1, SD of the prior", "F3, SD of the prior")
    assert "2 selected" in axes.get_title()


def test_groups_are_outlined_without_the_flagged_brains(table):
    with_groups = MapOptions(x="F2", y="F3", colour="line")
    means = [
        line.get_xydata()[0]
        for line in plane_figure(table, with_groups).axes[0].lines
        if line.get_marker() == "D"
    ]
    counted = table[~table["flagged"]].groupby("line")[["F2", "F3"]].mean()
    assert np.allclose(means, counted.to_numpy())
    without = with_groups.model_copy(update={"ellipses": False})
    assert not plane_figure(table, without).axes[0].lines


def test_a_number_has_a_bar(table):
    figure = plane_figure(table, MapOptions(x="F1", y="F2", colour="age"))
    assert figure.axes[1].get_ylabel() == "age"
    assert figure.axes[1].get_ylim() == pytest.approx((table["age"].min(), table["age"].max()))


def test_all_pairs_and_no_pair_twice(table):
    figure = pairs_figure(table, "line", model="VAE")
    shown = [axes for axes in figure.axes if axes.collections]
    assert len(shown) == 6
    grid = np.array(figure.axes).reshape(3, 3)
    for row, y in enumerate(("F2", "F3", "F4")):
        for column, x in enumerate(("F1", "F2", "F3")[: row + 1]):
            expected = table.loc["b15", [x, y]].to_numpy(float)
            assert (np.abs(points_of(grid[row, column]) - expected).sum(axis=1) == 0).any()
    assert figure.get_suptitle() == "30 brains, VAE; codes, SD of the prior"


@pytest.mark.parametrize("factors", [1, 4, 12])
def test_all_pairs_fit_a_page_where_rings_are_hollow_and_crosses_have_arms(table, rng, factors):
    names = [f"F{i + 1}" for i in range(factors)]
    codes = pd.DataFrame(rng.normal(size=(30, factors)), table.index, names)
    figure = pairs_figure(codes.join(table[["unusual", "line", "flagged"]]), "line", model="VAE")
    assert_fit_for_paper(figure)
    _, hollow, crossed = next(axes for axes in figure.axes if axes.collections).collections
    for marks in (hollow, crossed):
        assert 4 * marks.get_linewidths()[0] < np.sqrt(marks.get_sizes()[0])
    assert_fit_for_paper(plane_figure(table, MapOptions(x="F1", y="age", colour="age")))


def test_one_factor_is_no_pair_but_is_drawn(table):
    assert len(pairs_figure(table[["F1", "line"]]).axes) == 1


def test_what_is_written_says_where_it_comes_from(table, tmp_path):
    options = MapOptions(x="F1", y="age", colour="line")
    export_brain_map(tmp_path, table, options, [7, 2], ABOUT)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"{name}.{kind}" for name in ("brain_map", "brains") for kind in ("png", "svg")),
        "brain_map.csv",
        "selected_brains.csv",
    }
    written = pd.read_csv(tmp_path / "brain_map.csv")
    columns = ["id", "F1", "age", "line", "unusual", "flagged", "selected", "checkpoint"]
    assert list(written) == columns and len(written) == 30
    assert written["id"][written["selected"]].tolist() == ["b02", "b07"]
    assert pd.read_csv(tmp_path / "selected_brains.csv")["id"].tolist() == ["b02", "b07"]
    with Image.open(tmp_path / "brain_map.png") as picture:
        assert json.loads(picture.info["Description"]) == ABOUT
    assert ">F1<" in (tmp_path / "brains.svg").read_text()


def test_covariates_may_be_called_as_factors_are(table, tmp_path):
    brains = table[["F1", "F2"]]
    known = pd.DataFrame({"F1": ["a", "b", "c"] * 10, "flagged": [False] * 30})
    export_brain_pairs(tmp_path, brains, known, ABOUT, "F1")
    assert ">a (10)<" in (tmp_path / "brains.svg").read_text()


def test_the_covariate_that_is_most_certain():
    table = pd.DataFrame({"covariate": ["age", "sex", "age"], "q": [0.4, 0.01, 0.3]})
    assert best_covariate(table) == "sex"
    assert best_covariate(table[:0]) == ""
