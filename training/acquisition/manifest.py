"""Which brains are acquired, and how far each of them is."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_brainvae.io.atomic_files import write_text
from napari_brainvae.io.errors import InputError
from training.acquisition.experiment_ids import whole_numbers

if TYPE_CHECKING:
    from training.acquisition.allen_api import AllenService
    from training.acquisition.options import SectionsOptions

WAITING, DONE, FAILED = "waiting", "done", "failed"


@dataclass
class Outcome:
    """What became of one brain."""

    status: str
    tries: int
    bytes: int = 0
    sha256: str = ""
    error: str = ""
    section_sha256: str = ""


STATE = list(Outcome.__dataclass_fields__)
ADDED = ["section_sha256"]
"""Columns that older manifests lack."""


TEXTS = [name for name, kind in Outcome.__annotations__.items() if kind == "str"]
RESTORE = "put it back from a copy, or begin under another name"


@dataclass
class Manifest:
    """The selected brains and the state of each; the only memory of an acquisition.

    It is one CSV, written anew in one step after every brain: half a megabyte for 1,723 brains,
    nothing beside the 0.2 GB that each of them takes to fetch. Whatever moment the process is
    killed at, the file is whole, and a person can open it in a spreadsheet. What was asked for
    lies beside it as JSON, so that a different request is not mistaken for the same.
    """

    path: Path
    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def _request_path(self) -> Path:
        return self.path.with_name("request.json")

    def exists(self) -> bool:
        """Whether the acquisition was begun before."""
        return self.path.exists()

    def begin(self, request: dict[str, Any], experiments: pd.DataFrame) -> None:
        """Note the brains, one row of covariates each indexed by experiment id, as waiting."""
        state = pd.DataFrame([vars(Outcome(WAITING, 0))] * len(experiments), experiments.index)
        self.table = state.join(experiments.drop(columns=STATE, errors="ignore"))
        # The ids tell a manifest that has lost rows.
        noted = request | {"brains": [int(i) for i in experiments.index]}
        write_text(self._request_path, json.dumps(noted))
        self._write()

    def read(self, request: dict[str, Any]) -> None:
        """Take up an acquisition that was begun before.

        Raises
        ------
        InputError
            If it was begun with another request, or the file was damaged by hand.
        """
        before = self._read_request()
        brains = before.pop("brains", [])
        for name, value in before.items():
            if name in request and request[name] != value:
                raise InputError(
                    f"{self.path.parent} was begun with {name.replace('_', '-')} = {value}, not "
                    f"{request[name]}; give the same again or another output"
                )
        self.table = self._read_table()
        known = set(self.table.index)
        self.refuse_without([str(i) for i in brains if i not in known])

    def _read_request(self) -> dict[str, Any]:
        path = self._request_path
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError) as error:
            raise InputError(f"{path} cannot be read ({error}); {RESTORE}") from error
        brains = before.get("brains", []) if isinstance(before, dict) else None
        plain = isinstance(brains, list) and all(type(brain) is int for brain in brains)
        if not isinstance(before, dict) or not plain:
            raise InputError(f"{path} is no request of an acquisition; {RESTORE}")
        return before

    def _read_table(self) -> pd.DataFrame:
        try:
            text = self.path.read_text(encoding="utf-8")
            table = pd.read_csv(
                io.StringIO(text),
                dtype={"id": str, "status": str, **dict.fromkeys(TEXTS, str)},
                keep_default_na=False,
                na_values=[""],
            )
        except (ValueError, OverflowError) as error:  # pandas' own are ValueErrors
            reason = " ".join(str(error).split())
            raise InputError(f"{self.path} cannot be read ({reason}); {RESTORE}") from error
        if not text.endswith("\n"):
            raise InputError(f"{self.path} is cut short: its last line has no end; {RESTORE}")
        table = table.assign(**{name: "" for name in ADDED if name not in table})
        missing = [name for name in ("id", *STATE) if name not in table]
        if missing:
            raise InputError(f"{self.path} lacks the columns {', '.join(missing)}; {RESTORE}")
        table = _with_ids(table, self.path)
        for name in ("tries", "bytes"):
            numbers = pd.to_numeric(table[name], errors="coerce")
            wrong = table.index[~(numbers >= 0) | (numbers % 1 != 0)]
            if len(wrong):
                raise InputError(f"{self.path}: {wrong[0]} has no number of {name}; {RESTORE}")
            table[name] = numbers.astype(int)
        words = table.select_dtypes(exclude="number").columns.union([*TEXTS, "status"])
        table = table.astype(dict.fromkeys(words, object)).fillna(dict.fromkeys(words, ""))
        for experiment, status in table["status"].items():
            if status not in (WAITING, DONE, FAILED):
                raise InputError(
                    f"{self.path}: {experiment} has the status {status!r}, which is none of "
                    f"{WAITING}, {DONE}, {FAILED}; write one of them"
                )
        return table

    def refuse_without(self, lost: Sequence[str]) -> None:
        """Refuse to go on without brains that should be named, as in a file cut short.

        Raises
        ------
        InputError
            If there are any.
        """
        if lost:
            raise InputError(
                f"{self.path} has lost the rows of {len(lost)} brains (such as {lost[0]}); "
                f"{RESTORE}"
            )

    def ids(self, status: str) -> list[int]:
        """Experiment ids with this status, in the order of the selection."""
        return [int(i) for i in self.table.index[self.table["status"] == status]]

    def covariates(self, ids: Sequence[int]) -> pd.DataFrame:
        """Covariates of these experiments, one row each."""
        return self.table.loc[list(ids)].drop(columns=STATE)

    def record(self, experiment: int, outcome: Outcome) -> None:
        """Note what became of a brain; on disk when this returns."""
        before = self.table["tries"].to_dict()[experiment]
        self.table.loc[experiment, STATE] = list(vars(outcome).values())
        self.table.loc[experiment, "tries"] = before + outcome.tries
        self._write()

    def wait_again(self, ids: Sequence[int]) -> None:
        """Put these brains back among those that wait."""
        if ids:
            self.table.loc[list(ids), "status"] = WAITING
            self._write()

    def _write(self) -> None:
        write_text(self.path, self.table.to_csv(index_label="id"))


def select(options: SectionsOptions, service: AllenService) -> pd.DataFrame:
    """List the experiments that ``options`` ask for, with their covariates, indexed by ``id``.

    Raises
    ------
    InputError
        If nothing is left, or a name does not occur.
    """
    table = service.experiments(options.injection_structure)
    table = table.map(lambda v: "/".join(map(str, v)) if isinstance(v, list) else v)
    if options.experiments is not None:
        asked = _read_experiments(options.experiments)
        own = asked[asked.columns.difference(table.columns, sort=False)]
        table = own.join(table, how="inner" if options.injection_structure else "left")
        table = table.loc[[i for i in asked.index if i in table.index]]
    filters = {
        "strain": options.strain,
        "transgenic_line": ["" if line == "none" else line for line in options.line],
        "gender": options.gender,
    }
    for name, wanted in filters.items():
        if wanted:
            table = table[_is_one_of(table, name, wanted)]
    if table.empty:
        raise InputError("no experiment is left by this selection")
    return table


def _read_experiments(path: Path) -> pd.DataFrame:
    """Read a CSV with a column ``id``, or a list of ids."""
    with open(path, encoding="utf-8") as file:
        only_ids = file.readline().strip().isdigit()
    table = pd.read_csv(path, header=None, names=["id"]) if only_ids else pd.read_csv(path)
    table = table.rename(columns=lambda name: str(name).strip().replace("-", "_"))
    if "id" not in table:
        raise InputError(f"{path} has no column 'id' of experiment numbers")
    return _with_ids(table, path)


def _with_ids(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Index a table by its ids; whole numbers, which a spreadsheet may have given a point."""
    ids = whole_numbers(table["id"])
    if ids.isna().any():
        wrong = table["id"][ids.isna()].iloc[0]
        raise InputError(f"{path} has no column 'id' of experiment numbers: {wrong!r} is none")
    if not ids.is_unique:
        raise InputError(f"{path} repeats {ids[ids.duplicated()].iloc[0]}")
    return table.drop(columns="id").set_index(pd.Index(ids.astype("int64"), name="id"))


def _is_one_of(table: pd.DataFrame, name: str, wanted: Sequence[str]) -> pd.Series[bool]:
    """Which rows have one of these values, whatever their case."""
    if name not in table:
        raise InputError(f"the experiments have no {name}")
    values = table[name].fillna("").astype(str).str.casefold()
    for value in wanted:
        if value.casefold() not in set(values):
            common = ", ".join(map(str, table[name].value_counts().index[:5]))
            raise InputError(f"no experiment has {name} {value!r}; there are {common} and others")
    return values.isin([value.casefold() for value in wanted])
