"""Whole models fitted to halves of the brains, each a task for a worker; finished ones are kept."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_brainvae.io.errors import DAMAGED, InputError
from training.cluster import connected

if TYPE_CHECKING:
    from napari_brainvae.factors.refit_stability import FittedFactors
    from napari_brainvae.factors.stability import FactorStability

log = logging.getLogger(__name__)

Task = dict[str, Any]
"""Plain data: population, fingerprint, chosen (positions), members (those to fit), options."""


def refit(
    folder: Path, tasks: dict[str, Task], scheduler: str | None, workers: int
) -> dict[str, FittedFactors]:
    """Fit all that is not in the folder yet; what was begun before goes on.

    Parameters
    ----------
    folder
        For a file a fit; new, or that of the same fits.
    tasks
        By the name of the file.

    Raises
    ------
    InputError, OSError
        If the folder is of other fits, or one failed.
    """
    import numpy as np
    from distributed import as_completed

    from napari_brainvae.factors.refit_stability import FittedFactors
    from napari_brainvae.io.atomic_files import replacing, write_text
    from napari_brainvae.io.regular_files import regular_file

    what = json.dumps(tasks, indent=1) + "\n"
    begun = folder / "fits.json"
    if not begun.exists():
        write_text(begun, what)
    elif regular_file(begun).read_text(encoding="utf-8") != what:
        raise InputError(f"{folder} holds fits of other brains or options: give another --out")
    missing = {n: t for n, t in tasks.items() if not (folder / f"{n}.npz").exists()}
    if missing:
        with connected(scheduler, min(workers, len(missing))) as client:
            futures = {
                client.submit(run_task, task, key=f"{name}-{client.id}", pure=False): name
                for name, task in missing.items()
            }
            for done, future in enumerate(as_completed(list(futures)), start=1):
                name = futures.pop(future)
                if future.exception() is not None:
                    raise InputError(f"the fit {name} failed: {future.exception()}")
                with replacing(folder / f"{name}.npz") as beside, beside.open("wb") as file:
                    np.savez(file, **future.result())
                log.info("%s fitted, %d of %d", name, len(tasks) - len(missing) + done, len(tasks))
                future.release()
    found = {}
    for name in tasks:
        kept = regular_file(folder / f"{name}.npz")
        try:
            with np.load(kept, allow_pickle=False) as saved:
                found[name] = FittedFactors(
                    saved["fields"], saved["codes"], float(saved["held_out_variance"])
                )
        except (*DAMAGED, OSError) as error:
            raise InputError(f"{kept} cannot be read ({error}): delete it") from error
    return found


def run_task(task: Task) -> dict[str, Any]:
    """Fit some of the brains and look at all of them; runs on a worker."""
    import contextlib
    import io
    import tempfile

    from napari_brainvae.models.checkpoint import load_checkpoint
    from training.fit import fit
    from training.fitting.options import FitOptions

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        options = FitOptions(
            population=task["population"],
            out=Path(folder) / "run",
            rotation="varimax",
            checkpoint_every=10**9,  # a fit that is lost begins anew
            **task["options"],
        )
        fit(options, fingerprint=task["fingerprint"], members=task["members"], halves=False)
        model = load_checkpoint(options.out / "model.safetensors")
    return look(model, task)


def look(model: Any, task: Task) -> dict[str, Any]:
    """Fields and codes of a model, and what is left of the brains that it was not fitted on."""
    import numpy as np

    from napari_brainvae.data.population import BLOCK, Population
    from napari_brainvae.factors.stability import fields_among

    population = Population.open(task["population"])
    chosen, members = task["chosen"], set(task["members"])
    codes, left, total, mean = [], 0.0, 0.0, model.decode(np.zeros((1, model.latent_dim)))
    for start in range(0, len(chosen), BLOCK):
        positions = chosen[start : start + BLOCK]
        images = population.prepared(model.header.preprocessing, positions)
        codes.append(model.encode(images)[0])
        other = np.array([p not in members for p in positions])
        left += float(np.square(images - model.decode(codes[-1]))[other].sum())
        total += float(np.square(images - mean)[other].sum())
    every = np.concatenate(codes)
    return {
        "fields": fields_among(model, every),
        "codes": every,
        "held_out_variance": left / total if total else float("nan"),
    }


def stability_of_refits(
    folder: Path,
    about: Task,
    splits: int,
    seed: int,
    *,
    scheduler: str | None,
    workers: int,
    model: Any = None,
) -> FactorStability:
    """Fit all brains, unless there is a model of them, and both halves of each split.

    Parameters
    ----------
    folder
        Of the fits.
    about
        A task, as yet without members.
    splits, seed
        Of the brains in halves.
    model
        Whose factors are held against the halves', instead of those of a fit to all brains.
    """
    import numpy as np

    from napari_brainvae.factors.refit_stability import FittedFactors, refit_stability
    from napari_brainvae.factors.stability import random_halves

    chosen = np.asarray(about["chosen"])
    tasks = {} if model is not None else {"all": about | {"members": chosen.tolist()}}
    for i, half in enumerate(random_halves(len(chosen), splits, seed), start=1):
        for name, which in (("a", half), ("b", ~half)):
            tasks[f"split-{i}{name}"] = about | {"members": chosen[which].tolist()}
    found = refit(folder, tasks, scheduler, workers)
    if model is not None:
        found["all"] = FittedFactors(**look(model, about | {"members": chosen.tolist()}))
    pairs = [(found[f"split-{i}a"], found[f"split-{i}b"]) for i in range(1, splits + 1)]
    return refit_stability(found["all"], pairs)
