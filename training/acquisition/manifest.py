"""Which experiments are acquired, and how far each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_brainvae.data.brain_manifest import BrainManifest
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.regular_files import regular_file
from training.acquisition.experiment_ids import whole_numbers

if TYPE_CHECKING:
    from training.acquisition.allen_api import AllenService
    from training.acquisition.options import SectionsOptions


@dataclass
class Outcome:
    """What became of one brain."""

    status: str
    tries: int = 0
    bytes: int = 0
    sha256: str = ""
    error: str = ""
    section_sha256: str = ""


@dataclass
class Manifest(BrainManifest):
    """The selected experiments; the only memory of an acquisition."""

    outcome = Outcome
    added = ("section_sha256",)

    @staticmethod
    def ids_of(column: pd.Series[Any], path: Path) -> list[Any]:
        """Read experiment numbers, which a spreadsheet may have given a point."""
        ids = whole_numbers(column)
        if ids.isna().any():
            wrong = column[ids.isna()].iloc[0]
            raise InputError(f"{path} has no column 'id' of experiment numbers: {wrong!r} is none")
        return BrainManifest.ids_of(ids.astype("int64"), path)

    def record(self, brain: int, outcome: Outcome, *, write: bool = True) -> None:
        """Note what became of a brain, its tries beside those of before."""
        outcome.tries += int(self.table["tries"].to_dict()[brain])
        super().record(brain, outcome, write=write)


def select(options: SectionsOptions, service: AllenService) -> pd.DataFrame:
    """List the experiments that ``options`` ask for, with their covariates, indexed by ``id``.

    Raises
    ------
    InputError
        If nothing is left, or a name does not occur.
    """
    # Their file is read first: a mistake in it is told before the service is asked.
    asked = None if options.experiments is None else _read_experiments(options.experiments)
    table = service.experiments(options.injection_structure)
    table = table.map(lambda v: "/".join(map(str, v)) if isinstance(v, list) else v)
    if asked is not None:
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
    with open(regular_file(path), encoding="utf-8") as file:
        only_ids = file.readline().strip().isdigit()
    table = pd.read_csv(path, header=None, names=["id"]) if only_ids else pd.read_csv(path)
    table = table.rename(columns=lambda name: str(name).strip().replace("-", "_"))
    if "id" not in table:
        raise InputError(f"{path} has no column 'id' of experiment numbers")
    ids = Manifest.ids_of(table["id"], path)
    return table.drop(columns="id").set_index(pd.Index(ids, name="id"))


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
