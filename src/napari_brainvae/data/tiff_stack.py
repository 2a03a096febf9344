"""TIFF stacks: which pages are the sections of a population, and how large a pixel is."""

from __future__ import annotations

import logging
import math
import re
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_brainvae.data.lazy_sections import LazySections, RawSections, TiffSections, check_stack
from napari_brainvae.data.units import to_um
from napari_brainvae.io.complaints import complaints
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.regular_files import regular_file

log = logging.getLogger(__name__)

LOST = re.compile(
    r"TiffPages? |TiffFrame |shaped series"
    r"|<tifffile.TiffTag (?!(270|282|283|296|305|306|315|316) )([12]?\d?\d|3[0-3]\d) "
)
"""Complaints of tifffile after which pages are missing or misread; tags of descriptions, dates and
names say nothing of that."""


def open_tiff(path: Path) -> tuple[LazySections, float | None]:
    """Find the sections of a TIFF: all its series of pages, one after the other.

    Returns
    -------
    sections : LazySections
        ``(N, H, W)``.
    pixel_size_um : float or None
        What the file states of it.

    Raises
    ------
    InputError
        If the pages are not alike, in colour, or only one.
    """
    with opening(path) as tif:
        series = [s for s in tif.series if len(s.shape)]
        _check_alike(series)
        found = _sections(path, tif, series), voxel_size_um(tif)[2]
    return found


@contextmanager
def opening(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF, whatever its kind.

    Raises
    ------
    InputError
        If a page leads back to one before; at the end, if tifffile left out or misread pages on
        the way, of which it only complains.
    """
    with complaints("tifffile") as found, tifffile.TiffFile(regular_file(path)) as tif:
        _check_chain(tif)
        yield tif
    for complaint in found:
        if LOST.search(complaint):
            raise InputError(f"it is damaged, pages of it would be lost: {complaint}")


def _check_chain(tif: tifffile.TiffFile) -> None:
    """Refuse pages that lead in a circle, which tifffile would follow without end."""
    form, file, seen = tif.tiff, tif.filehandle, set()
    place = tif.pages.first.offset
    while place:
        if place in seen:
            raise InputError("it is damaged: a page leads back to one before it")
        seen.add(place)
        file.seek(place)
        count = file.read(form.tagnosize)
        if len(count) == form.tagnosize:
            tags = struct.unpack(form.tagnoformat, count)[0] * form.tagsize
            file.seek(place + form.tagnosize + tags)
        following = file.read(form.offsetsize)
        if len(following) < form.offsetsize:
            return  # it is cut short, of which tifffile complains
        place = struct.unpack(form.offsetformat, following)[0]


def _check_alike(series: list[Any]) -> None:
    kinds: Counter[str] = Counter()
    for one in series:
        if "S" in one.axes:
            raise InputError(f"colour images {one.shape}: give one channel, as (N, H, W)")
        shape = one.shape if len(one.shape) > 2 else (1, *one.shape)
        check_stack(shape, one.dtype)
        kinds[f"of {shape[1]} x {shape[2]} px ({one.dtype})"] += shape[0]
    if not kinds:
        raise InputError("there are no images in it")
    if len(kinds) > 1:
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        raise InputError(f"the pages are not alike: {counts}; give those of one kind")
    if kinds.total() == 1:
        raise InputError("one section is no population; give a stack of shape (N, H, W)")


def _sections(path: Path, tif: tifffile.TiffFile, series: list[Any]) -> LazySections:
    shape = series[0].shape[-2:]
    count = sum(one.size for one in series) // math.prod(shape)
    here = not any(one.is_multifile for one in series)
    if here and count < len(tif.pages) and all(len(one.levels) == 1 for one in series):
        raise InputError(f"it has {len(tif.pages)} pages, but describes {count} of them")
    if here and all(one.dataoffset is not None for one in series):
        dtype = np.dtype(tif.byteorder + series[0].dtype.char)
        size = math.prod(shape) * dtype.itemsize
        offsets = [
            one.dataoffset + size * np.arange(one.size // math.prod(shape), dtype=np.int64)
            for one in series
        ]
        return RawSections(path, np.concatenate(offsets), shape, dtype, native=True)
    pages = [page for one in series for page in one]
    missing = sum(page is None for page in pages)
    if missing:
        raise InputError(f"{missing} of {len(pages)} pages are not in the file")
    if len(pages) != count or any(page.shape != shape for page in pages):
        raise InputError("its pages hold more than one section each; save one page a section")
    return TiffSections(path, pages)


def voxel_size_um(tif: tifffile.TiffFile) -> tuple[float | None, float | None, float | None]:
    """Distance of pages, rows and columns that a TIFF states, um, as OME or ImageJ write it."""
    ome = tif.ome_metadata
    sizes = _ome_size_um(ome) if ome else _imagej_size_um(tif)
    for size in sizes:
        if size is not None and not 0 < size < math.inf:
            log.warning("%s states a pixel size of %s um, which is ignored", tif.filename, size)
            return None, None, None
    return sizes


def _imagej_size_um(tif: tifffile.TiffFile) -> tuple[float | None, float | None, float | None]:
    metadata = tif.imagej_metadata or {}
    um = to_um(str(metadata.get("unit", "")))
    sizes: list[float | None] = [None, None, None]
    if um is None:
        return None, None, None
    spacing = metadata.get("spacing")
    if isinstance(spacing, (int, float)):
        sizes[0] = spacing * um
    for axis, name in ((1, "YResolution"), (2, "XResolution")):
        tag = tif.pages.first.tags.get(name)
        if tag is not None and tag.value[0]:
            pixels_per_unit, units = tag.value
            sizes[axis] = units / pixels_per_unit * um
    return sizes[0], sizes[1], sizes[2]


def _ome_size_um(metadata: str) -> tuple[float | None, float | None, float | None]:
    """Read the sizes from OME-XML; what cannot be read does not state any."""
    try:
        image = tifffile.xml2dict(metadata)["OME"]["Image"]
        pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
        sizes: list[float | None] = []
        for axis in "ZYX":
            um = to_um(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
            stated = pixels.get(f"PhysicalSize{axis}")
            sizes.append(None if stated is None or um is None else float(stated) * um)
        return sizes[0], sizes[1], sizes[2]
    except (SyntaxError, LookupError, TypeError, ValueError, AttributeError):
        log.warning("the OME description cannot be read: no pixel size is taken from it")
    return None, None, None
