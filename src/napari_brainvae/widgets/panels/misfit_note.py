"""Why sections do not fit the model, and what makes them fit."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import napari.viewer
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

from napari_brainvae.data.population import Population
from napari_brainvae.data.resampling import misfit
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model
from napari_brainvae.widgets.workspace import workspace_of

_known: WeakKeyDictionary[Image, tuple[Population, Model, str]] = WeakKeyDictionary()
"""What was found out of a layer's pixels, once for all panels."""


class MisfitNote(QLabel):
    """Says why sections do not fit the model, and which command makes a population that does."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(wordWrap=True, textFormat=Qt.TextFormat.PlainText)
        self.workspace = workspace_of(viewer)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.tell()

    def tell(self) -> None:
        """Say it if it is so."""
        why = self._misfit()
        self.setText(
            f"{why}. The panel Gather makes a population that fits a model." if why else ""
        )
        self.setVisible(bool(why))

    def _misfit(self) -> str:
        known = self.workspace
        layer, population, model = known.sections, known.population, known.model
        if layer is None or population is None or model is None:
            return ""
        before = _known.get(layer)
        if before is None or before[0] is not population or before[1] is not model:
            try:
                why = misfit(population, model.shape, model.header.pixel_size_um)
            except InputError:  # a section that cannot be read: the list of brains says which
                why = ""
            before = _known[layer] = population, model, why
        return before[2]
