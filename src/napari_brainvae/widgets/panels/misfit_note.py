"""Why sections do not fit the model, and a button that makes some that do."""

from __future__ import annotations

from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

import napari.viewer
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Negatives
from napari_brainvae.data.resampling import Misfit, fit_to_model, misfit
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model
from napari_brainvae.widgets.layers.section_layers import (
    add_quietly,
    population_layer,
    population_of,
)
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.workspace import workspace_of

FITS = Misfit("", "")
UNKNOWN = 0.0
"""Size of pixels that nobody has given yet."""

_known: WeakKeyDictionary[Image, tuple[Population, Model, Misfit]] = WeakKeyDictionary()
"""What was found out of a layer's pixels, once for all panels."""


class MisfitNote(QWidget):
    """Says why sections do not fit the model, and opens a layer of some that do."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer, self.workspace = viewer, workspace_of(viewer)
        self.why = QLabel(wordWrap=True, textFormat=Qt.TextFormat.PlainText)
        self.why.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.button = QPushButton("Make them fit")
        self.button.setToolTip(
            "<p>Open a layer of these sections resampled by their micrometres, and cropped or "
            "padded about the midline. The sections stay as they are.</p>"
        )
        self.negatives = QComboBox()
        self.negatives.addItem("background subtracted", "subtract")
        self.negatives.addItem("negative values to 0", "clip")
        self.negatives.setToolTip(
            "<p>Where a section has negative values: take off the median along its edge, and put 0 "
            "where it is still below that; or only put 0.</p>"
        )
        self.size = QDoubleSpinBox(
            decimals=3, maximum=10_000, suffix=" µm", specialValueText="size of their pixels?"
        )
        self.size.setToolTip("Side of a pixel of these sections, which their file does not say.")
        self.job = JobBar()
        row = QHBoxLayout()
        row.addWidget(self.button)
        row.addWidget(self.negatives, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.why)
        layout.addWidget(self.size)
        layout.addLayout(row)
        layout.addWidget(self.job)
        self.button.clicked.connect(self.fit)
        self.size.valueChanged.connect(self._enable)
        self.job.changed.connect(self._enable)
        self.tell()

    def tell(self) -> None:
        """Say it if it is so."""
        found = self._misfit()
        self.why.setText(f"{found}." if any(found) else "")
        self.setVisible(any(found))
        self._enable()

    def fit(self, event: object = None) -> None:
        """Open a layer of sections that fit the model, made in the background."""
        known = self.workspace
        layer, population, model = known.sections, known.population, known.model
        if layer is None or population is None or model is None:
            return
        name = layer.name
        make = partial(
            fit_to_model,
            population,
            self._misfit(),
            model.shape,
            model.header.pixel_size_um,
            own_um=self.size.value() or None,
            negatives=cast("Negatives", self.negatives.currentData()),
        )
        self.job.run(
            "Making them fit",
            lambda _: population_layer(make(), f"{name}, fitted"),
            partial(self._open, layer),
            lambda: known.population is population and known.model is model,
        )

    def _open(self, layer: Image, made: tuple[Any, dict[str, Any], str]) -> None:
        """Show the sections that fit instead of those they were made from."""
        images, options, _ = made
        fitted = Image(images, **options)
        layer.visible = False
        self.workspace.make_room(fitted)
        add_quietly(self.viewer, fitted)
        self.viewer.reset_view()
        done = population_of(fitted).description.source.replace(" um", " µm")
        self.workspace.say(f"“{fitted.name}” fits the model: {done}.")

    def _enable(self) -> None:
        """Ask for the size of pixels where it is needed and nothing says it."""
        found, population = self._misfit(), self.workspace.population
        has_size = population is None or population.description.pixel_size_um is not None
        asked = bool(found.sizes) and not has_size
        self.size.setVisible(asked)
        given = not asked or self.size.value() != UNKNOWN
        self.button.setEnabled(given and not self.job.running)

    def _misfit(self) -> Misfit:
        known = self.workspace
        layer, population, model = known.sections, known.population, known.model
        if layer is None or population is None or model is None:
            return FITS
        before = _known.get(layer)
        if before is None or before[0] is not population or before[1] is not model:
            try:
                why = misfit(population, model.shape, model.header.pixel_size_um)
            except InputError:  # a section that cannot be read: the list of brains says which
                why = FITS
            before = _known[layer] = population, model, why
        return before[2]
