"""The fields of all factors as layers: hidden above each other, or side by side."""

from __future__ import annotations

from typing import Any

from napari.layers import Layer

from napari_brainvae.factors.field_refinement import AllFields
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers, SideBySide


class AllFieldLayers:
    """A layer for each factor, among those that a panel has made.

    Parameters
    ----------
    made
        Where the layers are kept, as parts "F1" and so on.
    """

    def __init__(self, viewer: Any, made: PluginLayers) -> None:
        self._made, self._side_by_side = made, SideBySide(viewer)

    def show(self, fields: AllFields, sections: Layer, *, signed: bool, side_by_side: bool) -> None:
        """Show signed changes or variances, to lie over the sections or each in its own cell."""
        side_by_side = side_by_side and not self._made.behind
        for factor, pictures in enumerate(fields.pictures[signed]):
            part = f"F{factor + 1}"
            name = part if side_by_side else f"field: {part} (all)"
            self._made.show(part, pictures[side_by_side], sections, name, visible=False)
        if side_by_side:
            self._side_by_side.show([self._made[part] for part in self._parts()])
        else:
            self._side_by_side.end()

    def end(self) -> None:
        """Give the view back."""
        self._side_by_side.end()

    def remove(self) -> None:
        """Remove the layers, and give the view back."""
        self._side_by_side.end()
        for part in self._parts():
            self._made.remove(part)

    def _parts(self) -> list[str]:
        return [part for part in self._made if part.startswith("F")]
