"""What the folder of a fit says to whoever watches it, and how it is asked to stop; without torch.

All of it goes by files: a run is found again after its watcher was closed, and from another machine
that shares the folder. Signals differ from system to system, and find only their own children.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from napari_brainvae.io.atomic_files import write_text
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.folder_lock import LOCK, is_locked
from napari_brainvae.io.json_files import read_json

MODEL, RECORD, HISTORY = "model.safetensors", "record.json", "history.csv"
PROGRESS, STOP = "progress.json", "stop"
"""There only while the run goes on: how far it is, and what asks it to stop after saving."""

LOG = "fit*.log"
"""What the command said, where a panel started it: a file for each time."""

CURVES = ("step", "reconstruction", "rate")
"""Columns of the history that are told, where the objective has these terms."""

MOST_ROWS = 200
"""Of the history that are told while the run goes on."""

Kind = Literal["new", "running", "unfinished", "complete", "diverged", "other"]


@dataclass(frozen=True)
class RunState:
    """What a folder holds.

    Attributes
    ----------
    kind
        "new": nothing, a fit can be written here; "other": what is no run of a fit.
    step, steps
        Done, and to be done, while it is running.
    seconds_left
        About, while it is running.
    history
        ``(step, reconstruction, rate)`` of logged steps, the first first.
    options
        That the run was begun with.
    """

    kind: Kind
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    history: tuple[tuple[float, float, float], ...] = ()
    options: dict[str, Any] | None = None


def run_state(folder: Path) -> RunState:
    """Look at the folder of a run; whatever is odd in it is no run of a fit."""
    if not folder.exists():
        return RunState("new")
    if not folder.is_dir():
        return RunState("other")
    record = _read(folder / RECORD)
    status, options = record.get("status"), record.get("options")
    if is_locked(folder):
        told = _read(folder / PROGRESS)
        with suppress(TypeError, ValueError, KeyError):
            left = told["seconds_left"]
            return RunState(
                "running",
                int(told["step"]),
                int(told["steps"]),
                None if left is None else float(left),
                tuple((float(a), float(b), float(c)) for a, b, c in told["history"]),
                options,
            )
        return RunState("running", options=options)
    if status is None or not isinstance(options, dict):
        ours = {folder / LOCK, folder / STOP, *folder.glob(LOG)}
        return RunState("other" if set(folder.iterdir()) - ours else "new")
    kind: Kind = "unfinished"
    if status == "complete" and (folder / MODEL).exists():
        kind = "complete"
    elif status == "diverged":
        kind = "diverged"
    return RunState(kind, history=_history(folder / HISTORY), options=options)


def tell_progress(
    folder: Path, step: int, steps: int, seconds_left: float | None, rows: list[dict[str, Any]]
) -> None:
    """Say how far a run is."""
    shown = rows[:: -(-len(rows) // MOST_ROWS) or 1]
    told = {
        "step": step,
        "steps": steps,
        "seconds_left": seconds_left,
        "history": [[row[name] for name in CURVES] for row in shown if row.keys() >= {*CURVES}],
    }
    with suppress(OSError):  # Windows replaces no file that is being read: the next one will do
        write_text(folder / PROGRESS, json.dumps(told))


def ask_to_stop(folder: Path) -> None:
    """Ask the run of a folder to stop after its next step, and to save before it does."""
    (folder / STOP).touch()


def is_asked_to_stop(folder: Path) -> bool:
    """Whether somebody has asked the run of a folder to stop."""
    return (folder / STOP).exists()


def forget_progress(folder: Path) -> None:
    """Remove what is there only while a run goes on."""
    for name in (STOP, PROGRESS):
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, InputError):
        found = read_json(path)
        return found if isinstance(found, dict) else {}
    return {}


def _history(path: Path) -> tuple[tuple[float, float, float], ...]:
    with suppress(OSError, ValueError, KeyError):
        table = pd.read_csv(path)
        rows = zip(
            *(table[n].astype(float) for n in ("step", "reconstruction", "rate")), strict=True
        )
        return tuple(rows)[:: -(-len(table) // MOST_ROWS) or 1]
    return ()
