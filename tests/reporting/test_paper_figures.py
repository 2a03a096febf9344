"""Figures: every cell, bar and map is there, and what was saved says where it comes from."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from napari_brainvae.factors.impact import Impact, ImpactOptions
from napari_brainvae.factors.replication import EXPLAINED
from napari_brainvae.reporting import paper_figures as figures
from napari_brainvae.reporting.field_figure import projective_fields
from napari_brainvae.reporting.section_axes import mask_outlines
from tests.reporting.paper import assert_fit_for_paper


def impact_on(factors, rng):
    mean = rng.standard_normal((6, 2, 30, factors)).astype(np.float32)
    mean[:, 1] += rng.exponential(3, (6, 1, factors)).astype(np.float32)
    options = ImpactOptions(resamples=50)
    names = ["SSp", "RSP", "HPF", "STR", "TH", "HY"]
    return Impact(names, options, mean, np.full_like(mean, 0.1), np.arange(30))


@pytest.fixture
def impact(rng):
    return impact_on(8, rng)


@pytest.mark.parametrize("count", [2, 8, 20])
def test_every_figure_fits_a_page_and_can_be_read(count, rng):
    impact, replicated = impact_on(count, rng), np.arange(count) % 3 > 0
    marked = {"model": "beta-VAE after the third revision", "replicated": replicated}
    maps = rng.random((count, 3, 32, 45)).astype(np.float32)
    place = {"pixel_size_um": 100.0, "plane": 286}
    for figure in (
        figures.impact_heatmap(impact, **marked),
        figures.impact_distributions(impact, "HPF", 1, model=marked["model"]),
        figures.factor_covariance(impact, **marked),
        figures.disentanglement_bars(dict.fromkeys(("beta-VAE first", "VAE", "PCA"), impact)),
        figures.association_heatmap(associated(count, rng), **marked),
        projective_fields(maps, **place, **marked),
    ):
        assert_fit_for_paper(figure)


def associated(count, rng):
    return pd.DataFrame(
        [
            {"covariate": name, "factor": factor, "test": test, "brains": 44}
            | dict(zip(("effect", "q"), rng.random(2) - (0.2, 0), strict=True))
            for name, test in (("sex", "Kruskal-Wallis"), ("age_days", "Spearman"))
            for factor in range(1, count + 1)
        ]
    )


def test_the_heat_map_names_and_shows_every_cell(impact):
    axes, bar = figures.impact_heatmap(impact).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == impact.regions
    assert [t.get_text() for t in axes.get_xticklabels()] == [f"F{i}" for i in range(1, 9)]
    assert len(axes.texts) == 48
    np.testing.assert_array_equal(axes.images[0].get_array(), impact.matrix())
    # A scale that is not linear says so.
    assert bar.get_ylabel() == "symmetric KL, nats (colours: log(1 + x))"
    assert "-1 and +1" in axes.get_title()
    assert "30 brains" in axes.get_title()


def test_a_cell_shows_two_distributions_with_their_gaussians(impact):
    (axes,) = figures.impact_distributions(impact, "HPF", 4).axes
    means, stds = (value[2, :, 4] for value in impact.gaussians)
    for line, mean, std in zip(axes.lines, means, stds, strict=True):
        x, y = line.get_data()
        assert x[y.argmax()] == pytest.approx(mean, abs=0.1)
        assert y.max() == pytest.approx(1 / (std * np.sqrt(2 * np.pi)), rel=0.01)
        assert np.trapezoid(y, x) == pytest.approx(1, abs=0.01)
    with pytest.raises(ValueError, match="XYZ"):
        figures.impact_distributions(impact, "XYZ", 0)


def test_the_covariance_is_symmetric_about_zero(impact):
    axes, _ = figures.factor_covariance(impact).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), impact.disentanglement.covariance)
    low, high = axes.images[0].get_clim()
    assert low == -high


def test_every_model_has_its_bar_and_interval(impact):
    figure = figures.disentanglement_bars({"beta-VAE": impact, "VAE": impact, "PCA": impact})
    assert len(figure.axes) == 3
    for axes, name in zip(figure.axes, figures.SCORES, strict=True):
        assert len(axes.patches) == 3
        width = axes.patches[0].get_width()
        assert width == pytest.approx(getattr(impact.disentanglement, name))
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["beta-VAE", "VAE", "PCA"]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_every_factor_has_its_field(count, rng):
    maps = rng.random((count, 3, 20, 30)).astype(np.float32)
    maps[-1] *= 1e-9
    mask = np.zeros((20, 30), bool)
    mask[5:9, 4:20] = True
    look = {"pixel_size_um": 100.0, "plane": 286, "model": "beta-VAE"}
    figure = projective_fields(maps, outlines=mask_outlines(mask), **look)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == count
    assert [axes.get_title().split()[0] for axes in shown] == [f"F{i + 1}" for i in range(count)]
    assert len(figure.legends[0].get_texts()) == 3
    if count > 1:  # a factor that draws nothing is not blown up to full colour
        assert shown[-1].images[0].get_array().max() < 0.01
    for axes in shown:
        said = [text.get_text() for text in axes.texts]
        assert said == ["L", "R", "plane 286", "500 µm"]
        (line,) = axes.collections[0].get_segments()
        assert np.allclose([line.min(axis=0), line.max(axis=0)], [[3.5, 4.5], [19.5, 8.5]])
    assert "beta-VAE" in figure.get_suptitle()


def test_factors_that_do_not_replicate_are_marked_everywhere(impact, rng):
    replicated = np.arange(8) != 2
    maps = rng.random((8, 3, 20, 30)).astype(np.float32)
    heat = figures.impact_heatmap(impact, replicated=replicated)
    like = figures.factor_covariance(impact, replicated=replicated)
    fields = projective_fields(maps, replicated=replicated)
    for figure in (heat, like):
        names = [text.get_text() for text in figure.axes[0].get_xticklabels()]
        assert names == ["F1", "F2", "F3†", *(f"F{i}" for i in range(4, 9))]
        assert figure.get_supxlabel() == EXPLAINED
    titles = [axes.get_title().split()[0] for axes in fields.axes if axes.images]
    assert titles.index("F3†") == 2
    assert EXPLAINED in fields.get_suptitle()
    # Nobody looked: nothing is said.
    assert not figures.impact_heatmap(impact).get_supxlabel()
    assert EXPLAINED not in projective_fields(maps).get_suptitle()


def test_a_line_that_no_figure_holds_is_cut(impact, tmp_path):
    """A cell of a table of 100,000 characters was drawn for minutes."""
    figure = figures.impact_heatmap(impact)
    figure.axes[0].set_title("a short line\n" + "x" * 100_000)
    figures.save_figure(figure, tmp_path / "impact")
    assert figure.axes[0].get_title() == "a short line\n" + "x" * figures.LONGEST_LINE + "…"


def test_what_is_saved_says_where_it_comes_from(impact, tmp_path):
    about = {"fingerprint": "0123", "options": {"low": -1.0}}
    figures.save_figure(figures.impact_heatmap(impact), tmp_path / "v1.2 impact", about)
    with Image.open(tmp_path / "v1.2 impact.png") as png:
        assert json.loads(png.text["Description"]) == about
        assert min(png.size) > 500
    svg = (tmp_path / "v1.2 impact.svg").read_text()
    assert "0123" in svg
    assert ">HPF</text>" in svg
    figures.save_figure(figures.impact_heatmap(impact), tmp_path / "v1.2 impact", about)
    assert (tmp_path / "v1.2 impact.svg").read_text() == svg
    assert len(list(tmp_path.iterdir())) == 2
