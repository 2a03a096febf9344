"""``python -m training.sweep``: the paper's grid of beta and L, on one machine or a cluster."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import CliPositionalArg

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.option_types import Seed, Steps, Threads, Workers
from training.cli import LatentDims, main, numbers
from training.cluster import connected

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Cell = dict[str, Any]
"""A beta-VAE (kind 'vae', beta, latent_dim) or a PCA (kind 'pca', latent_dim)."""


class SweepOptions(BaseModel):
    """Fit a beta-VAE for each beta and L, with PCA and VAE (beta 1) beside, and measure them.

    Each cell's result is a file of its own in OUT/cells as soon as it is done. Stop the sweep at
    any time and give the same command again: what is finished is not repeated. At the end stand
    table.csv, inflections.csv and the curves over L. Without --scheduler it runs on this machine.
    """

    population: CliPositionalArg[Path] = Field(
        description="Sections of many brains; on a cluster, a path that every worker can read."
    )
    out: Path = Field(description="Folder for the results; new, or that of the same sweep.")
    betas: str = Field("1:20", description="Values of beta: FROM:TO, FROM:TO:STEP or 1,3,4.5.")
    latent_dims: LatentDims = Field("4:20", description="Numbers of factors L, likewise.")
    recipe: Literal["paper", "fast", "displacing"] = Field(
        "fast", description="As in training.fit."
    )
    steps: Steps | None = Field(None, description="Training steps a cell; the recipe's.")
    held_out: float = Field(
        0.2, gt=0, lt=1, description="Share of the brains kept out of the fits, to measure on."
    )
    seed: Seed = Field(0, description="Of the split and of each fit.")
    threads: Threads | None = Field(None, description="CPU threads of a fit.")
    scheduler: str | None = Field(
        None, description="Address of a dask scheduler, such as tcp://node:8786; see docs/sweep.md."
    )
    workers: Workers = Field(2, description="Processes on this machine, without --scheduler.")

    @field_validator("betas")
    @classmethod
    def _betas_are_numbers(cls, text: str) -> str:
        numbers(text, smallest=0)
        return text


def cells(options: SweepOptions) -> list[Cell]:
    """Every cell of the grid, beta 1 always among them."""
    betas = sorted({1.0, *numbers(options.betas, smallest=0)})
    dims = [int(n) for n in numbers(options.latent_dims, smallest=1)]
    grid = [{"kind": "pca", "latent_dim": n} for n in dims]
    return grid + [{"kind": "vae", "beta": b, "latent_dim": n} for n in dims for b in betas]


def name_of(cell: Cell) -> str:
    """The name of a cell, by which it is done once."""
    size = f"L-{cell['latent_dim']}"
    return f"pca_{size}" if cell["kind"] == "pca" else f"beta-{cell['beta']:g}_{size}"


def sweep(options: SweepOptions) -> pd.DataFrame:
    """Run `training.sweep` with these options.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written; at the end, if cells failed.
    """
    from napari_brainvae.io.atomic_files import remove_leftovers, write_text
    from napari_brainvae.io.folder_lock import only_one

    record, grid = _record(options), {name_of(cell): cell for cell in cells(options)}
    path, folder = options.out / "sweep.json", options.out / "cells"
    _check_folder(path, record)
    with only_one(options.out, "sweep"):
        _check_folder(path, record)
        if not path.exists():
            write_text(path, json.dumps(record, indent=2) + "\n")
        remove_leftovers(folder)
        done = set(assemble(folder, list(grid))["cell"])
        log.info(f"{len(grid)} cells, {len(done)} of them done before")
        missing = {name: cell for name, cell in grid.items() if name not in done}
        failed = _measure(options, missing, len(grid), record["fingerprint"])
        table = assemble(folder, list(grid))
        if len(table):
            _write_results(options, table)
    if failed:
        raise InputError(
            f"{len(failed)} cell(s) failed; the same command tries them again: {'; '.join(failed)}"
        )
    return table


def _measure(
    options: SweepOptions, missing: dict[str, Cell], total: int, fingerprint: str
) -> list[str]:
    """Measure the cells that are missing of ``total``; returns which failed and why."""
    from distributed import as_completed

    if not missing:
        return []
    failed: list[str] = []
    folder, done = options.out / "cells", total - len(missing)
    task = options.model_dump(exclude={"out", "scheduler", "workers"})
    task["fingerprint"] = fingerprint  # so that no cell hashes the population again
    with connected(options.scheduler, min(options.workers, len(missing))) as client:
        # Not pure: a cell that failed before is tried again, not remembered by the scheduler.
        futures = {
            client.submit(run_cell, cell, task, key=f"{name}-{client.id}", pure=False): name
            for name, cell in missing.items()
        }
        for future in as_completed(list(futures)):
            name = futures.pop(future)
            error = future.exception()
            if error is None:
                write_cell(folder, name, future.result())
                done += 1
                log.info(f"{name} done, {done} of {total}")
            else:
                failed.append(f"{name} ({' '.join(str(error).split())})")
                log.info(f"{name} failed: {error}")
            # Else the scheduler would do it again when the worker that holds it dies.
            future.release()
    return failed


def _record(options: SweepOptions) -> dict[str, Any]:
    """Say what the sweep is: what a cell of it is, and of which population."""
    from napari_brainvae.data.population import Population
    from training.fitting.reading import split

    population = Population.open(options.population)
    _, held_out = split(population, options.held_out, options.seed)
    if not held_out:
        raise InputError(
            f"--held-out {options.held_out:g} keeps none of {len(population)} brains to measure on"
        )
    out = population.excluded
    # Where it runs, and how far the grid reaches, may change; what a cell is may not.
    free = {"out", "population", "betas", "latent_dims", "scheduler", "workers", "threads"}
    return {
        "options": options.model_dump(mode="json", exclude=free),
        "fingerprint": population.fingerprint(),
        **({"marks": population.marks.fingerprint(population.ids)} if out.any() else {}),
    }


def _check_folder(path: Path, record: dict[str, Any]) -> None:
    """Refuse a folder that holds something else than the sweep of this record."""
    from napari_brainvae.io.folder_lock import LOCK
    from napari_brainvae.io.json_files import read_json

    out = path.parent
    if not path.exists():
        if out.exists() and (not out.is_dir() or set(out.iterdir()) - {out / LOCK}):
            raise FileExistsError(f"{out} is not empty and holds no sweep: give another")
        return
    if read_json(path) != record:
        raise InputError(f"the sweep in {out} was begun with other data or options")


def run_cell(cell: Cell, task: dict[str, Any]) -> dict[str, Any]:
    """Fit and measure one cell; runs on a worker.

    Parameters
    ----------
    cell
        What to fit.
    task
        Options of the sweep, as plain data, and the ``fingerprint`` of the population if known.

    Returns
    -------
    dict
        The cell and what was measured on the held-out brains, as plain JSON data.
    """
    import contextlib
    import io
    import tempfile
    import time

    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        model = _fit_cell(cell, task, Path(folder))
    found = _measure_cell(model, task)
    return {**cell, **found, "seconds": round(time.monotonic() - began, 1)}


def _fit_cell(cell: Cell, task: dict[str, Any], folder: Path) -> Any:
    from napari_brainvae.models.checkpoint import load_checkpoint
    from napari_brainvae.models.fit_options import FitOptions
    from training.fit import fit
    from training.pca import PCAOptions, fit_pca

    same = {name: task[name] for name in ("population", "held_out", "seed")}
    same["latent_dim"], fingerprint = cell["latent_dim"], task.get("fingerprint")
    if cell["kind"] == "pca":
        path = folder / "pca.safetensors"
        fit_pca(PCAOptions(out=path, **same), fingerprint=fingerprint)
    else:
        path = folder / "run" / "model.safetensors"
        more = {name: task[name] for name in ("recipe", "steps", "threads")}
        options = FitOptions(out=path.parent, beta=cell["beta"], **same, **more)
        # No state is saved on the way: a cell that is lost begins anew.
        whole = options.model_copy(update={"checkpoint_every": 10**9})
        fit(whole, fingerprint=fingerprint, halves=False)
    return load_checkpoint(path)


def _measure_cell(model: Any, task: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    from napari_brainvae.data.population import Population
    from napari_brainvae.metrics.cw_ssim import cw_ssim
    from napari_brainvae.metrics.image_quality import (
        image_quality,
        pca_frechet_distance,
        split_half_floor,
    )
    from napari_brainvae.metrics.latent_use import active_units
    from training.evaluation.held_out_metrics import FEWEST, HeldOut, tissue_weights
    from training.fitting.reading import split

    population = Population.open(task["population"])
    _, index = split(population, task["held_out"], task["seed"])
    held = HeldOut.read(Path(task["population"]), population, model.header.preprocessing, index)
    mean, _ = model.encode(held.sections)
    decoded = model.decode(mean)
    real = held.sections if held.clean is None else held.clean
    enough = len(index) >= FEWEST
    quality = image_quality(real, decoded)
    return {
        "truth": "section as it is" if held.clean is None else "clean section",
        "held_out": len(index),
        "cw_ssim": float(np.mean(cw_ssim(real, decoded, weights=tissue_weights(real)))),
        "pca_frechet": pca_frechet_distance(real, decoded) if enough else None,
        "frechet_floor": split_half_floor(real, seed=task["seed"]) if enough else None,
        "squared_error": float(quality["mse"].mean()),
        "psnr": float(quality["psnr"].mean()),
        "active_units": active_units(mean),
    }


class Measured(BaseModel):
    """The file of a cell that is done."""

    kind: Literal["pca", "vae"]
    beta: float = 1
    latent_dim: int
    truth: str
    held_out: int
    cw_ssim: float
    pca_frechet: float | None
    frechet_floor: float | None
    squared_error: float
    psnr: float
    active_units: int
    seconds: float


def write_cell(folder: Path, name: str, found: Cell) -> None:
    """Keep what was measured of a cell; with that it is done."""
    from napari_brainvae.io.atomic_files import write_text

    write_text(folder / f"{name}.json", json.dumps(found, indent=2))


def assemble(folder: Path, names: list[str]) -> pd.DataFrame:
    """Put the finished cells of the grid into one table; a cell is a file, so none is there twice.

    Raises
    ------
    InputError
        If a file cannot be read, or is of another cell.
    """
    import pandas as pd

    from napari_brainvae.io.regular_files import regular_file

    rows = []
    for name in names:
        path = folder / f"{name}.json"
        if path.exists():
            try:
                found = Measured.model_validate_json(regular_file(path).read_bytes()).model_dump(
                    exclude_unset=True
                )
                if name_of(found) != name:
                    raise ValueError(f"it is of {name_of(found)}")
            except ValueError as error:  # pydantic's is one, too
                reason = " ".join(str(error).split())[:200]
                raise InputError(f"{path} cannot be read ({reason}): delete it") from error
            rows.append({"cell": name, **found})
    return pd.DataFrame(rows, columns=None if rows else ["cell"])


def _write_results(options: SweepOptions, table: pd.DataFrame) -> None:
    from napari_brainvae.io.atomic_files import replacing
    from napari_brainvae.reporting.paper_figures import save_figure
    from training.evaluation.sweep_curves import curves_figure, inflections

    turns = inflections(table)
    for name, content in {"table": table, "inflections": turns}.items():
        with replacing(options.out / f"{name}.csv") as beside:
            content.to_csv(beside, index=False)
    figure = curves_figure(table, turns)
    save_figure(figure, options.out / "curves", {"options": options.model_dump(mode="json")})
    log.info(turns.to_string(index=False))


if __name__ == "__main__":
    main(SweepOptions, sweep, program="python -m training.sweep")
