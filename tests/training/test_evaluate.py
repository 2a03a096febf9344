from __future__ import annotations

import math
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.data.population import Population
from napari_brainvae.models.checkpoint import load_checkpoint, save_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.measures import squared_error
from tests.linear_model import LinearModel
from tests.reporting.paper import assert_fit_for_paper
from training.cli import main
from training.evaluate import evaluate
from training.evaluation.comparison import (
    FLOOR,
    MEAN_SECTION,
    apart_from_baselines,
    claims_summary,
    claims_table,
    differences_table,
)
from training.evaluation.figures import evaluation_figures, grid_of_images
from training.evaluation.held_out_brains import (
    BY_NAME,
    NEW,
    SAME_DATA,
    UNKNOWN,
    held_out_sections,
)
from training.evaluation.held_out_metrics import (
    AS_IT_IS,
    ERROR,
    FRECHET,
    INSIDE,
    OUTSIDE,
    STEERABLE,
    HeldOut,
    Measurement,
    dtcwt_scales,
    image_values,
    measure_model,
)
from training.evaluation.options import EvaluateOptions
from training.fit import fit
from training.pca import PCAOptions, fit_pca


@pytest.fixture(scope="module")
def checkpoints(phantom_file, tmp_path_factory):
    """A beta-VAE, a VAE and a PCA, all with half of the 24 brains held out."""
    folder = tmp_path_factory.mktemp("models")
    same = {"population": phantom_file, "latent_dim": 3, "held_out": 0.5}
    for name, beta in (("beta", 3.0), ("vanilla", 1.0)):
        fit(FitOptions(out=folder / name, beta=beta, batch_size=6, steps=3, **same))
    fit_pca(PCAOptions(out=folder / "linear.safetensors", **same))
    runs = [folder / name / "model.safetensors" for name in ("beta", "vanilla")]
    return [*runs, folder / "linear.safetensors"]


@pytest.fixture(scope="module")
def evaluated(phantom_file, checkpoints, tmp_path_factory):
    """The folder of one evaluation and what it returned; read only."""
    out = tmp_path_factory.mktemp("evaluations") / "out"
    options = EvaluateOptions(
        population=phantom_file, model=checkpoints, out=out, resamples=200, dtcwt_sections=5
    )
    return out, evaluate(options)


@pytest.fixture(scope="module")
def held(phantom_file, population, checkpoints):
    model = load_checkpoint(checkpoints[0])
    index = held_out_sections(population, [model])
    return HeldOut.read(phantom_file, population, model.header.preprocessing, index)


def test_one_row_a_model_metric_and_class(evaluated):
    out, comparison = evaluated
    table = pd.read_csv(out / "metrics.csv")
    assert list(table) == ["model", "metric", "class", "value", "low", "high", "count"]
    assert not table.duplicated(["model", "metric", "class"]).any()
    assert set(table["model"]) == {MEAN_SECTION, "PCA-3", "beta", "vanilla", "linear", FLOOR}
    assert {"active units", "MIG", "SAP", "DCI disentanglement", "ELBO, nats", "PSNR, dB"} <= set(
        table["metric"]
    )
    assert np.isfinite(table["value"]).all()
    known = table[table["low"].notna()]
    assert (known["low"] <= known["value"] + 1e-12).all()
    assert (known["value"] <= known["high"] + 1e-12).all()
    assert (table.loc[table["metric"].str.contains("dtcwt"), "count"] <= 5).all()
    assert (table.loc[table["class"] == AS_IT_IS, "count"].max()) == 12
    pd.testing.assert_frame_equal(table, comparison.metrics, check_dtype=False)


def test_posteriors_are_measured_where_there_are_any(evaluated):
    metrics = evaluated[1].metrics
    kl = metrics[metrics["metric"].str.startswith("KL F")]
    assert set(kl["model"]) == {"beta", "vanilla"}
    assert sorted(kl["metric"]) == sorted(2 * ["KL F1, nats", "KL F2, nats", "KL F3, nats"])
    assert set(metrics.loc[metrics["metric"] == "ELBO, nats", "model"]) == {"beta", "vanilla"}
    assert MEAN_SECTION not in set(metrics.loc[metrics["metric"] == "MIG", "model"])


def test_the_same_model_twice_does_not_differ(evaluated):
    """The PCA that was fitted by hand is the baseline, made again."""
    differences = evaluated[1].differences
    assert set(differences["against"]) == {"PCA-3"}
    same = differences[differences["model"] == "linear"]
    np.testing.assert_allclose(same[["value", "low", "high"]].fillna(0), 0, atol=2e-4)
    assert set(differences["model"]) == {MEAN_SECTION, "beta", "vanilla", "linear"}


def test_a_paired_interval_is_sharper_than_two_apart(evaluated):
    _, comparison = evaluated

    def width(table):
        rows = table[(table["metric"] == ERROR) & (table["class"] == AS_IT_IS)]
        return (rows["high"] - rows["low"])[rows["model"] == "beta"].item()

    assert width(comparison.differences) < width(comparison.metrics)


def test_errors_are_what_they_are_called(held, checkpoints):
    model = load_checkpoint(checkpoints[0])
    decoded = model.reconstruct(held.sections)
    values = image_values(held, decoded, seed=0, dtcwt_sections=0)
    np.testing.assert_allclose(
        values[ERROR, AS_IT_IS], squared_error(held.sections, decoded), rtol=1e-5
    )
    kind = next(k for k in held.artifact if k != "none")
    of_kind = held.artifact == kind
    for metric, where in ((INSIDE, held.mask), (OUTSIDE, ~held.mask)):
        found = values[metric, f"clean truth, {kind}"]
        assert np.isnan(found[~of_kind]).all()
        for i in np.flatnonzero(of_kind):
            expected = np.square(held.clean[i] - decoded[i])[where[i]].mean()
            assert found[i] == pytest.approx(expected, rel=1e-4)
    assert (INSIDE, "clean truth, none") not in values, "a clean section has no artifact"


def test_a_perfect_model_is_measured_as_perfect(held):
    """Reconstructions that are the truth: every error 0, every similarity 1."""
    values = image_values(held, held.clean, seed=0, dtcwt_sections=100)
    for (metric, kind), value in values.items():
        if kind != AS_IT_IS and metric != "PSNR, dB":
            perfect = 0 if "error" in metric else 1
            np.testing.assert_allclose(value[~np.isnan(value)], perfect, atol=1e-6)


def test_models_are_measured_on_the_same_resamples(held, checkpoints):
    a, b = (
        measure_model(load_checkpoint(path), held, resamples=50, seed=3, dtcwt_sections=2)
        for path in checkpoints[:2]
    )
    for x, y in zip(a, b, strict=True):
        difference = x - y
        assert difference.value == x.value - y.value
        np.testing.assert_array_equal(difference.replicates, x.replicates - y.replicates)


def test_the_bootstrap_interval_covers_the_mean(rng):
    """Of 300 samples of 40 brains each, about 95 % hold the true mean, and by half on each side."""
    missed = []
    for _ in range(300):
        values = rng.normal(size=40)
        means = values[rng.integers(40, size=(400, 40))].mean(axis=1)
        low, high = Measurement("m", "k", values.mean(), means, 40, False).interval()
        missed.append(not low <= 0 <= high)
    assert 0.01 < np.mean(missed) < 0.13


def test_the_jackknife_interval_is_that_of_a_mean(rng):
    """For a mean, with groups of one, the jackknife's standard error is the ordinary one."""
    values = rng.normal(size=30)
    without = np.array([np.delete(values, i).mean() for i in range(30)])
    low, high = Measurement("m", "k", values.mean(), without, 30, True).interval()
    reach = 1.96 * values.std(ddof=1) / math.sqrt(30)
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach))


def test_too_few_brains_have_no_interval():
    assert all(map(math.isnan, Measurement("m", "k", 1.0, np.ones(9), 4, False).interval()))


def measured(value, spread, metric=ERROR):
    replicates = value + spread * np.linspace(-1, 1, 101)
    return Measurement(metric, AS_IT_IS, value, replicates, 40, False)


def stub(family, latent_dim=8):
    return SimpleNamespace(family=family, latent_dim=latent_dim)


CLAIMED = {"b": stub("beta-VAE"), "v": stub("VAE"), "p": stub("PCA")}


def test_claims_follow_from_whole_intervals():
    # Errors with common noise: only the differences decide. Similarities point the other way.
    found = {
        "b": [measured(1.0, 0.5), measured(0.8, 0.1, STEERABLE)],
        "v": [measured(2.0, 0.5), measured(0.9, 0.1, STEERABLE)],
        "p": [measured(2.1, 0.9), measured(0.7, 0.1, STEERABLE)],
    }
    claims = claims_table(found, CLAIMED).set_index(["claim", "metric"])["verdict"]
    assert claims["beta-VAE > VAE", ERROR] == "confirmed"
    assert claims["beta-VAE > VAE", STEERABLE] == "refuted"
    assert claims["VAE > PCA", ERROR] == "undecided"
    assert claims["VAE > PCA", STEERABLE] == "confirmed"
    assert claims["beta-VAE > PCA", STEERABLE] == "confirmed"
    lines = claims_summary(claims_table(found, CLAIMED))
    assert lines[0].endswith("confirmed by 1, refuted by 1, undecided by 0 of 2 comparisons")


def test_claims_are_made_at_equal_numbers_of_factors_only():
    found = {"b": [measured(1.0, 0.1)], "p": [measured(2.0, 0.1)]}
    models = {"b": stub("beta-VAE"), "p": stub("PCA", latent_dim=4)}
    assert claims_table(found, models).empty
    assert all("not tested" in line for line in claims_summary(claims_table(found, models)))


def test_differences_are_to_the_baseline():
    found = {"p": [measured(2.0, 0.3)], "b": [measured(1.5, 0.3)]}
    [row] = differences_table(found, "p").to_dict("records")
    assert (row["model"], row["against"], row["value"]) == ("b", "p", -0.5)
    assert (row["low"], row["high"]) == pytest.approx((-0.5, -0.5))


def test_the_report_needs_nothing_but_itself(evaluated):
    out, comparison = evaluated
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r"(src|href)=.(?!data:)", page)
    assert "12 held-out brains" in page
    for name in ("denoising", "metrics", "differences", "latent"):
        assert (out / f"{name}.png").stat().st_size > 1000
        assert (out / f"{name}.svg").read_text().startswith("<?xml")
    assert not list(out.glob(".*partial*"))
    for figure in evaluation_figures(comparison).values():
        assert_fit_for_paper(figure)


@pytest.mark.parametrize(
    ("rows", "columns", "tiled"), [(1, 9, (3, 4)), (2, 5, (2, 5)), (4, 9, (9, 4))]
)
def test_sections_of_many_models_fit_a_page(rows, columns, tiled):
    """A single row is wrapped, and many columns become rows; masks stay on their sections."""
    images = [[np.full((32, 45), r + c / 10) for c in range(columns)] for r in range(rows)]
    masks = [[None] * columns for _ in range(rows)]
    masks[0][3] = np.ones((32, 45), bool)
    names = [f"model {i}" for i in range(columns)]
    header = LinearModel(np.zeros((1, 64, 64))).header
    header = header.model_copy(update={"pixel_size_um": 100.0, "plane": 286})
    figure = grid_of_images(images, ["a", "b", "c", "d"][:rows], names, header=header, marked=masks)
    assert_fit_for_paper(figure)
    grid = figure.axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == tiled
    [axes] = [each for each in figure.axes if each.collections]
    assert axes.images[0].get_array()[0, 0] == pytest.approx(0.3)


def test_a_population_without_truth(evaluated, phantom_file, checkpoints, tmp_path, caplog):
    """The same sections as a plain array: measured against themselves alone."""
    population = Population.open(phantom_file)
    np.savez(tmp_path / "plain.npz", images=population.sections(), ids=population.ids)
    options = EvaluateOptions(
        population=tmp_path / "plain.npz",
        model=checkpoints[:1],
        out=tmp_path / "out",
        resamples=10,
        dtcwt_sections=0,
    )
    caplog.set_level("INFO")
    comparison = evaluate(options)
    assert set(comparison.metrics["class"]) == {AS_IT_IS}
    assert not {INSIDE, "MIG"} & set(comparison.metrics["metric"])
    assert FRECHET in set(comparison.metrics["metric"])
    assert "12 held-out brains" in caplog.text


def test_as_many_brains_as_were_asked_for(phantom_file, checkpoints, held, tmp_path, caplog):
    caplog.set_level("INFO")
    options = EvaluateOptions(
        population=phantom_file, model=checkpoints[:1], out=tmp_path / "out", brains=3
    )
    comparison = evaluate(options)
    there_are = len(held.sections)
    assert (len(comparison.held.sections), comparison.held_out) == (3, there_are)
    assert f"3 held-out brains of {there_are}" in caplog.text
    assert f"3 held-out brains of {there_are}" in (tmp_path / "out" / "report.html").read_text()


# which brains are new to a model


def with_header(path, to, **training):
    """A copy of a checkpoint whose training record says something else."""
    model = load_checkpoint(path)
    model.header.training |= training
    save_checkpoint(model, to)
    return to


def other_pixels(population, path, ids=None, images=None):
    """The same brains by name, but not by pixels."""
    images = population.sections()[:, ::-1] if images is None else images
    np.savez(path, images=images, ids=population.ids if ids is None else ids)
    return path


def evaluate_quickly(population, models, out, **more):
    options = {"resamples": 10, "dtcwt_sections": 0, **more}
    return evaluate(EvaluateOptions(population=population, model=models, out=out, **options))


def known(comparison, name):
    """Rows that say how brains are known to be new to a model, as metric: count."""
    rows = comparison.metrics[comparison.metrics["model"] == name]
    rows = rows[rows["metric"].isin([SAME_DATA, BY_NAME, NEW, UNKNOWN])]
    return dict(zip(rows["metric"], rows["count"], strict=True))


def test_held_out_brains_of_the_same_data_are_certain(evaluated):
    comparison = evaluated[1]
    assert comparison.notes == []
    assert [known(comparison, name) for name in ("beta", "linear")] == [{SAME_DATA: 12}] * 2


def test_names_of_other_data_are_not_trusted_in_silence(population, checkpoints, tmp_path, caplog):
    path = other_pixels(population, tmp_path / "other.npz")
    caplog.set_level("INFO")
    comparison = evaluate_quickly(path, checkpoints[:1], tmp_path / "out")
    assert known(comparison, "beta") == {BY_NAME: 12}
    said = "beta was fitted on other data than this population: its held-out brains are known by "
    assert said in caplog.text
    assert said in (tmp_path / "out" / "report.html").read_text()
    assert BY_NAME in set(pd.read_csv(tmp_path / "out" / "metrics.csv")["metric"])


def test_brains_of_other_names_are_all_new(population, checkpoints, tmp_path):
    """None of them was fitted on; half of them fit the baselines, which know no brain else."""
    path = other_pixels(population, tmp_path / "new.npz", [f"new-{i}" for i in range(24)])
    comparison = evaluate_quickly(path, checkpoints[:1], tmp_path / "out")
    assert known(comparison, "beta") == {NEW: 24}
    assert comparison.held_out == 12
    assert len(comparison.notes) == 2
    assert "counts as new" in comparison.notes[0]
    assert "fit the baselines" in comparison.notes[1]


def test_a_model_that_does_not_say_what_it_was_fitted_on(phantom_file, checkpoints, tmp_path):
    silent = load_checkpoint(checkpoints[2])
    silent.header.training.clear()
    save_checkpoint(silent, tmp_path / "silent.safetensors")
    models = [checkpoints[0], tmp_path / "silent.safetensors"]
    comparison = evaluate_quickly(phantom_file, models, tmp_path / "out")
    assert known(comparison, "silent") == {UNKNOWN: 24}
    assert comparison.held_out == 12, "those that the other model was not fitted on"
    assert "does not say which brains" in comparison.notes[0]


# names


@pytest.mark.parametrize(
    ("name", "together"),
    [("PCA-3", False), *((n, True) for n in ("mean section", FLOOR, "section", "_a$\\frac$"))],
)
def test_no_name_of_a_model_takes_the_place_of_another(
    name, together, phantom_file, checkpoints, tmp_path
):
    """Also a VAE called like the baseline: it is measured as itself, and the baseline is there."""
    shutil.copy(checkpoints[0], tmp_path / f"{name}.safetensors")
    models = [tmp_path / f"{name}.safetensors", *checkpoints[2:] * together]
    comparison = evaluate_quickly(phantom_file, models, tmp_path / "out")
    free = name not in ("PCA-3", "mean section", FLOOR)
    given = name if free else f"{name} (given)"
    assert list(comparison.models) == [MEAN_SECTION, "PCA-3", given, *["linear"] * together]
    assert comparison.models[given].header.kind == "vae"
    assert comparison.models[comparison.baseline].header.kind == "pca"
    table = comparison.metrics[comparison.metrics["metric"] == ERROR]
    assert len(table[table["class"] == AS_IT_IS]) == 3 + together
    assert (tmp_path / "out" / "report.html").exists()


def test_renamed_models_do_not_collide_either():
    models = {name: stub("VAE") for name in ("PCA-8", "PCA-8 (given)", "other")}
    names = list(apart_from_baselines(models))
    assert names == ["PCA-8 (given) (given)", "PCA-8 (given)", "other"]


# all or nothing, once


def test_a_failure_while_writing_leaves_nothing(phantom_file, checkpoints, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("napari_brainvae.reporting.html.write_text", full)
    with pytest.raises(OSError, match="no space left"):
        evaluate_quickly(phantom_file, checkpoints[2:], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_killed_run_left_is_no_obstacle(phantom_file, checkpoints, tmp_path):
    out = tmp_path / "out"
    (out / ".results.0123abcd.partial").mkdir(parents=True)
    (out / ".results.0123abcd.partial" / "metrics.csv").touch()
    evaluate_quickly(phantom_file, checkpoints[2:], out)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_held_out_brains_are_read_once(phantom_file, checkpoints, tmp_path, monkeypatch):
    """However many models there are: baselines' brains once, held-out ones once."""
    read, sections = [], Population.sections

    def noted(self, index=slice(None)):
        read.extend(np.arange(len(self))[index].tolist())
        return sections(self, index)

    monkeypatch.setattr(Population, "sections", noted)
    evaluate_quickly(phantom_file, checkpoints, tmp_path / "out")
    assert len(read) == len(set(read))
    flagged = np.flatnonzero(Population.open(phantom_file).flagged)
    assert set(range(24)) - set(read) <= set(flagged), "nobody needs what no baseline is fitted to"


def test_scales_of_the_slow_transform():
    assert [dtcwt_scales(s) for s in ((64, 80), (96, 128), (97, 128), (320, 448))] == [3, 3, 4, 4]


def bad(change):
    def corrupt(path, models, out):
        arguments = {"population": path, "models": list(models[:1]), "out": out}
        return change(arguments, out.parent)

    return corrupt


def a_full_folder(arguments, folder):
    arguments["out"].mkdir()
    (arguments["out"] / "mine").touch()
    return arguments


def no_such_model(arguments, folder):
    return arguments | {"models": [folder / "nothing.safetensors"]}


def two_of_one_name(arguments, folder):
    shutil.copytree(arguments["models"][0].parent, folder / "more" / "beta")
    twice = [*arguments["models"], folder / "more" / "beta" / "model.safetensors"]
    return arguments | {"models": twice}


def another_size(arguments, folder):
    np.save(folder / "x.npy", np.random.default_rng(0).random((5, 96, 96)))
    return arguments | {"population": folder / "x.npy"}


def another_clip(arguments, folder):
    model = load_checkpoint(arguments["models"][0])
    update = {"preprocessing": model.header.preprocessing.model_copy(update={"clip": 3.0})}
    model.header = model.header.model_copy(update=update)
    save_checkpoint(model, folder / "clip3.safetensors")
    return arguments | {"models": [*arguments["models"], folder / "clip3.safetensors"]}


def all_of_other_data(arguments, folder):
    path = with_header(arguments["models"][0], folder / "all.safetensors", held_out=[])
    other = other_pixels(Population.open(arguments["population"]), folder / "other.npz")
    return arguments | {"models": [path], "population": other}


def numbers_for_names(arguments, folder):
    population = Population.open(arguments["population"])
    numbers = [f"{i:04d}" for i in range(len(population))]
    path = with_header(arguments["models"][0], folder / "n.safetensors", held_out=numbers[:5])
    other = other_pixels(population, folder / "other.npz", numbers)
    return arguments | {"models": [path], "population": other}


def nobody_held_out(arguments, folder):
    run = folder / "all"
    options = {"latent_dim": 2, "batch_size": 4, "steps": 1, "held_out": 0}
    fit(FitOptions(population=arguments["population"], out=run, **options))
    return arguments | {"models": [run / "model.safetensors"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (a_full_folder, "is not empty"),
        (no_such_model, "nothing.safetensors"),
        (two_of_one_name, "same name"),
        (another_size, "error: "),
        (
            another_clip,
            "clip3 and beta cannot be compared, their sections are prepared with clip 3",
        ),
        (all_of_other_data, "cannot be told which are new to it"),
        (numbers_for_names, "no names but running numbers"),
        (nobody_held_out, "no held-out brain in common"),
    ],
)
def test_bad_input_ends_with_one_line_and_writes_nothing(
    change, message, phantom_file, checkpoints, tmp_path, capsys
):
    given = bad(change)(phantom_file, checkpoints, tmp_path / "out")
    capsys.readouterr()
    flags = [str(given["population"]), "--out", str(given["out"])]
    for path in given["models"]:
        flags += ["--model", str(path)]
    with pytest.raises(SystemExit) as ended:
        main(EvaluateOptions, evaluate, program="evaluate", arguments=flags)
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1, error
    assert message in error[0]
    assert not (given["out"] / "metrics.csv").exists()
