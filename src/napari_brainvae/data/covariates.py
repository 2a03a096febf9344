"""What is known of the brains: a table of N rows, from a CSV or in a population's Zarr group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from napari_brainvae.io.errors import InputError

CHECKED = (ZstdCodec(), Crc32cCodec())
"""How small arrays are stored: compressed, with a checksum that tells damage."""


def read_covariates(path: str | Path, ids: Sequence[str]) -> pd.DataFrame:
    """Read what is known of these brains from a CSV whose column ``id`` names them.

    Returns
    -------
    pandas.DataFrame
        A row a brain, indexed by id; empty where the file does not name the brain.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputError
        If it is no table, has no column ``id``, names a brain twice, or none of these.
    """
    table = _read_csv(Path(path))
    if "id" not in table:
        raise InputError(f"{path} has no column 'id' that names the brains")
    table = table.set_index("id")
    if not table.index.is_unique:
        raise InputError(f"{path} names {table.index[table.index.duplicated()][0]!r} twice")
    if not table.index.isin(list(ids)).any():
        raise InputError(f"{path} names none of the brains, such as {ids[0]!r}")
    return table.reindex(list(ids))


def covariates_beside(path: Path, count: int) -> tuple[list[str], pd.DataFrame]:
    """Read ids and covariates from the ``.csv`` of the same name as an array file.

    Parameters
    ----------
    path
        The array file.
    count
        How many sections it has: as many rows, in their order, are wanted.

    Returns
    -------
    ids : list of str
        Of the column ``id``; empty without.
    covariates : pandas.DataFrame
        The other columns; empty if there is no such file.

    Raises
    ------
    InputError
        If it is no table, or of another length.
    """
    file = path.with_suffix(".csv")
    if not file.exists():
        return [], pd.DataFrame()
    table = _read_csv(file)
    if len(table) != count:
        raise InputError(f"{file.name} has {len(table)} rows for {count} sections of {path.name}")
    return list(table.pop("id")) if "id" in table else [], table


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a table; its ids are text, whatever they look like."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file")
    try:
        table = pd.read_csv(path, dtype={"id": str})
        if "id" in table:  # where 'NA' is a name and no missing value
            names = pd.read_csv(path, usecols=["id"], dtype=str, keep_default_na=False)
            table["id"] = names["id"].to_numpy()
        return table
    except (ValueError, OverflowError, MemoryError) as error:  # pandas' own are ValueErrors
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def write_covariates(group: zarr.Group, covariates: pd.DataFrame) -> None:
    """Write a table of N rows into a population's Zarr group, one array a column."""
    table = group.create_group("covariates")
    table.attrs["columns"] = [str(c) for c in covariates.columns]
    for name, column in covariates.items():
        numeric = column.dtype.kind in "biuf"
        data = column.to_numpy() if numeric else strings(column)
        table.create_array(str(name), data=data, compressors=CHECKED)


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
    names = table.attrs.get("columns", []) if isinstance(table, zarr.Group) else None
    if not isinstance(names, list):
        raise InputError("'covariates' is no table")
    return pd.DataFrame({n: column_of(table, n, count) for n in names})


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
    except (ValueError, TypeError, RuntimeError, LookupError) as error:
        raise InputError(f"{name!r} cannot be read: {error}") from error


def plain(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One column for pandas, which wants text as plain objects."""
    return values if values.dtype.kind in "biuf" else values.astype(object)


def strings(values: Any) -> npt.NDArray[Any]:
    """Text as Zarr stores it; None becomes empty."""
    return np.array(["" if v is None else str(v) for v in values], dtype=np.dtypes.StringDType())
