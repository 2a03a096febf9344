"""``training.compare`` from end to end on a small phantom."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection

from napari_brainvae.data.population import Population
from napari_brainvae.models.checkpoint import fingerprint, load_checkpoint
from napari_brainvae.phantom.phantom import Phantom, PhantomOptions, draw_section, write_phantom
from napari_brainvae.reporting.comparison_report import (
    CHANNELS,
    comparison_table,
    difference_figure,
    forest_plot,
)
from napari_brainvae.reporting.comparison_words import headline, summary
from napari_brainvae.reporting.section_axes import structure_outlines
from napari_brainvae.statistics.beyond import BEYOND
from napari_brainvae.statistics.comparison_options import ComparisonOptions
from napari_brainvae.statistics.study import compare_population
from tests.reporting.paper import assert_fit_for_paper
from training.cli import main
from training.compare import CompareOptions, compare
from training.phantom import PhantomCommand, phantom

QUICK = ("--permutations", "99", "--pixel-permutations", "19")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """24 brains, 12 of them cases, with a cage and a scan day each; their atlas beside them."""
    folder = tmp_path_factory.mktemp("cases")
    options = {"count": 24, "seed": 3, "height": 64, "width": 80, "artifacts": 0}
    phantom(PhantomCommand(out=folder / "two.zarr", cases=0.5, brightness=0.036, **options))
    known = Population.open(folder / "two.zarr").covariates
    known = known.assign(day=["mon", "tue", "wed"] * 8, dose=np.arange(24.0))
    known.to_csv(folder / "known.csv")
    return folder


def run(cases, run_folder, out, *arguments):
    model = run_folder / "model.safetensors"
    given = [str(cases / "two.zarr"), "--model", str(model), "--out", str(out), *QUICK, *arguments]
    main(CompareOptions, compare, program="compare", arguments=given)


@pytest.fixture(scope="module")
def results(cases, run_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "results"
    run(cases, run_folder, out, "--by", "group", "--adjust", "sex,age_days", "--batch", "day",
        "--covariates", str(cases / "known.csv"))  # fmt: skip
    return out


def test_the_folder_holds_everything_and_nothing_else(results):
    names = {path.name for path in results.iterdir()}
    tables = {"compare.csv", "compare_regions.csv", "batches.csv", "deviations.csv"}
    drawn = {
        f"{name}_group.{kind}" for name in ("effects", "difference") for kind in ("png", "svg")
    }
    others = {"difference_group.ome.tif", "pcntoolkit.csv", "pcntoolkit.py", "report.html"}
    assert names == tables | drawn | others | {"record.json"}


def test_outlines_are_vectors_over_one_raster(cases, run_folder):
    model = load_checkpoint(run_folder / "model.safetensors")
    population = Population.open(cases / "two.zarr")
    options = ComparisonOptions(by=["group"], permutations=99, pixel_permutations=19)
    study = compare_population(model, population, population.covariates, options)
    labels = np.zeros(model.shape, np.uint32)
    labels[20:40, 20:60] = 5
    figure = difference_figure(
        study.compared["group"], 25.0, structure_outlines(labels), 2, model="beta-VAE"
    )
    assert_fit_for_paper(figure)
    for axes in figure.axes[:4]:
        assert len(axes.images) == 1, axes.get_title()
        [lines] = [each for each in axes.collections if isinstance(each, LineCollection)]
        assert np.ptp(lines.get_segments()[0], axis=0) == pytest.approx([40, 20], abs=0.6)
        assert {"L", "R", "plane 2"} <= {text.get_text() for text in axes.texts}
    assert "beta-VAE" in figure.get_suptitle() and "n = " in figure.get_suptitle()


def test_the_table_is_what_the_functions_say(results, cases, run_folder):
    table = pd.read_csv(results / "compare.csv")
    assert list(table)[:7] == ["factor", "effect", "low", "high", "p", "p_fwe", "q"]
    model = load_checkpoint(run_folder / "model.safetensors")
    population = Population.open(cases / "two.zarr")
    known = pd.read_csv(cases / "known.csv").set_index("id")
    study = compare_population(
        model, population, known,
        ComparisonOptions(by=["group"], adjust=["sex", "age_days"], batch=["day"],
                          permutations=99, pixel_permutations=0),
    )  # fmt: skip
    expected = study.table()
    shared = ["factor", "effect", "low", "high", "p", "p_fwe", "q", "difference"]
    pd.testing.assert_frame_equal(table[shared], expected[shared], rtol=1e-6)
    assert set(table["checkpoint"]) == {fingerprint(model)}
    assert table["contrast"].unique().tolist() == ["case minus control"]


def test_the_record_says_what_was_compared(results):
    record = json.loads((results / "record.json").read_text())
    assert record["options"]["by"] == ["group"]
    assert len(record["data"]["measured"]) == 24


def test_the_maps_have_their_channels(results):
    with tifffile.TiffFile(results / "difference_group.ome.tif") as file:
        maps = file.asarray()
        text = file.ome_metadata
    assert maps.shape[-3:] == (len(CHANNELS), 64, 80)
    maps = maps.reshape(-1, 64, 80)
    np.testing.assert_allclose(maps[2], maps[0] - maps[1], atol=1e-7)
    assert all(f'Name="{name}"' in text for name in CHANNELS)


def test_the_report_says_no_more_than_it_may(results):
    page = (results / "report.html").read_text("utf-8")
    assert "case (12) against control (12) by group, with sex, age_days, day taken out" in page
    assert "what is not found is not shown to be absent" in page
    assert "need not be caused by it" in page
    assert "Whether these factors come again in other brains was not examined" in page
    assert page.count("<img") == 2


def test_several_covariates_share_q(cases, run_folder, tmp_path):
    run(cases, run_folder, tmp_path / "out", "--by", "dose,sex", "--regions", "HPF,Isocortex",
        "--covariates", str(cases / "known.csv"))  # fmt: skip
    table = pd.read_csv(tmp_path / "out" / "compare.csv")
    assert table["by"].unique().tolist() == ["dose", "sex"]
    assert table["measure"].unique().tolist() == ["partial r", "Cohen's d"]
    regions = pd.read_csv(tmp_path / "out" / "compare_regions.csv")
    assert regions["region"].unique().tolist() == ["HPF", "Isocortex"]
    assert (tmp_path / "out" / "difference_dose.png").is_file()


BAD = {
    "no such column": (["--by", "genotype"], "there is no covariate 'genotype'"),
    "no such group": (["--by", "group", "--groups", "case,ko"], "no brain is 'ko' in group"),
    "three groups": (["--by", "day"], "day has 3 different values"),
    "one group named": (["--by", "group", "--groups", "case"], "two groups are compared, A,B"),
    "collinear": (["--by", "group", "--adjust", "same"], "same says all that group says"),
    "n < p": (["--by", "group", "--adjust", "word"], "24 brains are too few to take out word"),
    "no batch": (["--by", "group", "--harmonize"], "to harmonize, name the batches"),
    "batch is compared": (
        ["--by", "group", "--batch", "group"],
        "group is what is compared: it cannot be the batch",
    ),
    "no atlas": (["--by", "group", "--regions", "XYZ"], "the atlas has no structure 'XYZ'"),
    "twice": (["--by", "group,group"], "group is given twice"),
    "one brain a batch": (["--by", "dose", "--batch", "word", "--harmonize"], "has one brain"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_one_line_and_exit_code_2(case, cases, run_folder, tmp_path, capsys):
    arguments, sentence = BAD[case]
    known = pd.read_csv(cases / "known.csv")
    known = known.assign(same=known["group"], word=[f"word {i}" for i in range(24)])
    known.to_csv(tmp_path / "more.csv", index=False)
    with pytest.raises(SystemExit) as ended:
        run(cases, run_folder, tmp_path / "out", *arguments,
            "--covariates", str(tmp_path / "more.csv"))  # fmt: skip
    said = [line for line in capsys.readouterr().err.splitlines() if "‰" not in line]
    assert ended.value.code == 2
    assert len(said) == 1
    assert sentence in said[0]
    assert not (tmp_path / "out").exists()


def test_what_did_not_replicate_is_marked(cases, run_folder):
    model = load_checkpoint(run_folder / "model.safetensors")
    population = Population.open(cases / "two.zarr")
    options = ComparisonOptions(by=["group"], permutations=99, pixel_permutations=0)
    study = compare_population(
        model, population, population.covariates, options, replicated=[False] * 4
    )
    table = comparison_table(study, model)
    table["p_fwe"] = 0.01
    text = " ".join(summary(study, table).values())
    assert text.count("did not come again in other brains, so take it for a hint") == 4
    assert "was not examined" not in text
    markers = [line for line in forest_plot(table).axes[0].lines if line.get_marker() == "o"]
    assert {line.get_markerfacecolor() for line in markers} == {"white"}


def test_what_only_goes_with_another_factor_is_not_named_of_its_own(cases, run_folder):
    model = load_checkpoint(run_folder / "model.safetensors")
    population = Population.open(cases / "two.zarr")
    options = ComparisonOptions(by=["group"], permutations=99, pixel_permutations=0)
    study = compare_population(model, population, population.covariates, options)
    table = comparison_table(study, model)
    assert tuple(table)[-3:] == BEYOND
    table["p_fwe"] = [0.01, 0.02, 0.5, 0.6]
    table.loc[1, ["p_beyond", "goes_with", "r_with"]] = 0.4, "F1", -0.62
    text = " ".join(summary(study, table).values())
    assert "F2 goes with F1 (r = -0.62, groups apart) and acts where it does" in text
    assert "beyond what is named above it differs by no more than chance explains (p = 0.4)" in text
    assert "F2 is " not in text
    assert "nothing was taken out: whatever else goes with it, such as age, may lie behind" in text
    assert "corrected over 4 factors" in text
    (line,) = headline(study, table)
    assert line.startswith(
        "group, case minus control: F1 at family-wise p <= 0.05; F2 goes with F1 ("
    )
    assert line.endswith("or more, corrected over 4 factors)")
    drawn = forest_plot(table)
    assert [text.get_text() for text in drawn.axes[0].texts][1] == "p = 0.02; goes with F1"
    assert "corrected over 4 factors" in drawn.get_suptitle()
    named = forest_plot(table, model="beta-VAE")
    assert f"n = {table['units_a'][0]} and {table['units_b'][0]}, beta-VAE" in named.get_suptitle()
    assert_fit_for_paper(named)
    for inches in (7.1, 4.2):
        named.set_size_inches(inches, 4)
        FigureCanvasAgg(named).draw()
        title = named._suptitle.get_window_extent()
        assert title.x0 >= 0 and title.x1 <= named.bbox.x1, "whole on a page, and in a panel"
        assert title.y0 >= named.axes[0].bbox.y1, "above the plot"


def test_cases_are_as_many_as_asked_for_and_differ_as_said(tmp_path):
    options = PhantomOptions(count=10, height=64, width=80, artifacts=0, cases=0.3, seed=2)
    write_phantom(Phantom(draw_section(64, 80), options), tmp_path / "p.zarr")
    population = Population.open(tmp_path / "p.zarr")
    is_case = (population.covariates["group"] == "case").to_numpy()
    assert is_case.sum() == 3
    plain = Phantom(draw_section(64, 80), options.model_copy(update={"cases": 0}))
    without = np.stack([plain.brain(i).factors for i in range(10)])
    with_cases = zarr.open_group(tmp_path / "p.zarr")["truth"]["factors"][:]
    shift = (with_cases - without)[is_case]
    np.testing.assert_allclose(shift[:, 2], 0.10 / 0.12)
    assert (shift[:, 6] > 0).all()
    np.testing.assert_allclose(np.delete(shift, [2, 6], axis=1), 0, atol=1e-12)
    np.testing.assert_allclose((with_cases - without)[~is_case], 0)


def test_pairs_share_what_was_planted_and_nothing_else():
    options = PhantomOptions(count=8, height=64, width=80, artifacts=0, cases=0.5, pairs=True)
    phantom = Phantom(draw_section(64, 80), options)
    brains = [phantom.brain(i) for i in range(8)]
    factors = np.stack([brain.factors for brain in brains])
    shift = factors[1::2] - factors[::2]
    assert [brain.group for brain in brains] == ["control", "case"] * 4
    np.testing.assert_allclose(np.delete(shift, [2, 6], axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(shift, shift[:1].repeat(4, axis=0), atol=1e-12)
    assert (np.ptp(factors[::2], axis=0) > 0.5).all()
    assert not np.array_equal(brains[0].clean, brains[2].clean)
    plain = Phantom(phantom.section, options.model_copy(update={"pairs": False})).brain(2)
    np.testing.assert_array_equal(plain.image, brains[2].image)
