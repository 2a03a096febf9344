"""Which brains a population is made of, and how far each is: the memory of a long command."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from napari_brainvae.io.atomic_files import write_text
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.regular_files import regular_file

WAITING, DONE, FAILED = "waiting", "done", "failed"
RESTORE = "put it back from a copy, or begin under another name"


@dataclass
class BrainManifest:
    """The brains and the state of each.

    It is one CSV, written anew in one step: half a megabyte for 1,723 brains. Whatever moment the
    process is killed at, the file is whole, and a person can open it in a spreadsheet. What was
    asked for lies beside it as JSON, so that a different request is not mistaken for the same.

    A subclass says what is noted of a brain (`outcome`, a dataclass whose first field is
    ``status``; all its fields are text or whole numbers) and what ids look like (`_ids_of`).
    """

    outcome: ClassVar[type[Any]]
    added: ClassVar[Sequence[str]] = ()
    """Columns that older manifests lack."""

    path: Path
    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    @classmethod
    def columns(cls, kind: str | None = None) -> list[str]:
        """Columns of the state, or those that hold text (``str``) or whole numbers (``int``)."""
        fields = cls.outcome.__dataclass_fields__
        return [name for name, one in fields.items() if kind is None or one.type == kind]

    @property
    def _request_path(self) -> Path:
        return self.path.with_name("request.json")

    def exists(self) -> bool:
        """Whether it was begun before."""
        return self.path.exists()

    def begin(self, request: dict[str, Any], brains: pd.DataFrame) -> None:
        """Note the brains, one row of covariates each indexed by id, as waiting."""
        self.table = self._waiting(brains)
        self.note_request(request)
        self.flush()

    def add(self, request: dict[str, Any], brains: pd.DataFrame) -> None:
        """Note more brains, behind those that are there."""
        self.table = pd.concat([self.table, self._waiting(brains)])
        # The table first: a request that names brains which it lacks is taken for damage.
        self.flush()
        self.note_request(request)

    def _waiting(self, brains: pd.DataFrame) -> pd.DataFrame:
        columns = self.columns()
        rows = [vars(self.outcome(WAITING))] * len(brains)
        state = pd.DataFrame(rows, brains.index, columns)
        return state.join(brains.drop(columns=columns, errors="ignore"))

    def note_request(self, request: dict[str, Any]) -> None:
        """Note what was asked for, beside the brains that there are."""
        # The ids tell a manifest that has lost rows.
        noted = request | {"brains": self.table.index.tolist()}
        write_text(self._request_path, json.dumps(noted))

    def read(self, request: dict[str, Any]) -> None:
        """Take up what was begun before.

        Raises
        ------
        InputError
            If it was begun with another request, or the file was damaged by hand.
        """
        before = self.read_request()
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

    def read_request(self) -> dict[str, Any]:
        """What was asked for when it was begun.

        Raises
        ------
        InputError
            If it was damaged by hand.
        """
        path = self._request_path
        try:
            before: Any = json.loads(regular_file(path).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError) as error:
            raise InputError(f"{path} cannot be read ({error}); {RESTORE}") from error
        if not isinstance(before, dict) or not _are_ids(before.get("brains", [])):
            raise InputError(f"{path} is no request of such a run; {RESTORE}")
        return before

    def _read_table(self) -> pd.DataFrame:
        texts, numbers = self.columns("str"), self.columns("int")
        try:
            text = regular_file(self.path).read_text(encoding="utf-8")
            table = pd.read_csv(
                io.StringIO(text),
                dtype={"id": str, **dict.fromkeys(texts, str)},
                keep_default_na=False,
                na_values=[""],
            )
        except (ValueError, OverflowError) as error:  # pandas' own are ValueErrors
            reason = " ".join(str(error).split())
            raise InputError(f"{self.path} cannot be read ({reason}); {RESTORE}") from error
        if not text.endswith("\n"):
            raise InputError(f"{self.path} is cut short: its last line has no end; {RESTORE}")
        table = table.assign(**{name: "" for name in self.added if name not in table})
        missing = [name for name in ("id", *self.columns()) if name not in table]
        if missing:
            raise InputError(f"{self.path} lacks the columns {', '.join(missing)}; {RESTORE}")
        ids = self.ids_of(table["id"], self.path)
        table = table.drop(columns="id").set_index(pd.Index(ids, name="id"))
        for name in numbers:
            values = pd.to_numeric(table[name], errors="coerce")
            wrong = table.index[~(values >= 0) | (values % 1 != 0)]
            if len(wrong):
                raise InputError(f"{self.path}: {wrong[0]} has no number of {name}; {RESTORE}")
            table[name] = values.astype(int)
        words = table.select_dtypes(exclude="number").columns.union(texts)
        table = table.astype(dict.fromkeys(words, object)).fillna(dict.fromkeys(words, ""))
        for brain, status in table["status"].items():
            if status not in (WAITING, DONE, FAILED):
                raise InputError(
                    f"{self.path}: {brain} has the status {status!r}, which is none of "
                    f"{WAITING}, {DONE}, {FAILED}; write one of them"
                )
        return table

    @staticmethod
    def ids_of(column: pd.Series[Any], path: Path) -> list[Any]:
        """Read the ids of a table that a person may have edited.

        Raises
        ------
        InputError
            If they are none, or repeat.
        """
        if column.isna().any():
            raise InputError(f"{path} has rows without an id; {RESTORE}")
        if not column.is_unique:
            raise InputError(f"{path} repeats {column[column.duplicated()].iloc[0]}")
        return column.tolist()

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

    def ids(self, status: str) -> list[Any]:
        """Ids with this status, in the order of the manifest."""
        return self.table.index[self.table["status"] == status].tolist()

    def covariates(self, ids: Sequence[Any]) -> pd.DataFrame:
        """Covariates of these brains, one row each."""
        return self.table.loc[list(ids)].drop(columns=self.columns())

    def record(self, brain: Any, outcome: Any, *, write: bool = True) -> None:
        """Note what became of a brain; on disk when this returns, or after `flush`."""
        self.table.loc[brain, self.columns()] = list(vars(outcome).values())
        if write:
            self.flush()

    def wait_again(self, ids: Sequence[Any]) -> None:
        """Put these brains back among those that wait."""
        if ids:
            self.table.loc[list(ids), "status"] = WAITING
            self.flush()

    def flush(self) -> None:
        """Write the file."""
        write_text(self.path, self.table.to_csv(index_label="id"))


def _are_ids(brains: Any) -> bool:
    """Whether these are numbers or names of brains, as a request notes them."""
    return isinstance(brains, list) and all(type(brain) in (int, str) for brain in brains)
