"""A run folder has one owner, keeps its last good model, and says what became of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from filelock import FileLock

from napari_brainvae.io.errors import InputError
from napari_brainvae.models.checkpoint import load_checkpoint
from training.cli import main
from training.fit import fit
from training.fitting.options import FitOptions
from training.pca import PCAOptions, fit_pca


def small(phantom_file, out, **more):
    options = {"latent_dim": 2, "batch_size": 4, "steps": 4, "recipe": "paper", **more}
    return FitOptions(population=phantom_file, out=out, **options)


# divergence


@pytest.mark.parametrize("recipe", ["paper", "fast"])
def test_a_fit_that_diverges_says_so_and_keeps_its_last_good_model(
    recipe, phantom_file, tmp_path, capsys
):
    out = tmp_path / "run"
    flags = f"{phantom_file} --out {out} --recipe {recipe} --learning-rate 1e30 --latent-dim 2"
    arguments = [*flags.split(), "--batch-size", "4", "--steps", "8", "--checkpoint-every", "1"]
    with pytest.raises(SystemExit) as stop:
        main(FitOptions, fit, program="fit", arguments=arguments)
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "training diverged at step" in said
    assert "smaller --learning-rate" in said
    record = json.loads((out / "record.json").read_text(), parse_constant=pytest.fail)
    assert record["status"] == "diverged"
    if (out / "model.safetensors").exists():
        assert load_checkpoint(out / "model.safetensors").latent_dim == 2


@pytest.mark.parametrize(
    "flags", [["--beta", "inf"], ["--beta", "nan"], ["--learning-rate", "inf"]], ids=" ".join
)
def test_options_are_finite(flags, phantom_file, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(
            FitOptions,
            fit,
            program="fit",
            arguments=[str(phantom_file), "--out", str(tmp_path / "run"), *flags],
        )
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert flags[0] in error
    assert not (tmp_path / "run").exists()


def test_a_step_is_recorded_on_one_cuda_device_or_not_at_all(phantom_file, tmp_path):
    with pytest.raises(InputError, match="--capture records steps of one CUDA device"):
        fit(small(phantom_file, tmp_path / "run", capture=True, device="cpu"))
    assert not (tmp_path / "run").exists()


# one owner


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_fit_keeps_out_of_the_folder(resume, phantom_file, tmp_path):
    out = tmp_path / "run"
    if resume:
        fit(small(phantom_file, out))
    out.mkdir(exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "lock"}
    with FileLock(out / "lock"), pytest.raises(InputError, match="another fit is working"):
        fit(small(phantom_file, out, resume=resume))
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.name != "lock"}


KILLED = """
import os, signal, sys
from filelock import FileLock
FileLock(sys.argv[1]).acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_lock_of_a_killed_fit_is_no_obstacle(phantom_file, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    done = subprocess.run([sys.executable, "-c", KILLED, str(out / "lock")], check=False)
    assert done.returncode == -9
    fit(small(phantom_file, out))
    assert (out / "model.safetensors").exists()


# what is gone


def test_a_complete_run_whose_model_is_gone_writes_it_again(phantom_file, tmp_path):
    out = tmp_path / "run"
    fit(small(phantom_file, out))
    before = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").unlink()
    fit(small(phantom_file, out, resume=True))
    assert (out / "model.safetensors").read_bytes() == before


def test_a_complete_run_whose_state_is_gone_too_says_so(phantom_file, tmp_path):
    out = tmp_path / "run"
    fit(small(phantom_file, out))
    (out / "model.safetensors").unlink()
    shutil.rmtree(out / "state")
    with pytest.raises(InputError, match=r"is complete, and .* is gone"):
        fit(small(phantom_file, out, resume=True))


def test_pca_replaces_no_folder(phantom_file, tmp_path):
    out = tmp_path / "d.safetensors"
    out.mkdir()
    (out / "her work").touch()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        fit_pca(PCAOptions(population=phantom_file, out=out, latent_dim=2, overwrite=True))
    assert [path.name for path in out.iterdir()] == ["her work"]
