"""Two checkpoints held against each other, headless."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.models.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from napari_brainvae.models.rotation import rotate_factors
from napari_brainvae.reporting.match_report import match_heatmap
from napari_brainvae.statistics.two_models import compare_models
from tests.reporting.paper import assert_fit_for_paper
from tests.training.commands import ended


@pytest.fixture(scope="module")
def files(run_folder, population, tmp_path_factory):
    path = tmp_path_factory.mktemp("other") / "turned.safetensors"
    model = load_checkpoint(run_folder / "model.safetensors")
    images = population.prepared(model.header.preprocessing, slice(None))
    save_checkpoint(rotate_factors(model, images, "none"), path)
    return run_folder / "model.safetensors", path


def test_it_writes_what_the_function_says(capsys, files, phantom_file, population, tmp_path):
    code, said = ended(capsys, "match", [*files, phantom_file, "--out", tmp_path / "out"])
    assert code == 0, said
    a, b = (load_checkpoint(file) for file in files)
    expected = compare_models(a, b, population)
    table = pd.read_csv(tmp_path / "out" / "match.csv", keep_default_na=False)
    assert list(table["factor_b"]) == list(expected.match.table()["factor_b"])
    brains = pd.read_csv(tmp_path / "out" / "changed_brains.csv")
    assert list(brains["id"]) == list(expected.brains["id"])
    np.testing.assert_allclose(brains["error_change"], expected.brains["error_change"])
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    prints = {name: model["fingerprint"] for name, model in record["models"].items()}
    assert prints == {"A": fingerprint(a), "B": fingerprint(b)}
    assert {"match.png", "match.svg"} <= {path.name for path in (tmp_path / "out").iterdir()}
    count = len(expected.positions)
    figure = match_heatmap(expected.match, a, b, count=count)
    assert figure.get_suptitle() == f"A: {a.summary}\nB: {b.summary}; {count} brains"
    assert_fit_for_paper(figure)
    code, [line] = ended(capsys, "match", [*files, phantom_file, "--out", tmp_path / "out"])
    assert code == 2
    assert "not an empty folder" in line
