"""Sections that are read as they are needed, and steps that are taken in parts, change nothing."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from lightning_fabric import Fabric

from napari_brainvae.data import population_files
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.network import Network
from napari_brainvae.models.objective import BetaVAEObjective
from tests.data.test_population_files import KINDS, sections
from tests.gradients import gradients
from training.fit import fit
from training.fitting import steps
from training.fitting.job import Plan
from training.fitting.loop import restore
from training.fitting.reading import fit_preprocessing
from training.fitting.sections import Resident, Streamed, evenly
from training.fitting.steps import batch_order, training_steps

PLAN = Plan(
    objective=BetaVAEObjective(),
    batch_size=4,
    learning_rate=1e-3,
    steps=3,
    seed=1,
    schedule="constant",
)
CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("readers", [0, 1])
def test_sections_read_when_needed_are_those_kept_in_memory(phantom_file, population, readers):
    preprocessing = Preprocessing.fit(population.sections())
    positions = [3, 1, 7, 20, 5, 11, 2, 9]
    resident = Resident(population.prepared(preprocessing, positions), CPU)
    streamed = Streamed(phantom_file, preprocessing, positions, CPU, readers)
    assert len(streamed) == len(resident) == 8
    np.testing.assert_array_equal(streamed.read([6, 0]), resident.read([6, 0]))
    assert "population" not in pickle.loads(pickle.dumps(streamed)).__dict__
    order = list(batch_order(PLAN, 8))
    for a, b in zip(resident.batches(order), streamed.batches(order), strict=True):
        assert a.shape == (4, 1, 64, 80)
        assert torch.equal(a, b)


def test_preprocessing_is_fitted_in_blocks(rng):
    images = rng.random((150, 64, 64), dtype=np.float32) * rng.random((150, 1, 1), dtype=np.float32)
    whole = Preprocessing.fit(images)
    blocks = fit_preprocessing(Population(images), range(150))
    assert blocks.reference_brightness == pytest.approx(whole.reference_brightness, rel=1e-6)
    assert blocks.shape == whole.shape


def test_evenly():
    assert evenly(range(10, 15), 8) == [10, 11, 12, 13, 14]
    assert evenly(range(101), 3) == [0, 50, 100]


def test_a_run_that_reads_its_sections_fits_the_same_model(phantom_file, tmp_path, caplog):
    models = []
    for name, resident_gb in (("resident", 4.0), ("streamed", 0.0)):
        out = tmp_path / name
        fit(FitOptions(population=phantom_file, out=out, steps=4, resident_gb=resident_gb))
        models.append(load_checkpoint(out / "model.safetensors").tensors())
    assert "read from the file as they are needed" in caplog.text
    for name, tensor in models[0].items():
        np.testing.assert_array_equal(tensor, models[1][name])


def assert_same(ours: dict[str, np.ndarray], plain: dict[str, np.ndarray]) -> None:
    for name, gradient in plain.items():
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(ours[name], gradient, rtol=0, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize("per_chunk", [1, 4])
def test_a_step_in_chunks_has_the_gradients_of_a_whole_one(monkeypatch, per_chunk):
    fabric = Fabric(accelerator="cpu", devices=1)
    whole = gradients(fabric)
    monkeypatch.setattr(steps, "CHUNK_PIXELS", per_chunk * 64 * 64)
    assert_same(gradients(fabric), whole)


def test_two_processes_have_the_gradients_of_one(tmp_path):
    run("-m", "tests.gradients", "2", str(tmp_path / "two.npz"))
    assert_same(dict(np.load(tmp_path / "two.npz")), gradients(Fabric(accelerator="cpu")))


def run(*arguments: str) -> None:
    """Run a Python program that may start others of its kind."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr


def test_the_command_on_two_devices(phantom_file, tmp_path):
    """The same losses as on one, step by step."""
    histories = []
    for devices in (1, 2):
        out = tmp_path / str(devices)
        flags = ("--steps", "4", "--batch-size", "4", "--log-every", "1", "--device", "cpu")
        command = ("-m", "training.fit", str(phantom_file), "--out", str(out))
        run(*command, *flags, "--devices", str(devices))
        histories.append(pd.read_csv(out / "history.csv"))
    one, two = (h.drop(columns="images_per_second") for h in histories)
    pd.testing.assert_frame_equal(one, two, rtol=1e-3)


def test_a_run_goes_on_recorded_or_not_as_it_is_told():
    network = Network(64, 64, 2)
    for before, after in ((False, True), (True, False)):
        adam = torch.optim.Adam(network.parameters(), fused=True)
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        adam.step()
        saved = {"network": network.state_dict(), "optimizer": adam.state_dict()}
        saved["optimizer"]["param_groups"][0]["capturable"] = before
        adam = torch.optim.Adam(network.parameters(), fused=True, capturable=after)
        restore(saved, network, adam)
        assert [group["capturable"] for group in adam.param_groups] == [after]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_recorded_step_is_the_step():
    losses = []
    for capture in (False, True):
        fabric = Fabric(accelerator="cuda", devices=1)
        torch.manual_seed(0)
        network = Network(64, 64, 2)
        adam = torch.optim.Adam(network.parameters(), 1e-3, fused=True, capturable=capture)
        wrapped, optimizer = fabric.setup(network, adam)
        images = np.random.default_rng(0).random((9, 64, 64), dtype=np.float32)
        sections = Resident(images, fabric.device)
        plan = Plan(**(vars(PLAN) | {"steps": 12, "schedule": "cosine"}))
        taken = training_steps(fabric, wrapped, optimizer, sections, plan, capture=capture)
        losses.append(torch.stack([s.terms["reconstruction"] for s in taken]).cpu())
    assert torch.allclose(*losses, rtol=1e-3)


class InTurn(Streamed):
    """Sections of several files; a batch's first position says of which."""

    def __init__(self, paths: list[Path], preprocessing: Preprocessing, count: int) -> None:
        super().__init__(paths[0], preprocessing, range(count), CPU, readers=3)
        self.count = count
        self.files = [Streamed(path, preprocessing, range(count), CPU) for path in paths]

    def read(self, positions):
        population_files.IN_MEMORY = 2**22  # or compressed archives of this size stay in memory
        file, first = divmod(positions[0], self.count)
        return self.files[file].read([first, *(p % self.count for p in positions[1:])])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux")
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker:UserWarning")
def test_memory_of_three_readers_does_not_grow_with_the_population(tmp_path):
    """After 4 MB of every kind, 42 MB of any kind take hardly more, in none of the readers."""
    kinds = {name: write for name, write in KINDS.items() if "npz" in name or "tif" in name}
    some = np.kron(sections(8, 32, 32, np.float32), np.ones((4, 4), np.float32))
    paths, batches = [], []
    for count in (64, 640):
        for name, write in kinds.items():
            paths.append(tmp_path / str(count) / name)
            paths[-1].parent.mkdir(exist_ok=True)
            write(paths[-1], np.resize(some, (count, 128, 128)))
    # Readers are ahead by twelve batches: of the small files come that many more.
    for file in [0, 1, 2, 3] * 9 + [4, 5, 6, 7] * 18:
        start = len(batches) * 32 % (64 if file < 4 else 640)
        batches.append(torch.arange(start, start + 32) % 640 + 640 * file)
    streamed = InTurn(paths, Preprocessing.fit(some), 640)
    small: dict[int, float] = {}
    for number, images in enumerate(streamed.batches(batches)):
        assert images.shape == (32, 1, 128, 128)
        if number == 23:
            small = peaks_of_children()
        elif number == len(batches) - 1:  # before the readers end
            growth = {pid: peak - small[pid] for pid, peak in peaks_of_children().items()}
    assert len(growth) >= 3
    assert max(growth.values()) < 15, f"MB by process: {growth}"


def peaks_of_children() -> dict[int, float]:
    """The most memory, MB, that each child of this process has had."""
    peaks = {}
    for child in psutil.Process().children():
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{child.pid}/status").read_text())
        if found:
            peaks[child.pid] = int(found[1]) / 1024
    return peaks
