"""A plane of an atlas laid on a population: which structure lies in which pixel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Labels, Mask
from napari_brainvae.atlas.atlas import Atlas, Side, of_side, outlines
from napari_brainvae.atlas.ontology import StructureTree
from napari_brainvae.io.errors import InputError

FINE = 600
"""Pixels across which borders are about as thin as a screen shows them."""


class AtlasRegion(NamedTuple):
    """A structure, with all its parts, on both sides of the animal or on one."""

    acronym: str
    side: Side = "both"

    @property
    def name(self) -> str:
        """``SSp``, or ``SSp (left)``."""
        return self.acronym if self.side == "both" else f"{self.acronym} ({self.side})"


@dataclass(frozen=True, eq=False)
class AtlasSection:
    """One plane of an atlas, in the pixels of a population's sections.

    What is asked of it is computed once. It never changes, so that it may go into other threads; to
    another plane belongs another section.

    Attributes
    ----------
    atlas
        Structures and annotated volume.
    plane
        Index of the coronal plane.
    shape
        ``(H, W)`` of the sections, which share their centre with the plane.
    pixel_size_um
        Side of a pixel.

    Examples
    --------
    >>> section = AtlasSection.lay(Atlas.open(directory), 286, (320, 448), 25.0)  # doctest: +SKIP
    >>> section.mask("SSp", "left").sum()  # doctest: +SKIP
    2818
    """

    atlas: Atlas
    plane: int
    shape: tuple[int, int]
    pixel_size_um: float

    @classmethod
    def lay(
        cls,
        atlas: Atlas,
        plane: int,
        shape: tuple[int, int] | None = None,
        pixel_size_um: float | None = None,
    ) -> AtlasSection:
        """Cut a plane for sections ``(H, W)``; by default all of it, in the atlas's own voxels.

        Raises
        ------
        InputError
            If there is no such plane, or the sections have no pixels.
        """
        height, width = atlas.shape[1:] if shape is None else shape
        section = cls(atlas, plane, (height, width), pixel_size_um or atlas.resolution_um)
        _ = section.labels  # what cannot be cut is refused here
        return section

    def cropped(self, shape: tuple[int, int]) -> AtlasSection:
        """Give the same plane for sections that were cropped about their centre to ``shape``."""
        return self if shape == self.shape else replace(self, shape=shape)

    @cached_property
    def labels(self) -> Labels:
        """``(H, W)`` uint32, the structure's id in each pixel; 0 is outside the brain."""
        return self.atlas.section(self.plane, self.shape, self.pixel_size_um)

    @cached_property
    def borders(self) -> Mask:
        """``(H, W)`` bool, borders between structures."""
        return outlines(self.labels)

    @property
    def fineness(self) -> int:
        """How many pixels of `thin_borders` a pixel of the section is wide and high."""
        return max(1, FINE // max(self.shape))

    @cached_property
    def thin_borders(self) -> Mask:
        """Borders between structures on a grid `fineness` times as fine, ``(f H, f W)`` bool."""
        return self.thin(self.labels)

    def thin(self, labels: Any) -> Mask:
        """Borders of labels ``(H, W)`` on the fine grid."""
        fine = labels.repeat(self.fineness, axis=0).repeat(self.fineness, axis=1)
        return outlines(fine)

    @cached_property
    def tissue(self) -> Mask:
        """``(H, W)`` bool, where the annotation says that there is brain."""
        return np.asarray(self.labels > 0)

    @cached_property
    def left(self) -> Mask:
        """``(H, W)`` bool, the animal's left half; see `Atlas.left`."""
        return self.atlas.left(self.plane, self.shape, self.pixel_size_um)

    @cached_property
    def ids(self) -> npt.NDArray[np.uint32]:
        """Ids that the section shows, ascending; the ontology need not know all of them."""
        ids = np.unique(self.labels)
        return ids[ids > 0]

    @cached_property
    def numbers(self) -> npt.NDArray[np.int32]:
        """``(H, W)``; 0 is outside, i is ``ids[i - 1]``.

        The atlas's own ids, up to 600 million, are more than a label colormap can hold.
        """
        position = np.searchsorted(self.ids, self.labels) + 1
        return np.where(self.tissue, position, 0).astype(np.int32)

    @cached_property
    def present(self) -> set[int]:
        """Ids of the structures in the section that are known, and of all they are part of."""
        known = [self.atlas.structure(key) for key in self.ids.tolist() if key in self.atlas.names]
        return {key for structure in known for key in structure.path}

    @cached_property
    def inside(self) -> float:
        """Share of the plane's brain that lies within the sections; NaN where it shows none."""
        whole = int((self.atlas.plane(self.plane) > 0).sum()) * self.atlas.resolution_um**2
        here = int(self.tissue.sum()) * self.pixel_size_um**2
        return min(here / whole, 1.0) if whole else float("nan")

    @cached_property
    def structures(self) -> dict[str, Mask]:
        """Masks ``(H, W)`` of the structures that the annotation itself shows, by acronym.

        Each without its parts: no two overlap.
        """
        here = set(self.ids.tolist())
        return {s.acronym: self.labels == s.id for s in self.atlas if s.id in here}

    def name(self, key: int) -> str:
        """Acronym and full name of an id, also of one that the ontology does not know."""
        return self.atlas.names.get(int(key), f"{key}: not in the atlas's list of structures")

    def mask(self, key: str | int, side: Side = "both") -> Mask:
        """Where a structure and its parts lie, ``(H, W)`` bool; False everywhere if nowhere.

        Parameters
        ----------
        key
            Acronym, full name or id.
        side
            As `Atlas.mask` takes it.

        Raises
        ------
        InputError
            If the atlas has no such structure, or there is no such side.
        """
        return of_side(self.atlas.within(self.labels, key), side, self.left)

    def region(self, region: AtlasRegion) -> Mask:
        """Where a region lies, ``(H, W)`` bool.

        Raises
        ------
        InputError
            If it is not in this section.
        """
        mask = self.mask(*region)
        if not mask.any():
            raise InputError(
                f"{region.name} is not in this section: plane {self.plane} of the atlas"
            )
        return mask

    def regions(self, keys: Sequence[str], side: Side = "both") -> dict[str, Mask]:
        """Masks ``(H, W)`` of several structures, with all their parts, by the given keys.

        Raises
        ------
        InputError
            If one does not exist; if some are not in this section, naming them all.
        """
        masks = {key: self.mask(key, side) for key in keys}
        absent = [key for key, mask in masks.items() if not mask.any()]
        if absent:
            raise InputError(f"not in plane {self.plane} of the atlas: {', '.join(absent)}")
        return masks

    def regions_here(self, regions: Iterable[AtlasRegion]) -> dict[str, Mask]:
        """Masks ``(H, W)`` of those regions that are in this section, by name."""
        masks = {region.name: self.mask(*region) for region in regions}
        return {name: mask for name, mask in masks.items() if mask.any()}


def labels_and_tree(
    section: AtlasSection | None,
) -> tuple[Labels | None, StructureTree | None]:
    """``(H, W)`` structure ids under the sections and what they mean; nothing without an atlas."""
    return (None, None) if section is None else (section.labels, section.atlas)


def measured_regions(section: AtlasSection | None, keys: Sequence[str]) -> dict[str, Mask]:
    """Masks ``(H, W)`` of these structures, or of all that the section shows; none without atlas.

    Raises
    ------
    InputError
        If structures are named without an atlas, or one that is not there.
    """
    if section is None:
        if keys:
            raise InputError(f"the regions {', '.join(keys)} need an atlas: give it (--atlas)")
        return {}
    return section.regions(keys) if keys else section.structures


def place_of(section: AtlasSection | None) -> dict[str, Any]:
    """What a record says of the plane under the sections; nothing without an atlas."""
    if section is None:
        return {}
    return {
        "plane": section.plane,
        "pixel_size_um": section.pixel_size_um,
        "atlas": str(section.atlas.directory),
        "atlas_orientation": section.atlas.orientation,
    }
