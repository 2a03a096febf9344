"""The volumes of an atlas as NRRD files: voxels and how large they are."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any, BinaryIO

import nrrd
import numpy as np
from numpy.typing import NDArray

from napari_brainvae.io.errors import DAMAGED, InputError
from napari_brainvae.io.regular_files import regular_file

_TYPES = {
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i1": ("signed char", "int8", "int8_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i2": ("short", "short int", "signed short", "int16", "int16_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "i8": ("longlong", "long long", "long long int", "int64", "int64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
"""What NRRD calls the types of numbers."""


def read_volume(file: Path) -> tuple[NDArray[Any], float]:
    """Read (AP, DV, ML) voxels and their size in um, never holding more than one copy.

    Raises
    ------
    OSError
        If the file is not there.
    InputError
        If it cannot be understood, or is damaged.
    """
    regular_file(file)
    try:
        with open(file, "rb") as handle, np.errstate(all="ignore"):
            header = nrrd.read_header(handle)
            voxels = _voxels(handle, header, file)
            return voxels, _resolution(header, file)
    except (nrrd.NRRDError, *DAMAGED) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{file} is not a readable NRRD volume: {reason}") from error


def _voxels(handle: BinaryIO, header: dict[str, Any], file: Path) -> NDArray[Any]:
    shape = tuple(int(size) for size in header["sizes"])
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"it has {len(shape)} dimensions, {shape}, not 3 above 0")
    if "data file" in header or "datafile" in header:
        raise InputError("its voxels are in another file: save both as one")
    size, packed = math.prod(shape), file.stat().st_size
    if header["encoding"] in ("gzip", "gz"):
        [kind] = (code for code, names in _TYPES.items() if header["type"] in names)
        end = ">" if header.get("endian") == "big" else "<"
        return _inflate(handle, shape, np.dtype(end + kind), packed)
    if header["encoding"] != "raw":
        raise InputError(f"its encoding is {header['encoding']}: save it as gzip or raw")
    if size > packed:
        raise InputError("it is truncated")
    return np.asarray(nrrd.read_data(header, handle, str(file)))


def _inflate(
    handle: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any], packed: int
) -> NDArray[Any]:
    """Unpack voxels in place: pynrrd would hold the 300 MB of an annotation twice."""
    if math.prod(shape) * dtype.itemsize > 1100 * packed:  # gzip's best is 1032
        raise InputError(f"it is truncated: {packed:,} bytes cannot hold voxels of {shape}")
    voxels = np.empty(shape, dtype, order="F")
    left = voxels.T.data.cast("B")
    with gzip.GzipFile(fileobj=handle) as stream:
        while left and (count := stream.readinto(left[: 1 << 22])):
            left = left[count:]
        if left or stream.read(1):
            raise InputError("it has not the size that its header says")
    return voxels


def _resolution(header: dict[str, Any], file: Path) -> float:
    """Voxel size from the header's directions, else from the name."""
    directions = header.get("space directions")
    if directions is not None:
        edges = np.linalg.norm(np.asarray(directions, dtype=float), axis=1)
        if not (np.isfinite(edges) & (edges > 0)).all():
            raise InputError(f"its voxels have no size: {edges} um")
        if np.ptp(edges) > 1e-6 * edges.max():
            raise InputError(f"its voxels are not cubes: {edges} um")
        # Some writers leave unit directions and put the size into the name alone.
        if edges[0] > 1:
            return float(edges[0])
    try:
        return float(file.stem.rpartition("_")[2])
    except ValueError:
        raise InputError("neither its header nor its name says the resolution") from None


def write_volume(file: Path, volume: NDArray[Any], resolution_um: float) -> None:
    """Write (AP, DV, ML) voxels, packed by gzip."""
    header = {
        "space": "left-posterior-superior",
        "space directions": np.eye(3) * resolution_um,
        "encoding": "gzip",
    }
    nrrd.write(str(file), volume, header, compression_level=4)
