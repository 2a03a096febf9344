"""Brains that are not to be trusted are left out of a fit, which says so."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.data.marks import MarkBook, marks_beside
from napari_brainvae.data.population import Population
from napari_brainvae.factors.impact import usable_sections
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.checkpoint import fingerprint, load_checkpoint
from training.evaluation.comparison import baselines
from training.fit import fit
from training.fitting.options import FitOptions
from training.fitting.reading import split
from training.pca import PCAOptions, fit_pca


@pytest.fixture
def flagged_file(tmp_path, population):
    """The small phantom with flags of a spreadsheet: x or nothing."""
    words = ["x" if i % 4 == 0 else "" for i in range(len(population))]
    copy = Population(
        population.sections(),
        population.ids,
        pd.DataFrame({"flagged": words}),
        population.description,
    )
    copy.save(tmp_path / "flagged.zarr")
    return tmp_path / "flagged.zarr"


def options(file, out, **more):
    return FitOptions(population=file, out=out, latent_dim=2, batch_size=8, steps=2, **more)


def test_flagged_brains_are_not_fitted_and_that_is_said(flagged_file, tmp_path, caplog):
    opened = Population.open(flagged_file)
    train, held_out = split(opened, 0.2, 0)
    wanted = [opened.ids[i] for i in train if i % 4]
    with caplog.at_level(logging.INFO):
        fit(options(flagged_file, tmp_path / "run"))
    left = len(train) - len(wanted)
    assert f"{left} of {len(train)} brains to fit are flagged and left out" in caplog.text
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["data"]["measured"] == wanted
    header = load_checkpoint(tmp_path / "run" / "model.safetensors").header
    assert header.training["held_out"] == [opened.ids[i] for i in held_out], "as without flags"


def test_pca_is_fitted_to_the_same_brains(flagged_file, tmp_path):
    """The pixels of a flagged brain have no say in it, and do when they are asked for."""
    opened = Population.open(flagged_file)
    train, _ = split(opened, 0.2, 0)
    bad = next(i for i in train if i % 4 == 0)
    images = opened.sections()
    images[bad] = images[bad][::-1]
    other = tmp_path / "other.zarr"
    Population(images, opened.ids, opened.covariates, opened.description).save(other)
    means = {}
    for include in (False, True):
        for name, file in (("as it is", flagged_file), ("changed", other)):
            out = tmp_path / f"{name} {include}.safetensors"
            fit_pca(PCAOptions(population=file, out=out, latent_dim=2, include_flagged=include))
            means[name, include] = load_checkpoint(out).decode(np.zeros((1, 2)))
    np.testing.assert_array_equal(means["as it is", False], means["changed", False])
    assert not np.array_equal(means["as it is", True], means["changed", True])


@pytest.mark.parametrize("include", [False, True])
def test_baselines_are_fitted_to_the_kind_of_brains_that_the_models_were(
    flagged_file, tmp_path, include
):
    out = tmp_path / "pca.safetensors"
    fit_pca(PCAOptions(population=flagged_file, out=out, latent_dim=2, include_flagged=include))
    opened, model = Population.open(flagged_file), load_checkpoint(out)
    _, held_out = split(opened, 0.2, 0)
    baseline = baselines(opened, [model], held_out)["PCA-2"]
    np.testing.assert_allclose(baseline.mean, model.mean, atol=1e-6)


def test_all_brains_may_be_flagged_but_not_fitted(flagged_file, tmp_path):
    opened = Population.open(flagged_file)
    table = pd.DataFrame({"flagged": ["yes"] * len(opened)})
    Population(opened.sections(), opened.ids, table, opened.description).save(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="are flagged: --include-flagged fits them"):
        fit(options(tmp_path / "a.zarr", tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    fit(options(tmp_path / "a.zarr", tmp_path / "run", include_flagged=True))
    assert "measured" not in json.loads((tmp_path / "run" / "record.json").read_text())["data"]


def test_flags_that_mean_nothing_are_refused_before_anything_is_written(flagged_file, tmp_path):
    opened = Population.open(flagged_file)
    table = pd.DataFrame({"flagged": ["dubious"] * len(opened)})
    Population(opened.sections(), opened.ids, table, opened.description).save(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="'dubious' of 'phantom-5-0000': write yes or no"):
        fit(options(tmp_path / "a.zarr", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_begun_before_there_was_the_choice_goes_on(flagged_file, tmp_path):
    run = tmp_path / "run"
    fit(options(flagged_file, run, include_flagged=True))
    record = json.loads((run / "record.json").read_text())
    del record["options"]["include_flagged"]
    (run / "record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="other data than this population"):
        fit(options(flagged_file, run, resume=True))
    fit(options(flagged_file, run, resume=True, include_flagged=True))


def test_a_fit_of_named_brains_notes_them(flagged_file, tmp_path):
    """As a refit of half of the brains is asked for."""
    fit(options(flagged_file, tmp_path / "run"), members=[1, 2, 3, 5])
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    ids = Population.open(flagged_file).ids
    assert record["data"]["measured"] == [ids[i] for i in (1, 2, 3, 5)]


@pytest.fixture
def marked_file(population, tmp_path):
    """Brains without flags; three to be fitted are marked as excluded, one as unsure."""
    plain = Population(population.sections(), population.ids, description=population.description)
    plain.save(tmp_path / "mice.zarr")
    opened = Population.open(tmp_path / "mice.zarr")
    train, held_out = split(opened, 0.2, 0)
    names = [opened.ids[i] for i in [*train[:3], held_out[0]]]
    book = MarkBook(opened.marks, opened.ids)
    book.mark(names[:3], "exclude", by="key")
    book.mark(names[3:], "unsure", by="key")
    return tmp_path / "mice.zarr"


def test_excluded_brains_are_not_fitted_and_that_is_said(marked_file, tmp_path, caplog):
    """By the same sentence, the same brains and the same bits as if they were flagged."""
    opened = Population.open(marked_file)
    train, held_out = split(opened, 0.2, 0)
    with caplog.at_level(logging.INFO):
        fit(options(marked_file, tmp_path / "run"))
    assert "3 brains are marked as excluded in mice.marks.csv and left out" in caplog.text
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["data"]["measured"] == [opened.ids[i] for i in train[3:]]
    assert record["data"]["marks"]["excluded"] == 3
    assert load_checkpoint(tmp_path / "run" / "model.safetensors").header.training["held_out"] == [
        opened.ids[i] for i in held_out
    ]
    table = pd.DataFrame({"flagged": opened.excluded})
    Population(opened.sections(), opened.ids, table, opened.description).save(tmp_path / "f.zarr")
    fit(options(tmp_path / "f.zarr", tmp_path / "flagged"))
    one, other = (
        load_checkpoint(tmp_path / run / "model.safetensors") for run in ("run", "flagged")
    )
    assert fingerprint(one) == fingerprint(other)


def test_marks_can_be_left_alone_or_taken_from_elsewhere(marked_file, tmp_path, caplog):
    beside = marks_beside(marked_file)
    with caplog.at_level(logging.INFO):
        fit(options(marked_file, tmp_path / "all", marks=Path("none")))
    assert "excluded" not in caplog.text
    beside.rename(tmp_path / "mine.csv")
    fit(options(marked_file, tmp_path / "run", marks=tmp_path / "mine.csv"))
    fit_pca(
        PCAOptions(
            population=marked_file,
            out=tmp_path / "pca.safetensors",
            latent_dim=2,
            marks=tmp_path / "mine.csv",
        )
    )
    counts = [
        len(json.loads((tmp_path / run / "record.json").read_text())["data"].get("measured", []))
        for run in ("all", "run")
    ]
    pca = load_checkpoint(tmp_path / "pca.safetensors").header.training["data"]
    train, _ = split(Population.open(marked_file), 0.2, 0)
    assert [*counts, len(pca["measured"])] == [0, len(train) - 3, len(train) - 3]


def test_a_resumed_run_notices_other_marks_and_goes_on_with_its_own(marked_file, tmp_path):
    run, opened = tmp_path / "run", Population.open(marked_file)
    train, held_out = split(opened, 0.2, 0)
    fit(options(marked_file, run))
    whole = (run / "model.safetensors").read_bytes()
    book = MarkBook(opened.marks, opened.ids)
    book.mark([opened.ids[train[5]]], "unsure", by="key")
    fit(options(marked_file, run, resume=True))
    # One that is held out anyway is another choice of brains, too.
    for other in (train[6], held_out[1]):
        book.mark([opened.ids[other]], "exclude", by="key")
        with pytest.raises(InputError, match=r"other marks: --marks .*marks\.csv goes on"):
            fit(options(marked_file, run, resume=True))
        fit(options(marked_file, run, resume=True, marks=run / "marks.csv"))
        assert (run / "model.safetensors").read_bytes() == whole
        book.undo()


def test_marks_that_came_later_do_not_stop_a_run(phantom_file, tmp_path):
    shutil.copytree(phantom_file, tmp_path / "mice.zarr")
    fit(options(tmp_path / "mice.zarr", tmp_path / "run"))
    opened = Population.open(tmp_path / "mice.zarr")
    MarkBook(opened.marks, opened.ids).mark(opened.ids[:2], "exclude", by="key")
    with pytest.raises(InputError, match="begun with other marks: --marks none goes on"):
        fit(options(tmp_path / "mice.zarr", tmp_path / "run", resume=True))
    fit(options(tmp_path / "mice.zarr", tmp_path / "run", resume=True, marks=Path("none")))


def test_all_brains_may_be_excluded_but_not_fitted(marked_file, tmp_path):
    opened = Population.open(marked_file)
    MarkBook(opened.marks, opened.ids).mark(opened.ids, "exclude", by="key")
    with pytest.raises(InputError, match=r"marked as excluded in mice.marks.csv: --marks none"):
        fit(options(marked_file, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"all 24 sections .* marked as excluded \(24\)"):
        usable_sections(Population.open(marked_file), include_flagged=True)


def test_damaged_marks_stop_a_fit_before_anything_is_written(marked_file, tmp_path):
    marks_beside(marked_file).write_text("id,mark\nphantom-5-0000,perhaps\n")
    with pytest.raises(InputError, match=r"mice.marks.csv says 'perhaps' of 'phantom-5-0000'"):
        fit(options(marked_file, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
