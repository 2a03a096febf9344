from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric

from napari_brainvae.data.population import Population
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.network import Network
from napari_brainvae.models.objective import BetaVAEObjective
from napari_brainvae.models.pca import principal_components, trimmed_components
from training.cli import main, parse
from training.fit import fit
from training.fitting.job import Plan
from training.fitting.reading import split
from training.fitting.sections import Resident
from training.fitting.steps import batch_noise, batch_order, learning_rate, training_steps

ROOT = Path(__file__).resolve().parents[2]


def plan(**changes) -> Plan:
    defaults = {
        "objective": BetaVAEObjective(),
        "batch_size": 4,
        "learning_rate": 1e-3,
        "steps": 6,
        "seed": 1,
        "schedule": "constant",
    }
    return Plan(**(defaults | changes))


def test_each_epoch_shows_every_section_at_most_once():
    batches = list(batch_order(plan(batch_size=3), 10))
    first, second = torch.cat(batches[:3]), torch.cat(batches[3:])
    assert len(first.unique()) == len(second.unique()) == 9
    assert not torch.equal(first, second)


@pytest.mark.parametrize("start", [0, 1, 3, 5])
def test_batches_follow_from_the_step_alone(start):
    one = plan(batch_size=3)
    resumed = list(batch_order(one, 10, start))
    assert torch.equal(torch.cat(resumed), torch.cat(list(batch_order(one, 10))[start:]))


def test_learning_rates():
    assert {learning_rate(plan(), step) for step in range(6)} == {1e-3}
    cosine = plan(schedule="cosine", steps=1000)
    rates = [learning_rate(cosine, step) for step in range(1000)]
    assert max(rates) == 1e-3
    assert rates[0] == 1e-5
    assert rates[-1] < 1e-8
    assert np.all(np.diff(rates[100:]) <= 0)


def test_the_loop_is_the_plain_loop(rng):
    """Ordinary Adam on the objective written out, step by step."""
    images = torch.from_numpy(rng.random((9, 1, 64, 64), dtype=np.float32))
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(Network(64, 64, 2))
    ours, plain = nets
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer = fabric.setup(ours, torch.optim.Adam(ours.parameters(), 1e-3))
    sections = Resident(images[:, 0].numpy(), fabric.device)
    logged = list(training_steps(fabric, wrapped, optimizer, sections, plan(steps=3)))

    adam = torch.optim.Adam(plain.parameters(), 1e-3)
    for step, batch in enumerate(batch_order(plan(steps=3), 9)):
        x = images[batch]
        mean, log_variance = plain.encode(x)
        z = mean + (log_variance / 2).exp() * batch_noise(plan(), 4, 2, step)
        error = ((torch.sigmoid(plain.decode(z)) - x) ** 2).sum() / 4
        kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(dim=1).mean()
        adam.zero_grad()
        (error + 3.0 * kl).backward()
        adam.step()
        assert torch.isclose(logged[step].terms["reconstruction"], error, rtol=1e-5)
        assert torch.isclose(logged[step].terms["kl"].sum(), kl, rtol=1e-4)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_run_leaves_what_the_contract_says(run_folder, phantom_file):
    record = json.loads((run_folder / "record.json").read_text())
    assert record["status"] == "complete"
    assert record["options"]["latent_dim"] == 4
    assert record["data"]["fingerprint"] == Population.open(phantom_file).fingerprint()
    history = pd.read_csv(run_folder / "history.csv")
    assert history["step"].tolist() == [10, 20]
    columns = {"reconstruction", "kl_1", "kl_4", "rate", "images_per_second", "held_out_error"}
    assert columns <= set(history)
    assert np.allclose(history["rate"], history[[f"kl_{i}" for i in range(1, 5)]].sum(axis=1))
    assert (run_folder / "state").is_dir()
    model = load_checkpoint(run_folder / "model.safetensors")
    assert model.header.plane == 2
    assert model.header.pixel_size_um > 0
    assert len(model.header.training["held_out"]) == 5
    assert model.header.reference is not None


def test_the_linear_start_is_a_model_before_the_first_step(phantom_file, tmp_path):
    seen = []

    def look(done: int, total: int) -> None:
        if done == 1:
            seen.append(load_checkpoint(tmp_path / "run" / "model.safetensors"))

    options = FitOptions(
        population=phantom_file, out=tmp_path / "run", latent_dim=3, batch_size=6, steps=2
    )
    fit(options, progress=look)
    first, last = seen[0], load_checkpoint(tmp_path / "run" / "model.safetensors")
    assert (first.header.training["step"], last.header.training["step"]) == (0, 2)
    images = Population.open(phantom_file).prepared(first.header.preprocessing, range(4))
    assert not np.array_equal(first.reconstruct(images), last.reconstruct(images))
    # What the network adds is held against this start.
    told = last.header.training
    assert told["linear_held_out_error"] == pytest.approx(first.header.training["held_out_error"])
    gain = 1 - told["held_out_error"] / told["linear_held_out_error"]
    assert told["network_gain"] == pytest.approx(gain)
    assert first.header.training["network_gain"] == pytest.approx(0, abs=1e-4)


def test_recipe_paper_has_no_linear_path_to_be_held_against(phantom_file, tmp_path):
    options = FitOptions(
        population=phantom_file, out=tmp_path / "run", recipe="paper", latent_dim=2, steps=1
    )
    fit(options)
    told = load_checkpoint(tmp_path / "run" / "model.safetensors").header.training
    assert not {"linear_held_out_error", "network_gain"} & set(told)


def test_held_out_brains_are_chosen_by_the_seed(population):
    train, held_out = split(population, 0.2, 7)
    assert sorted(train + held_out) == list(range(24))
    assert len(held_out) == 5
    assert split(population, 0.2, 7) == (train, held_out)
    assert split(population, 0.2, 8)[1] != held_out
    assert split(population, 0, 7)[1] == []


def test_artifacts_have_no_say_in_the_start(rng):
    """Ten clean patterns' worth of sections and two with a bright spot of their own each."""
    pattern = rng.normal(size=(64, 64)) * 0.01
    images = 0.3 + rng.normal(size=(40, 1, 1)) * pattern + rng.normal(size=(40, 64, 64)) * 1e-3
    images[5, 10:30, 10:30] += 0.5
    images[9, 40:60, 40:60] += 0.5
    images = images.astype(np.float32)
    _, plain, _ = principal_components(images, 1)
    _, trimmed, _ = trimmed_components(images, 1)
    unit = pattern / np.linalg.norm(pattern)
    assert abs(np.sum(plain[0] * unit)) < 0.5
    assert abs(np.sum(trimmed[0] * unit)) > 0.95


def command(population, out, *flags) -> list[str]:
    return [sys.executable, "-m", "training.fit", str(population), "--out", str(out), *flags]


FLAGS = (
    *("--latent-dim", "2", "--batch-size", "4", "--steps", "60", "--threads", "1"),
    *("--checkpoint-every", "5", "--log-every", "1", "--device", "cpu"),
)


def test_a_killed_run_goes_on_to_the_same_bits(phantom_file, tmp_path, rng):
    """SIGKILL at random moments; the weights at the end are those of a run left in peace."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(phantom_file, whole, *FLAGS), check=True, cwd=ROOT, capture_output=True)
    resume: tuple[str, ...] = ()
    for kill in range(3):
        with subprocess.Popen(
            command(phantom_file, killed, *FLAGS, *resume), cwd=ROOT, stderr=subprocess.DEVNULL
        ) as process:
            # The first waits for a record, the others until some steps more have been done.
            reached = killed / ("state" if kill else "record.json")
            while not reached.exists():
                assert process.poll() is None
                time.sleep(0.02)
            time.sleep(float(rng.uniform(0.2, 1.5)))
            process.send_signal(signal.SIGKILL)
        resume = ("--resume",)
        if (killed / "model.safetensors").exists():
            load_checkpoint(killed / "model.safetensors")
    subprocess.run(
        command(phantom_file, killed, *FLAGS, "--resume"),
        check=True,
        cwd=ROOT,
        capture_output=True,
    )
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    columns = ["step", "reconstruction", "rate"]
    histories = [pd.read_csv(f / "history.csv")[columns] for f in (whole, killed)]
    pd.testing.assert_frame_equal(*histories)


def test_a_full_disk_leaves_the_last_whole_model(phantom_file, tmp_path, monkeypatch):
    def full(fd):
        if len(list(tmp_path.rglob("state.pt"))) == 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    options = {"batch_size": 4, "latent_dim": 2, "checkpoint_every": 2, "steps": 6}
    with pytest.raises(OSError, match="No space left"):
        fit(FitOptions(population=phantom_file, out=tmp_path / "run", **options))
    assert not list(tmp_path.rglob("*.partial*"))
    for model in tmp_path.rglob("model.safetensors"):
        load_checkpoint(model)


@pytest.mark.parametrize("recipe", ["paper", "fast"])
@pytest.mark.parametrize("loss", ["gaussian", "bernoulli"])
def test_both_recipes_and_losses_run(phantom_file, tmp_path, recipe, loss):
    out = tmp_path / "run"
    options = {"latent_dim": 2, "batch_size": 4, "steps": 2}
    fit(FitOptions(population=phantom_file, out=out, recipe=recipe, loss=loss, **options))
    model = load_checkpoint(out / "model.safetensors")
    assert model.header.shortcut == (recipe == "fast")


def test_defaults_of_the_recipes():
    options = {"population": Path("p"), "out": Path("o")}
    paper = FitOptions(**options, recipe="paper").resolved(1723)
    assert (paper.batch_size, paper.learning_rate, paper.steps) == (64, 2e-4, 10_000)
    assert (paper.latent_dim, paper.beta, paper.loss) == (8, 3.0, "gaussian")
    assert FitOptions(**options).resolved(160).steps == 100


def test_an_environment_variable_is_no_option(monkeypatch):
    monkeypatch.setenv("seed", "7")
    monkeypatch.setenv("SEED", "7")
    assert parse(FitOptions, "fit", ["p", "--out", "o"]).seed == 0


def good(folder):
    return np.random.default_rng(1).uniform(1, 2, (6, 64, 64))


def stack(change):
    """Give a function that writes a corrupted stack of six sections."""

    def write(folder):
        np.save(folder / "x.npy", change(good(folder)))
        return folder / "x.npy"

    return write


def corrupt(value):
    def change(images):
        images[2, 3, 4] = value
        return images

    return stack(change)


def repeated_ids(folder):
    np.savez(folder / "x.npz", images=good(folder), ids=["a"] * 6)
    return folder / "x.npz"


def truncated(folder):
    stack(lambda x: x)(folder)
    data = (folder / "x.npy").read_bytes()
    (folder / "x.npy").write_bytes(data[: len(data) // 2])
    return folder / "x.npy"


def pickled(folder):
    (folder / "x.npy").write_bytes(pickle.dumps(good(folder)))
    return folder / "x.npy"


BAD_INPUT = {
    "missing": (lambda d: d / "nothing.npy", (), "no such population"),
    "empty": (stack(lambda x: x[:0]), (), "empty"),
    "single image": (stack(lambda x: x[:1]), (), "at least 2 are needed"),
    "NaN": (corrupt(np.nan), (), "'0002' holds? NaN"),
    "infinite": (corrupt(np.inf), (), "NaN or infinite"),
    "negative": (corrupt(-1), (), "negative"),
    "constant": (stack(np.ones_like), (), "constant"),
    "negative integers": (stack(lambda x: x.astype(np.int16) - 5), (), "negative"),
    "wrong rank": (stack(lambda x: x[0]), (), r"\(N, H, W\)"),
    "too small": (stack(lambda x: x[:, :40]), (), "at least 64 x 64"),
    "colour": (stack(lambda x: np.stack([x] * 3, -1)), (), "colour"),
    "text": (stack(lambda x: x.astype(str)), (), "real numbers"),
    "repeated ids": (repeated_ids, (), "ids repeat"),
    "truncated": (truncated, (), "x.npy"),
    "pickle": (pickled, (), "x.npy"),
    "more factors than sections": (stack(lambda x: x), ("--latent-dim", "8"), "at most 4"),
    "share out of bounds": (stack(lambda x: x), ("--held-out", "1.5"), "--held-out"),
    "nothing to resume": (stack(lambda x: x), ("--resume",), "no run to resume"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_with_one_line_and_code_2(case, tmp_path, capsys):
    make, flags, message = BAD_INPUT[case]
    (tmp_path / "in").mkdir()
    arguments = [str(make(tmp_path / "in")), "--out", str(tmp_path / "run"), *flags]
    with pytest.raises(SystemExit) as ended:
        main(FitOptions, fit, program="fit", arguments=arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1, error
    assert error[0].startswith("error: ")
    assert re.search(message, error[0]), error[0]
    assert not (tmp_path / "run").exists(), "nothing is half-written"


@pytest.mark.parametrize("value", ["uint8", "int32", "uint64", "float16"])
def test_integers_of_any_width_are_fitted(value, tmp_path):
    np.save(tmp_path / "x.npy", (good(tmp_path) * 60).astype(value))
    options = {"latent_dim": 2, "batch_size": 2, "steps": 1}
    fit(FitOptions(population=tmp_path / "x.npy", out=tmp_path / "run", **options))
    assert (tmp_path / "run" / "model.safetensors").exists()


def output_is_a_file(out, run_folder):
    out.touch()


def output_holds_another_run(out, run_folder):
    shutil.copytree(run_folder, out)


def output_cannot_be_written(out, run_folder):
    out.parent.joinpath("file").touch()
    out.symlink_to(out.parent / "file" / "below")


@pytest.mark.parametrize(
    ("spoil_output", "message"),
    [
        (output_is_a_file, "is a file"),
        (output_holds_another_run, "not empty"),
        (output_cannot_be_written, "error: "),
    ],
)
def test_an_output_folder_that_will_not_do(
    spoil_output, message, phantom_file, run_folder, tmp_path, capsys
):
    out = tmp_path / "run"
    spoil_output(out, run_folder)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(SystemExit) as ended:
        arguments = [str(phantom_file), "--out", str(out), "--latent-dim", "2", "--steps", "1"]
        main(FitOptions, fit, program="fit", arguments=arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [({"beta": 1.0}, "--beta 1.0 (was 3.0)"), ({"population": "other"}, "other data")],
)
def test_a_run_is_not_resumed_as_something_else(
    change, message, run_folder, phantom_file, tmp_path
):
    shutil.copytree(run_folder, tmp_path / "run")
    np.save(tmp_path / "other.npy", good(tmp_path))
    if "population" in change:
        change = {"population": tmp_path / "other.npy"}
    options = {"population": phantom_file, "latent_dim": 4, "batch_size": 8, "steps": 20}
    with pytest.raises(ValueError, match="begun with other") as refused:
        fit(FitOptions(out=tmp_path / "run", resume=True, **(options | change)))
    assert message in str(refused.value)


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; import training.fit, training.cli\n"
        "try: training.cli.parse(training.fit.FitOptions, 'fit', ['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'zarr' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    for name, field in FitOptions.model_fields.items():
        assert field.description, f"--{name} has no help"
        assert name.replace("_", "-") in done.stdout.replace("POPULATION", "population")
