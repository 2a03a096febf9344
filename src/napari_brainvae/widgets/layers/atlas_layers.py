"""What the atlas's layers show, and what other widgets learn from them. Without Qt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal

from napari_brainvae.arrays import Labels as LabelImage
from napari_brainvae.arrays import Mask
from napari_brainvae.atlas.atlas import Atlas, Side, outlines
from napari_brainvae.atlas.regions import DEFAULT_REGIONS
from napari_brainvae.io.errors import InputError
from napari_brainvae.widgets.layers.section_layers import MADE_HERE, add_quietly, update_layer

ATLAS = "brainvae_atlas"
"""Metadata key of the layer that shows an atlas; its value is an `AtlasPlane`."""

CLEAR = (0.0, 0.0, 0.0, 0.0)
UNKNOWN = (0.6, 0.6, 0.6, 1.0)


class AtlasRegion(NamedTuple):
    """A structure that is to be perturbed."""

    acronym: str
    side: Side = "both"

    @property
    def name(self) -> str:
        """``SSp``, or ``SSp (left)``."""
        return self.acronym if self.side == "both" else f"{self.acronym} ({self.side})"


class AtlasPlane:
    """The plane on show, and the structures that were chosen as regions.

    Signals
    -------
    changed
        Another plane, or other regions.
    """

    changed = Signal()

    def __init__(self, atlas: Atlas, plane: int, pixel_size_um: float) -> None:
        self.atlas, self.plane, self.pixel_size_um = atlas, plane, pixel_size_um
        self.regions = [AtlasRegion(name) for name in DEFAULT_REGIONS if self._has(name)]

    def show(self, atlas: Atlas, plane: int, pixel_size_um: float) -> None:
        """Go to another plane; regions that another atlas does not know are dropped."""
        if atlas is not self.atlas:
            known = {structure.acronym for structure in atlas}
            self.regions = [region for region in self.regions if region.acronym in known]
        self.atlas, self.plane, self.pixel_size_um = atlas, plane, pixel_size_um
        self.changed.emit()

    def add(self, region: AtlasRegion) -> None:
        """Choose a structure as a region, once."""
        if region not in self.regions:
            self.regions.append(region)
            self.changed.emit()

    def remove(self, region: AtlasRegion) -> None:
        """Choose it no longer."""
        self.regions.remove(region)
        self.changed.emit()

    def mask(self, region: AtlasRegion, shape: tuple[int, int]) -> partial[Mask]:
        """Give what makes a region's mask, in the plane that is on show now, in any thread."""
        return partial(structure_mask, self.atlas, self.plane, self.pixel_size_um, region, shape)

    def _has(self, acronym: str) -> bool:
        try:
            return bool(self.atlas.mask(acronym, self.plane).any())
        except ValueError:
            return False


def structure_mask(
    atlas: Atlas, plane: int, pixel_size_um: float, region: AtlasRegion, shape: tuple[int, int]
) -> Mask:
    """Where a region lies in a section ``(H, W)``.

    Raises
    ------
    ValueError
        If it is not in this plane.
    """
    mask = atlas.mask(region.acronym, plane, region.side, shape=shape, pixel_size_um=pixel_size_um)
    if not mask.any():
        raise InputError(f"{region.name} is not in this section: plane {plane} of the atlas")
    return mask


@dataclass(frozen=True, eq=False)
class DrawnPlane:
    """A plane as layers show it.

    Attributes
    ----------
    labels
        ``(H, W)`` int32; 0 is outside, i is ``ids[i - 1]``. The atlas's own ids, up to 600 million,
        are more than a label colormap can hold.
    ids
        Structures in the plane.
    borders
        ``(H, W)`` bool.
    """

    atlas: Atlas
    plane: int
    pixel_size_um: float
    labels: npt.NDArray[np.int32]
    ids: npt.NDArray[np.uint32]
    borders: Mask

    @property
    def features(self) -> pd.DataFrame:
        """Name of every label, which napari shows for the one under the cursor."""
        return pd.DataFrame(
            {"index": np.arange(1, len(self.ids) + 1), "structure": [*map(self.name, self.ids)]}
        )

    @property
    def colormap(self) -> DirectLabelColormap:
        """Official colours."""
        official = self.atlas.colors
        colors: dict[int | None, Any] = {None: CLEAR, 0: CLEAR}
        colors |= {i: official.get(int(key), UNKNOWN) for i, key in enumerate(self.ids, start=1)}
        return DirectLabelColormap(color_dict=colors)

    def name(self, key: int) -> str:
        """Acronym and full name of a structure."""
        return self.atlas.names.get(int(key), f"{key}: not in the atlas's list of structures")

    def present(self) -> set[int]:
        """Ids of the structures in the plane, and of all that they are part of."""
        known = [self.atlas.structure(int(key)) for key in self.ids if int(key) in self.atlas.names]
        return {key for structure in known for key in structure.path}


def draw_plane(
    atlas: Atlas, plane: int, shape: tuple[int, int] | None, pixel_size_um: float
) -> DrawnPlane:
    """Cut a plane for a section ``(H, W)``; all of it, in its own voxels, without one."""
    cut: LabelImage
    cut = atlas.plane(plane) if shape is None else atlas.section(plane, shape, pixel_size_um)
    ids = np.unique(cut)
    ids = ids[ids > 0]
    labels = np.where(cut > 0, np.searchsorted(ids, cut) + 1, 0).astype(np.int32)
    return DrawnPlane(atlas, plane, pixel_size_um, labels, ids, outlines(cut))


def add_plane(
    viewer: Any, drawn: DrawnPlane, geometry: dict[str, Any], name: str
) -> dict[str, Layer]:
    """Add the layers of a plane: colours, and borders above them."""
    labels = Labels(
        drawn.labels,
        name=f"atlas: {name}",
        opacity=0.4,
        colormap=drawn.colormap,
        features=drawn.features,
        metadata={ATLAS: AtlasPlane(drawn.atlas, drawn.plane, drawn.pixel_size_um), MADE_HERE: 1},
        **geometry,
    )
    labels.editable = False
    borders = Image(
        drawn.borders.astype(np.float32),
        name=f"outlines: {name}",
        colormap="gray",
        blending="additive",
        opacity=0.6,
        contrast_limits=(0, 1),
        metadata={MADE_HERE: "outlines"},
        **geometry,
    )
    add_quietly(viewer, labels)
    add_quietly(viewer, borders)
    return {"atlas": labels, "outlines": borders}


def update_plane(
    layers: dict[str, Layer], drawn: DrawnPlane, geometry: dict[str, Any], name: str
) -> None:
    """Put another plane into the layers that `add_plane` made."""
    if (labels := layers.get("atlas")) is not None:
        update_layer(labels, drawn.labels, f"atlas: {name}", geometry)
        labels.features, labels.colormap = drawn.features, drawn.colormap
        labels.metadata[ATLAS].show(drawn.atlas, drawn.plane, drawn.pixel_size_um)
    if (borders := layers.get("outlines")) is not None:
        update_layer(borders, drawn.borders.astype(np.float32), f"outlines: {name}", geometry)


def is_atlas(layer: Layer) -> bool:
    """Whether a layer shows an atlas."""
    return isinstance(layer, Labels) and ATLAS in layer.metadata
