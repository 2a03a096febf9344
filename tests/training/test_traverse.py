"""A movie between two brains and one section from codes, headless; half of one is never left."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from napari_brainvae.denoising.brain_table import brain_table, factors_of
from napari_brainvae.factors.latent_paths import (
    brain_code,
    draw_from_prior,
    draw_like_population,
    interpolate,
)
from napari_brainvae.factors.path_options import PathOptions
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Stopped
from napari_brainvae.models.checkpoint import fingerprint, load_checkpoint
from napari_brainvae.reporting.traversal import FRAME_MS, REST_MS, write_traversal
from tests.training.commands import ended


@pytest.fixture(scope="module")
def model(run_folder):
    return load_checkpoint(run_folder / "model.safetensors")


def run(capsys, run_folder, phantom_file, out, *flags):
    arguments = [run_folder / "model.safetensors", phantom_file, "--out", out, *flags]
    return ended(capsys, "traverse", arguments)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_movie_is_the_straight_way_from_one_brain_to_another(
    capsys, run_folder, phantom_file, population, model, tmp_path
):
    a, b = population.ids[3], population.ids[7]
    flags = ["--from-brain", a, "--to-brain", b, "--steps", 4]
    code, said = run(capsys, run_folder, phantom_file, tmp_path / "m", *flags)
    assert code == 0, said
    ends = (brain_code(model, population, i) for i in (3, 7))
    codes = interpolate(*ends, 4)
    table = pd.read_csv(tmp_path / "m" / "codes.csv")
    assert np.array_equal(table[[f"F{i}" for i in range(1, 5)]].to_numpy(np.float32), codes)
    assert set(table["checkpoint"]) == {fingerprint(model)}
    drawn = tifffile.imread(tmp_path / "m" / "generated.ome.tif")
    for code, (section, change) in zip(codes, drawn, strict=True):
        assert np.array_equal(section, model.decode(code[None])[0])
        assert np.array_equal(change, section - drawn[0, 0])

    durations = []
    frames = sorted((tmp_path / "m" / "frames").iterdir())
    with Image.open(tmp_path / "m" / "movie.gif") as movie:
        assert movie.n_frames == len(frames) == 4
        for i, file in enumerate(frames):
            movie.seek(i)
            durations.append(movie.info["duration"])
            of_movie = np.asarray(movie.convert("RGB"), float)
            with Image.open(file) as still:
                off = np.abs(np.asarray(still.convert("RGB"), float) - of_movie)
            assert off.mean() < 2.5, "the same but for the palette"
    assert durations == [REST_MS, FRAME_MS, FRAME_MS, REST_MS]
    record = json.loads((tmp_path / "m" / "record.json").read_text())
    assert record["options"]["from_brain"] == a
    assert record["options"]["to_brain"] == b
    assert record["plane"] == population.description.plane


def test_the_same_again_gives_the_same_bytes_and_the_record_says_what(
    capsys, run_folder, phantom_file, population, model, tmp_path
):
    options = PathOptions(from_brain=population.ids[0], to_brain=population.ids[1], steps=3)
    write_traversal(tmp_path / "a", model, population, options)
    told = json.loads((tmp_path / "a" / "record.json").read_text())["options"]
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in told.items() if v]
    code, said = run(capsys, run_folder, phantom_file, tmp_path / "b", *flags)
    assert code == 0, said
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_one_section_from_codes_and_by_chance(
    capsys, run_folder, phantom_file, population, model, tmp_path
):
    flags = ["--factors=-1.5,0,0.25,2", "--against-brain", population.ids[2]]
    assert run(capsys, run_folder, phantom_file, tmp_path / "one", *flags)[0] == 0
    [[section, change]] = tifffile.imread(tmp_path / "one" / "generated.ome.tif")[None]
    assert np.array_equal(section, model.decode([[-1.5, 0, 0.25, 2]])[0])
    brain = model.decode(brain_code(model, population, 2)[None])[0]
    assert np.array_equal(change, section - brain)
    assert {"generated.png", "generated.svg"} <= {p.name for p in (tmp_path / "one").iterdir()}

    codes = factors_of(brain_table(model, population)[~population.flagged])
    drawn = {"prior": draw_from_prior(4, 9), "population": draw_like_population(codes, 9)}
    for how, expected in drawn.items():
        flags = ["--draw", how, "--seed", 9]
        assert run(capsys, run_folder, phantom_file, tmp_path / how, *flags)[0] == 0
        table = pd.read_csv(tmp_path / how / "codes.csv")
        found = table[["F1", "F2", "F3", "F4"]].to_numpy(np.float32)[0]
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "say what to generate"),
        (["--from-brain", "a"], "needs both"),
        (["--draw", "prior", "--factors=1,2,3,4"], "say what to generate"),
        (["--factors=1,2"], "the model has 4 factors; --factors are 2"),
        (["--from-brain", "nobody", "--to-brain", "a"], "there is no brain 'nobody'"),
    ],
)
def test_what_cannot_be_generated_is_refused_in_a_line(
    capsys, run_folder, phantom_file, tmp_path, flags, message
):
    code, [line] = run(capsys, run_folder, phantom_file, tmp_path / "out", *flags)
    assert code == 2
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("at", range(9))
def test_stopped_at_any_frame_it_leaves_nothing(population, model, tmp_path, at):
    options = PathOptions(from_brain=population.ids[0], to_brain=population.ids[1], steps=4)
    told = []

    def progress(done, total):
        told.append(done)
        return len(told) <= at

    with pytest.raises(Stopped):
        write_traversal(tmp_path / "out", model, population, options, progress=progress)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_not_touched(population, model, tmp_path):
    options = PathOptions(factors=[1, 0, 0, 0])
    write_traversal(tmp_path, model, population, options)
    before = contents(tmp_path)
    other = population.subset(range(3))
    with pytest.raises(InputError, match="holds generated sections already"):
        write_traversal(tmp_path, model, population, options)
    (tmp_path / "codes.csv").unlink()
    del before["codes.csv"]
    with pytest.raises(InputError, match="record of something else"):
        write_traversal(tmp_path, model, other, options)
    assert contents(tmp_path) == before
