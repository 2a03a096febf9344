"""The folder of one training run: what it was told, what it did, how to go on."""

from __future__ import annotations

import json
import logging
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning_fabric.utilities import rank_zero_only

from napari_brainvae.data.marks import write_marks
from napari_brainvae.data.population import Population
from napari_brainvae.io.atomic_files import remove_leftovers, replacing, write_text
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.file_stamp import sha256_of
from napari_brainvae.io.folder_lock import LOCK, only_one
from napari_brainvae.io.json_files import read_json
from napari_brainvae.io.regular_files import regular_file

log = logging.getLogger(__name__)

FREE = {"population", "log_every", "checkpoint_every", "resident_gb", "readers", "capture"}
"""Options of which the result does not depend: a resumed run may have others."""

WRONG = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What torch raises at states of another shape than it wrote."""

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OverflowError,
    NotImplementedError,  # a packing that zipfile does not know
    OSError,  # a place before the begin of the file
    pickle.UnpicklingError,
)
"""What is raised for a state that is no archive of torch, or not a whole one."""


class RunFolder:
    """``record.json``, ``history.csv``, ``model.safetensors`` and ``state/`` under one folder.

    Every file is written beside and renamed: a kill or a full disk leaves the last whole one.

    Attributes
    ----------
    rows
        Of the history, the last one last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "model.safetensors"
        self.record = folder / "record.json"
        self.history = folder / "history.csv"
        self.state = folder / "state" / "state.pt"
        self.checksums = folder / "state" / "checksums.json"
        self.marks = folder / "marks.csv"
        self.lock = folder / LOCK
        self.rows: list[dict[str, Any]] = []
        self._in_place: str | None = None

    def check(self, *, resume: bool) -> None:
        """Refuse a folder that holds another run, or none to resume.

        The processes that share the steps of a run come to a folder that the first has begun.

        Raises
        ------
        InputError, FileExistsError, FileNotFoundError, NotADirectoryError
            With what to do about it.
        """
        if rank_zero_only.rank > 0:
            return
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"{self.folder} is a file, not a folder for a run")
        if resume and not self.record.exists():
            raise FileNotFoundError(f"{self.folder} holds no run to resume")
        if not resume and self.folder.exists() and set(self.folder.iterdir()) - {self.lock}:
            raise FileExistsError(
                f"{self.folder} is not empty: give another folder, or --resume its run"
            )
        complete = resume and self.read_record().get("status") == "complete"
        if complete and not self.state.exists():
            raise InputError(f"the run in {self.folder} is complete, and {self.state} is gone")

    @contextmanager
    def owned(self, *, resume: bool) -> Iterator[None]:
        """Keep other fits out of the folder; the lock goes with the process, however it ends.

        Raises
        ------
        InputError, OSError
            If another fit works in the folder, or has begun there since it was checked.
        """
        if rank_zero_only.rank > 0:
            yield
            return
        with only_one(self.folder, "fit"):
            self.check(resume=resume)
            remove_leftovers(self.folder)
            remove_leftovers(self.state.parent)
            yield

    def check_same(self, now: dict[str, Any]) -> None:
        """Refuse to go on with other data or other options than the run was begun with."""
        before = self.read_record()
        options = {"include_flagged": True} | before["options"]  # as before there was the choice
        if _apart_from_marks(before["data"]) != _apart_from_marks(now["data"]):
            raise InputError(
                f"the run in {self.folder} was begun with other data than this population"
            )
        then, today = (each["data"].get("marks") for each in (before, now))
        if then != today:
            given = self.marks if then else "none"
            raise InputError(
                f"the run in {self.folder} was begun with other marks: --marks {given} goes on "
                "with those"
            )
        if before["data"] != now["data"]:
            raise InputError(
                f"the run in {self.folder} was begun with other data than this population: other "
                "brains are flagged"
            )
        changed = [
            f"--{name.replace('_', '-')} {value} (was {options.get(name)})"
            for name, value in now["options"].items()
            if name not in FREE and options.get(name) != value
        ]
        if changed:
            raise InputError(
                f"the run in {self.folder} was begun with other options: {', '.join(changed)}"
            )

    def keep_marks(self, population: Population) -> None:
        """Keep the marks that brains are left out by, to resume with; she may mark others since."""
        if rank_zero_only.rank == 0 and population.excluded.any():
            write_marks(replace(population.marks, path=self.marks), population.ids)

    def begin(self, record: dict[str, Any], first: int) -> None:
        """Say that the run goes on from a step; later rows of the history are of steps to come."""
        self.rows = self.read_history(first)
        self.write_record(record | {"status": "running"})

    def write_record(self, record: dict[str, Any]) -> None:
        """Write ``record.json``."""
        write_text(self.record, json.dumps(record, indent=2, allow_nan=False) + "\n")

    def read_record(self) -> dict[str, Any]:
        """Read ``record.json``; a run from before there were rotations was begun without one."""
        record = read_json(self.record)
        try:
            options, data = record["options"], record["data"]
            return {**record, "options": {"rotation": "none", **options}, "data": {**data}}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.record} is no record of a run: {error!r}") from error

    def write_history(self) -> None:
        """Write ``history.csv``, a row per logged step, once there is one."""
        if not self.rows:
            return
        with replacing(self.history) as beside:
            pd.DataFrame(self.rows).to_csv(beside, index=False)

    def read_history(self, last_step: int) -> list[dict[str, Any]]:
        """Rows up to ``last_step``; later ones belong to steps that are done again."""
        if not self.history.exists() or not regular_file(self.history).read_bytes().strip():
            return []
        try:
            table = pd.read_csv(self.history)
            rows = table[table["step"] <= last_step].to_dict("records")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.history} is no history of a run ({error!r}): move it away"
            ) from error
        return [{str(k): v for k, v in row.items()} for row in rows]

    def save_state(self, state: dict[str, Any]) -> None:
        """Write what `load_state` needs to go on.

        Raises
        ------
        OSError
            If the disk is full; the state before stays.
        """
        with replacing(self.state) as beside:
            try:
                torch.save(state, beside)
            except RuntimeError as error:  # how torch's archive says so
                raise OSError(f"{self.state} cannot be written: {error}") from error
            # First, and that of the state before as well, which a kill may leave in its place.
            saved = sha256_of(beside)
            write_text(self.checksums, json.dumps([saved, self._in_place]) + "\n")
        self._in_place = saved

    def _noted(self) -> list[str]:
        """SHA-256 of the last state that was written, and of the one before."""
        noted = read_json(self.checksums)
        if not isinstance(noted, list):
            raise InputError(f"{self.checksums} holds no checksums: move it away")
        return noted

    def load_state(self, last: int) -> dict[str, Any] | None:
        """Read the last saved state, or None if the run was killed before its first.

        Raises
        ------
        InputError
            If it is no state of a run of ``last`` steps.
        """
        if not self.state.exists():
            if self.state.parent.exists() and not self.state.parent.is_dir():
                raise InputError(f"{self.state.parent} is no folder: move it away")
            log.warning(
                "%s holds no state to go on from: it begins again at its first step", self.folder
            )
            return None
        self._in_place = sha256_of(self.state)
        # A run from before there were checksums has none.
        if self.checksums.exists() and self._in_place not in self._noted():
            raise InputError(f"{self.state} has changed since it was written; begin another run")
        try:
            # Torch reads what it wrote without a look at the checksums.
            with zipfile.ZipFile(self.state) as archive:
                if broken := archive.testzip():
                    raise ValueError(f"{broken} is damaged")
            with warnings.catch_warnings(action="ignore"):  # of odd pickles, which are refused
                state = dict(torch.load(self.state, map_location="cpu", weights_only=True))
            step = state["step"]
            if type(step) is not int or not 0 < step <= last or "network" not in state:
                raise ValueError(f"step {step} of {last}")
        except (*DAMAGED, *WRONG) as error:
            raise InputError(
                f"{self.state} cannot be read: {error!r}; begin another run"
            ) from error
        return state


def _apart_from_marks(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in ("marks", "measured")}
