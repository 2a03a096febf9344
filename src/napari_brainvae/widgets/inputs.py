"""What a result is computed from; with another of any of it, the result is out of date."""

from __future__ import annotations

from typing import Any, NamedTuple

from napari.layers import Image

from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.data.population import Population
from napari_brainvae.models.base import Model


class Inputs(NamedTuple):
    """What a result is computed from; another of any of these, and it is out of date."""

    sections: Image
    model: Model
    population: Population
    atlas: AtlasSection | None
    options: Any

    @property
    def cropped(self) -> bool:
        """Whether the model sees less than the whole sections: it crops them about their centre."""
        return tuple(self.population.shape) != self.model.shape

    def same(self, other: Inputs | None) -> bool:
        """Whether these are the same objects, and equal options."""
        if other is None:
            return False
        *mine, options = self
        return all(a is b for a, b in zip(mine, other, strict=False)) and options == other.options
