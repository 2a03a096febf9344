"""The folder of one training run: what it was told, what it did, how to go on."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from napari_brainvae.io.atomic_files import remove_leftovers, replacing, write_text
from napari_brainvae.io.errors import InputError


class RunFolder:
    """``record.json``, ``history.csv``, ``model.safetensors`` and ``state/`` under one folder.

    Every file is written beside and renamed: a kill or a full disk leaves the last whole one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "model.safetensors"
        self.record = folder / "record.json"
        self.history = folder / "history.csv"
        self.state = folder / "state" / "state.pt"

    def check(self, *, resume: bool) -> None:
        """Refuse a folder that holds another run, or none to resume.

        Raises
        ------
        FileExistsError, FileNotFoundError, NotADirectoryError
            With what to do about it.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"{self.folder} is a file, not a folder for a run")
        if resume and not self.record.exists():
            raise FileNotFoundError(f"{self.folder} holds no run to resume")
        if resume:
            remove_leftovers(self.folder)
            remove_leftovers(self.state.parent)
        if not resume and self.folder.exists() and any(self.folder.iterdir()):
            raise FileExistsError(
                f"{self.folder} is not empty: give another folder, or --resume its run"
            )

    def write_record(self, record: dict[str, Any]) -> None:
        """Write ``record.json``."""
        write_text(self.record, json.dumps(record, indent=2) + "\n")

    def read_record(self) -> dict[str, Any]:
        """Read ``record.json``."""
        try:
            return dict(json.loads(self.record.read_text(encoding="utf-8")))
        except ValueError as error:
            raise InputError(f"{self.record} cannot be read: {error}") from error

    def write_history(self, rows: list[dict[str, Any]]) -> None:
        """Write ``history.csv``, a row per logged step."""
        with replacing(self.history) as beside:
            pd.DataFrame(rows).to_csv(beside, index=False)

    def read_history(self, last_step: int) -> list[dict[str, Any]]:
        """Rows up to ``last_step``; later ones belong to steps that are done again."""
        if not self.history.exists():
            return []
        table = pd.read_csv(self.history)
        rows = table[table["step"] <= last_step].to_dict("records")
        return [{str(k): v for k, v in row.items()} for row in rows]

    def save_state(self, state: dict[str, Any]) -> None:
        """Write what `load_state` needs to go on."""
        with replacing(self.state) as beside:
            torch.save(state, beside)

    def load_state(self) -> dict[str, Any] | None:
        """Read the last saved state, or None if the run was killed before its first."""
        if not self.state.exists():
            return None
        try:
            loaded = torch.load(self.state, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise InputError(f"{self.state} cannot be read: {error}") from error
        return dict(loaded)
