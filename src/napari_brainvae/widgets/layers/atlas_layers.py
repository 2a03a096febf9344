"""What the atlas's layers show, and what other widgets learn from them. Without Qt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal

from napari_brainvae.atlas.atlas_section import AtlasRegion, AtlasSection
from napari_brainvae.atlas.regions import DEFAULT_REGIONS
from napari_brainvae.widgets.layers.section_layers import (
    MADE_BY,
    MADE_HERE,
    add_quietly,
    update_layer,
)

ATLAS = "brainvae_atlas"
"""Metadata key of the layer that shows an atlas; its value is an `AtlasSelection`."""

OWNER = "Atlas"
"""The panel that makes these layers, and finds them again."""

CLEAR = (0.0, 0.0, 0.0, 0.0)
UNKNOWN = (0.6, 0.6, 0.6, 1.0)


class AtlasSelection:
    """The section on show, and the structures that were chosen as regions.

    Signals
    -------
    changed
        Another section, or other regions.
    """

    changed = Signal()

    def __init__(self, section: AtlasSection) -> None:
        self._sections = {section.shape: section}
        self.section = section
        known = {structure.acronym for structure in section.atlas}
        paper = [AtlasRegion(name) for name in DEFAULT_REGIONS if name in known]
        self.regions = [region for region in paper if section.mask(*region).any()]

    def show(self, section: AtlasSection) -> None:
        """Go to another section; regions that another atlas does not know are dropped."""
        if section.atlas is not self.section.atlas:
            known = {structure.acronym for structure in section.atlas}
            self.regions = [region for region in self.regions if region.acronym in known]
        self._sections = {section.shape: section}
        self.section = section
        self.changed.emit()

    def cropped(self, shape: tuple[int, int]) -> AtlasSection:
        """Give the section as a model crops it: the same object as long as it is on show."""
        return self._sections.setdefault(shape, self.section.cropped(shape))

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
    """Add the layers of a plane: colours, and borders above them."""
    labels = Labels(
        section.numbers,
        name=f"atlas: {name}",
        opacity=0.4,
        colormap=colormap(section),
        features=features(section),
        metadata={ATLAS: AtlasSelection(section), MADE_HERE: "atlas", MADE_BY: OWNER},
        **geometry,
    )
    labels.editable = False
    borders = Image(
        section.borders.astype(np.float32),
        name=f"outlines: {name}",
        colormap="gray",
        blending="additive",
        opacity=0.6,
        contrast_limits=(0, 1),
        metadata={MADE_HERE: "outlines", MADE_BY: OWNER},
        **geometry,
    )
    add_quietly(viewer, labels)
    add_quietly(viewer, borders)
    return {"atlas": labels, "outlines": borders}


def update_plane(
    layers: dict[str, Layer], section: AtlasSection, geometry: dict[str, Any], name: str
) -> None:
    """Put another plane into the layers that `add_plane` made."""
    if (labels := layers.get("atlas")) is not None:
        update_layer(labels, section.numbers, f"atlas: {name}", geometry)
        labels.features, labels.colormap = features(section), colormap(section)
        labels.metadata[ATLAS].show(section)
    if (borders := layers.get("outlines")) is not None:
        update_layer(borders, section.borders.astype(np.float32), f"outlines: {name}", geometry)


def is_atlas(layer: Layer) -> bool:
    """Whether a layer shows an atlas."""
    return isinstance(layer, Labels) and ATLAS in layer.metadata
