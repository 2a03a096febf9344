"""The ontology of an atlas: structures, their names and colours, and which is part of which."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from napari_brainvae.arrays import Labels, Mask
from napari_brainvae.io.errors import DAMAGED, InputError, MissingFileError
from napari_brainvae.io.json_files import read_json


@dataclass(frozen=True)
class Structure:
    """One structure of the ontology; ``path`` holds the ids from the root down to its own."""

    id: int
    acronym: str
    name: str
    path: tuple[int, ...]
    color: tuple[int, int, int]
    graph_order: int

    @property
    def parent(self) -> int | None:
        """The id of the structure this one is part of; None for the root."""
        return self.path[-2] if len(self.path) > 1 else None


class StructureTree:
    """The ontology: which structure is part of which, their names and colours.

    Parameters
    ----------
    structures
        In any order; ids and acronyms may not repeat.
    """

    def __init__(self, structures: Iterable[Structure]) -> None:
        ordered = sorted(structures, key=lambda structure: structure.graph_order)
        self._by_id = {structure.id: structure for structure in ordered}
        self._by_acronym = {structure.acronym: structure for structure in ordered}
        if not len(self._by_id) == len(self._by_acronym) == len(ordered) > 0:
            raise InputError("a structure tree needs structures whose ids and acronyms are unique")

    def __iter__(self) -> Iterator[Structure]:
        """Iterate over the structures in graph order."""
        return iter(self._by_id.values())

    @cached_property
    def names(self) -> dict[int, str]:
        """The text to show for every id: ``"SSp: Primary somatosensory area"``."""
        return {s.id: f"{s.acronym}: {s.name}" for s in self}

    @property
    def colors(self) -> dict[int | None, tuple[float, float, float, float]]:
        """RGBA in [0, 1] for every id, as napari's ``DirectLabelColormap`` takes it.

        Background (0) and ids the ontology does not know (None) are transparent.
        """
        clear = (0.0, 0.0, 0.0, 0.0)
        colors: dict[int | None, tuple[float, float, float, float]] = {None: clear, 0: clear}
        for structure in self:
            red, green, blue = structure.color
            colors[structure.id] = (red / 255, green / 255, blue / 255, 1.0)
        return colors

    def structure(self, key: str | int) -> Structure:
        """Find a structure by acronym, full name (in any case) or id.

        Raises
        ------
        InputError
            If there is none; the message names those that are spelled alike.
        """
        found = self._by_acronym.get(str(key)) or self._by_id.get(_as_id(key))
        if found is None:
            by_name = {s.name.casefold(): s for s in self}
            found = by_name.get(str(key).strip().casefold())
        if found is None:
            raise InputError(f"the atlas has no structure {key!r}{self._alike(str(key))}")
        return found

    def _alike(self, key: str) -> str:
        spellings: dict[str, str] = {}
        for structure in self:
            spellings.setdefault(structure.acronym.casefold(), structure.acronym)
            spellings.setdefault(structure.name.casefold(), structure.name)
        close = difflib.get_close_matches(key.strip().casefold(), spellings, n=4, cutoff=0.6)
        return f"; did you mean {', '.join(spellings[word] for word in close)}?" if close else ""

    def descendants(self, key: str | int) -> list[int]:
        """Ids of a structure and of everything that is part of it, in graph order."""
        top = self.structure(key).id
        return [structure.id for structure in self if top in structure.path]

    def matching(self, text: str) -> set[int]:
        """Ids of the structures whose acronym or name holds a text, in any case."""
        wanted = text.strip().casefold()
        return {key for key, name in self.names.items() if wanted in name.casefold()}

    def around(self, keys: set[int]) -> set[int]:
        """Ids of structures, of all that they are part of, and of all that is part of them."""
        below = {s.id for s in self if not keys.isdisjoint(s.path)}
        return below | {key for each in keys for key in self._by_id[each].path}

    def children(self, key: str | int) -> list[int]:
        """Ids of the structures directly below one, in graph order."""
        top = self.structure(key).id
        return [structure.id for structure in self if structure.parent == top]

    def within(self, labels: Labels, key: str | int) -> Mask:
        """Where ``labels`` show a structure or any part of it; same shape, bool."""
        return np.isin(labels, self.descendants(key))


def read_structures(file: Path) -> list[Structure]:
    """Read a ``structures.json``.

    Raises
    ------
    OSError
        If it is not there.
    InputError
        If it cannot be understood.
    """
    if not file.exists():
        raise MissingFileError(f"no structures.json in {file.parent}")
    try:
        records = read_json(file)
        # Id 0 is background in the annotation; the API lists a "universe" under it.
        return [_from_record(record) for record in records if record["id"] != 0]
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{file} is not a list of structures: {error!r}") from error


def write_structures(file: Path, structures: Iterable[Structure]) -> None:
    """Write a ``structures.json`` that allensdk and `read_structures` read."""
    records = [_to_record(structure) for structure in StructureTree(structures)]
    file.write_text(json.dumps(records, indent=1), encoding="utf-8")


def _from_record(record: dict[str, Any]) -> Structure:
    """Read a structure as the Allen API sends it, or as allensdk cleans it for its cache."""
    path = record["structure_id_path"]
    color = record.get("rgb_triplet") or tuple(bytes.fromhex(record["color_hex_triplet"]))
    red, green, blue = map(int, color)
    ancestors = path.strip("/").split("/") if isinstance(path, str) else path
    return Structure(
        id=int(record["id"]),
        acronym=str(record["acronym"]).strip(),
        name=str(record["name"]).strip(),
        path=tuple(int(each) for each in ancestors if int(each) != 0),
        color=(red, green, blue),
        graph_order=int(record["graph_order"]),
    )


def _to_record(structure: Structure) -> dict[str, Any]:
    return {
        "id": structure.id,
        "acronym": structure.acronym,
        "name": structure.name,
        "color_hex_triplet": bytes(structure.color).hex().upper(),
        "graph_id": 1,
        "graph_order": structure.graph_order,
        "structure_id_path": "/" + "/".join(map(str, structure.path)) + "/",
        "structure_sets": [],
    }


def _as_id(key: str | int) -> int:
    try:
        return int(key)
    except (ValueError, TypeError):
        return -1
