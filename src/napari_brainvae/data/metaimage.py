"""Headers of MetaImage files (``.mhd``, ``.mha``), looked at before ITK reads them."""

from __future__ import annotations

import math
from pathlib import Path

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.regular_files import regular_file

LONGEST_HEADER = 10_000
"""Bytes of it, which is text."""

BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
"""Of a voxel, by its type without ``MET_`` and ``U``, which means unsigned."""

BEST_PACKING = 1100
"""Times that zlib makes something smaller, at most: 1032."""


def check_metaimage(path: Path) -> None:
    """Refuse what ITK would crash at, wait for, or ask memory for in vain.

    Raises
    ------
    OSError, InputError
        If it is no volume of three axes and one channel, or its voxels cannot all be there.
    """
    header = _header(path)
    if header.get("NDims") != "3" or header.get("ElementNumberOfChannels", "1") != "1":
        raise InputError("it is no volume of three axes and one channel")
    kind = header.get("ElementType", "").removeprefix("MET_").removeprefix("U")
    sizes = header.get("DimSize", "").split()
    if kind not in BYTES or len(sizes) != 3 or not all(s.isdecimal() and int(s) for s in sizes):
        raise InputError(
            f"it cannot be read: its header says DimSize = {' '.join(sizes) or 'nothing'}, "
            f"ElementType = {header.get('ElementType') or 'nothing'}"
        )
    voxels = path
    if (name := header.get("ElementDataFile", "")) != "LOCAL":
        if not name or name == "LIST" or "%" in name:
            raise InputError("its voxels are in several files, or none: save it as one")
        voxels = path.parent / name
    size = math.prod(map(int, sizes)) * BYTES[kind]
    packed = header.get("CompressedData", "False").lower() in ("true", "1")
    if size > regular_file(voxels).stat().st_size * (BEST_PACKING if packed else 1):
        raise InputError(f"it is truncated: there are no {size:,} bytes of voxels")


def _header(path: Path) -> dict[str, str]:
    """Names and values up to that of the file of voxels, which is the last."""
    with open(path, "rb") as file:
        text = file.read(LONGEST_HEADER).decode("utf-8", errors="replace")
    header = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        header[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    return header
