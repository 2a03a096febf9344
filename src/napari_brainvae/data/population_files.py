"""How a population lies in a file: readers of every kind, and the writer of the Zarr group."""

from __future__ import annotations

import logging
import math
import os
import shutil
import struct
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from zarr.codecs import BloscCodec, Crc32cCodec

from napari_brainvae.data.covariates import (
    CHECKED,
    column_of,
    covariates_beside,
    covariates_of,
    plain,
    strings,
)
from napari_brainvae.data.lazy_sections import (
    LazySections,
    RawSections,
    ZarrSections,
    check_packing,
    check_stack,
)
from napari_brainvae.data.orientation import INSIDE, TurnedSections, check_orientation
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.data.tiff_stack import open_tiff
from napari_brainvae.io.atomic_files import recover, replacing
from napari_brainvae.io.errors import DAMAGED, InputError, MissingFileError
from napari_brainvae.io.regular_files import regular_file, regular_tree

log = logging.getLogger(__name__)

PUBLISHED_SHAPES = ((456, 320), (448, 320))
"""(columns, rows) of the paper's own arrays, which are stored transposed."""

IN_MEMORY = 2**27
"""Bytes of a compressed archive up to which it is simply kept in memory."""

NAMES = {b"PK\x03\x04": ".npz", b"\x93NUM": ".npy", b"II*\0": ".tif", b"MM\0*": ".tif"}
"""How files begin, and what they should be called."""


class Description(BaseModel):
    """What is known of a population beyond its pixels; the attributes of its Zarr group."""

    model_config = ConfigDict(extra="ignore")

    pixel_size_um: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Side of a pixel, um."
    )
    plane: int | None = Field(None, ge=0, description="Coronal plane of the atlas (AP index).")
    preprocessing: Preprocessing | None = Field(
        None, description="What was already done to the sections; nothing if absent."
    )
    source: str = Field("", description="Where the sections come from.")
    orientation: str = Field(
        INSIDE, description="Where their axes begin; sections of files of before lie so, too."
    )
    original_orientation: str = Field(
        "", description="Where they began in what they were gathered from, if they were turned."
    )
    atlas: str = Field("", description="Atlas that the plane is counted in, if it is known.")

    @field_validator("orientation")
    @classmethod
    def _is_orientation(cls, text: str) -> str:
        return check_orientation(text)


class Stored(NamedTuple):
    """What a file holds of a population."""

    images: Any
    """``(N, H, W)``, read when it is indexed."""
    ids: list[str]
    covariates: pd.DataFrame | None
    """A table of N rows or an empty one; None if the file has no place for one."""
    description: Description


def read_population(path: str | Path) -> Stored:
    """Open ``.zarr``, ``.npz``, ``.npy`` or a TIFF stack; see `Population.open`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputError
        If the file is no population; the message names it and says why.
    """
    path = Path(path)
    if not recover(path).exists():
        raise MissingFileError(f"no such population: {path}")
    kind = path.suffix.lower()
    if kind not in READERS:
        raise InputError(f"{path.name}: a population is one of {', '.join(READERS)}")
    _check_kind(path, kind)
    try:
        stored = READERS[kind](path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error
    except PermissionError:
        raise
    except (*DAMAGED, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path.name} cannot be read: {reason}") from error
    if stored.covariates is not None and kind == ".zarr":
        return stored
    # Its mistakes are its own, not the image file's.
    ids, table = covariates_beside(path, len(stored.images), stored.ids)
    if stored.covariates is not None:  # what the file itself knows, and the table does not
        known = stored.covariates.drop(columns=table.columns, errors="ignore")
        table = pd.concat([table, known], axis=1)
    return stored._replace(ids=ids, covariates=table)


def _check_kind(path: Path, kind: str) -> None:
    """Refuse pipes, which would be waited for, and files under another kind's name."""
    if kind == ".zarr":
        # The chunks of images are looked at when they are read.
        regular_tree(
            path,
            lambda folder, name: (
                folder in (path, path / "images") and (name in ("c", "truth") or name[0].isdigit())
            ),
        )
        return
    with open(regular_file(path), "rb") as opened:
        name = NAMES.get(opened.read(4), kind)
    if name != kind and (name, kind) != (".tif", ".tiff"):
        raise InputError(f"{path.name} holds a {name} file: give it that name")


@contextmanager
def creating(
    path: str | Path,
    ids: Sequence[str],
    shape: tuple[int, int],
    dtype: npt.DTypeLike,
    description: Description,
    *,
    overwrite: bool = False,
) -> Iterator[zarr.Group]:
    """Write a population section by section; it appears under its name when it is complete.

    Yields the Zarr group: fill ``group["images"]``, call `write_covariates`.

    Raises
    ------
    FileExistsError
        If ``path`` exists and ``overwrite`` was not asked for.
    """
    path = Path(path)
    if path.suffix != ".zarr":
        raise InputError(f"a population file ends in .zarr: {path.name}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; give another name")
    if path.is_dir() and not {"zarr.json", ".zgroup", ".zarray"} & {f.name for f in path.iterdir()}:
        raise FileExistsError(f"{path} is a folder that holds no population: give another name")
    with replacing(path) as beside:
        group = zarr.open_group(beside, mode="w-")
        group.attrs.update(description.model_dump(mode="json"))
        group.create_array(
            "images",
            shape=(len(ids), *shape),
            chunks=(1, *shape),
            dtype=dtype,
            # As small as Zarr's default makes a section, and unpacked in a sixth of its time. The
            # checksum tells a damaged chunk, which may unpack to other pixels.
            compressors=(BloscCodec(cname="lz4", shuffle="shuffle"), Crc32cCodec()),
            # Chunks of nothing else are not stored: so black ones are, and one that is not there
            # is lost.
            fill_value=_no_pixel(np.dtype(dtype)),
        )
        group.create_array("ids", data=strings(ids), compressors=CHECKED)
        yield group


def _no_pixel(dtype: np.dtype[Any]) -> Any:
    """A value that no section consists of: NaN, or the largest."""
    if dtype.kind == "f":
        return np.nan
    return True if dtype.kind == "b" else np.iinfo(dtype).max


def _from_zarr(path: Path) -> Stored:
    store = zarr.open(path, mode="r")
    if isinstance(store, zarr.Array):
        return Stored(ZarrSections(path, store), [], None, Description())
    images = store.get("images")
    if not isinstance(images, zarr.Array):
        raise InputError("the Zarr group has no array 'images'")
    sections: LazySections = ZarrSections(path, images)
    ids = column_of(store, "ids", len(sections)).tolist() if "ids" in store else []
    table = covariates_of(store, len(sections))
    known = _described(dict(store.attrs))
    if known.orientation != INSIDE:
        turned = {"orientation": INSIDE, "original_orientation": known.orientation}
        sections = TurnedSections(sections, known.orientation)
        known = known.model_copy(update=turned)
    return Stored(sections, [str(i) for i in ids], table, known)


def _described(attributes: dict[str, Any]) -> Description:
    try:
        return Description.model_validate(attributes)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"attribute {place!r} cannot be used: {first['msg']}") from error


def _from_npy(path: Path) -> Stored:
    with open(path, "rb") as file:
        layout = _Layout.read(file)
        start = file.tell()
    turned = layout.shape[1:] in PUBLISHED_SHAPES
    return Stored(layout.at(path, start, turned=turned), [], None, Description())


def _from_tiff(path: Path) -> Stored:
    images, pixel_size = open_tiff(path)
    return Stored(images, [], None, Description(pixel_size_um=pixel_size))


class _Layout(NamedTuple):
    """What the header of an ``.npy`` file says."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @classmethod
    def read(cls, file: IO[bytes]) -> _Layout:
        """Read a header; what follows it is not touched."""
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return cls(*np.lib.format.read_array_header_1_0(file))
        if version == (2, 0):
            return cls(*np.lib.format.read_array_header_2_0(file))
        raise InputError(f"NumPy's format {version} is not one of plain numbers")

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def at(self, path: Path, start: int, *, turned: bool = False) -> Any:
        """The sections that begin at byte ``start`` of an uncompressed file."""
        check_stack(self.shape, self.dtype)
        if start + self.bytes > (size := path.stat().st_size):
            raise InputError(
                f"an array {self.shape} ends at byte {start + self.bytes:,} of {size:,}"
            )
        if self.fortran:  # a section lies in pieces all over the file
            images = np.memmap(path, self.dtype, "r", start, self.shape, "F")
            return images.transpose(0, 2, 1) if turned else images
        count, height, width = self.shape
        step = height * width * self.dtype.itemsize
        offsets = start + step * np.arange(count, dtype=np.int64)
        return RawSections(path, offsets, (height, width), self.dtype, transposed=turned)


def _from_npz(path: Path) -> Stored:
    with zipfile.ZipFile(path) as archive:
        arrays = (m for m in archive.infolist() if m.filename.endswith(".npy"))
        members = {m.filename.removesuffix(".npy"): m for m in arrays}
        if "images" not in members:
            raise InputError(f"no array 'images' among {', '.join(members) or 'nothing'}")
        images = _member_images(path, archive, members.pop("images"))
        columns = {}
        for name, member in members.items():
            with archive.open(member) as file:
                layout = _Layout.read(file)
                if layout.shape == (len(images),):
                    _check_member(member, layout, file.tell())
                    columns[name] = _read_array(file, layout)
                elif name in ("ids", "keys"):
                    raise InputError(
                        f"{name!r} has shape {layout.shape} for {len(images)} sections"
                    )
    ids = columns.get("ids", columns.get("keys", np.array([])))
    table = pd.DataFrame({n: plain(a) for n, a in columns.items() if n != "ids"})
    return Stored(images, [str(i) for i in ids], table, Description())


def _member_images(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    """The images of an archive: where they lie if they are stored, or unpacked once."""
    with archive.open(member) as file:
        layout = _Layout.read(file)
        start = file.tell()
        check_stack(layout.shape, layout.dtype)
        _check_member(member, layout, start)
        if member.compress_type == zipfile.ZIP_STORED:
            while file.read(2**20):  # to its end, where its checksum is compared
                pass
            return layout.at(path, _begin(path, member) + start)
        if layout.bytes <= IN_MEMORY:
            return _read_array(file, layout)
        return _unpacked(path, file, layout)


def _check_member(member: zipfile.ZipInfo, layout: _Layout, start: int) -> None:
    """Refuse what an archive's own sizes contradict, before memory is asked for."""
    if layout.dtype.hasobject:
        raise InputError(f"{member.filename} holds Python objects, not numbers or text")
    if start + layout.bytes != member.file_size:
        raise InputError(f"{member.filename} has not the size that its shape {layout.shape} says")
    check_packing(member.file_size, member.compress_size)


def _read_array(file: IO[bytes], layout: _Layout) -> npt.NDArray[Any]:
    content, place = bytearray(layout.bytes), 0
    while part := file.read(2**20):  # to its end, where its checksum is compared
        content[place : place + len(part)] = part
        place += len(part)
    if place < layout.bytes:
        raise EOFError("the archive ends too early")
    order: Any = "F" if layout.fortran else "C"
    return np.frombuffer(content, layout.dtype).reshape(layout.shape, order=order)


def _begin(path: Path, member: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin: behind its own header, whose length only it knows."""
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        header = file.read(30)
    name, extra = struct.unpack_from("<HH", header, 26)
    return member.header_offset + 30 + int(name) + int(extra)


def _unpacked(path: Path, packed: IO[bytes], layout: _Layout) -> Any:
    """Unpack compressed sections to a temporary file: they cannot be read one by one."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    advice = "save it as .zarr, or uncompressed, to spare this"
    if layout.bytes > free / 2:
        raise InputError(f"too large to unpack ({layout.bytes:,} bytes): {advice}")
    handle, name = tempfile.mkstemp(suffix=".pixels", prefix="brainvae-")
    log.info("%s is compressed: unpacked once to %s; %s", path.name, name, advice)
    try:
        with open(handle, "wb") as file:
            shutil.copyfileobj(packed, file, 2**20)
        images = layout.at(Path(name), 0)
    except BaseException:
        os.unlink(name)
        raise
    weakref.finalize(images, _remove, name)
    return images


def _remove(name: str) -> None:
    Path(name).unlink(missing_ok=True)


READERS: dict[str, Callable[[Path], Stored]] = {
    ".zarr": _from_zarr,
    ".npz": _from_npz,
    ".npy": _from_npy,
    ".tif": _from_tiff,
    ".tiff": _from_tiff,
}
