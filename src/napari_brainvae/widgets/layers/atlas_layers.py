"""What the atlas's layers show, and what other widgets learn from them. Without Qt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap, DirectLabelColormap
from psygnal import Signal
from scipy.ndimage import binary_dilation

from napari_brainvae.atlas.atlas_section import AtlasRegion, AtlasSection
from napari_brainvae.atlas.regions import DEFAULT_REGIONS
from napari_brainvae.io.errors import InputError
from napari_brainvae.widgets.layers.section_layers import (
    MADE_BY,
    MADE_HERE,
    PLACE,
    add_quietly,
    update_layer,
)

ATLAS = "brainvae_atlas"
"""Metadata key of the layer that shows an atlas; its value is an `AtlasSelection`."""

OWNER = "Atlas"
"""The panel that makes these layers, and finds them again."""

CLEAR = (0.0, 0.0, 0.0, 0.0)
UNKNOWN = (0.6, 0.6, 0.6, 1.0)

PICKED = Colormap([CLEAR, (0.95, 0.83, 0.05, 1.0)], name="picked")
"""Of the structure that is looked at: neither sections nor outlines nor fields have it."""


class AtlasSelection:
    """The section on show, and the structures that were chosen as regions.

    Signals
    -------
    changed
        Another section, or other regions.
    picked_changed
        Another structure is looked at, or none.
    """

    changed, picked_changed = Signal(), Signal()

    def __init__(self, section: AtlasSection) -> None:
        self._sections = {section.shape: section}
        self.section = section
        self.picked: AtlasRegion | None = None
        known = {structure.acronym for structure in section.atlas}
        paper = [AtlasRegion(name) for name in DEFAULT_REGIONS if name in known]
        self.regions = [region for region in paper if section.mask(*region).any()]

    def show(self, section: AtlasSection) -> None:
        """Go to another section; regions that another atlas does not know are dropped."""
        if section.atlas is not self.section.atlas:
            known = {structure.acronym for structure in section.atlas}
            self.regions = [region for region in self.regions if region.acronym in known]
            # It may not have the structure, or call another one so.
            self.pick(None)
        self._sections = {section.shape: section}
        self.section = section
        self.changed.emit()

    def cropped(self, shape: tuple[int, int]) -> AtlasSection:
        """Give the section as a model crops it: the same object as long as it is on show."""
        return self._sections.setdefault(shape, self.section.cropped(shape))

    def laid_on(self, shape: tuple[int, int]) -> AtlasSection:
        """Give the section as a model crops it, refusing one of smaller sections."""
        laid = self.section.shape
        if any(have < want for have, want in zip(laid, shape, strict=True)):
            raise InputError(
                f"the atlas is laid on sections of {laid[0]} x {laid[1]} px, the model needs "
                f"{shape[0]} x {shape[1]} px: open it in the panel Atlas again, over these sections"
            )
        return self.cropped(shape)

    def pick(self, region: AtlasRegion | None) -> None:
        """Look at a structure, or at none."""
        if region != self.picked:
            self.picked = region
            self.picked_changed.emit()

    def add(self, region: AtlasRegion) -> None:
        """Choose a structure as a region, once."""
        if region not in self.regions:
            self.regions.append(region)
            self.changed.emit()

    def remove(self, region: AtlasRegion) -> None:
        """Choose it no longer."""
        self.regions.remove(region)
        self.changed.emit()


def features(section: AtlasSection) -> pd.DataFrame:
    """Name of every number, which napari shows for the one under the cursor."""
    names = [section.name(key) for key in section.ids]
    return pd.DataFrame({"index": np.arange(1, len(names) + 1), "structure": names})


def colormap(section: AtlasSection) -> DirectLabelColormap:
    """Official colours of the numbers."""
    official = section.atlas.colors
    colors: dict[int | None, Any] = {None: CLEAR, 0: CLEAR}
    colors |= {i: official.get(int(key), UNKNOWN) for i, key in enumerate(section.ids, start=1)}
    return DirectLabelColormap(color_dict=colors)


def add_plane(
    viewer: Any, section: AtlasSection, geometry: dict[str, Any], name: str
) -> dict[str, Layer]:
    """Add the layers of a plane: colours, and outlines above them.

    The colours are hidden while a panel shows a picture, whose colours they would change.
    """
    pictures = any(
        layer.visible and layer.metadata.get(MADE_BY, OWNER) != OWNER for layer in viewer.layers
    )
    labels = Labels(
        section.numbers,
        name=f"atlas: {name}",
        opacity=0 if pictures else 0.4,
        colormap=colormap(section),
        features=features(section),
        metadata={ATLAS: AtlasSelection(section), MADE_HERE: "atlas", MADE_BY: OWNER},
        **geometry,
    )
    labels.editable = False
    outlines = Image(
        section.thin_borders.astype(np.float32),
        name=f"outlines: {name}",
        colormap="gray",
        blending="additive",
        opacity=0.5,
        contrast_limits=(0, 1),
        metadata={MADE_HERE: "outlines", MADE_BY: OWNER},
        **_fine(geometry, section.fineness),
    )
    add_quietly(viewer, labels)
    add_quietly(viewer, outlines)
    return {"atlas": labels, "outlines": outlines}


def update_plane(
    layers: dict[str, Layer], section: AtlasSection, geometry: dict[str, Any], name: str
) -> None:
    """Put another plane into the layers that `add_plane` made."""
    if (labels := layers.get("atlas")) is not None:
        update_layer(labels, section.numbers, f"atlas: {name}", geometry)
        labels.features, labels.colormap = features(section), colormap(section)
        labels.metadata[ATLAS].show(section)
    if (outlines := layers.get("outlines")) is not None:
        picture = section.thin_borders.astype(np.float32)
        update_layer(outlines, picture, f"outlines: {name}", _fine(geometry, section.fineness))


def outline_picked(viewer: Any, atlas: Layer) -> None:
    """Outline the structure that is looked at, where it lies in the atlas layer; or nothing."""
    selection: AtlasSelection = atlas.metadata[ATLAS]
    about = {MADE_HERE: "structure", MADE_BY: OWNER}
    shown = next((e for e in viewer.layers if about.items() <= e.metadata.items()), None)
    region, section = selection.picked, selection.section
    if region is None:
        if shown is not None:
            viewer.layers.remove(shown)
        return
    line = binary_dilation(section.thin(section.mask(*region))).astype(np.float32)
    geometry: dict[str, Any] = {key: getattr(atlas, key) for key in (*PLACE, "axis_labels")}
    geometry = _fine(geometry | {"affine": atlas.affine.affine_matrix}, section.fineness)
    name = f"structure: {region.name}"
    if shown is not None:
        update_layer(shown, line, name, geometry)
        return
    look = {"colormap": PICKED, "contrast_limits": (0, 1), "blending": "translucent"}
    add_quietly(viewer, Image(line, name=name, metadata=about, **look, **geometry))


def hide_colours(viewer: Any) -> None:
    """Hide the atlas's colours; outlines and names stay."""
    for layer in viewer.layers:
        if is_atlas(layer):
            # Not by its eye: napari 0.9 crashes on a hidden layer of labels, never drawn, as soon
            # as the last stack is removed.
            layer.opacity = 0


def structure_at(viewer: Any, atlas: Layer) -> int | None:
    """Id of the structure under the cursor, whether the atlas's colours are shown or not."""
    section: AtlasSection = atlas.metadata[ATLAS].section
    position = np.asarray(viewer.cursor.position)[-2:]
    row, column = np.round(atlas.world_to_data(position)).astype(int)
    if not (0 <= row < section.shape[0] and 0 <= column < section.shape[1]):
        return None
    return int(section.labels[row, column]) or None


def _fine(geometry: dict[str, Any], times: int) -> dict[str, Any]:
    """Place a picture of so many times as fine pixels exactly on a coarser one."""
    scale, rotate = np.asarray(geometry["scale"]), np.asarray(geometry.get("rotate", np.eye(2)))
    corner = rotate @ (scale * (1 / times - 1) / 2)
    translate = np.asarray(geometry.get("translate", (0, 0))) + corner
    return geometry | {"scale": scale / times, "translate": translate}


def is_atlas(layer: Layer) -> bool:
    """Whether a layer shows an atlas."""
    return isinstance(layer, Labels) and ATLAS in layer.metadata
