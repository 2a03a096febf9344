"""A workspace and a movie that are being written when the process is killed, at any moment.

``--kills 100`` kills each of them as often.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from napari_brainvae.data.population import Population
from napari_brainvae.factors.path_options import PathOptions
from napari_brainvae.io.atomic_files import recover, remove_leftovers
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.reporting.traversal import write_traversal
from napari_brainvae.widgets.workspace_file import SavedWorkspace

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
BRAINS = 20_000
"""Selected in the workspace, so that writing it takes some time."""

STEPS = 4


def workspace(number: int) -> SavedWorkspace:
    """One of many, each of which says all over which it is."""
    return SavedWorkspace(
        brain=f"m{number}", selected=[f"m{number}-{i}" for i in range(BRAINS)], factor=number
    )


def save_again_and_again(path: Path, said: Path, number: int) -> None:
    while True:
        number += 1
        workspace(number).save(path, overwrite=True)
        with open(said, "a") as file:
            file.write(f"{number}\n")


def write_movies(folder: Path, model: Path, brains: Path) -> None:
    opened, population = load_checkpoint(model), Population.open(brains)
    ends = PathOptions(from_brain=population.ids[0], to_brain=population.ids[1], steps=STEPS)
    for number in range(1000):
        write_traversal(folder / f"movie {number}", opened, population, ends)


MORE = 40


@pytest.fixture(scope="module")
def children():
    """Processes that have imported all of it, so that they are killed while they write."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "matplotlib.backends.backend_agg"])
    return context


@pytest.fixture
def kills(pytestconfig) -> int:
    return int(pytestconfig.getoption("--kills"))


def turns(kills: int, cut: list[bool]) -> Iterator[int]:
    """Count as many kills as asked for, and as many more as it takes to hit one while it writes."""
    for turn in range(kills + MORE):
        if turn >= kills and any(cut):
            return
        yield turn


def test_a_workspace_is_the_one_before_or_the_one_after(tmp_path, children, rng, kills):
    path, said = tmp_path / "w.brainvae.json", tmp_path / "said"
    workspace(0).save(path)
    last = 0
    cut: list[bool] = []
    for _ in turns(kills, cut):
        said.unlink(missing_ok=True)
        child = children.Process(target=save_again_and_again, args=(path, said, last))
        child.start()
        while not said.exists() or not said.read_text():
            assert child.is_alive(), "it ended by itself"
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.1))
        child.kill()
        child.join()
        now = SavedWorkspace.load(path)
        assert now == workspace(present_number(now)), "half written"
        told = int(said.read_text().split()[-1])
        assert told <= present_number(now) <= told + 1, "what was said to be saved is lost"
        last = present_number(now)
        cut.append(any(each not in (path, said) for each in tmp_path.iterdir()))
        remove_leftovers(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} <= {path.name, said.name}
    assert any(cut), "never was it killed while it wrote"


def present_number(saved: SavedWorkspace) -> int:
    assert saved.factor is not None
    return saved.factor


def test_a_movie_is_there_whole_or_not_at_all(
    tmp_path, children, rng, kills, run_folder, phantom_file
):
    cut: list[bool] = []
    model = run_folder / "model.safetensors"
    whole = tmp_path / "whole"
    population = Population.open(phantom_file)
    ends = PathOptions(from_brain=population.ids[0], to_brain=population.ids[1], steps=STEPS)
    write_traversal(whole, load_checkpoint(model), population, ends)
    expected = {str(each.relative_to(whole)): size_of(each) for each in whole.rglob("*")}
    for turn in turns(kills, cut):
        out = tmp_path / f"turn {turn}"
        out.mkdir()
        child = children.Process(target=write_movies, args=(out, model, phantom_file))
        child.start()
        while not any(out.iterdir()):
            assert child.is_alive(), "it ended by itself"
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.6))
        child.kill()
        child.join()
        movies = [recover(out / name) for name in {each.name for each in out.glob("movie *")}]
        for movie in movies:
            if movie.exists() and any(movie.iterdir()):
                found = {str(each.relative_to(movie)): size_of(each) for each in movie.rglob("*")}
                assert found == expected, "half written"
                whole_again(movie)
        cut.append(any(each.name.startswith(".") for each in out.iterdir()))
        remove_leftovers(out)
    assert any(cut), "never was it killed while it wrote"


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() and path.name != "record.json" else 0


def whole_again(movie: Path) -> None:
    with Image.open(movie / "movie.gif") as opened:
        assert opened.n_frames == STEPS
        opened.seek(STEPS - 1)
        assert np.asarray(opened.convert("L")).any()
    assert len(pd.read_csv(movie / "codes.csv", comment="#")) == STEPS
    assert len(list((movie / "frames").iterdir())) == STEPS
