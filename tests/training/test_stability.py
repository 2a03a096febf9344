"""``training.stability``: tables, figure and record of which factors come again."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.factors.stability import factor_stability
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.reporting.stability_tables import stability_figure
from tests.reporting.paper import assert_fit_for_paper
from training.cli import main
from training.fit import fit
from training.fitting.replication import replication
from training.stability import StabilityOptions, stability

COLUMNS = ["latent_dim", "factor", "map_similarity", "code_correlation", "replicated"]


@pytest.fixture(scope="module")
def folder(phantom_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("stability") / "out"
    stability(StabilityOptions(population=phantom_file, out=out, latent_dims="1,3", splits=2))
    return out


def test_a_row_a_factor(folder):
    table = pd.read_csv(folder / "stability.csv")
    assert list(table.columns[:5]) == COLUMNS
    assert table["latent_dim"].tolist() == [1, 3, 3, 3]
    assert table["factor"].tolist() == ["F1", "F1", "F2", "F3"]
    assert table["replicated"].isin([0, 1]).all()
    assert (table["map_similarity_low"] <= table["map_similarity"]).all()
    assert (table["map_similarity"] <= table["map_similarity_high"]).all()


def test_the_table_is_what_python_says(folder, population):
    from training.fitting.reading import fit_preprocessing

    everyone = np.flatnonzero(~population.flagged).tolist()
    images = population.prepared(fit_preprocessing(population, everyone), everyone)
    found = factor_stability(images, 3, splits=2, seed=0)
    table = pd.read_csv(folder / "stability.csv").query("latent_dim == 3")
    np.testing.assert_allclose(table["map_similarity"], found.similarity, atol=1e-5)
    assert table["replicated"].tolist() == found.replicated.astype(int).tolist()
    assert_fit_for_paper(stability_figure({3: found, 12: found}, brains=1234))


def test_the_summary_counts_the_table(folder):
    table, summary = (pd.read_csv(folder / f"{n}.csv") for n in ("stability", "summary"))
    counted = table.groupby("latent_dim")["replicated"].sum()
    assert summary.set_index("latent_dim")["replicated"].equals(counted)


def test_figure_and_record(folder):
    assert (folder / "stability.png").stat().st_size > 10_000
    svg = (folder / "stability.svg").read_text()
    record = json.loads((folder / "record.json").read_text())
    assert record["answer"][1:] in svg
    brains = len(record["data"]["measured"])
    assert f">{brains} brains, 2 times in halves; dotted: 0.95, from which on" in svg
    assert record["options"]["latent_dims"] == "1,3"
    assert record["data"]["sections"] == 24


def test_a_model_is_held_against_halves(run_folder, phantom_file, tmp_path):
    model = run_folder / "model.safetensors"
    options = StabilityOptions(population=phantom_file, out=tmp_path / "m", model=model, splits=2)
    found = stability(options)
    assert list(found) == [4]
    table = pd.read_csv(tmp_path / "m" / "stability.csv")
    assert table["factor"].tolist() == ["F1", "F2", "F3", "F4"]
    assert "model" in json.loads((tmp_path / "m" / "record.json").read_text())["models"]


def test_more_factors_than_halves_can_tell_are_left_out(phantom_file, tmp_path, caplog):
    found = stability(
        StabilityOptions(population=phantom_file, out=tmp_path / "o", latent_dims="4:7", splits=1)
    )
    assert list(found) == [4, 5]
    assert "6, 7 left out" in caplog.text


def test_bad_input_leaves_nothing(phantom_file, tmp_path):
    out = tmp_path / "out"
    options = StabilityOptions(population=phantom_file, out=out, latent_dims="11:12")
    with pytest.raises(InputError, match="from 1 to 5 factors"):
        stability(options)
    assert not out.exists()


def test_a_folder_with_content_is_left_alone(phantom_file, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        stability(StabilityOptions(population=phantom_file, out=tmp_path))


@pytest.mark.parametrize("text", ["1.5", "0:3", "", "a"])
def test_numbers_of_factors_are_whole_and_positive(text, tmp_path):
    with pytest.raises(ValueError, match=r"number|neither FROM:TO"):
        StabilityOptions(population=tmp_path, out=tmp_path, latent_dims=text)


@pytest.mark.parametrize("include_flagged", [False, True])
def test_flagged_brains_are_left_out_unless_said(
    include_flagged, phantom_file, population, tmp_path
):
    options = StabilityOptions(
        population=phantom_file,
        out=tmp_path / "out",
        latent_dims="1",
        splits=1,
        include_flagged=include_flagged,
    )
    stability(options)
    measured = json.loads((tmp_path / "out" / "record.json").read_text())["data"]["measured"]
    flagged = population.flagged
    assert flagged.any()
    assert measured == [
        name
        for name, bad in zip(population.ids, flagged, strict=True)
        if include_flagged or not bad
    ]


@pytest.mark.parametrize("rotation", ["varimax", "none"])
def test_fit_leaves_the_stability_of_its_own_factors_in_the_checkpoint(
    rotation, phantom_file, population, tmp_path, caplog
):
    caplog.set_level("INFO")
    out = tmp_path / "run"
    fit(
        FitOptions(
            population=phantom_file, out=out, rotation=rotation, latent_dim=3, batch_size=6, steps=2
        )
    )
    header = load_checkpoint(out / "model.safetensors").header
    found, held_out = header.stability, header.training["held_out"]
    assert "replicated" not in header.training, "kept once: a rotation makes it void"
    if rotation == "none":
        assert found is None
        assert "come again" not in caplog.text
        return
    usable = [name for i, name in enumerate(population.ids) if not population.flagged[i]]
    assert (found.splits, found.sections) == (10, len(set(usable) - set(held_out)))
    assert all(0 <= similarity <= 1 for similarity in found.similarity)
    assert all(0 <= count <= 20 for count in found.came_again)
    assert f"{sum(found.replicated)} of 3 factors come again in split halves" in caplog.text


def test_too_few_brains_say_nothing(population, run_folder):
    model = load_checkpoint(run_folder / "model.safetensors")
    images = population.prepared(model.header.preprocessing, range(11))
    assert replication(model, images, seed=0) is None


REFIT = {"refit": True, "latent_dims": "2", "splits": 1, "steps": 2, "threads": 1, "workers": 1}


@pytest.mark.parametrize(
    "flag", ["--steps=3", "--recipe=paper", "--threads=1", "--scheduler=tcp://a:1", "--workers=1"]
)
def test_flags_of_whole_fits_are_not_passed_over(flag, phantom_file, tmp_path, capsys):
    arguments = [str(phantom_file), "--out", str(tmp_path / "out"), flag]
    with pytest.raises(SystemExit) as stop:
        main(StabilityOptions, stability, program="stability", arguments=arguments)
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{flag.partition('=')[0]} is for whole fits: give --refit as well" in line


def test_whole_models_are_fitted_to_halves_and_kept(phantom_file, tmp_path, monkeypatch):
    out, again = tmp_path / "out", tmp_path / "again"
    found = stability(StabilityOptions(population=phantom_file, out=out, **REFIT))[2]
    assert found.map_similarity.shape == (1, 2)
    assert ((found.map_similarity > 0) & (found.map_similarity <= 1 + 1e-9)).all()
    assert 0 < found.held_out_variance < 1.5
    fits = tmp_path / "out.fits" / "L-2"
    assert {p.stem for p in fits.glob("*.npz")} == {"all", "split-1a", "split-1b"}
    tasks = json.loads((fits / "fits.json").read_text())
    one, other = (set(tasks[f"split-1{half}"]["members"]) for half in "ab")
    assert not one & other
    assert one | other == set(tasks["all"]["members"])
    # What is there is not fitted again.
    fits.parent.rename(tmp_path / "again.fits")
    monkeypatch.setattr("training.refits.connected", lambda *_: pytest.fail("nothing is missing"))
    same = stability(StabilityOptions(population=phantom_file, out=again, **REFIT))[2]
    np.testing.assert_array_equal(found.map_similarity, same.map_similarity)
    (tmp_path / "again.fits").rename(tmp_path / "other.fits")
    longer = REFIT | {"steps": 3}
    other_options = StabilityOptions(population=phantom_file, out=tmp_path / "other", **longer)
    with pytest.raises(InputError, match="other brains or options"):
        stability(other_options)
