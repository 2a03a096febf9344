"""Sections that stay in their file: indexed like an array, read when they are asked for.

So memory does not grow with the population, whatever kind of file holds it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import zarr

from napari_brainvae.io.errors import DAMAGED, InputError
from napari_brainvae.io.file_stamp import file_stamp

BLOCK = 64
"""Sections that are read and prepared at a time."""

MOST_SECTIONS = 1_000_000
MOST_PIXELS = 8192 * 8192
"""Of one section. Larger numbers in a header are damage, and are refused before memory is asked
for; 25 um sections of a mouse have 143,360."""


SMALL = 2**27
"""Bytes that may be as blank as they like."""
MOST_COMPRESSED = 200
"""Times that pixels may have shrunk; only blank ones shrink more, and a file made to do harm."""


class SectionError(InputError):
    """One section of a file cannot be read.

    Attributes
    ----------
    file
        Name of the file.
    index
        Position of the section.
    reason
        What is wrong with it.
    """

    def __init__(self, file: str, index: int, reason: str) -> None:
        super().__init__(f"{file}: section {index} {reason}")
        self.file, self.index, self.reason = file, index, reason


def check_stack(shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Refuse what cannot be a population by its shape ``(N, H, W)`` and type alone.

    Raises
    ------
    InputError
        With the reason.
    """
    if len(shape) == 4 and shape[-1] in (3, 4):
        raise InputError(f"colour images {tuple(shape)}: give one channel, as (N, H, W)")
    if len(shape) != 3:
        raise InputError(f"a population has shape (N, H, W), not {tuple(shape)}")
    if min(shape) < 0:
        raise InputError(f"the shape {tuple(shape)} has negative sides")
    if 0 in shape:
        raise InputError(f"the population is empty: its shape is {tuple(shape)}")
    if shape[0] > MOST_SECTIONS or shape[1] * shape[2] > MOST_PIXELS:
        raise InputError(
            f"a shape of {tuple(shape)} cannot be: at most {MOST_SECTIONS:,} sections of "
            f"{MOST_PIXELS:,} px are read"
        )
    if dtype.kind not in "biuf":
        raise InputError(f"sections must be real numbers, not {dtype}")
    needed, memory = min(shape[0], BLOCK) * shape[1] * shape[2] * 4, psutil.virtual_memory().total
    if needed > memory / 2:
        raise InputError(
            f"{min(shape[0], BLOCK)} sections of {shape[1]} x {shape[2]} px, which are read at a "
            f"time, take {needed / 2**30:.0f} of the {memory / 2**30:.0f} GB of this machine: "
            "give smaller ones"
        )


def check_packing(unpacked: int, packed: int) -> None:
    """Refuse what a small file would unpack to, if that is large and nearly all blank.

    Raises
    ------
    InputError
        With the number of bytes.
    """
    if unpacked > SMALL and unpacked > MOST_COMPRESSED * packed:
        raise InputError(f"it unpacks from {packed:,} to {unpacked:,} bytes of nothing")


class LazySections:
    """Sections ``(N, H, W)`` in a file; ``sections[index]`` gives a NumPy array.

    A subclass says how `read` gets one of them.

    Attributes
    ----------
    path
        The file.
    shape
        ``(N, H, W)``.
    dtype
        Type of the pixels.
    """

    ndim = 3

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        check_stack(shape, dtype)
        self.path, self.dtype = path, dtype
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self._stamp = file_stamp(self._described_by())

    def _described_by(self) -> list[Path]:
        """Files that say where the pixels are: with others in their place, they are elsewhere."""
        return [self.path]

    def _check_same(self, index: int) -> None:
        if file_stamp(self._described_by()) != self._stamp:
            gone = not self.path.exists()
            reason = (
                "is gone: the file is not there any more"
                if gone
                else ("cannot be read: the file has changed since it was opened; open it again")
            )
            raise SectionError(self.path.name, index, reason)

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return self.size * self.dtype.itemsize

    @property
    def size(self) -> int:
        """Number of pixels of all sections."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis:
            first, rest = slice(None), [Ellipsis, *rest] if rest else []
        chosen = np.arange(len(self))[first]
        if chosen.ndim == 0:
            section = self.read(int(chosen))
            return section[tuple(rest)] if rest else section
        part = self.read_many([int(i) for i in chosen.ravel()])
        part = part.reshape(*chosen.shape, *self.shape[1:])
        return part[(slice(None),) * chosen.ndim + tuple(rest)] if rest else part

    def read_many(self, chosen: Sequence[int]) -> npt.NDArray[Any]:
        """Read some sections, ``(n, H, W)``."""
        part = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        for place, index in enumerate(chosen):
            part[place] = self.read(index)
        return part

    def read(self, index: int) -> npt.NDArray[Any]:
        """Read one section, ``(H, W)``.

        Raises
        ------
        SectionError
            If the file is damaged there.
        """
        self._check_same(index)
        try:
            section = self._read(index)
        except SectionError:
            raise
        except (*DAMAGED, OSError) as error:
            raise self._error(index, error) from error
        if section.shape != self.shape[1:]:
            raise SectionError(self.path.name, index, f"has another shape: {section.shape}")
        return section

    def _read(self, index: int) -> npt.NDArray[Any]:
        raise NotImplementedError

    def _error(self, index: int, error: BaseException) -> SectionError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return SectionError(self.path.name, index, f"cannot be read: {reason}")


class RawSections(LazySections):
    """Uncompressed sections, each in one piece of the file: ``.npy``, stored ``.npz``, TIFF.

    They are read rather than mapped into memory: what is mapped counts as memory of the process,
    and a file that is cut short meanwhile would end it.

    Parameters
    ----------
    offsets
        ``(N,)``, where each section begins, bytes.
    stored
        ``(H, W)`` as stored; ``(W, H)`` if ``transposed``.
    dtype
        As stored.
    native
        Give the bytes of a pixel in this machine's order.
    """

    def __init__(
        self,
        path: Path,
        offsets: npt.NDArray[np.int64],
        stored: tuple[int, int],
        dtype: np.dtype[Any],
        *,
        transposed: bool = False,
        native: bool = False,
    ) -> None:
        height, width = reversed(stored) if transposed else stored
        given = dtype.newbyteorder("=") if native else dtype
        super().__init__(path, (len(offsets), height, width), given)
        self._offsets, self._stored, self._as_stored = offsets, stored, dtype
        self._transposed = transposed
        end = int(offsets.max()) + self._count * dtype.itemsize
        if offsets.min() < 0 or end > (size := path.stat().st_size):
            raise InputError(f"{len(self)} sections end at byte {end:,}, the file at {size:,}")

    @property
    def _count(self) -> int:
        return self._stored[0] * self._stored[1]

    def _read(self, index: int) -> npt.NDArray[Any]:
        with open(self.path, "rb") as file:
            file.seek(int(self._offsets[index]))
            section = np.fromfile(file, self._as_stored, self._count)
        if len(section) < self._count:
            raise EOFError("the file ends before it does")
        section = section.astype(self.dtype, copy=False).reshape(self._stored)
        return section.T if self._transposed else section


class TiffSections(LazySections):
    """Sections that are compressed pages of a TIFF.

    Parameters
    ----------
    pages
        N pages of an open `tifffile.TiffFile`; it is opened again for each section.
    """

    def __init__(self, path: Path, pages: Sequence[Any]) -> None:
        super().__init__(path, (len(pages), *pages[0].shape), pages[0].dtype)
        self._pages = pages
        # The pages share one handle of the file, and a viewer reads from several threads.
        self._lock = threading.Lock()
        sizes: dict[int, int] = {}
        for page in pages:
            handle = page.parent.filehandle
            size = sizes.setdefault(id(handle), handle.size)
            parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
            if not parts or any(count < 1 or start + count > size for start, count in parts):
                raise InputError("pages lie beyond the end of the file, or hold nothing")
        check_packing(self.nbytes, sum(sizes.values()))

    def _read(self, index: int) -> npt.NDArray[Any]:
        page = self._pages[index]
        handle = page.parent.filehandle
        with self._lock:
            handle.open()
            try:
                return np.asarray(page.asarray(maxworkers=1))
            finally:
                handle.close()


class ZarrSections(LazySections):
    """Sections of a Zarr array. A chunk that is not there is not taken for a black section."""

    def __init__(self, path: Path, array: zarr.Array) -> None:
        self._folder = path / array.path
        super().__init__(path, array.shape, array.dtype)
        chunk = int(np.prod(array.chunks)) * array.dtype.itemsize
        if chunk > MOST_PIXELS * 64:
            raise InputError(f"a chunk of {array.chunks} px cannot be read: write one a section")
        self._array = array
        check_packing(self.nbytes, self._packed(self.nbytes // MOST_COMPRESSED + 1))

    def _described_by(self) -> list[Path]:
        return [self._folder / name for name in ("zarr.json", ".zarray")]

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return tuple(self._array.chunks)

    def read_many(self, chosen: Sequence[int]) -> npt.NDArray[Any]:
        """Read some sections, ``(n, H, W)``, at once."""
        if len(chosen) == 1:  # as a slider asks for it: by its number in half the time
            return self.read(chosen[0])[None]
        for index in chosen:
            self._check_same(index)
            self._check_chunks(index)
        try:
            return np.asarray(self._array.oindex[np.asarray(chosen, dtype=np.intp)])
        except (*DAMAGED, OSError):
            # One by one, to say which of them it is.
            return super().read_many(chosen)

    def _read(self, index: int) -> npt.NDArray[Any]:
        self._check_chunks(index)
        return np.asarray(self._array[index])

    def _packed(self, enough: int) -> int:
        """Bytes of the chunks, counted until they are enough."""
        size = 0
        for folder, _, files in os.walk(self._folder):
            for file in files:
                size += os.path.getsize(os.path.join(folder, file))
                if size >= enough:
                    return size
        return size

    def _check_chunks(self, index: int) -> None:
        deep, high, wide = self._array.shards or self.chunks
        rows, columns = range(0, self.shape[1], high), range(0, self.shape[2], wide)
        for row, column in product(range(len(rows)), range(len(columns))):
            key = (index // deep, row, column)
            name = self._array.metadata.encode_chunk_key(key)
            # A pipe in its place would be waited for until somebody writes to it.
            if not os.path.isfile(self._folder / name):
                reason = f"has no pixels: the chunk {name} is not in the file"
                raise SectionError(self.path.name, index, reason)
