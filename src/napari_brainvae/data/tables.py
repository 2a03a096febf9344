"""Tables as people have them: CSV of any dialect or a spreadsheet, in text and in numbers."""

from __future__ import annotations

import codecs
import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.io.errors import InputError, MissingFileError
from napari_brainvae.io.regular_files import regular_file

SUFFIXES = (".csv", ".tsv", ".xlsx")
"""What a table beside a file may be called, the first that is there being read."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

MISSING = ["", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "NULL", "null"]
"""What stands for nothing known. pandas' own list has 'None', which is a treatment, too."""

Cells = npt.NDArray[Any]
"""``(rows, columns)`` of NumPy's text; pandas' own takes seconds for ten thousand columns."""

LONGEST_NAME = 300
"""Characters of a column's name, which stands in lists and beside axes."""

THOUSANDS = r"-?\d{1,3}(,\d{3})*|"
"""Numbers whose commas may stand between thousands, and empty cells."""

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Table(NamedTuple):
    """A table as it is written, and what that means."""

    cells: pd.DataFrame
    """Text of every cell, without blanks about it; names of brains are taken from here."""
    values: pd.DataFrame
    """The same rows and columns as numbers, as yes or no (bool), or as text; NaN if missing."""
    dialect: str
    """How it was read, to be said: ``"semicolons, decimal commas"``."""


def read_table(path: Path) -> Table:
    """Read a table with one line of names above its columns.

    Columns may lie between commas, semicolons, tabs or bars, numbers have a decimal point or, where
    commas do not separate, a decimal comma; UTF-8 and UTF-16 with or without a byte order mark, and
    Windows-1252, as spreadsheets in Europe save. Of a spreadsheet the first sheet is read. Columns
    and rows that hold nothing are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputError
        If it is no table, two columns have one name, or decimal points and commas are mixed.
    """
    if not path.exists():
        raise MissingFileError(f"no such table: {path}")
    data = regular_file(path).read_bytes()
    try:
        if data.startswith(b"PK\x03\x04"):
            rows, dialect = _sheet(data)
        elif path.suffix.lower() in (".xls", ".ods"):
            raise InputError("this kind of spreadsheet is not read: save it as .xlsx or .csv")
        else:
            rows, dialect = _rows(_decoded(data))
        cells = _named(rows)
        values, decimals = _typed(cells, dialect)
    except (ValueError, OverflowError, MemoryError, LookupError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} cannot be read: {reason}") from error
    return Table(cells, values, ", ".join([SEPARATORS.get(dialect, dialect), *decimals]))


def _decoded(data: bytes) -> str:
    encodings = ("utf-16",) if data.startswith(UTF_16) else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text or (encoding == "cp1252" and b"\xff" in data):
            break  # no letter that anybody writes, but half of a byte order mark
        return text
    raise InputError("it holds no text")


def _rows(text: str) -> tuple[Cells, str]:
    """Cells as text, and the separator that makes most columns of the names.

    Names may hold another separator between quotation marks: of two that make as many columns, the
    one that leaves fewer cells empty is taken.
    """
    if text.startswith("sep=") and text[4:5] in SEPARATORS:  # as some spreadsheets begin a file
        separator, text = text[4], text[5:].lstrip("\r\n")
        return _split(text, separator), separator
    widths = {sep: _split(text, sep, rows=1).shape[1] for sep in SEPARATORS}
    widest = max(widths.values())
    likely = [sep for sep, width in widths.items() if width == widest][: None if widest > 1 else 1]
    read, errors = {}, []
    for separator in likely:
        try:
            read[separator] = _split(text, separator)
        except ValueError as error:
            errors.append(error)
    if not read:
        raise errors[0]
    separator = min(read, key=lambda sep: int((read[sep] == "").sum()))
    return read[separator], separator


def _split(text: str, separator: str, rows: int | None = None) -> Cells:
    """Without names, whose line pandas would fit to the lines below it."""
    frame = pd.read_csv(
        io.StringIO(text),
        sep=separator,
        header=None,
        dtype=object,
        nrows=rows,
        keep_default_na=False,
        low_memory=False,
    )
    return _stripped(frame)


def _stripped(frame: pd.DataFrame) -> Cells:
    """Text without blanks about it; lines that end early are filled with empty cells."""
    cells = frame.to_numpy(object)
    cells = np.where(pd.isna(cells), "", cells)
    return np.strings.strip(cells.astype(np.dtypes.StringDType()))


def _sheet(data: bytes) -> tuple[Cells, str]:
    try:
        book = pd.ExcelFile(io.BytesIO(data))
    except ImportError as error:
        raise InputError("spreadsheets need openpyxl: install it, or save as .csv") from error
    with book:
        rows = pd.read_excel(book, header=None, dtype=object, na_filter=False)
        return _stripped(rows.map(_shown)), f"sheet {book.sheet_names[0]!r}"


def _shown(cell: Any) -> str:
    """A cell of a spreadsheet as it would be written in a CSV: all its numbers are floats."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _named(rows: Cells) -> pd.DataFrame:
    """Take the first line as names; leave out what is empty."""
    if not len(rows) or (rows[0] == "").all():
        raise InputError("its first line does not name the columns")
    cells = rows[1:][(rows[1:] != "").any(axis=1)]
    if not len(cells):
        raise InputError("it has no row below the names of its columns")
    used = (rows[0] != "") | (cells != "").any(axis=0)
    names = [name or f"column {i + 1}" for i, name in enumerate(rows[0].tolist())]
    index = pd.Index(names, dtype=object)[used]
    if (longest := max(map(len, index))) > LONGEST_NAME:
        raise InputError(f"a column's name has {longest} characters: {LONGEST_NAME} at most")
    if index.has_duplicates:
        raise InputError(f"two columns are called {index[index.duplicated()][0]!r}")
    return pd.DataFrame(cells[:, used].astype(object), columns=index)


def _typed(cells: pd.DataFrame, dialect: str) -> tuple[pd.DataFrame, list[str]]:
    """Let pandas tell numbers from text, with decimal points and with decimal commas."""
    text = cells.to_csv(index=False, header=False)
    points = _quantities(_inferred(text, ".", cells.columns), cells)
    if dialect not in (";", "\t", "|"):
        return points, []
    commas = _quantities(_inferred(text, ",", cells.columns), cells)
    kinds = zip(cells, points.dtypes, commas.dtypes, strict=True)
    numeric = [(name, one.kind in "iufb", other.kind in "iufb") for name, one, other in kinds]
    with_commas = [name for name, point, comma in numeric if comma and not point]
    with_points = [name for name, point, comma in numeric if point and not comma]
    if with_commas and with_points:
        raise InputError(
            f"column {with_commas[0]!r} has decimal commas and column {with_points[0]!r} decimal "
            "points, so that a point may mean thousands: use one of them"
        )
    for name in with_commas if dialect != ";" else []:
        if cells[name].str.fullmatch(THOUSANDS).all():
            raise InputError(
                f"in column {name!r} a comma may mean thousands or decimals, such as in "
                f"{cells[name].max()!r}: use decimal points"
            )
    return (commas, ["decimal commas"]) if with_commas else (points, [])


def _quantities(values: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Leave a column text that holds ``inf`` or 1e400, which are no quantities."""
    endless = [n for n, each in values.items() if each.dtype.kind == "f" and np.isinf(each).any()]
    return values.assign(**{str(n): cells[n].where(values[n].notna()) for n in endless})


def _inferred(text: str, decimal: str, names: pd.Index) -> pd.DataFrame:
    values = pd.read_csv(
        io.StringIO(text),
        header=None,
        decimal=decimal,
        na_values=MISSING,
        keep_default_na=False,
        skip_blank_lines=False,
        low_memory=False,
    )
    return values.set_axis(names, axis=1)
