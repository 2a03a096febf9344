"""A power cut loses nothing that was said to be there.

Not only a kill: what the system had not yet put on disk is gone, in any order. So of every command
it is watched which file is put on disk (fsync) and which is renamed: what takes its final name was
on disk whole, with all below it, and the folder that holds the name is put on disk after it.
"""

from __future__ import annotations

import json

import pytest

from tests.disk import can_be_watched, check, watching
from tests.registered_brains import asymmetric_brain, write_nifti
from tests.training.commands import commands
from training import sweep
from training.cli import parse

pytestmark = can_be_watched

SMALL = ["--height", "64", "--width", "64"]
CALLS = {
    "phantom": (["OUT/p.zarr", "--count", "3", *SMALL], ["p.zarr", "p.atlas"]),
    "fit": (
        ["POPULATION", "--out", "OUT/run", "--latent-dim", "2", "--steps", "3"],
        ["model.safetensors", "record.json", "history.csv", "state.pt"],
    ),
    "pca": (["POPULATION", "--out", "OUT/p.safetensors", "--latent-dim", "2"], ["p.safetensors"]),
    "rotate": (["MODEL", "POPULATION", "--out", "OUT/r.safetensors"], ["r.safetensors"]),
    "denoise": (["POPULATION", "--model", "MODEL", "--out", "OUT/d.zarr"], ["d.zarr"]),
    "denoise tif": (["POPULATION", "--model", "MODEL", "--out", "OUT/d.tif"], ["d.tif"]),
    "evaluate": (
        ["POPULATION", "--model", "MODEL", "--out", "OUT/e", "--resamples", "10"], ["e"],
    ),
    "interpret": (
        ["POPULATION", "--model", "MODEL", "--out", "OUT/i", "--parts", "brains,regions"], ["i"],
    ),
    "interpret again": (
        ["POPULATION", "--model", "MODEL", "--out", "OUT/i", "--parts", "brains", "--overwrite"],
        ["brains.csv", "record.json"],
    ),
    "compare": (
        ["POPULATION", "--model", "MODEL", "--out", "OUT/c", "--by", "sex", "--permutations",
         "19", "--pixel-permutations", "0"],
        ["c"],
    ),
    "stability": (
        ["POPULATION", "--out", "OUT/s", "--latent-dims", "2", "--splits", "2"],
        ["s"],
    ),
    "gather": (
        ["BRAINS", "--out", "OUT/g.zarr", "--plane", "12"],
        ["g.zarr", "manifest.csv", "request.json"],
    ),
    "demo": (
        ["OUT/demo", "--count", "20", *SMALL, "--steps", "1"],
        ["demo.json", "phantom.zarr", "model.safetensors", "report.html"],
    ),
}  # fmt: skip


def registered(folder):
    folder.mkdir()
    for name in ("a", "b"):
        write_nifti(folder / f"{name}.nii", asymmetric_brain(), "ras")
    return folder


@pytest.mark.parametrize("call", CALLS)
def test_what_a_command_leaves_is_on_disk(call, phantom_file, run_folder, tmp_path, monkeypatch):
    schema, run = commands()[call.split()[0]]
    arguments, names = CALLS[call]
    given = {"POPULATION": phantom_file, "MODEL": run_folder / "model.safetensors"}
    given["BRAINS"] = registered(tmp_path / "brains") if "BRAINS" in arguments else tmp_path
    arguments = [str(given.get(a, a)).replace("OUT", str(tmp_path / "new")) for a in arguments]
    if call.endswith("again"):
        (tmp_path / "new" / "i").mkdir(parents=True)
        (tmp_path / "new" / "i" / "record.json").write_text("{}")
    with watching(tmp_path) as watch:
        run(parse(schema, call, arguments))
    assert set(names) <= set(watch.renamed)
    check(watch, tmp_path / "new")


def test_what_a_sweep_leaves_is_on_disk(phantom_file, tmp_path, monkeypatch):
    """Its cells come from other processes: here they were measured before."""
    options = sweep.SweepOptions(
        population=phantom_file, out=tmp_path / "new", betas="1", latent_dims="2", steps=1
    )
    measured = {"truth": "clean section", "held_out": 5, "active_units": 2, "seconds": 1.0}
    measured |= dict.fromkeys(("cw_ssim", "squared_error", "psnr"), 0.5)
    measured |= dict.fromkeys(("pca_frechet", "frechet_floor"))

    def measure(options, missing, *_):
        for name, cell in missing.items():
            sweep.write_cell(options.out / "cells", name, {**cell, **measured})
        return []

    monkeypatch.setattr(sweep, "_measure", measure)
    with watching(tmp_path) as watch:
        sweep.sweep(options)
    names = {"sweep.json", "pca_L-2.json", "table.csv", "inflections.csv", "curves.png"}
    assert names <= set(watch.renamed)
    check(watch, tmp_path / "new")
    assert json.loads((tmp_path / "new" / "cells" / "pca_L-2.json").read_text())["kind"] == "pca"
