"""An offer to make sections fit the model: by their micrometres, without negative values."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import napari.viewer
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_brainvae.data.population import Population
from napari_brainvae.data.resampling import Grid, fit_sections, misfit
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model
from napari_brainvae.widgets.layers.section_layers import add_quietly, population_layer
from napari_brainvae.widgets.workspace import workspace_of

_known: WeakKeyDictionary[Image, tuple[Population, Model, str]] = WeakKeyDictionary()
"""What was found out of a layer's pixels, once for all panels."""


class FitOffer(QWidget):
    """Says why sections do not fit the model, with a button that makes a layer of some that do."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer, self.workspace = viewer, workspace_of(viewer)
        self.why = QLabel(wordWrap=True, textFormat=Qt.TextFormat.PlainText)
        self.why.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.button = QPushButton("Make them fit")
        self.button.setToolTip(
            "<p>Open a layer of these sections, resampled by their micrometres, cropped or padded "
            "about the midline, and without background where there are negative values. The "
            "sections stay as they are.</p>"
        )
        self.button.clicked.connect(self.fit)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.why)
        layout.addWidget(self.button)
        self.tell()

    def tell(self) -> None:
        """Offer it if it is needed."""
        why = self._misfit()
        self.why.setText(f"{why}." if why else "")
        self.setVisible(bool(why))

    def fit(self, event: object = None, *, pixel_size_um: float | None = None) -> None:
        """Open a layer of sections that fit the model; asks for what nothing says."""
        known = self.workspace
        layer, population, model = known.sections, known.population, known.model
        if layer is None or population is None or model is None:
            return
        size = population.description.pixel_size_um or pixel_size_um
        grid = Grid(model.shape, model.header.pixel_size_um or size or 1.0)
        if size is None and population.shape == model.shape:
            size = grid.pixel_size_um  # nothing is resampled
        elif size is None and (size := self._asked()) is None:
            return
        try:
            fitted = fit_sections(population, grid, pixel_size_um=size, negatives="subtract")
        except InputError as error:
            self.workspace.say(f"{error}.")
            return
        name = layer.name
        data, options, _ = population_layer(fitted, f"{name}, made {grid}")
        self.workspace.make_room(Image(data, **options))
        add_quietly(self.viewer, Image(data, **options))
        layer.visible = False
        self.viewer.reset_view()
        made = fitted.description.source.rpartition("made ")[2]
        self.workspace.say(f"“{name}” was made to fit the model: {made}.")

    def _asked(self) -> float | None:
        text = "Side of a pixel of these sections, µm:"
        size, agreed = QInputDialog.getDouble(self, "Make them fit", text, 25, 0.01, 10_000, 3)
        return size if agreed else None

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
