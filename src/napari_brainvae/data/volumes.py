"""Registered volumes and sections as other programs write them: what a file says, and its voxels.

A file says little: a TIFF knows no axes, a NIfTI does. What it says is taken; what it does not say
stays unsaid (None) here, and is asked for by whoever needs it. Voxels are read when they are
indexed, never more than one brain's.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel
import nrrd
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import zarr

from napari_brainvae.data.orientation import of_axis_ends, of_words
from napari_brainvae.data.tiff_stack import open_tiff, opening, voxel_size_um
from napari_brainvae.data.units import to_um
from napari_brainvae.io.complaints import complaints
from napari_brainvae.io.errors import DAMAGED, InputError
from napari_brainvae.io.regular_files import regular_file, regular_tree

log = logging.getLogger(__name__)

UNREADABLE = (
    *DAMAGED,
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    nrrd.NRRDError,
    StopIteration,  # pynrrd's, of an empty file
    OSError,
)
"""What the readers raise for a file that is damaged, or none of theirs."""

MOST_TILT_DEGREES = 5
"""Axes that are turned further are not those of an atlas."""

LARGEST_BRAIN_UM = 5e5
"""Half a metre; what would be larger has its sizes in um, where its file says nothing of units."""

LONGEST_HEADER = 10_000
"""Bytes of a MetaImage's, which is text."""

ALLEN_EXTENT_UM = (13_200, 8_000, 11_400)
"""The Common Coordinate Framework, (AP, DV, ML)."""

Size = float | None


@dataclass(frozen=True)
class Volume:
    """A volume, or one section as a volume of one plane, and what its file says of it.

    Attributes
    ----------
    voxels
        ``(A, B, C)``, an array or something that gives one when it is sliced.
    voxel_um
        Size along each axis, um; None where the file does not say.
    orientation
        Where the axes begin (`data.orientation`); None if the file does not say.
    orientation_by
        What says so, for the record.
    """

    voxels: Any
    voxel_um: tuple[Size, Size, Size] = (None, None, None)
    orientation: str | None = None
    orientation_by: str = ""


class _Lazy:
    """Voxels that are read, all at once, when the first are asked for."""

    def __init__(self, shape: Sequence[int], load: Callable[[], npt.NDArray[Any]]) -> None:
        self.shape, self._load = tuple(shape), load

    @cached_property
    def _voxels(self) -> npt.NDArray[Any]:
        return self._load().reshape(self.shape)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        return np.asarray(self._voxels[index])


class _Part:
    """Three axes of an array that has more; the others are fixed."""

    def __init__(self, voxels: Any, fixed: dict[int, int]) -> None:
        self._voxels, self._fixed = voxels, fixed
        self._free = [i for i in range(len(voxels.shape)) if i not in fixed]
        self.shape = tuple(int(voxels.shape[i]) for i in self._free)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        whole: dict[int, Any] = {**self._fixed, **dict(zip(self._free, index, strict=True))}
        return np.asarray(self._voxels[tuple(whole[i] for i in sorted(whole))])


def open_volume(path: Path, channel: str | None = None) -> Volume:
    """Open a volume or a section; its voxels stay in the file.

    Parameters
    ----------
    channel
        Which one, counted from 0, where a file holds several.

    Raises
    ------
    InputError
        If it is none; the message does not name the file.
    """
    reader = READERS.get(kind_of(path))
    if reader is None:
        raise InputError(f"it is none of {', '.join(READERS)}")
    try:
        if path.is_dir():
            regular_tree(path)
        elif not regular_file(path).stat().st_size:
            raise InputError("the file is empty")
        volume = reader(path, channel)
        shape = tuple(volume.voxels.shape)
        if len(shape) != 3 or 0 in shape:
            raise InputError(f"its shape is {shape}: a volume has three axes, a section two")
        return volume
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"it cannot be read: {told(error)}") from error


def told(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def kind_of(path: Path) -> str:
    """The ending by which a file's reader is found, such as ``.nii.gz``."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def _nifti(path: Path, channel: str | None) -> Volume:
    # What is mapped into memory ends this process if the file is cut short meanwhile.
    with complaints("nibabel.global") as mended:
        image: Any = nibabel.load(path, mmap=False)
    for what in mended:
        log.warning("%s: %s", path.name, what)
    voxels = image.dataobj
    axes = [None if i < 3 else "c" for i in range(len(voxels.shape))]
    part = _three_axes(voxels, axes, channel)
    unit = image.header.get_xyzt_units()[0]
    unit = None if unit == "unknown" else unit
    # Without one of the two codes the affine is the library's guess.
    if int(image.header["sform_code"]) or int(image.header["qform_code"]):
        return _directed(part, image.affine[:3, :3].T, "RAS", unit, "its affine")
    return Volume(part, _sizes(image.header.get_zooms()[:3], part.shape, unit))


def _nrrd(path: Path, _: str | None) -> Volume:
    with np.errstate(all="ignore"):  # of numbers that are none
        header = nrrd.read_header(str(path))
    voxels_in = header.get("data file", header.get("datafile"))
    if voxels_in is not None:
        regular_file(path.parent / voxels_in)
    shape = tuple(int(size) for size in header["sizes"])
    voxels = _Lazy(shape, lambda: _nrrd_voxels(path))
    units = header.get("space units", header.get("units")) or [None]
    directions = header.get("space directions")
    if directions is None or len(shape) != 3:
        return Volume(voxels, _sizes(header.get("spacings", [None] * 3), shape, units[0]))
    matrix = np.asarray(directions, dtype=float)
    space = str(header.get("space", ""))
    ends = space if len(space) == 3 else "".join(word[:1] for word in space.split("-"))
    if len(ends) != 3 or not set(ends.lower()) <= set("lrapsi"):
        return Volume(voxels, _sizes(np.linalg.norm(matrix, axis=1), shape, units[0]))
    return _directed(voxels, matrix, ends, units[0], "its header", allen=True)


def _nrrd_voxels(path: Path) -> npt.NDArray[Any]:
    with np.errstate(all="ignore"):
        return np.asarray(nrrd.read(str(path))[0])


def _itk(path: Path, _: str | None) -> Volume:
    named = re.search(rb"^ElementDataFile *= *(.+?)\s*$", path.read_bytes()[:LONGEST_HEADER], re.M)
    if named is not None and named[1] not in (b"LOCAL", b"LIST"):
        regular_file(path.parent / os.fsdecode(named[1]))
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
        raise InputError("it is no volume of one channel")
    # As NumPy has it: the axis that runs fastest is the last.
    shape = tuple(reversed(reader.GetSize()))
    voxels = _Lazy(shape, lambda: np.asarray(sitk.GetArrayFromImage(reader.Execute())))
    columns = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    directions = columns.T[::-1]
    # Every writer of the format puts the identity where nothing is known.
    if (np.diag(np.diag(columns)) == columns).all() and (np.diag(columns) > 0).all():
        sizes = _sizes(np.diag(columns)[::-1], shape, None)
        extents = [n * um for n, um in zip(shape[::-1], sizes[::-1], strict=True) if um]
        if _is_allen(extents):
            return Volume(voxels, sizes, "lsa", "its size, the Allen Institute's")
        return Volume(voxels, sizes)
    return _directed(voxels, directions, "LPS", None, "its header")


def _tiff(path: Path, channel: str | None) -> Volume:
    with opening(path) as tif:
        series = tif.series[0]
        sizes, axes = voxel_size_um(tif), [a.lower() for a in series.axes]
        plain = len(series.shape) <= 3 and not {"c", "s"} & set(axes)
        if plain and sum(len(one) for one in tif.series) == 1 and len(series.shape) == 2:
            return Volume(np.asarray(series.asarray())[None], sizes)
        voxels = None if plain else series.asarray()
    if plain:
        return Volume(open_tiff(path)[0], sizes)
    names = [None if a in "zyx" else "c" if a in "cs" else a for a in axes]
    return Volume(_three_axes(voxels, names, channel), sizes)


def _image(path: Path, channel: str | None) -> Volume:
    image = np.asarray(imagecodecs.imread(str(path)))
    names = ["c" if i == 2 else None for i in range(image.ndim)]
    return Volume(_three_axes(image, names, channel))


def _npy(path: Path, channel: str | None) -> Volume:
    shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    voxels = _Lazy(shape, lambda: np.load(path, allow_pickle=False))
    return Volume(_three_axes(voxels, [None] * len(shape), channel))


def _zarr(path: Path, channel: str | None) -> Volume:
    store = zarr.open(path, mode="r")
    if isinstance(store, zarr.Array):
        return Volume(_three_axes(store, [None] * store.ndim, channel))
    attributes: dict[str, Any] = dict(store.attrs)
    scales = attributes.get("ome", attributes).get("multiscales")
    if not scales:
        raise InputError("this Zarr group is neither an OME-Zarr image nor a population")
    finest = scales[0]["datasets"][0]
    array = store[finest["path"]]
    axes: list[dict[str, Any]] = [
        {"name": a} if isinstance(a, str) else a for a in scales[0].get("axes", "zyx")
    ]
    transforms = [*finest.get("coordinateTransformations", ())]
    transforms += scales[0].get("coordinateTransformations", ())
    scale = np.prod([t["scale"] for t in transforms if t["type"] == "scale"] or [[1]], axis=0)
    if len(axes) != array.ndim or (transforms and len(scale) != array.ndim):
        raise InputError("its axes are not those of its array")
    voxels = _three_axes(array, [None if a["name"] in "zyx" else a["name"] for a in axes], channel)
    space = [i for i, a in enumerate(axes) if a["name"] in "zyx"]
    units = [axes[i].get("unit") for i in space]
    sizes = [
        float(scale[i]) if transforms and u else None for i, u in zip(space, units, strict=True)
    ]
    words = [str((axes[i].get("orientation") or {}).get("value", "")) for i in space]
    said = of_words(words)
    by = "its axes' orientation" if said else ""
    return Volume(voxels, _sizes(sizes, voxels.shape, units[0]), said, by)


def _three_axes(voxels: Any, names: Sequence[str | None], channel: str | None) -> Any:
    """Choose the channel, drop other axes of length 1, and make a section a volume of one plane."""
    fixed: dict[int, int] = {}
    for axis, name in enumerate(names):
        size = int(voxels.shape[axis])
        if name is None:
            continue
        if size > 1 and name != "c":
            raise InputError(f"it has {size} steps along {name!r}: give one alone")
        if size > 1 and channel is None:
            raise InputError(f"it has {size} channels: say which with --channel, from 0")
        wanted = int(channel) if size > 1 and channel is not None and channel.isdigit() else 0
        if wanted >= size or (size > 1 and channel is not None and not channel.isdigit()):
            raise InputError(f"it has channels 0 to {size - 1}, not {channel}")
        fixed[axis] = wanted
    part = _Part(voxels, fixed) if fixed else voxels
    if len(part.shape) == 2:
        shape = (1, *part.shape)
        return _Lazy(shape, lambda: np.asarray(part[:, :]))
    return part


def _directed(
    voxels: Any,
    directions: npt.NDArray[np.float64],
    ends: str,
    unit: str | None,
    by: str,
    *,
    allen: bool = False,
) -> Volume:
    """Read orientation and voxel size from one vector an axis, in a world whose axes are known.

    Parameters
    ----------
    directions
        ``(3, 3)``, a row an axis of the array: the step from one voxel to the next.
    ends
        Where the axes of the world end: "RAS", "LPS".
    allen
        Whether the file may be one of the Allen Institute's, which say "left-posterior-superior"
        of axes that run (AP, DV, ML).
    """
    lengths = np.linalg.norm(directions, axis=1)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise InputError(f"{by} gives no size to its voxels")
    along = np.abs(directions).argmax(axis=1)
    steps = directions[np.arange(3), along]
    tilt = np.degrees(np.arccos(np.clip(np.abs(steps) / lengths, -1, 1))).max()
    if tilt > MOST_TILT_DEGREES or len(set(along.tolist())) < 3:
        raise InputError(
            f"{by} turns its axes by {tilt:.0f} degrees: write it along the atlas's axes first"
        )
    sizes = _sizes(lengths, voxels.shape, unit)
    extents = [n * um for n, um in zip(voxels.shape, sizes, strict=True) if um]
    if allen and (directions == np.diag(lengths)).all() and _is_allen(extents):
        return Volume(voxels, sizes, "asl", "its size, the Allen Institute's")
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    world = [ends[axis].upper() for axis in along]
    turned = [end if step > 0 else opposite[end] for end, step in zip(world, steps, strict=True)]
    return Volume(voxels, sizes, of_axis_ends(turned), by)


def _is_allen(extents_um: Sequence[float]) -> bool:
    return bool(np.allclose(extents_um, ALLEN_EXTENT_UM, rtol=1e-3)) if extents_um else False


def _sizes(sizes: Any, shape: Sequence[int], unit: str | None) -> tuple[Size, Size, Size]:
    """Voxel sizes in um. Without a unit they are mm, as these formats have it, if that can be.

    1 without a unit is what writers put where they know nothing.
    """
    known = [None if s is None or not 0 < float(s) < np.inf else float(s) for s in sizes]
    if not unit and set(known) <= {1.0, None}:
        return None, None, None
    factor = to_um(unit) if unit else 1000.0
    if factor is None:
        raise InputError(f"its sizes are in {unit!r}, which is no unit of length known here")
    extents = [n * s * factor for n, s in zip(shape, known, strict=True) if s is not None]
    if not unit and extents and max(extents) > LARGEST_BRAIN_UM:
        factor = 1.0
    first, second, third = (None if s is None else s * factor for s in known)
    return first, second, third


READERS: dict[str, Callable[[Path, str | None], Volume]] = {
    ".nii": _nifti,
    ".nii.gz": _nifti,
    ".nrrd": _nrrd,
    ".nhdr": _nrrd,
    ".mhd": _itk,
    ".mha": _itk,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".png": _image,
    ".jpg": _image,
    ".jpeg": _image,
    ".npy": _npy,
    ".zarr": _zarr,
}
