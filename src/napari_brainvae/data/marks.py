"""Marks that a person sets on brains: accept, exclude, unsure; kept beside their population.

``NAME.marks.csv`` has a row a brain with the columns id, mark, when and by (what it was set with).
It may be edited by hand; columns and brains that are not known here stay in it. Excluded brains are
left out of every fit, like those that the covariate ``flagged`` marks.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.data.covariates import join_covariates
from napari_brainvae.data.tables import Table, read_table
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.io.errors import InputError, MissingFileError, present

log = logging.getLogger(__name__)

WORDS = ("accept", "exclude", "unsure")
"""What may stand in the column ``mark``, besides nothing."""

COLUMNS = ("mark", "when", "by")

NONE = Path("none")
"""Instead of a file: no marks, whatever lies beside the population."""


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame(columns=list(COLUMNS), index=pd.Index([], name="id"), dtype=object)


@dataclass(frozen=True, eq=False)
class Marks:
    """What is marked, and where that is kept.

    Attributes
    ----------
    path
        The file, which need not be there yet; None: they are kept nowhere.
    table
        Text, a row a marked brain, indexed by id: mark, when, by, and what else the file has. An
        empty mark is one that was taken back.

    Examples
    --------
    >>> marks = Marks().marked({"m1": "exclude", "m2": "unsure"}, by="key", when="2026-11-24")
    >>> marks.of(["m1", "m2", "m3"])
    ['exclude', 'unsure', '']
    >>> marks.excluded(["m1", "m2", "m3"])
    array([ True, False, False])
    """

    path: Path | None = None
    table: pd.DataFrame = field(default_factory=_no_rows)

    @property
    def name(self) -> str:
        """How the file is called, to be said."""
        return "no file" if self.path is None else self.path.name

    def of(self, ids: Sequence[str]) -> list[str]:
        """Mark of each brain; empty without one."""
        return [str(mark) for mark in self.table["mark"].reindex(list(ids), fill_value="")]

    def excluded(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """``(N,)``: which of these brains are marked as excluded."""
        return np.array([mark == "exclude" for mark in self.of(ids)], dtype=bool)

    def fingerprint(self, ids: Sequence[str]) -> str:
        """Hash of the excluded ones among these brains, which alone decide a fit."""
        names = sorted(i for i, out in zip(ids, self.excluded(ids), strict=True) if out)
        return hashlib.blake2b("\0".join(names).encode(), digest_size=16).hexdigest()

    def marked(self, given: Mapping[str, str], *, by: str, when: str = "") -> Marks:
        """Mark brains by their ids; an empty mark takes one back.

        Parameters
        ----------
        by
            What they are marked with, such as ``"key"``.
        when
            Now by default.
        """
        unknown = [mark for mark in given.values() if mark not in ("", *WORDS)]
        if unknown:
            raise ValueError(f"no such mark: {unknown[0]!r}")
        when = when or datetime.now().astimezone().isoformat(timespec="seconds")
        index = pd.Index(dict.fromkeys([*self.table.index, *given]), name="id", dtype=object)
        table = self.table.reindex(index, fill_value="")
        table.loc[list(given), "mark"] = list(given.values())
        table.loc[list(given), ["when", "by"]] = [when, by]
        return Marks(self.path, table)


def marks_beside(population: Path) -> Path:
    """Where the marks of a population are kept: ``mice.marks.csv`` beside ``mice.zarr``."""
    return population.with_name(f"{population.stem}.marks.csv")


def open_marks(path: Path | None, population: Path, ids: Sequence[str]) -> Marks:
    """Open the marks of a population; those beside it if no other file is named.

    Parameters
    ----------
    path
        The file; `NONE` for no marks, None for those beside the population, if there are any.
    population
        Its file.
    ids
        Names of its brains.

    Raises
    ------
    FileNotFoundError
        If a file is named that is not there.
    InputError
        See `read_marks`.
    """
    if path == NONE:
        return Marks()
    if path is None:
        return read_marks(marks_beside(population), ids)
    if not path.exists():
        raise MissingFileError(f"no such file of marks: {path}")
    return read_marks(path, ids)


def read_marks(path: Path, ids: Sequence[str]) -> Marks:
    """Read marks; none if there is no such file. Those of brains that are not known are kept.

    Raises
    ------
    InputError
        If it is no table with the columns id and mark, names one brain twice or none of these, or
        has another word than `WORDS`; if it is a link to nothing.
    """
    if not path.exists():
        if path.is_symlink():
            raise InputError(f"{path.name} is a link to a file that is not there: delete it")
        return Marks(path)
    marks = _read(path, ids)
    strangers = [name for name in marks.table.index.difference(list(ids)) if name]
    if strangers:
        shown = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        log.info("%s: %d brain(s) not in the population: %s", path.name, len(strangers), shown)
    return marks


def _read(path: Path, ids: Sequence[str]) -> Marks:
    cells, _, dialect = read_table(path)
    if "mark" not in cells:
        raise InputError(
            f"{path.name} has no column 'mark', so it is no file of marks: give it another name"
        )
    plain = [name.strip() for name in ids]
    found = join_covariates(Table(cells, cells, dialect), plain, path.name)
    wrong = cells[~cells["mark"].str.casefold().isin(["", *WORDS])]
    if len(wrong):
        brain, word = wrong[found.key].iloc[0], wrong["mark"].iloc[0]
        raise InputError(
            f"{path.name} says {word!r} of {brain!r}: write {', '.join(WORDS)}, or nothing"
        )
    known = found.table.set_axis(pd.Index(list(ids), name="id"), axis=0)
    others = cells[cells[found.key].isin(found.of_no_brain)].set_index(found.key)
    rows = [known[np.isin(plain, found.matched)], others.rename_axis("id")]
    table = pd.concat(rows).astype(object).fillna("")
    table["mark"] = table["mark"].str.casefold()
    first = [name for name in COLUMNS if name not in table]
    table = table.assign(**dict.fromkeys(first, ""))
    return Marks(path, table[[*COLUMNS, *table.columns.difference(list(COLUMNS), sort=False)]])


def write_marks(marks: Marks, ids: Sequence[str]) -> None:
    """Write marks to their file, in one step; what cannot be read again is not written.

    Raises
    ------
    InputError
        If a brain's name cannot stand in a table.
    OSError
        If nothing can be written there.
    """
    with replacing(present(marks.path, "the file of marks")) as beside:
        try:
            marks.table.to_csv(beside, index_label="id")
            same = _read(beside, ids).of(ids) == marks.of(ids)
        except (InputError, UnicodeEncodeError):
            same = False
        if not same:
            raise InputError(f"the names of these brains cannot be written to {marks.name}")


class MarkBook:
    """Marks as they are set: each change is written at once, and can be undone.

    Attributes
    ----------
    marks
        As they are now.
    """

    def __init__(self, marks: Marks, ids: Sequence[str]) -> None:
        self.marks, self.ids = marks, list(ids)
        self._done: list[tuple[dict[str, str], dict[str, str]]] = []
        self._undone: list[tuple[dict[str, str], dict[str, str]]] = []

    def mark(self, ids: Sequence[str], mark: str, by: str) -> bool:
        """Mark some brains; say whether that changes anything.

        Raises
        ------
        InputError, OSError
            If the file is damaged, or another's, or cannot be written: nothing is changed then.
        """
        fresh = self._fresh()
        before = dict(zip(ids, fresh.of(ids), strict=True))
        after = dict.fromkeys(ids, mark)
        if before == after:
            self.marks = fresh
            return False
        self._put(fresh, after, by)
        self._done.append((before, after))
        self._undone.clear()
        return True

    @property
    def undoable(self) -> bool:
        """Whether there is a change to undo."""
        return bool(self._done)

    @property
    def redoable(self) -> bool:
        """Whether there is a change to make again."""
        return bool(self._undone)

    def undo(self) -> list[str]:
        """Take the last change back; ids of its brains, none if there was no change."""
        return self._move(self._done, self._undone, 0, "undo")

    def redo(self) -> list[str]:
        """Make the change again that was undone last; ids of its brains."""
        return self._move(self._undone, self._done, 1, "redo")

    def _move(
        self,
        source: list[tuple[dict[str, str], dict[str, str]]],
        target: list[tuple[dict[str, str], dict[str, str]]],
        which: int,
        by: str,
    ) -> list[str]:
        if not source:
            return []
        change = source[-1]
        self._put(self._fresh(), change[which], by)
        target.append(source.pop())
        return list(change[which])

    def _fresh(self) -> Marks:
        """What the file says now: another window or a hand may have changed it."""
        path = self.marks.path
        return self.marks if path is None or not path.exists() else _read(path, self.ids)

    def _put(self, fresh: Marks, given: Mapping[str, str], by: str) -> None:
        marks = fresh.marked(given, by=by)
        if marks.path is not None:
            write_marks(marks, self.ids)
        self.marks = marks
