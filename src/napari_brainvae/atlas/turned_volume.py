"""A volume in a file, in any orientation, read plane by plane as everything lies in here."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from napari_brainvae.data.orientation import INSIDE, axis_of, read_planes, spacing_inside
from napari_brainvae.io.errors import DAMAGED, InputError

LABELLED_BORDER = 0.1
"""Share of the border of missing chunks, at most, along which there may be something: chunks of
background alone are not stored, and tissue hardly ever ends just where a chunk does."""

SMALLEST = 16
"""Voxels along a chunk from which on that holds; BrainGlobe's have 128."""

MOST_PIXELS = 100_000
"""Along a plane; what needs more to have square pixels is a mistake."""


class TurnedVolume:
    """Voxels (AP, DV, ML) of a file that may hold them in any orientation.

    Indexed by a plane's number it gives that plane, (DV, ML), and reads no more than it must;
    NumPy gets the whole. Planes whose pixels are not square are given with square ones, of the
    shorter edge, by the nearest voxel.

    Parameters
    ----------
    file
        For messages.
    stored
        (A, B, C) as stored: an array of Zarr or NumPy.
    orientation, resolution_um
        Of the axes as stored.
    """

    def __init__(
        self, file: Path, stored: Any, orientation: str, resolution_um: tuple[float, float, float]
    ) -> None:
        self.file, self.dtype = file, np.dtype(stored.dtype)
        self._stored, self._orientation = stored, orientation
        planes, rows, columns = spacing_inside(stored.shape, orientation)
        _, high, wide = spacing_inside(resolution_um, orientation)
        edge = min(high, wide)
        if not max(rows * high, columns * wide) / edge <= MOST_PIXELS:
            raise InputError(f"{file}: voxels of {high} x {wide} um cannot be made square")
        self._rows, self._columns = _nearest(rows, high / edge), _nearest(columns, wide / edge)
        self.shape = (int(planes), len(self._rows), len(self._columns))

    def __getitem__(self, plane: int) -> npt.NDArray[Any]:
        """Read one coronal plane, (DV, ML)."""
        return np.asarray(self._read(plane, plane)[0])

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        """Read all of it."""
        return np.asarray(self._read(0, self.shape[0] - 1), dtype)

    def _read(self, first: int, last: int) -> npt.NDArray[Any]:
        try:
            voxels = read_planes(self._stored, self._orientation, first, last)
        except (*DAMAGED, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{self.file} cannot be read: {reason}") from error
        if self._missing.any() and min(self._chunks) >= SMALLEST:
            for index in {*range(first, last, SMALLEST), last}:  # no chunk is passed over
                self._check_plane(voxels[index - first], index)
        if voxels.shape[1:] == self.shape[1:]:
            return voxels
        return np.asarray(voxels[:, self._rows][:, :, self._columns])

    @property
    def is_empty(self) -> bool:
        """Whether not a single chunk is there."""
        return bool(self._missing.all())

    @cached_property
    def _missing(self) -> npt.NDArray[np.bool_]:
        """Chunks that are not in the file, on their own grid turned to (AP, DV, ML)."""
        array = self._stored
        if not isinstance(array, zarr.Array):
            return np.zeros((1, 1, 1), bool)
        grid = [-(-n // c) for n, c in zip(array.shape, self._chunks, strict=True)]
        missing = np.empty(grid, bool)
        for place in np.ndindex(*grid):
            name = array.metadata.encode_chunk_key(place)
            missing[place] = not (self.file / array.path / name).is_file()
        return np.asarray(missing.transpose([axis for axis, _ in self._axes]))

    @property
    def _chunks(self) -> tuple[int, ...]:
        return tuple(self._stored.shards or self._stored.chunks)

    @property
    def _axes(self) -> list[tuple[int, bool]]:
        return [axis_of(self._orientation, letter) for letter in INSIDE]

    def _chunk_of(self, axis: int, flipped: bool) -> npt.NDArray[np.intp]:
        """In which chunk each voxel of an axis lies, from the end where it begins in here."""
        chunk = np.arange(self._stored.shape[axis]) // self._chunks[axis]
        return np.asarray(chunk[::-1] if flipped else chunk)

    def _check_plane(self, plane: npt.NDArray[Any], index: int) -> None:
        """Refuse chunks that are missing beside something: the atlas was half fetched."""
        planes, rows, columns = (self._chunk_of(*axis) for axis in self._axes)
        absent = self._missing[planes[index]][np.ix_(rows, columns)]
        if absent.all():  # then the nearest plane that is there must have nothing
            there = np.flatnonzero(~np.asarray(self._missing.all(axis=(1, 2)))[planes])
            nearest = int(there[np.argmin(abs(there - index))])
            labelled = int(read_planes(self._stored, self._orientation, nearest, nearest).any())
            border = 1
        else:
            edges = [np.diff(absent, axis=axis) for axis in (0, 1)]
            there = plane != 0
            beside = [there[:-1] | there[1:], there[:, :-1] | there[:, 1:]]
            border = sum(int(edge.sum()) for edge in edges)
            labelled = sum(int((e & near).sum()) for e, near in zip(edges, beside, strict=True))
        if labelled > LABELLED_BORDER * border:
            raise InputError(
                f"{self.file} is only half there, chunks of it are missing amid the tissue: delete "
                f"{self.file / self._stored.path} and fetch the atlas again"
            )


def _nearest(count: int, ratio: float) -> npt.NDArray[np.intp]:
    """Which of ``count`` voxels, ``ratio`` pixels long each, lies beneath each pixel."""
    pixels = np.arange(round(count * ratio))
    return np.minimum(((pixels + 0.5) / ratio).astype(np.intp), count - 1)
