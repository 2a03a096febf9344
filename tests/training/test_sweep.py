from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import psutil
import pytest
from filelock import FileLock

from napari_brainvae.io.errors import InputError
from training.cli import main, numbers
from training.evaluation.sweep_curves import curves_figure, inflection, inflections
from training.sweep import SweepOptions, assemble, cells, name_of, run_cell, sweep, write_cell

ROOT = Path(__file__).resolve().parents[2]
GRID = ("--betas", "2,3", "--latent-dims", "2:4", "--steps", "2", "--threads", "1")
"""With PCA and VAE: 12 cells."""


def command(population, out, *flags) -> list[str]:
    return [sys.executable, "-m", "training.sweep", str(population), "--out", str(out), *flags]


def finished(out) -> dict[str, int]:
    """When each cell's file was written; one that is being written still begins with a dot."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("cells/[!.]*.json")}


def wait_for(count, out, process):
    while len(finished(out)) < count:
        assert process.poll() is None, "the sweep ended by itself"
        time.sleep(0.02)


@contextmanager
def scheduler_and_worker(folder):
    """The two commands of docs/sweep.md, on this machine; yields the scheduler's address."""
    file = folder / "scheduler.json"
    same = ("--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard")
    commands = {
        "scheduler": ("--port", "0"),
        "worker": ("--nthreads", "1", "--no-nanny", "--local-directory", str(folder)),
    }
    processes = []
    try:
        for name, more in commands.items():
            arguments = [sys.executable, "-m", "dask", name, *same, *more]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            processes.append(subprocess.Popen(arguments, cwd=ROOT, **quiet))
            while not (file.exists() and file.read_text()):
                assert processes[0].poll() is None
                time.sleep(0.05)
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=60)


def test_a_sweep_survives_its_workers_and_itself(phantom_file, tmp_path):
    """A worker is killed, then the sweep; a scheduler and worker of their own finish it."""
    out = tmp_path / "sweep"
    local = subprocess.Popen(command(phantom_file, out, *GRID, "--workers", "2"), cwd=ROOT)
    wait_for(1, out, local)
    workers = [
        child
        for child in psutil.Process(local.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
    assert len(workers) == 2
    workers[0].kill()
    wait_for(4, out, local)
    local.send_signal(signal.SIGKILL)
    local.wait()
    psutil.wait_procs(workers, timeout=60)
    assert not any(worker.is_running() for worker in workers), "workers go with their sweep"
    before = finished(out)
    assert 4 <= len(before) < 12
    assert not (out / "table.csv").exists()

    # The grid may grow. What fails is named, and what does not is kept.
    grown = (*GRID, "--latent-dims", "2,3,4,30")
    with scheduler_and_worker(tmp_path) as address:
        done = subprocess.run(
            command(phantom_file, out, *grown, "--scheduler", address),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert f"16 cells, {len(before)} of them done before" in done.stdout
    after = finished(out)
    assert len(after) == 12
    assert {name: after[name] for name in before} == before, "none was done twice"
    table = pd.read_csv(out / "table.csv")
    assert len(table) == 12
    assert table["cell"].is_unique
    assert set(table["cell"]) == {path.removesuffix(".json") for path in after}
    assert done.returncode == 2
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "4 cell(s) failed" in error
    assert "pca_L-30" in error
    assert not list(out.rglob("*partial*"))


def task(phantom_file):
    options = SweepOptions(population=phantom_file, out=Path("out"), steps=2, threads=1)
    return options.model_dump(exclude={"out", "scheduler", "workers"})


@pytest.mark.parametrize(
    ("cell", "recipe"),
    [
        ({"kind": "pca"}, "fast"),
        ({"kind": "vae", "beta": 3.0}, "fast"),
        ({"kind": "vae", "beta": 3.0}, "displacing"),
    ],
)
def test_a_cell_is_the_same_wherever_it_runs(cell, recipe, phantom_file):
    cell, options = {**cell, "latent_dim": 2}, task(phantom_file) | {"recipe": recipe}
    first, second = (run_cell(cell, options) for _ in range(2))
    del first["seconds"], second["seconds"]
    assert first == second == json.loads(json.dumps(first))
    assert first["held_out"] == 5
    assert first["truth"] == "clean section"
    assert 0 < first["cw_ssim"] <= 1
    assert first["pca_frechet"] is None, "five brains are too few for a covariance"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1:4", [1, 2, 3, 4]),
        ("4:16:4", [4, 8, 12, 16]),
        ("1:2:0.5", [1, 1.5, 2]),
        ("0:0.3:0.1", [0, 0.1, 0.2, 0.3]),
        ("3", [3]),
        ("8,4,4", [4, 8]),
    ],
)
def test_numbers(text, expected):
    assert numbers(text, smallest=0) == pytest.approx(expected)


def test_the_grid_has_pca_and_vae_beside():
    options = SweepOptions(population=Path("p"), out=Path("o"), betas="2:3", latent_dims="4,8")
    names = [name_of(cell) for cell in cells(options)]
    assert sorted(names) == sorted(
        f"{model}_L-{n}" for n in (4, 8) for model in ("pca", "beta-1", "beta-2", "beta-3")
    )
    paper = cells(SweepOptions(population=Path("p"), out=Path("o")))
    assert len(paper) == 17 * 21
    assert len({name_of(cell) for cell in paper}) == len(paper)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--betas", "4:1"), "no number"),
        (("--betas", "a"), "neither FROM:TO"),
        (("--betas", "1:9:0"), "neither FROM:TO"),
        (("--betas", "1:nan"), "--betas"),
        (("--betas=-1,3",), "no number"),
        (("--latent-dims", "0:3"), "no number"),
        (("--latent-dims", "2.5"), "whole"),
        (("--held-out", "0"), "--held-out"),
        (("--workers", "0"), "--workers"),
        (("--betas", "1:0"), "no number"),
        (("--latent-dims", "3:2"), "no number"),
        (("--held-out", "1e-9"), "keeps none of 24 brains"),
    ],
)
def test_a_grid_that_is_none(flags, message, phantom_file, tmp_path, capsys):
    arguments = [str(phantom_file), "--out", str(tmp_path / "out"), *flags]
    with pytest.raises(SystemExit) as ended:
        main(SweepOptions, sweep, program="sweep", arguments=arguments)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_folder_holds_one_sweep(phantom_file, tmp_path, monkeypatch):
    """With all of its cells there, nothing is started; with other options it is refused."""
    options = SweepOptions(
        population=phantom_file, out=tmp_path / "out", betas="1", latent_dims="2", steps=2
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(FileExistsError, match="holds no sweep"):
        sweep(options)
    (tmp_path / "out" / "mine").unlink()
    monkeypatch.setattr("training.sweep.connected", lambda *_: pytest.fail("nothing is missing"))
    (tmp_path / "out" / "cells").mkdir()
    with pytest.raises(FileExistsError, match="holds no sweep"):
        sweep(options)
    (tmp_path / "out" / "cells").rmdir()
    with pytest.raises(BaseException, match="nothing is missing"):
        sweep(options)
    for cell in cells(options):
        path = tmp_path / "out" / "cells" / f"{name_of(cell)}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(run_cell(cell, task(phantom_file))))
    assert sweep(options)["cell"].tolist() == ["pca_L-2", "beta-1_L-2"]
    with pytest.raises(ValueError, match="other data or options"):
        sweep(options.model_copy(update={"steps": 3}))
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((8, 64, 64)))
    with pytest.raises(ValueError, match="other data or options"):
        sweep(options.model_copy(update={"population": tmp_path / "x.npy"}))


def test_no_scheduler_is_one_line(phantom_file, tmp_path):
    options = SweepOptions(
        population=phantom_file, out=tmp_path / "out", scheduler="tcp://127.0.0.1:1"
    )
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(OSError, match="no dask scheduler answers"),
    ):
        sweep(options)


GOOD_CELL = {
    "kind": "pca", "latent_dim": 2, "truth": "clean section", "held_out": 5, "cw_ssim": 0.5,
    "pca_frechet": None, "frechet_floor": None, "squared_error": 0.1, "psnr": 20.0,
    "active_units": 2, "seconds": 1.0,
}  # fmt: skip

SPOILT_CELLS = {
    "cut short": "{",
    "empty": "",
    "null": "null",
    "a list": "[1]",
    "too deep": "[" * 100_000,
    "not UTF-8": b"\xff\xfe",
    "a key missing": json.dumps({k: v for k, v in GOOD_CELL.items() if k != "cw_ssim"}),
    "a text for a number": json.dumps(GOOD_CELL | {"psnr": "high"}),
    "a list for a number": json.dumps(GOOD_CELL | {"cw_ssim": [0.5]}),
    "of another cell": json.dumps(GOOD_CELL | {"latent_dim": 3}),
    "of another model": json.dumps(GOOD_CELL | {"kind": "vae", "beta": 3}),
    "of no model": json.dumps(GOOD_CELL | {"kind": "ica"}),
}


@pytest.mark.parametrize("case", SPOILT_CELLS)
def test_a_spoilt_cell_is_named(case, tmp_path):
    content = SPOILT_CELLS[case]
    path = tmp_path / "pca_L-2.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"pca_L-2\.json cannot be read .*: delete it") as error:
        assemble(tmp_path, ["pca_L-2", "pca_L-3"])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_good_cell_is_a_row(tmp_path):
    write_cell(tmp_path, "pca_L-2", GOOD_CELL)
    assert assemble(tmp_path, ["pca_L-2", "pca_L-3"]).to_dict("records") == [
        {"cell": "pca_L-2", **GOOD_CELL}
    ]
    assert list(assemble(tmp_path, ["pca_L-3"])) == ["cell"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_a_record_of_another_shape_is_no_sweep(text, phantom_file, tmp_path):
    (tmp_path / "sweep.json").write_text(text)
    options = SweepOptions(population=phantom_file, out=tmp_path)
    with pytest.raises(InputError, match=r"sweep\.json cannot be read|other data or options"):
        sweep(options)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]


def test_two_sweeps_do_not_work_in_one_folder(phantom_file, tmp_path):
    with FileLock(tmp_path / "lock"), pytest.raises(InputError, match="another sweep is working"):
        sweep(SweepOptions(population=phantom_file, out=tmp_path))


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        ([0, 4, 8, 9, 10], 6),  # two straight lines bend where they meet
        ([0, 1, 2, 3, 4], None),  # a straight line bends nowhere
        ([0, 1, 2, 6, 10], None),  # nor does one that gains more and more
        ([5, 9, 10, 8, 4], 6),  # a peak is where gain ends
        ([3, 3, 3, 3, 3], None),
        ([0, np.nan, 8, 9, 10], None),
    ],
)
def test_inflections(quality, expected):
    assert inflection([2, 4, 6, 8, 10], quality) == expected
    assert inflection([2, 4], quality[:2]) is None


@pytest.fixture
def table():
    rows = []
    for kind, beta in (("pca", None), ("vae", 1.0), ("vae", 3.0)):
        for n, quality in zip((2, 4, 6, 8), (0.0, 0.8, 0.9, 1.0), strict=True):
            cell = {"kind": kind, "beta": beta, "latent_dim": n, "cw_ssim": quality}
            more = {"pca_frechet": 2 - quality, "frechet_floor": 0.5}
            rows.append({**cell, **more, "held_out": 40, "truth": "clean section"})
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_each_curve_has_its_inflection(table):
    turns = inflections(table)
    assert turns["model"].tolist() == ["PCA", "PCA", "VAE", "VAE", "beta 3", "beta 3"]
    assert turns["latent_dim"].tolist() == [4] * 6
    assert turns["value"].tolist() == pytest.approx([0.8, 1.2] * 3)


def test_the_curves_show_every_model_and_mark_the_bend(table):
    figure = curves_figure(table, inflections(table))
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert {"PCA", "VAE", "beta 3"} <= set(lines)
        np.testing.assert_array_equal(lines["PCA"].get_xdata(), [2, 4, 6, 8])
        rings = [line for line in axes.get_lines() if line.get_markersize() == 11]
        assert [list(ring.get_xdata()) for ring in rings] == [[4]] * 3
