"""What is known of the brains: a table joined to them by name, and how a population keeps it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from napari_brainvae.data.tables import SUFFIXES, Table, read_table
from napari_brainvae.io.errors import DAMAGED, InputError

log = logging.getLogger(__name__)

CHECKED = (ZstdCodec(), Crc32cCodec())
"""How small arrays are stored: compressed, with a checksum that tells damage."""

PLAIN = re.compile(r"\w[\w ()+-]{0,60}")
"""Names of columns that may name an array of Zarr, which is a folder; others get one by number."""

KEYS = re.compile(
    r"(.* )?ids?|keys?|subjects?|participants?|animals?|mouse|mice|brains?|specimens?|samples?|"
    r"experiments?|name|(.* )?file ?names?|files?|images?|paths?|column 1"
)
"""Names, in small letters, of columns that may name the brains; pandas writes an index as the
first column and without a name."""

YES = {"1", "1.0", "true", "t", "yes", "y", "x"}
NO = {"0", "0.0", "false", "f", "no", "n", "", "nan", "none", "<na>"}
"""What may stand in the column ``flagged``, in small letters."""


@dataclass(frozen=True, eq=False)
class Covariates:
    """A table joined to the brains of a population by their names: a preview of what it gives.

    Attributes
    ----------
    source
        Name of the file.
    key
        The column that names the brains.
    how
        What its cells had to be taken as; empty if they are the brains' names to the letter.
    dialect
        How the file was read: ``"semicolons, decimal commas"``.
    table
        N rows, indexed by id; empty where the file does not name the brain. A column ``flagged``
        is bool.
    matched, without_row
        Ids of the brains that the file names, and of the others.
    of_no_brain
        What the file calls those that are not in the population.
    """

    source: str
    key: str
    how: str
    dialect: str
    table: pd.DataFrame
    matched: list[str]
    without_row: list[str]
    of_no_brain: list[str]

    @property
    def types(self) -> dict[str, str]:
        """By column: ``"number"``, ``"yes or no"``, ``"text"`` or ``"nothing"``."""
        return {str(name): _type_of(column) for name, column in self.table.items()}

    @property
    def flagged(self) -> int:
        """How many brains are marked as not to be trusted."""
        return int(flags_of(self.table).sum())

    def __str__(self) -> str:
        """All of this in one sentence."""
        parts = [
            f"{self.source} ({self.dialect}): column {self.key!r}{self.how} names "
            f"{len(self.matched)} of {len(self.table)} brains"
        ]
        if self.without_row:
            parts.append(f"{_some(self.without_row)} without a row")
        if self.of_no_brain:
            parts.append(f"{_some(self.of_no_brain)} not in the population")
        types = [f"{name} ({kind})" for name, kind in list(self.types.items())[:SHOWN]]
        more = self.table.shape[1] - len(types)
        columns = ", ".join([*types, *([f"{more} more"] if more else [])])
        return f"{'; '.join(parts)}; columns: {columns or 'none'}; {self.flagged} flagged"


SHOWN = 8
"""Columns, at most, that a sentence names."""


def preview_covariates(path: str | Path, ids: Sequence[str]) -> Covariates:
    r"""Read a table of any dialect and join it to these brains, by what names them there.

    Parameters
    ----------
    path
        CSV with any separator, or a spreadsheet; see `tables.read_table`.
    ids
        Names of N brains.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputError
        If it is no table, no column names the brains, names one twice or none of these, or
        ``flagged`` holds something else than yes or no.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "mice.csv"
    ...     _ = file.write_text("Subject;weight;flagged\nm2.tif;20,5;x\nm1.tif;19;\nm9.tif;22;\n")
    ...     found = preview_covariates(file, ["m1", "m2", "m3"])
    >>> found.types, found.flagged, found.without_row, found.of_no_brain
    ({'weight': 'number', 'flagged': 'yes or no'}, 1, ['m3'], ['m9.tif'])
    """
    path = Path(path)
    return join_covariates(read_table(path), ids, path.name)


def read_covariates(path: str | Path, ids: Sequence[str]) -> pd.DataFrame:
    """Give the table of `preview_covariates`, ``(N, columns)`` indexed by id, and log the rest."""
    found = preview_covariates(path, ids)
    log.info("%s", found)
    return found.table


def join_covariates(table: Table, ids: Sequence[str], source: str) -> Covariates:
    """Join a table to brains by the column, and the form of its cells, that names most of them.

    A name is taken to the letter; else as a file's, without folders and endings; else whatever its
    case and its leading zeros, which spreadsheets drop.

    Raises
    ------
    InputError
        See `preview_covariates`.
    """
    keys = [str(name) for name in table.cells if KEYS.fullmatch(_plain_name(name))]
    if not keys:
        raise InputError(
            f"{source} has no column 'id' that names the brains, nor one such as subject or file "
            f"name; it has {_some(list(table.cells))}"
        )
    found = [
        (len(set(wanted) & set(names)), key, how, wanted, names)
        for how, form in FORMS.items()
        if len(set(wanted := [form(i) for i in ids])) == len(ids)
        for key in keys
        for names in [[form(cell) for cell in table.cells[key]]]
    ]
    count, key, how, wanted, names = max(found, key=lambda each: each[0])
    _check_names(names, table.cells[key], key, source)
    if not count:
        raise InputError(
            f"{source} names none of the brains, such as {ids[0]!r}: its column {key!r} has "
            f"{_some(list(table.cells[key]))}"
        )
    values = table.values.drop(columns=key).set_axis(pd.Index(names), axis=0)
    joined = values.reindex(wanted).set_axis(pd.Index(list(ids), name="id"), axis=0)
    here, there = set(names), set(wanted)
    return Covariates(
        source,
        key,
        how,
        table.dialect,
        _with_flags(joined, source),
        [i for i, name in zip(ids, wanted, strict=True) if name in here],
        [i for i, name in zip(ids, wanted, strict=True) if name not in here],
        [c for c, name in zip(table.cells[key], names, strict=True) if name not in there],
    )


def covariates_beside(
    path: Path, count: int, ids: Sequence[str] = ()
) -> tuple[list[str], pd.DataFrame]:
    """Read ids and covariates from the table of the same name as an array file.

    Parameters
    ----------
    path
        The array file.
    count
        How many sections it has.
    ids
        Their names, if the array file has some: then the table is joined by them. Else as many rows
        are wanted, in the order of the sections, and the table may name them.

    Returns
    -------
    ids : list of str
        As given, or of the table's column that names the brains; empty without.
    covariates : pandas.DataFrame
        The other columns; empty if there is no such file.

    Raises
    ------
    InputError
        If it is no table, or of another length, or cannot be joined.
    """
    file = table_beside(path)
    if file is None:
        return list(ids), pd.DataFrame()
    table = read_table(file)
    if ids and any(KEYS.fullmatch(_plain_name(name)) for name in table.cells):
        found = join_covariates(table, ids, file.name)
        log.info("%s", found)
        return list(ids), found.table.reset_index(drop=True)
    if len(table.cells) != count:
        raise InputError(
            f"{file.name} has {len(table.cells)} rows for {count} sections of {path.name}"
        )
    values = _with_flags(table.values, file.name)
    key = None if ids else _naming_column(table.cells)
    if key is None:
        return list(ids), values
    log.info("%s: column %r names the brains", file.name, key)
    return table.cells[key].tolist(), values.drop(columns=key)


def table_beside(path: Path) -> Path | None:
    """Find the table of the same name as an array file; ``a.csv`` also stands by ``a.ome.tif``."""
    stems = dict.fromkeys((path.stem, path.stem.removesuffix(".ome")))
    names = [path.with_name(stem + suffix) for stem in stems for suffix in SUFFIXES]
    # Also a link to nothing, for its reader to refuse: what it flags would be fitted unseen.
    return next((name for name in names if name.exists() or name.is_symlink()), None)


def flags_of(table: pd.DataFrame, source: str = "") -> npt.NDArray[np.bool_]:
    """Which rows the column ``flagged``, in any case, marks: ``(N,)``; none without one.

    Yes or no, x or nothing, 1 or nothing or 0, true or false, in any case; nothing known is no.

    Raises
    ------
    InputError
        If it holds anything else.
    """
    name = next((name for name in table if str(name).casefold() == "flagged"), None)
    if name is None:
        return np.zeros(len(table), dtype=bool)
    words = [str(word).strip().casefold() for word in table[name]]
    unclear = [row for row, word in enumerate(words) if word not in YES | NO]
    if unclear:
        value, brain = str(table[name].iloc[unclear[0]]), table.index[unclear[0]]
        raise InputError(
            f"{source + ': ' if source else ''}column {name!r} says {value!r} of {brain!r}: write "
            "yes or no (x, 1 and true are yes, an empty cell no)"
        )
    return np.array([word in YES for word in words], dtype=bool)


def _with_flags(table: pd.DataFrame, source: str) -> pd.DataFrame:
    names = {name: "flagged" for name in table if str(name).casefold() == "flagged"}
    if not names:
        return table
    return table.rename(columns=names).assign(flagged=flags_of(table, source))


def _as_file(text: str) -> str:
    r"""``b1`` of ``D:\mice\b1.ome.tif``."""
    return re.sub(r"(\.[a-z][a-z0-9]{1,4})+$", "", re.split(r"[\\/]", text)[-1], flags=re.I)


def _loosely(text: str) -> str:
    return _as_file(text).casefold().lstrip("0") or "0" * bool(text)


FORMS: dict[str, Callable[[str], str]] = {
    "": str,
    ", as names of files,": _as_file,
    ", whatever case and leading zeros,": _loosely,
}
"""What a name may be taken as, the plainest first; and how that is said."""


def _plain_name(name: object) -> str:
    return " ".join(re.split(r"[\s_.\-]+", str(name).strip().casefold())).strip()


def _naming_column(cells: pd.DataFrame) -> str | None:
    """The column that may name the rows: one called id, or one that names each by its own."""
    keys = [str(name) for name in cells if KEYS.fullmatch(_plain_name(name))]
    distinct = [name for name in keys if cells[name].is_unique and (cells[name] != "").all()]
    return next((name for name in keys if _plain_name(name) == "id"), next(iter(distinct), None))


def _check_names(names: Sequence[str], cells: pd.Series, key: str, source: str) -> None:
    if "" in names:
        row = list(names).index("") + 1
        raise InputError(f"{source}: row {row} has no {key!r} that says which brain it is of")
    index = pd.Index(names)
    if index.has_duplicates:
        first = cells[index.duplicated()].iloc[0]
        raise InputError(f"{source} names {first!r} twice in its column {key!r}")


def _type_of(column: pd.Series) -> str:
    known = column.dropna()
    if known.empty:
        return "nothing"
    if known.map(lambda value: isinstance(value, bool | np.bool_)).all():
        return "yes or no"
    return "number" if column.dtype.kind in "iuf" else "text"


def _some(names: Sequence[Any]) -> str:
    """``3 (a, b, c)``, or no more than five of them."""
    shown = ", ".join(map(str, names[:5]))
    return f"{len(names)} ({shown}{', ...' if len(names) > 5 else ''})"


def write_covariates(group: zarr.Group, covariates: pd.DataFrame) -> None:
    """Write a table of N rows into a population's Zarr group, one array a column."""
    table = group.create_group("covariates")
    names = [str(c) for c in covariates.columns]
    places = {n: f"column {i}" for i, n in enumerate(names) if not PLAIN.fullmatch(n)}
    table.attrs.update({"columns": names, "places": places})
    for name, (_, column) in zip(names, covariates.items(), strict=True):
        numeric = column.dtype.kind in "biuf"
        data = column.to_numpy() if numeric else strings(column)
        table.create_array(places.get(name, name), data=data, compressors=CHECKED)


def covariates_of(group: zarr.Group, count: int) -> pd.DataFrame:
    """Read what `write_covariates` wrote; empty if there is none.

    Raises
    ------
    InputError
        If a column is not there, or of another length than ``count``.
    """
    if "covariates" not in group:
        return pd.DataFrame()
    table = group["covariates"]
    attributes = dict(table.attrs) if isinstance(table, zarr.Group) else {"columns": None}
    names, places = attributes.get("columns", []), attributes.get("places", {})
    if not isinstance(names, list) or not isinstance(places, dict):
        raise InputError("'covariates' is no table")
    return pd.DataFrame({n: column_of(table, str(places.get(n, n)), count) for n in names})


def column_of(group: zarr.Group, name: str, count: int) -> npt.NDArray[Any]:
    """Read one array ``(N,)`` of a group, as a column of a table.

    Raises
    ------
    InputError
        If it is no array, or of another length than ``count``.
    """
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        raise InputError(f"there is no array {name!r}")
    if array.shape != (count,):
        raise InputError(f"{name!r} has shape {array.shape} for {count} sections")
    try:
        return plain(np.asarray(array[:]))
    except DAMAGED as error:
        raise InputError(f"{name!r} cannot be read: {error}") from error


def plain(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One column for pandas, which wants text as plain objects."""
    return values if values.dtype.kind in "biuf" else values.astype(object)


def strings(values: Any) -> npt.NDArray[Any]:
    """Text as Zarr stores it; what is missing becomes empty."""
    return np.array(["" if pd.isna(v) else str(v) for v in values], dtype=np.dtypes.StringDType())
