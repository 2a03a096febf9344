"""A combo box of the layers that one thing of the workspace is chosen from."""

from __future__ import annotations

from typing import Any, Literal

import napari.viewer
from napari.layers import Layer
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox

from napari_brainvae.widgets.workspace import workspace_of


class LayerChoice(QObject):
    """Shows which layer all panels work on, and lets another be picked.

    Parameters
    ----------
    what
        Is chosen: sections, or the layer of an atlas.

    Signals
    -------
    changed
        Another layer is chosen, or none is left.
    altered
        The chosen layer's data were replaced, or lie elsewhere; an atlas shows another plane or
        has other regions.
    """

    changed, altered = Signal(), Signal()

    def __init__(
        self, viewer: napari.viewer.Viewer, what: Literal["sections", "atlas"], tooltip: str
    ) -> None:
        super().__init__()
        self.workspace = workspace_of(viewer)
        self._chosen = self.workspace.chosen(what)
        self._before = self.layer
        self._layers: list[Layer] = []
        self.native = QComboBox(toolTip=tooltip)
        # Long names of layers must not widen the dock.
        self.native.setMinimumContentsLength(8)
        shrink = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        self.native.setSizeAdjustPolicy(shrink)
        self.native.activated.connect(self._pick)
        self._chosen.changed.connect(self._follow)
        self.workspace.said_changed.connect(self._list)
        self._list()

    @property
    def layer(self) -> Any:
        """The chosen layer; None if there is none."""
        return self._chosen.layer

    @layer.setter
    def layer(self, layer: Layer) -> None:
        self._chosen.swap(layer)

    def release(self) -> None:
        """Leave no callback behind."""
        self._chosen.changed.disconnect(self._follow)
        self.workspace.said_changed.disconnect(self._list)

    def _pick(self, row: int) -> None:
        self.workspace.say("")  # it was said of what was chosen before
        self._chosen.swap(self._layers[row])

    def _follow(self) -> None:
        before, self._before = self._before, self.layer
        self._list()
        if self.layer is before:
            self.altered.emit()
        else:
            self.changed.emit()

    def _list(self) -> None:
        """List all that may be chosen, under the names of now."""
        self._layers = list(self._chosen.layers)
        self.native.clear()
        self.native.addItems([layer.name for layer in self._layers])
        self.native.setCurrentIndex(self._layers.index(self.layer) if self.layer else -1)
        self.native.setEnabled(bool(self._layers))
