"""What many tests share: real data where it is, a small phantom, a small fitted run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from napari_brainvae.data.population import Population
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.phantom.phantom import (
    Phantom,
    PhantomOptions,
    draw_section,
    write_phantom,
    write_phantom_atlas,
)
from training.fit import fit


class Mutants(NamedTuple):
    """How many files changed by chance each reader is given."""

    count: int
    minutes: float
    seed: int


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutants", type=int, default=300, help="Changed files per reader, at least.")
    parser.addoption("--fuzz-minutes", type=float, default=0, help="Go on so long, all readers.")
    parser.addoption("--fuzz-seed", type=int, default=0, help="Other mutants.")
    parser.addoption("--kills", type=int, default=2, help="Of what is killed while it writes.")
    parser.addoption("--walk-rounds", type=int, default=1, help="How far to walk through panels.")


@pytest.fixture
def mutants(pytestconfig) -> Mutants:
    options = ("--mutants", "--fuzz-minutes", "--fuzz-seed")
    return Mutants(*(pytestconfig.getoption(option) for option in options))


def pytest_terminal_summary(terminalreporter) -> None:
    """Say how many mutants each reader was given, also when that was in other processes."""
    counts = [
        json.loads(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "mutants" and report.when == "call"
    ]
    if counts:
        terminalreporter.section("files changed by chance")
        terminalreporter.write_line(pd.DataFrame(counts).to_string(index=False))
        terminalreporter.write_line(f"{sum(c['mutants'] for c in counts)} in all")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Give the other core to the other half of the tests."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data beside the repository; tests that need it are skipped without."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def phantom_file(tmp_path_factory) -> Path:
    """24 phantom brains of 64 x 80 px with their truth; read only."""
    path = tmp_path_factory.mktemp("population") / "phantom.zarr"
    options = PhantomOptions(count=24, seed=5, height=64, width=80)
    write_phantom(Phantom(draw_section(64, 80), options), path)
    return path


@pytest.fixture(scope="session")
def atlas_folder(tmp_path_factory) -> Path:
    """The atlas of the phantom's drawn section, 64 x 80 px; read only."""
    folder = tmp_path_factory.mktemp("atlas") / "p.atlas"
    write_phantom_atlas(draw_section(64, 80), folder)
    return folder


@pytest.fixture(scope="session")
def population(phantom_file) -> Population:
    return Population.open(phantom_file)


@pytest.fixture(scope="session")
def run_folder(phantom_file, tmp_path_factory) -> Path:
    """A finished run of 20 steps on the small phantom; read only."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    fit(FitOptions(population=phantom_file, out=folder, latent_dim=4, batch_size=8, steps=20))
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
