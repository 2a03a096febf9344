"""``training.denoise`` from end to end on a small phantom."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tifffile
import zarr

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.robust_inference import robust_inference
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.measures import kl_divergence, squared_error
from training.cli import main
from training.denoise import DenoiseOptions, denoise


@pytest.fixture
def checkpoint(run_folder):
    return run_folder / "model.safetensors"


def run(*arguments):
    main(DenoiseOptions, denoise, program="denoise", arguments=[str(each) for each in arguments])


def test_every_brain_is_denoised_outliers_without_what_is_artifact(
    phantom_file, population, checkpoint, tmp_path, capsys
):
    run(phantom_file, "--model", checkpoint, "--out", tmp_path / "r.tif")
    model = load_checkpoint(checkpoint)
    sections = population.prepared(model.header.preprocessing, slice(None))
    images = tifffile.imread(tmp_path / "r.tif")
    mean, log_variance = model.encode(sections)
    plain = model.decode(mean)
    outlier = model.header.reference.is_outlier(
        squared_error(sections, plain), kl_divergence(mean, log_variance).sum(axis=1)
    )
    assert 0 < outlier.sum() < len(population)
    repair = robust_inference(model, sections[outlier])
    assert np.allclose(images[outlier], repair.reconstruction, atol=1e-5)
    assert np.allclose(images[~outlier], plain[~outlier], atol=1e-5)
    assert capsys.readouterr().out == f"reconstructions: {tmp_path / 'r.tif'}\n"


def test_no_brain_is_asked_robustly_if_that_is_wanted(
    phantom_file, population, checkpoint, tmp_path
):
    run(phantom_file, "--model", checkpoint, "--out", tmp_path / "r.zarr", "--no-robust")
    model = load_checkpoint(checkpoint)
    sections = population.prepared(model.header.preprocessing, slice(None))
    written = zarr.open_group(tmp_path / "r.zarr", mode="r")
    assert np.allclose(written["images"][:], model.reconstruct(sections), atol=1e-5)
    assert "artifact" not in written


def test_chosen_brains_are_repaired(phantom_file, population, checkpoint, tmp_path):
    chosen = [population.ids[7], population.ids[2]]
    out = tmp_path / "r.zarr"
    run(phantom_file, "--model", checkpoint, "--out", out, "--robust", "--brains", ",".join(chosen))
    assert Population.open(out).ids == chosen
    model, written = load_checkpoint(checkpoint), zarr.open_group(out, mode="r")
    repair = robust_inference(model, population.prepared(model.header.preprocessing, [7, 2]))
    assert np.array_equal(written["artifact"][:], repair.artifact)
    assert np.allclose(written["repaired"][:], repair.repaired, atol=1e-6)
    assert np.allclose(written["images"][:], repair.reconstruction, atol=1e-6)


BAD = {
    "kind": (["--out", "OUT/r.png"], "are written as .zarr, .tif or .tiff"),
    "there": (["--out", "OUT/there.tif"], "exists already"),
    "folder": (["--out", "OUT", "--overwrite"], "written as"),
    "brain": (["--out", "OUT/r.tif", "--brains", "nobody"], "no brain 'nobody'"),
    "model": (["--out", "OUT/r.tif", "--model", "missing.safetensors"], "no such checkpoint"),
    "flag": (["--out", "OUT/r.tif", "--robst"], "no flag --robst: did you mean --robust"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_one_line(case, phantom_file, checkpoint, tmp_path, capsys):
    (tmp_path / "there.tif").write_text("mine")
    flags, message = BAD[case]
    flags = [flag.replace("OUT", str(tmp_path)) for flag in flags]
    with pytest.raises(SystemExit) as stop:
        run(phantom_file, *([] if "--model" in flags else ["--model", checkpoint]), *flags)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert {path.name for path in tmp_path.iterdir()} == {"there.tif"}
    assert (tmp_path / "there.tif").read_text() == "mine"
