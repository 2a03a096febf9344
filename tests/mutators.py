"""Valid files, changed by chance: what a disk, a hand or another program may make of them.

A mutant is known by its seed and number, so that one that was found once is made again.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

Chance = np.random.Generator
LARGE = [0, 1, 3, 255, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]
ODD_TEXT = [b"-1", b"999999999999", b"NaN", b"null", b"[]", b"{}", b'"x"', b"1e400", b"\xff", b""]
ODD_VALUES: list[Any] = [
    None,
    -1,
    0,
    2.5,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "x",
    True,
    [],
    {},
]
ODD_VALUES += [[1], {"a": 1}, [[[]]], "9" * 5000]


def mutant(data: bytes, seed: int, number: int) -> bytes:
    """Change a file's content in one of many ways; the same way for the same numbers."""
    rng = np.random.default_rng([seed, number])
    change = MUTATIONS[rng.integers(len(MUTATIONS))]
    return change(data, rng) if data else rng.bytes(20)


def flip(data: bytes, rng: Chance) -> bytes:
    """Flip a few bits, as a disk does."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(changed)


def truncate(data: bytes, rng: Chance) -> bytes:
    """Cut the end off, as a full disk does."""
    return data[: rng.integers(len(data))]


def swap(data: bytes, rng: Chance) -> bytes:
    """Exchange two parts."""
    a, b = _part(data, rng)
    return data[b:] + data[a:b] + data[:a]


def erase(data: bytes, rng: Chance) -> bytes:
    """Put zeros in the place of a part, as a copy that was broken off does."""
    a, b = _part(data, rng)
    return data[:a] + bytes(b - a) + data[b:]


def repeat(data: bytes, rng: Chance) -> bytes:
    """Have a part twice."""
    a, b = _part(data, rng)
    return data[:b] + data[a:]


def write_number(data: bytes, rng: Chance) -> bytes:
    """Put a large, negative or odd number somewhere: offsets, counts, sizes."""
    place = int(rng.integers(len(data)))
    number = struct.pack("<>"[rng.integers(2)] + "I", rng.choice(LARGE))
    return (data[:place] + number + data[place + 4 :])[: len(data)]


def write_text(data: bytes, rng: Chance) -> bytes:
    """Change a number or word that is written as text."""
    characters = np.frombuffer(data[:100_000], np.uint8)
    digits = np.flatnonzero((characters >= 48) & (characters < 58))
    place = int(rng.choice(digits) if digits.size else rng.integers(len(characters)))
    return data[:place] + ODD_TEXT[rng.integers(len(ODD_TEXT))] + data[place + 1 :]


def unpack(data: bytes, rng: Chance) -> bytes:
    """Change what lies within a file, whose sizes and checksums stay right."""
    for kind in (_json, _safetensors, _zip, _nrrd):
        try:
            return kind(data, rng)
        except (ValueError, KeyError, LookupError, zipfile.BadZipFile, OSError, zlib.error):
            continue
    return write_text(data, rng)


SIMPLE = (flip, truncate, swap, erase, repeat, write_number, write_text)
MUTATIONS = (*SIMPLE, unpack, unpack, unpack)


def _part(data: bytes, rng: Chance) -> tuple[int, int]:
    a, b = sorted(rng.integers(0, len(data) + 1, 2))
    return int(a), int(b)


def _json(data: bytes, rng: Chance) -> bytes:
    return json.dumps(_retyped(json.loads(data), rng)).encode()


def _retyped(value: Any, rng: Chance) -> Any:
    """Put something of another type somewhere into nested lists and dictionaries."""
    nested = isinstance(value, dict | list)
    keys = [*value] if isinstance(value, dict) else [*range(len(value))] if nested else []
    if not keys or rng.integers(8) == 0:
        return ODD_VALUES[rng.integers(len(ODD_VALUES))]
    key = keys[rng.integers(len(keys))]
    changed = value.copy()
    if rng.integers(8) == 0:
        del changed[key]
    else:
        changed[key] = _retyped(changed[key], rng)
    return changed


def _safetensors(data: bytes, rng: Chance) -> bytes:
    size = int.from_bytes(data[:8], "little")
    top = json.loads(data[8 : 8 + size])
    said = top["__metadata__"]
    name = next(iter(said))
    if rng.integers(3):
        header = json.loads(said[name])
        header.pop("header_checksum", None)  # as before there was one, or it would tell at once
        said[name] = json.dumps(_retyped(header, rng))
    else:
        top = _retyped(top, rng)
    packed = json.dumps(top).encode()
    return len(packed).to_bytes(8, "little") + packed + data[8 + size :]


def _zip(data: bytes, rng: Chance) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = [(member, archive.read(member)) for member in archive.infolist()]
    chosen = rng.integers(len(parts))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for i, (member, part) in enumerate(parts):
            archive.writestr(member, _simply(part, rng) if i == chosen else part)
    return packed.getvalue()


def _nrrd(data: bytes, rng: Chance) -> bytes:
    if not data.startswith(b"NRRD"):
        raise ValueError("another kind of file")
    end = data.index(b"\n\n") + 2
    if rng.integers(2):
        return write_text(data[:end], rng) + data[end:]
    return data[:end] + gzip.compress(_simply(gzip.decompress(data[end:]), rng))


def _simply(data: bytes, rng: Chance) -> bytes:
    return SIMPLE[rng.integers(len(SIMPLE))](data, rng) if data else b"x"
