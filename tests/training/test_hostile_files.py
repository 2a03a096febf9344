"""Every file that a reader refuses, given to a command: exit code 2, one line, nothing written."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.regions import Region
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.checkpoint import DEMO_MODEL
from tests.data import test_population_files as populations
from tests.memory import peak_memory
from tests.models import test_hostile_checkpoints as checkpoints
from training.cli import main
from training.denoise import DenoiseOptions, denoise

MODELS = {"safetensors": checkpoints.SAFETENSORS, "pt": checkpoints.PUBLISHED}


def refused(capfd, folder, population, model):
    """Run a command that should end with one line, and give that."""
    out = folder / "out.zarr"
    arguments = [str(population), "--model", str(model), "--out", str(out)]
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(DenoiseOptions, denoise, program="denoise", arguments=arguments)
    said = capfd.readouterr()
    assert stop.value.code == 2
    assert said.out in ("", "a.csv: column 'id' names the brains\n"), "what was found until then"
    [line] = said.err.splitlines()
    assert line.startswith("error: ")
    assert not [path for path in folder.iterdir() if "out" in path.name], "nothing is half-written"
    return line


@pytest.mark.parametrize("case", populations.REFUSED)
def test_a_population_that_is_none_ends_a_command_with_one_line(tmp_path, case, capfd):
    path = populations.REFUSED[case][0](tmp_path)
    line = refused(capfd, tmp_path, path, DEMO_MODEL)
    assert "a." in line, "the file is named"


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantiz:UserWarning")
@pytest.mark.parametrize(("kind", "case"), [(k, c) for k, cases in MODELS.items() for c in cases])
def test_a_checkpoint_that_is_none_ends_a_command_with_one_line(tmp_path, kind, case, capfd):
    model = tmp_path / f"m.{kind}"
    MODELS[kind][case][0](model)
    population = populations.npy(tmp_path / "a.npy", populations.sections(3, 160, 224))
    assert f"m.{kind}" in refused(capfd, tmp_path, population, model)


# Atlas folders and regions


def header(file, **fields):
    """Change fields of an NRRD file's header."""
    head, end, voxels = file.read_bytes().partition(b"\n\n")
    lines = [line for line in head.split(b"\n") if line.partition(b":")[0].decode() not in fields]
    lines += [f"{name}: {value}".encode() for name, value in fields.items()]
    file.write_bytes(b"\n".join(lines) + end + voxels)


def pipe(file):
    file.unlink()
    os.mkfifo(file)


def structures(file, change):
    records = json.loads(file.read_text())
    file.write_text(json.dumps(change(records)))


def changed(name, value):
    return lambda file: structures(file, lambda records: [{**records[0], name: value}])


ATLAS = {
    "annotation": {
        "sizes of 10^15": lambda f: header(f, sizes="100000 100000 100000"),
        "sizes that fit no memory": lambda f: header(f, sizes="5 64000 80000"),
        "negative sizes": lambda f: header(f, sizes="5 -64 80"),
        "sizes that are no numbers": lambda f: header(f, sizes="5 x 80"),
        "four sizes": lambda f: header(f, sizes="5 64 80 1", dimension=4),
        "voxels elsewhere": lambda f: header(f, **{"data file": "/dev/zero"}),
        "an encoding that is rare": lambda f: header(f, encoding="bzip2"),
        "a type that there is not": lambda f: header(f, type="quaternion"),
        "more voxels than it says": lambda f: header(f, sizes="5 64 40"),
        "a voxel of 0 um": lambda f: header(f, **{"space directions": "(0,0,0) (0,0,0) (0,0,0)"}),
        "NaN um": lambda f: header(f, **{"space directions": "(nan,0,0) (0,nan,0) (0,0,nan)"}),
        "cut": lambda f: f.write_bytes(f.read_bytes()[:-30]),
        "another kind of file": lambda f: f.write_bytes(b"NRRD000{}\n" + f.read_bytes()),
        "a pipe": pipe,
    },
    "structures": {
        "a number": lambda f: f.write_text("3"),
        "null": lambda f: f.write_text("null"),
        "nested deeply": lambda f: f.write_text("[" * 10**5),
        "no text": lambda f: f.write_bytes(b"\xff\xfe\xfd"),
        "an empty list": lambda f: f.write_text("[]"),
        "a list of numbers": lambda f: f.write_text("[1, 2]"),
        "an infinite id": changed("id", float("inf")),
        "an id of text": changed("id", "x"),
        "a path of nothing": changed("structure_id_path", None),
        "an order that is a list": changed("graph_order", [1]),
        "a pipe": pipe,
    },
}


@pytest.mark.parametrize(("part", "case"), [(p, c) for p, cases in ATLAS.items() for c in cases])
def test_an_atlas_that_is_damaged_is_refused_in_one_line_and_little_memory(
    tmp_path, atlas_folder, part, case
):
    folder = shutil.copytree(atlas_folder, tmp_path / "atlas")
    [file] = folder.rglob(f"{part}*.*")
    ATLAS[part][case](file)
    with peak_memory() as peak, pytest.raises((InputError, OSError), match=part) as said:
        Atlas.open(folder)
    assert "\n" not in str(said.value)
    assert peak.mb < 100


REGIONS = {
    "a shape of 10^12": {"shape": [10**6, 10**6]},
    "a negative shape": {"shape": [-64, 80]},
    "a shape of 0": {"shape": [0, 80]},
    "a shape of 1 axis": {"shape": [64]},
    "a pixel of 0 um": {"pixel_size_um": 0},
    "a pixel of infinite um": {"pixel_size_um": float("inf")},
    "a pixel of NaN um": {"pixel_size_um": float("nan")},
    "no outline": {"polygons": []},
    "an outline of 2": {"polygons": [[[0, 0], [1, 1]]]},
    "a vertex of NaN": {"polygons": [[[0, 0], [1, 1], [float("nan"), 3]]]},
    "a vertex of 3 axes": {"polygons": [[[0, 0, 0], [1, 1, 1], [3, 4, 5]]]},
    "another format": {"format": "x"},
    "no name": {"name": ""},
    "more than a region": {"more": 1},
}


@pytest.mark.parametrize("case", REGIONS)
def test_a_region_that_is_none_is_refused_in_one_line_and_little_memory(tmp_path, case):
    file = tmp_path / "r.json"
    Region.from_polygons("drawn", [np.array([[9, 9], [9, 40], [30, 40]])], (64, 80), 25).save(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | REGIONS[case]))
    with peak_memory() as peak, pytest.raises(InputError, match=r"^r\.json is no region") as said:
        Region.load(file).to_mask()
    assert "\n" not in str(said.value)
    assert peak.mb < 100
