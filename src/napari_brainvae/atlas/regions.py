"""Regions of a section: drawn as polygons, made of masks, kept in a file that opens again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import scipy  # whose modules are imported when they are first used
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from skimage import draw, measure  # whose functions are imported when they are first used

from napari_brainvae.arrays import Labels, Mask
from napari_brainvae.io.atomic_files import write_text
from napari_brainvae.io.errors import InputError, MissingFileError
from napari_brainvae.io.regular_files import regular_file

Polygon = npt.NDArray[np.float64]
Side = Annotated[int, Field(ge=1, le=8192)]
"""Pixels; a larger number in a file is damage, and would take all memory."""

DEFAULT_REGIONS = ("SSp", "RSP", "HPF", "STR", "TH", "HY")
"""The paper's six (section 3.3)."""


class Region(BaseModel):
    """A region as its outlines, with the geometry of the section it was drawn on.

    Outlines are in pixels of that section: (row, column), (0, 0) being the centre of the first
    pixel. The region is the union of its outlines.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["napari-brainvae region 1"] = "napari-brainvae region 1"
    name: str = Field(min_length=1)
    shape: tuple[Side, Side] = Field(description="Rows and columns of the section.")
    pixel_size_um: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Side of a pixel, um."
    )
    polygons: tuple[tuple[tuple[float, float], ...], ...] = Field(min_length=1)

    @field_validator("polygons")
    @classmethod
    def _usable(cls, polygons: Any) -> Any:
        if any(len(polygon) < 3 for polygon in polygons):
            raise InputError("an outline needs at least 3 vertices")
        if not all(np.isfinite(polygon).all() for polygon in polygons):
            raise InputError("an outline has vertices that are not finite")
        return polygons

    @classmethod
    def from_polygons(
        cls,
        name: str,
        polygons: Iterable[npt.ArrayLike],
        shape: tuple[int, int],
        pixel_size_um: float | None = None,
    ) -> Region:
        """Make a region of outlines ``(n, 2)``, in pixels of a section of ``shape``.

        Raises
        ------
        InputError
            If there is no outline, or one of fewer than 3 or of infinite vertices.
        """
        outlines = tuple(
            tuple((float(row), float(column)) for row, column in np.asarray(polygon))
            for polygon in polygons
        )
        try:
            return cls(name=name, shape=shape, pixel_size_um=pixel_size_um, polygons=outlines)
        except ValidationError as error:
            raise InputError(f"region {name!r}: {_plain(error)}") from None

    @classmethod
    def from_mask(cls, name: str, mask: Mask, pixel_size_um: float | None = None) -> Region:
        """Make a region of a mask ``(H, W)``, with outlines that can be edited.

        Raises
        ------
        InputError
            If the mask is empty.
        """
        height, width = mask.shape
        return cls.from_polygons(name, mask_to_polygons(mask), (height, width), pixel_size_um)

    def to_mask(
        self, shape: tuple[int, int] | None = None, pixel_size_um: float | None = None
    ) -> Mask:
        """Pixels whose centre lies in one of the outlines.

        Parameters
        ----------
        shape, pixel_size_um
            Of the section the mask is for, if not the one the region was drawn on. The two sections
            are taken to have the same centre, as all crops of one plane have.

        Returns
        -------
        numpy.ndarray
            ``(H, W)`` bool.

        Raises
        ------
        InputError
            If no pixel of the section is in the region, or another section has no known scale.
        """
        shape = shape or self.shape
        here, there = self.pixel_size_um, pixel_size_um or self.pixel_size_um
        if shape != self.shape and not (here and there):
            raise InputError(
                f"region {self.name!r} was drawn on a section of {self.shape} px, not {shape}, and "
                "the pixel size of one of them is not known"
            )
        mask = polygons_to_mask(self.placed(shape, there), shape)
        if not mask.any():
            raise InputError(f"region {self.name!r} is empty: no pixel of it lies in the section")
        return mask

    def placed(self, shape: tuple[int, int], pixel_size_um: float | None) -> list[Polygon]:
        """Outlines ``(n, 2)`` in pixels of a section ``(H, W)`` that has the same centre.

        Where one of the two pixel sizes is not known, they are taken to be the same.
        """
        here = self.pixel_size_um
        ratio = here / pixel_size_um if here and pixel_size_um else 1.0
        centre, new_centre = (np.array(size) / 2 - 0.5 for size in (self.shape, shape))
        return [(np.array(outline) - centre) * ratio + new_centre for outline in self.polygons]

    def save(self, path: str | Path) -> None:
        """Write the region as JSON, in one step."""
        write_text(path, json.dumps(self.model_dump(mode="json"), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Region:
        """Open a region that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        InputError
            If it is not a region.
        """
        path = Path(path)
        if not path.exists():
            raise MissingFileError(f"no such region file: {path}")
        try:
            return cls.model_validate_json(regular_file(path).read_bytes())
        except ValidationError as error:
            raise InputError(f"{path.name} is no region file: {_plain(error)}") from None


def polygons_to_mask(polygons: Iterable[npt.ArrayLike], shape: tuple[int, int]) -> Mask:
    """Union of outlines ``(n, 2)`` in pixels; what lies outside ``shape`` is cut off."""
    mask = np.zeros(shape, dtype=bool)
    for polygon in polygons:
        mask |= draw.polygon2mask(shape, np.asarray(polygon, dtype=np.float64))
    return mask


def mask_to_polygons(mask: npt.NDArray[Any], tolerance: float = 0.5) -> list[Polygon]:
    """Outlines of a mask ``(H, W)`` that can be edited as shapes.

    Shapes have no holes: a part with a hole is cut in two through the hole's middle.

    Parameters
    ----------
    tolerance
        How far an outline may be off, px. More gives fewer vertices to edit.

    Returns
    -------
    list of numpy.ndarray
        ``(n, 2)`` closed outlines, last vertex not repeated, one or more for each part.

    Raises
    ------
    InputError
        If the mask is empty.
    """
    mask = np.asarray(mask, dtype=bool)
    if not mask.any():
        raise InputError("the region is empty: it has no outline")
    labels, _ = scipy.ndimage.label(mask)
    return [
        outline
        for part, where in enumerate(scipy.ndimage.find_objects(labels), start=1)
        for outline in _outlines(labels[where] == part, _corner(where), tolerance)
    ]


def _outlines(part: Mask, corner: Polygon, tolerance: float) -> list[Polygon]:
    """Outlines of one connected part that lies at ``corner``."""
    holes = scipy.ndimage.binary_fill_holes(part) & ~part
    if holes.any():
        middle = int(np.flatnonzero(holes.any(axis=0)).mean()) + 1
        left, right = part.copy(), part.copy()
        left[:, middle:], right[:, :middle] = False, False
        halves = (mask_to_polygons(half, tolerance) for half in (left, right))
        return [outline + corner for half in halves for outline in half]
    (contour, *_) = measure.find_contours(np.pad(part, 1).astype(float), 0.5)
    simple = measure.approximate_polygon(contour, tolerance)
    # A part of a pixel or two would be simplified away.
    closed = simple if len(simple) > 4 else contour
    return [closed[:-1] - 1 + corner]


def _corner(where: tuple[slice, ...]) -> Polygon:
    return np.array([axis.start for axis in where], dtype=np.float64)


def _plain(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}".removeprefix(": ")


def edges(labels: Labels | Mask) -> npt.NDArray[np.float64]:
    """Borders between pixels of different labels, as straight lines between the pixels.

    Unlike a border of pixels they cover nothing, and may be drawn as thin as one likes.

    Parameters
    ----------
    labels
        ``(H, W)``; beyond the section everything is 0.

    Returns
    -------
    numpy.ndarray
        ``(n, 2, 2)``: two ends, each row and column, where a pixel's centre is whole numbers.
    """
    padded = np.pad(labels, 1)
    upright = _runs((padded[:, 1:] != padded[:, :-1]).T)[..., ::-1]
    level = _runs(padded[1:] != padded[:-1])
    return np.asarray(np.concatenate([upright, level]) - 1.0)


def _runs(borders: Mask) -> npt.NDArray[np.float64]:
    """Give both ends ``(n, 2, 2)`` of each row's runs of borders, which lie below that row."""
    change = np.diff(np.pad(borders, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    ends = np.stack([np.argwhere(change == 1), np.argwhere(change == -1)], axis=1)
    return np.asarray(ends + np.array([0.5, -0.5]))
