"""Lists of structures as BrainGlobe's atlases have them, of version 3 and 2."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from napari_brainvae.atlas.ontology import Structure
from napari_brainvae.io.errors import DAMAGED, InputError
from napari_brainvae.io.regular_files import regular_file


def read_terminology(file: Path) -> list[Structure]:
    """Structures of a ``terminology.csv``."""
    try:
        table = pd.read_csv(regular_file(file), dtype=str, keep_default_na=False)
        records = [
            (
                int(row["identifier"]),
                row["abbreviation"],
                row["name"],
                json.loads(row["root_identifier_path"]),
                bytes.fromhex(row["color_hex_triplet"].lstrip("#")),
            )
            for row in table.to_dict("records")
        ]
        return _ordered(records)
    except DAMAGED as error:
        raise InputError(f"{file} is no list of structures: {error!r}") from error


def read_records(file: Path) -> list[Structure]:
    """Structures of version 2's ``structures.json``."""
    try:
        return _ordered(
            (int(r["id"]), *_words(r), r["structure_id_path"], r["rgb_triplet"])
            for r in json.loads(regular_file(file).read_text("utf-8"))
        )
    except DAMAGED as error:
        raise InputError(f"{file} is no list of structures: {error!r}") from error


def _words(record: dict[str, Any]) -> tuple[str, str]:
    return str.strip(record["acronym"]), str.strip(record["name"])  # a TypeError if it is no text


def _ordered(records: Iterable[tuple[int, str, str, Any, Any]]) -> list[Structure]:
    """Structures in the order of the tree, those of one parent as they came.

    Two of one acronym, which some atlases have, get their ids into it: it must name one.
    """
    records = list(records)
    place = {record[0]: number for number, record in enumerate(records)}
    acronyms = [record[1] for record in records]
    paths = {record[0]: tuple(int(each) for each in record[3]) for record in records}
    branches = {key: [place[each] for each in path] for key, path in paths.items()}
    order = sorted(place, key=lambda key: branches[key])
    rank = {key: number for number, key in enumerate(order)}
    return [
        Structure(
            key,
            acronym if acronyms.count(acronym) == 1 else f"{acronym} ({key})",
            name,
            paths[key],
            (int(color[0]), int(color[1]), int(color[2])),
            rank[key],
        )
        for key, acronym, name, _, color in records
    ]
