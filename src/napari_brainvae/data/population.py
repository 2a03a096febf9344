"""A population: one registered section per brain, its id and its covariates, from any file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile
import zarr
from pydantic import BaseModel, ConfigDict, Field
from zarr.codecs import BloscCodec

from napari_brainvae.arrays import Images
from napari_brainvae.data.preprocessing import Preprocessing, check_sections, crop_to
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.io.errors import InputError

FILE_TYPES = (".zarr", ".npz", ".npy", ".tif", ".tiff")
PUBLISHED_SHAPES = ((456, 320), (448, 320))
"""(columns, rows) of the paper's own arrays, which are stored transposed."""

BLOCK = 64
"""Sections prepared at a time."""


class Description(BaseModel):
    """What is known of a population beyond its pixels; the attributes of its Zarr group."""

    model_config = ConfigDict(extra="ignore")

    pixel_size_um: float | None = Field(None, gt=0, description="Side of a pixel, um.")
    plane: int | None = Field(None, ge=0, description="Coronal plane of the atlas (AP index).")
    preprocessing: Preprocessing | None = Field(
        None, description="What was already done to the sections; nothing if absent."
    )
    source: str = Field("", description="Where the sections come from.")


@dataclass
class Population:
    """Sections of many brains registered to one atlas plane.

    Attributes
    ----------
    images
        ``(N, H, W)`` array as stored (NumPy or Zarr; any real type); read it with `sections`.
    ids
        N distinct names.
    covariates
        Table of N rows, indexed by id.
    description
        Pixel size, atlas plane, preprocessing already done.
    """

    images: Any
    ids: list[str] = field(default_factory=list)
    covariates: pd.DataFrame = field(default_factory=pd.DataFrame)
    description: Description = field(default_factory=Description)

    def __post_init__(self) -> None:
        shape = self.images.shape
        if len(shape) == 4 and shape[-1] in (3, 4):
            raise InputError(f"colour images {shape}: give one channel, as (N, H, W)")
        if len(shape) != 3:
            raise InputError(f"a population has shape (N, H, W), not {shape}")
        if 0 in shape:
            raise InputError(f"the population is empty: its shape is {shape}")
        self.ids = [str(i) for i in self.ids] or [f"{i:04d}" for i in range(len(self))]
        if len(self.ids) != len(self):
            raise InputError(f"{len(self.ids)} ids for {len(self)} sections")
        repeated = pd.Index(self.ids)[pd.Index(self.ids).duplicated()].unique()
        if len(repeated):
            raise InputError(f"ids repeat: {', '.join(map(repr, repeated[:3]))}")
        if self.covariates.empty:
            self.covariates = pd.DataFrame(index=self.ids)
        if len(self.covariates) != len(self):
            raise InputError(f"{len(self.covariates)} covariate rows for {len(self)} sections")
        self.covariates = self.covariates.set_axis(pd.Index(self.ids, name="id"), axis=0)

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)`` of a section, px."""
        return int(self.images.shape[1]), int(self.images.shape[2])

    @property
    def flagged(self) -> npt.NDArray[np.bool_]:
        """``(N,)``: sections that the covariate ``flagged`` marks as not to be trusted."""
        if "flagged" not in self.covariates:
            return np.zeros(len(self), dtype=bool)
        return np.asarray(self.covariates["flagged"], dtype=bool)

    def sections(self, index: slice | Sequence[int] | npt.NDArray[Any] = slice(None)) -> Images:
        """Read some sections, checked, as ``(n, H, W)`` float32 in their stored units.

        Raises
        ------
        ValueError
            If one of them cannot be used (see `preprocess.check_sections`).
        """
        chosen = np.arange(len(self))[index]
        stored = self.images
        if isinstance(stored, zarr.Array):
            # One section, as a slider asks for it, is read in half the time by its number.
            one = len(chosen) == 1
            part = stored[int(chosen[0])][None] if one else stored.oindex[chosen]
        else:
            part = stored[chosen]
        return check_sections(part, [self.ids[i] for i in chosen])

    def prepared(
        self, preprocessing: Preprocessing, index: slice | Sequence[int] | npt.NDArray[Any]
    ) -> Images:
        """Read some sections as a model wants them: ``(n, H, W)`` float32 in [0, 1].

        A population that was written already preprocessed is not matched a second time.
        """
        chosen = np.arange(len(self))[index]
        prepared = np.empty((len(chosen), *preprocessing.shape), dtype=np.float32)
        # In blocks, because what is done to a section takes several times its memory.
        for start in range(0, len(chosen), BLOCK):
            block = chosen[start : start + BLOCK]
            prepared[start : start + BLOCK] = self.prepare(
                self.sections(block), preprocessing, [self.ids[i] for i in block]
            )
        return prepared

    def prepare(self, sections: Images, preprocessing: Preprocessing, ids: Sequence[str]) -> Images:
        """Do to sections ``(n, H, W)`` that were read already what `prepared` does."""
        if self.description.preprocessing is not None:
            return np.asarray(crop_to(sections, preprocessing.shape), dtype=np.float32)
        return preprocessing.apply(sections, ids)

    def subset(self, index: Sequence[int]) -> Population:
        """Read some of the sections into a population of their own."""
        return Population(
            self.sections(index),
            [self.ids[i] for i in index],
            self.covariates.iloc[list(index)],
            self.description,
        )

    def fingerprint(self, see: Callable[[int, npt.NDArray[Any]], None] | None = None) -> str:
        """Hash of ids and pixels: two populations with the same one are the same data.

        Parameters
        ----------
        see
            Called as ``see(start, block)`` with each block of sections ``(n, H, W)`` as stored, so
            that who needs their pixels, too, reads them once.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update("\n".join(self.ids).encode())
        digest.update(str(self.images.shape).encode())
        for start in range(0, len(self), BLOCK):
            block = np.asarray(self.images[start : start + BLOCK])
            digest.update(block.tobytes())
            if see is not None:
                see(start, block)
        return digest.hexdigest()

    @classmethod
    def open(cls, path: str | Path) -> Population:
        """Open ``.zarr``, ``.npz``, ``.npy`` or a TIFF stack.

        A ``.csv`` of the same name beside an array or TIFF gives its covariates, one row per
        section; its column ``id`` gives the ids.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is no population; the message says why.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"no such population: {path}")
        if path.suffix.lower() not in FILE_TYPES:
            raise InputError(f"{path.name}: a population is one of {', '.join(FILE_TYPES)}")
        reader = {".zarr": _from_zarr, ".npz": _from_npz, ".npy": _from_npy}
        try:
            return reader.get(path.suffix.lower(), _from_tiff)(path)
        except (zipfile.BadZipFile, EOFError, KeyError, tifffile.TiffFileError) as error:
            raise InputError(f"{path.name} cannot be read: {error}") from error
        except ValueError as error:
            raise InputError(f"{path.name}: {error}") from error

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the population as a Zarr group, one chunk per section, in one step.

        Raises
        ------
        FileExistsError
            If ``path`` exists and ``overwrite`` was not asked for.
        """
        with creating(
            path, self.ids, self.shape, self.images.dtype, self.description, overwrite=overwrite
        ) as group:
            for i in range(len(self)):
                group["images"][i] = self.images[i]
            write_covariates(group, self.covariates)


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
    with replacing(path) as beside:
        group = zarr.open_group(beside, mode="w-")
        group.attrs.update(description.model_dump(mode="json"))
        group.create_array(
            "images",
            shape=(len(ids), *shape),
            chunks=(1, *shape),
            dtype=dtype,
            # As small as Zarr's default makes a section, and unpacked in a sixth of its time.
            compressors=BloscCodec(cname="lz4", shuffle="shuffle"),
        )
        group.create_array("ids", data=strings(ids))
        yield group


def write_covariates(group: zarr.Group, covariates: pd.DataFrame) -> None:
    """Write a table of N rows into a population's Zarr group, one array a column."""
    table = group.create_group("covariates")
    table.attrs["columns"] = [str(c) for c in covariates.columns]
    for name, column in covariates.items():
        numeric = column.dtype.kind in "biuf"
        table.create_array(str(name), data=column.to_numpy() if numeric else strings(column))


def strings(values: Any) -> npt.NDArray[Any]:
    """Text as Zarr stores it; None becomes empty."""
    return np.array(["" if v is None else str(v) for v in values], dtype=np.dtypes.StringDType())


def _from_zarr(path: Path) -> Population:
    store = zarr.open(path, mode="r")
    if isinstance(store, zarr.Array):
        return Population(store, *_beside(path))
    if "images" not in store:
        raise InputError("the Zarr group has no array 'images'")
    table = pd.DataFrame()
    if "covariates" in store:
        names = store["covariates"].attrs["columns"]
        table = pd.DataFrame({n: _column(store["covariates"][n][:]) for n in names})
    ids = [str(i) for i in store["ids"][:]] if "ids" in store else []
    return Population(store["images"], ids, table, Description.model_validate(dict(store.attrs)))


def _from_npz(path: Path) -> Population:
    # Opened here because np.load leaves a truncated file open.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        if "images" not in archive:
            raise InputError(f"no array 'images' among {', '.join(archive.files) or 'nothing'}")
        images = archive["images"]
        others = {n: archive[n] for n in archive.files if n != "images"}
    columns = {n: a for n, a in others.items() if images.ndim and a.shape == images.shape[:1]}
    ids = columns.get("ids", columns.get("keys", []))
    table = pd.DataFrame({n: _column(a) for n, a in columns.items() if n != "ids"})
    return Population(images, list(ids), table)


def _from_npy(path: Path) -> Population:
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    if images.shape[1:] in PUBLISHED_SHAPES:
        images = images.transpose(0, 2, 1)
    return Population(images, *_beside(path))


def _from_tiff(path: Path) -> Population:
    with tifffile.TiffFile(path) as tif:
        images = tif.asarray()
        pixel_size = _pixel_size_um(tif)
    if images.ndim == 2:
        raise InputError("one section is no population; give a stack of shape (N, H, W)")
    return Population(images, *_beside(path), Description(pixel_size_um=pixel_size))


def _pixel_size_um(tif: tifffile.TiffFile) -> float | None:
    """Pixel size that a TIFF states, um, if it does so as OME or ImageJ write it."""
    if tif.ome_metadata:
        pixels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
        pixels = (pixels[0] if isinstance(pixels, list) else pixels)["Pixels"]
        if pixels.get("PhysicalSizeXUnit", "µm") == "µm" and "PhysicalSizeX" in pixels:
            return float(pixels["PhysicalSizeX"])
    resolution = tif.pages.first.tags.get("XResolution")
    unit = (tif.imagej_metadata or {}).get("unit", "")
    if resolution is not None and unit in ("um", "µm", "micron", "\\u00B5m"):
        pixels_per_unit, units = resolution.value
        return float(units / pixels_per_unit) if pixels_per_unit else None
    return None


def _beside(path: Path) -> tuple[list[str], pd.DataFrame]:
    """Read the ids and covariates of the table beside an array file, if there is one."""
    file = path.with_suffix(".csv")
    if not file.exists():
        return [], pd.DataFrame()
    table = pd.read_csv(file, dtype={"id": str})
    return list(table.pop("id")) if "id" in table else [], table


def _column(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One column for pandas, which wants text as plain objects."""
    return values if values.dtype.kind in "biuf" else values.astype(object)
