"""From what a user drew or chose to pixels: the one path from Shapes layer or atlas to mask.

A drawn region is a Shapes layer's shapes. `shapes_in_pixels` gives their outlines in the pixels of
the sections as the model crops them, and `Region` keeps those, for the file, too. A chosen region
is a structure of an `AtlasSection`, which knows the sections' pixels by itself. Both become a
`RequestedRegion`, whose mask ``(H, W)`` is made once, in the thread that first asks for it.
The list of regions gives the same object again while its `key` is the same, so that whoever keeps
it, and what was computed with its mask, need only compare identities: a slider's tick fills no
polygon, looks no structure up and validates nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Mask
from napari_brainvae.atlas.atlas_section import AtlasRegion, AtlasSection
from napari_brainvae.atlas.regions import Region, mask_to_polygons
from napari_brainvae.io.errors import InputError

if TYPE_CHECKING:
    from napari.layers import Layer, Shapes

REGION_LOOK: dict[str, Any] = {
    "shape_type": "polygon",
    "edge_color": "#ffcc33",
    "face_color": "#ffcc3340",
    "edge_width": 1,
}
"""How drawn regions are shown."""

Outline = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RequestedRegion:
    """A region as it was when it was asked for: its mask can be made in another thread.

    Attributes
    ----------
    name
        As the list of regions shows it.
    key
        What the mask is made of: two with equal keys have the same mask.
    """

    name: str
    key: tuple[Any, ...]
    _make: Callable[[], Mask]
    _drawn: Callable[[], Region] | None = None

    @classmethod
    def drawn(
        cls, name: str, outlines: list[Outline], shape: tuple[int, int], pixel_size_um: float | None
    ) -> RequestedRegion:
        """Ask for what outlines ``(n, 2)`` enclose in a section ``(H, W)``."""
        if not outlines:
            return cls.none(
                name,
                f"'{name}' is empty: draw a polygon, an ellipse or a rectangle in that layer",
            )
        region = partial(Region.from_polygons, name, outlines, shape, pixel_size_um)
        key = name, shape, pixel_size_um, *(outline.tobytes() for outline in outlines)
        return cls(name, key, lambda: region().to_mask(), region)

    @classmethod
    def chosen(cls, region: AtlasRegion, section: AtlasSection) -> RequestedRegion:
        """Ask for a structure of an atlas."""
        return cls(region.name, (region, section), partial(section.region, region))

    @classmethod
    def none(cls, name: str, reason: str) -> RequestedRegion:
        """Ask for a region that there cannot be."""

        def refuse() -> Mask:
            raise InputError(reason)

        return cls(name, (name, reason), refuse)

    @cached_property
    def mask(self) -> Mask:
        """``(H, W)`` bool.

        Raises
        ------
        InputError
            If there is no such region in the section.
        """
        return self._make()

    def to_file(self, pixel_size_um: float | None) -> Region:
        """Give the content of a region file: what was drawn, or else the outlines of the mask.

        Raises
        ------
        InputError
            If there is no such region in the section.
        """
        mask = self.mask  # an empty region is refused before a file is touched
        if self._drawn is not None:
            return self._drawn()
        height, width = mask.shape
        outlines = mask_to_polygons(mask)
        return Region.from_polygons(self.name, outlines, (height, width), pixel_size_um)


def shapes_in_pixels(shapes: Shapes, sections: Layer, shape: tuple[int, int]) -> list[Outline]:
    """Outlines of a Shapes layer's shapes, in pixels of the sections that they lie over.

    Scale, translation, rotation and affine transform of both layers are respected; all shapes
    count, on whichever brain they were drawn. A path is closed; a line has no inside.

    Parameters
    ----------
    shapes
        With two or more axes; the last two are those of the section.
    sections
        The image layer that the region is meant for.
    shape
        ``(H, W)`` of the model, which may have cropped the sections about their centre.

    Returns
    -------
    list of numpy.ndarray
        ``(n, 2)`` rows and columns; pixel centres are at whole numbers.
    """
    offset = (np.asarray(sections.data.shape[-2:]) - np.asarray(shape)) // 2
    to_world, from_world = _affine(shapes.data_to_world, shapes.ndim), _inverse(sections)
    outlines = []
    for kind, vertices in zip(shapes.shape_type, shapes.data, strict=True):
        corners = _apply(from_world, _apply(to_world, np.asarray(vertices))[:, -2:]) - offset
        if kind == "ellipse":
            corners = _ellipse(corners)
        if len(corners) > 2:
            outlines.append(corners)
    return outlines


def _ellipse(corners: Outline, count: int = 96) -> Outline:
    """Outline of the ellipse that touches the sides of a parallelogram ``(4, 2)``."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, None]
    first, second = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    ellipse = corners.mean(axis=0) + np.cos(angle) * first + np.sin(angle) * second
    return np.asarray(ellipse)


def _affine(transform: Any, size: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Matrix and offset of an affine function of points, from what it does to the unit vectors."""
    offset = np.asarray(transform(np.zeros(size)))
    columns = [np.asarray(transform(unit)) - offset for unit in np.eye(size)]
    return np.stack(columns, axis=1), offset


def _inverse(layer: Layer) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """World to pixels, of a layer's last two axes."""
    matrix, offset = _affine(layer.data_to_world, layer.ndim)
    inverse = np.linalg.inv(matrix[-2:, -2:])
    return inverse, -inverse @ offset[-2:]


def _apply(
    affine: tuple[npt.NDArray[Any], npt.NDArray[Any]], points: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    matrix, offset = affine
    return np.asarray(points @ matrix.T + offset, dtype=np.float64)
