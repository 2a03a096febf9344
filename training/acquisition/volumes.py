"""The file of one brain: a zip of three channels on the atlas grid, read plane by plane."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Grid:
    """The atlas grid: voxels along each axis, and the ML columns that are kept."""

    ap: int = 528
    dv: int = 320
    ml: int = 456
    columns: tuple[int, int] = (4, 452)

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)`` of a section: all DV rows, the kept ML columns."""
        return self.dv, self.columns[1] - self.columns[0]


CCF = Grid()
"""The Allen CCFv3 at 25 um with the paper's crop: 448 columns about the midline, 227.5."""


class Unusable(ValueError):
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
        If the layout of the volume is not the documented one.
    """
    sections = np.empty((len(planes), grid.dv, grid.ml), dtype=np.uint16)
    try:
        with zipfile.ZipFile(path) as archive:
            raw_name = _check_layout(archive, grid)
            with archive.open(raw_name) as raw:
                # Every ML slab holds one line of each plane: all are read, little is kept.
                for column in range(grid.ml):
                    slab = np.frombuffer(raw.read(grid.dv * grid.ap * 2), dtype="<u2")
                    sections[:, :, column] = slab.reshape(grid.dv, grid.ap)[:, planes].T
                raw.read(1)  # the zip's checksum is verified at the end of the file
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Damaged(f"no complete zip arrived: {error}") from error
    first, end = grid.columns
    return sections[:, :, first:end]


def _check_layout(archive: zipfile.ZipFile, grid: Grid) -> str:
    """Name of the raw member, after every assumption about it was checked."""
    found = [name for name in archive.namelist() if PurePosixPath(name).name == HEADER]
    if len(found) != 1:
        raise Unusable(f"{len(found)} files {HEADER} in the zip: {', '.join(archive.namelist())}")
    text = archive.read(found[0]).decode("ascii", errors="replace")
    header = {
        key.strip(): value.strip()
        for key, equals, value in (line.partition("=") for line in text.splitlines())
        if equals
    }
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
        have = " ".join(header.get(key, "nothing" if key in required else want).split())
        if have != want:
            raise Unusable(f"{HEADER} says {key} = {have}, not {want}")
    raw_name = str(PurePosixPath(found[0]).with_name(header.get("ElementDataFile", "nothing")))
    if raw_name not in archive.namelist():
        raise Unusable(f"{HEADER} points to {raw_name}, which is not in the zip")
    size = archive.getinfo(raw_name).file_size
    if size != 2 * grid.ap * grid.dv * grid.ml:
        raise Unusable(f"{raw_name} has {size} bytes, not {2 * grid.ap * grid.dv * grid.ml}")
    return raw_name
