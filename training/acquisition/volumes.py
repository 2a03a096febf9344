"""The file of one brain: a zip of three channels on the atlas grid, read plane by plane."""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from training.acquisition.http import Damaged

HEADER = "resampled_red.mhd"
"""The red channel holds the autofluorescence of the tissue; green is the tracer."""

LONGEST_HEADER = 1 << 16
"""Bytes; a header has some 20 short lines."""

CORRUPTED = (
    zipfile.BadZipFile,  # no zip, cut short, or its checksum is wrong
    zlib.error,  # a stream that does not unpack
    EOFError,  # a stream that ends too early
    struct.error,  # a directory entry that does
    ValueError,  # an impossible offset, or a name that is no text
    OverflowError,  # an offset beyond 64 bits
    MemoryError,  # a directory said to be of any size
)
"""What `zipfile` raises for a damaged file."""


@dataclass(frozen=True)
class Grid:
    """The atlas grid: voxels along each axis, their side, and the ML columns that are kept."""

    ap: int = 528
    dv: int = 320
    ml: int = 456
    columns: tuple[int, int] = (4, 452)
    spacing_um: float = 25

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)`` of a section: all DV rows, the kept ML columns."""
        return self.dv, self.columns[1] - self.columns[0]


CCF = Grid()
"""The Allen CCFv3 at 25 um with the paper's crop: 448 columns about the midline, 227.5."""


class Unusable(Exception):
    """The file is whole but is not what the recipe assumes; fetching it again would not help."""


def read_planes(path: Path, planes: Sequence[int], grid: Grid = CCF) -> npt.NDArray[np.uint16]:
    """Read coronal planes of the red channel without unpacking the volume.

    Parameters
    ----------
    path
        Zip with ``resampled_red.mhd`` and its raw file: uint16, AP fastest, then DV, then ML.
    planes
        AP indices, anterior first.
    grid
        Size that the volume must have, and the crop.

    Returns
    -------
    numpy.ndarray
        ``(P, H, W)`` uint16; rows dorsal to ventral, columns from the left of the animal.

    Raises
    ------
    Damaged
        If the zip is incomplete or its checksum is wrong.
    Unusable
        If the layout of the volume, or the way it is packed, is not the documented one.
    """
    try:
        return _read(path, planes, grid)
    except CORRUPTED as error:
        raise Damaged(f"no complete zip arrived: {error or type(error).__name__}") from error
    except RuntimeError as error:  # a version or a kind of encryption that zipfile does not know
        raise Unusable(f"the zip cannot be unpacked: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the begin of the file; others: the disk's
            raise
        raise Damaged(f"no complete zip arrived: {error}") from error


def _read(path: Path, planes: Sequence[int], grid: Grid) -> npt.NDArray[np.uint16]:
    sections = np.empty((len(planes), grid.dv, grid.ml), dtype=np.uint16)
    size = 2 * grid.dv * grid.ap
    with zipfile.ZipFile(path) as archive:
        raw_name = _check_layout(archive, grid)
        with archive.open(raw_name) as raw:
            # Every ML slab holds one line of each plane: all are read, little is kept.
            for column in range(grid.ml):
                slab = raw.read(size)
                if len(slab) < size:
                    ends = column * size + len(slab)
                    raise Damaged(f"{raw_name} ends after {ends} of {size * grid.ml} bytes")
                lines = np.frombuffer(slab, dtype="<u2").reshape(grid.dv, grid.ap)
                sections[:, :, column] = lines[:, planes].T
            raw.read(1)  # the zip's checksum is verified at the end of the file
    first, end = grid.columns
    return sections[:, :, first:end]


def _check_layout(archive: zipfile.ZipFile, grid: Grid) -> str:
    """Name of the raw member, after every assumption about it was checked."""
    found = [name for name in archive.namelist() if PurePosixPath(name).name == HEADER]
    if len(found) != 1:
        raise Unusable(f"{len(found)} files {HEADER} in the zip: {', '.join(archive.namelist())}")
    if _check_packing(archive, found[0]) > LONGEST_HEADER:
        raise Unusable(f"{HEADER} is no header: it is longer than {LONGEST_HEADER} bytes")
    text = archive.read(found[0]).decode("ascii", errors="replace")
    header = {
        key.strip(): " ".join(value.split())
        for key, equals, value in (line.partition("=") for line in text.splitlines())
        if equals
    }
    _check_header(header, grid)
    data = header.get("ElementDataFile", "nothing")
    if not data or PurePosixPath(data).name != data:
        raise Unusable(f"{HEADER} says ElementDataFile = {data!r}, which is no file beside it")
    raw_name = str(PurePosixPath(found[0]).with_name(data))
    if archive.namelist().count(raw_name) != 1:
        raise Unusable(f"{HEADER} points to {raw_name}, which is not in the zip, or not once")
    size = _check_packing(archive, raw_name)
    if size != 2 * grid.ap * grid.dv * grid.ml:
        raise Unusable(f"{raw_name} has {size} bytes, not {2 * grid.ap * grid.dv * grid.ml}")
    return raw_name


def _check_header(header: dict[str, str], grid: Grid) -> None:
    """Refuse a volume of another size, type, direction or spacing; what is not said is as usual."""
    expected = {
        "DimSize": f"{grid.ap} {grid.dv} {grid.ml}",
        "ElementType": "MET_USHORT",
        "BinaryDataByteOrderMSB": "False",
        "ElementByteOrderMSB": "False",
        "CompressedData": "False",
        "ElementNumberOfChannels": "1",
        "HeaderSize": "0",
    }
    required = ("DimSize", "ElementType")
    for key, want in expected.items():
        have = header.get(key, "nothing" if key in required else want)
        if have != want:
            raise Unusable(f"{HEADER} says {key} = {have}, not {want}")
    straight = [1, 0, 0, 0, 1, 0, 0, 0, 1]
    # The format has three names for the direction of the axes.
    numbers = dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), straight)
    for key, wanted in (numbers | {"ElementSpacing": [grid.spacing_um] * 3}).items():
        if key in header and _numbers(header[key]) != wanted:
            want = " ".join(map(str, wanted))
            raise Unusable(f"{HEADER} says {key} = {header[key]}, not {want}")


def _numbers(text: str) -> list[float] | None:
    """Numbers between blanks, or None if there is something else."""
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        return None


def _check_packing(archive: zipfile.ZipFile, name: str) -> int:
    """Bytes of a member, which must be packed as any zip is: others unpack to any size."""
    member = archive.getinfo(name)
    if member.flag_bits & 1:
        raise Unusable(f"{name} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unusable(f"{name} is packed by method {member.compress_type}, not by deflate")
    return member.file_size
