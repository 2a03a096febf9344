"""The widget "Receptive field": change a region and see which latent factors answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import napari.viewer
import numpy as np
from napari.layers import Image
from qtpy.QtWidgets import (
    QLabel,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_brainvae.arrays import Images
from napari_brainvae.data.population import Population
from napari_brainvae.factors.perturbation import Perturbation
from napari_brainvae.factors.receptive_field import Probe, Shift, region_weights
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers
from napari_brainvae.widgets.layers.region_layers import RequestedRegion
from napari_brainvae.widgets.layers.section_layers import population_of, shown_index
from napari_brainvae.widgets.panels.impact_panel import MeasurePanel
from napari_brainvae.widgets.panels.option_controls import Controls
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.panels.region_list import RegionList
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.panels.shift_bars import ShiftBars
from napari_brainvae.widgets.panels.zero_slider import ZeroSlider
from napari_brainvae.widgets.workers import Latest, warning


@dataclass(frozen=True, eq=False)
class ProbedBrain:
    """A section that is perturbed, and how bright it is shown."""

    model: Model
    population: Population
    index: int
    probe: Probe
    bright: float

    @classmethod
    def of(cls, model: Model, population: Population, index: int) -> ProbedBrain:
        """Read and encode a section."""
        section = population.prepared(model.header.preprocessing, [index])[0]
        bright = max(float(np.percentile(section, 99.8)), 1e-3)
        return cls(model, population, index, Probe(model, section), bright)

    def matches(self, model: Model, population: Population, index: int) -> bool:
        """Whether this is that section of that population, for that model."""
        same = self.model is model and self.population is population
        return same and self.index == index


@dataclass(frozen=True, eq=False)
class RegionResponse:
    """What was asked, and how the factors answer or why they cannot."""

    layer: Image
    model: Model
    brain: str
    region: str
    weight: float
    shift: Shift | str
    bright: float = 1.0


class ReceptiveFieldWidget(Panel):
    """Choose a region, move the weight, and watch the factors; then measure the population."""

    page, tab = "receptive_field", "Regions"
    first = "To begin, drop brain sections and a model on the canvas."

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.source = SectionsAndModel(viewer)
        self.regions = RegionList(viewer)
        self.controls = Controls(Perturbation, ["mode", "soft_edge"], columns=2)
        self.weight = ZeroSlider(
            "Weight", "How much the region is changed.", "Back to the unperturbed section."
        )
        self._message = QLabel(wordWrap=True)
        self._message.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.bars = ShiftBars(240)
        self.population = MeasurePanel(self.source, self.regions, self.controls.values)
        self.tabs = QTabWidget()
        self._arrange()
        self._made = PluginLayers(viewer, "Receptive field")
        self._brain: ProbedBrain | None = None
        self._region: tuple[RequestedRegion, float, Images] | None = None
        self._limit = 1.0
        self.latest = Latest(self._compute, self._show, self._failed, parent=self)
        self._set_range()
        self.source.changed.connect(self._source_changed)
        self.regions.changed.connect(self._region_changed)
        self.controls.changed.connect(self._options_changed)
        self.population.controls.changed.connect(self._set_range)
        self.population.finished.connect(
            lambda: self.tabs.setCurrentWidget(self.population.results)
        )
        self.weight.valueChanged.connect(self.refresh)
        viewer.dims.events.point.connect(self.refresh)
        self._source_changed()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self.body)
        layout.addWidget(self.source)
        layout.addWidget(QLabel("Regions"))
        layout.addWidget(self.regions)
        layout.addWidget(self.controls)
        one = QWidget()
        column = QVBoxLayout(one)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(self.weight)
        column.addWidget(self._message)
        column.addWidget(self.bars, 1)
        self.tabs.addTab(one, "Brain on show")
        self.tabs.addTab(self.population, "Population")
        self.tabs.addTab(self.population.results, "Results")
        layout.addWidget(self.tabs, 1)

    def refresh(self, event: Any = None) -> None:
        """Ask for the section on show with the current region perturbed."""
        if not self.source.ready:
            return
        region = self.regions.current()
        if region is None:
            self._clear("Draw a region, or open an atlas in the widget Atlas.")
            return
        layer = self.source.layer
        index = shown_index(layer, self.viewer.dims.point)
        options = Perturbation(**self.controls.values())
        self.latest.request(
            self.source.model, layer, population_of(layer), index, region, self.weight.value(),
            options,
        )  # fmt: skip

    def release(self) -> None:
        """Stop what runs and leave no callback behind; the layers stay."""
        self.latest.close()
        self.population.release()
        self.regions.release()
        self.source.release()
        self.viewer.dims.events.point.disconnect(self.refresh)
        self._made.release()

    def _compute(
        self,
        model: Model,
        layer: Image,
        population: Population,
        index: int,
        region: RequestedRegion,
        weight: float,
        options: Perturbation,
    ) -> RegionResponse:
        """Perturb one section; runs in a background thread, one at a time."""
        asked = layer, model, population.ids[index], region.name, weight
        try:
            if self._brain is None or not self._brain.matches(model, population, index):
                self._brain = ProbedBrain.of(model, population, index)
            brain, weights = self._brain, self._weights(region, model.shape, options.soft_edge)
            brain.probe.check(region.name, weights)
            shift = brain.probe.shift(weights, weight, options.mode)
        except InputError as error:
            return RegionResponse(*asked, str(error))
        return RegionResponse(*asked, shift, brain.bright)

    def _weights(self, region: RequestedRegion, shape: tuple[int, int], soft_edge: float) -> Images:
        """Give a region its soft edge, once for all weights that it is perturbed by."""
        known = self._region
        if known is None or known[0] is not region or known[1] != soft_edge:
            weights = region_weights(region.mask, shape, soft_edge)
            self._region = known = region, soft_edge, weights
        return known[2]

    def _show(self, answer: RegionResponse) -> None:
        layer = answer.layer
        if self.source.layer != layer or layer not in self.viewer.layers:
            return  # chosen or removed while this was computed
        if answer.model is not self.source.model or answer.region not in self.regions.names:
            return  # as was the region or the model
        if isinstance(answer.shift, str):
            self._failed(answer.shift)
            return
        self._message.setText("")
        self._made.show(
            "perturbed",
            answer.shift.section,
            layer,
            f"perturbed: {layer.name}",
            # Right above the sections: regions and outlines stay on top.
            int(self.viewer.layers.index(layer)) + 1,
            contrast_limits=(0, answer.bright),
        )
        # A scale that does not follow the bars: they would seem to stand still.
        shift = answer.shift.shift
        limit = self._limit = max(self._limit, 1.1 * float(np.abs(shift).max()))
        title = f"{answer.region} x {answer.weight:+.2f} in {answer.brain}"
        self.bars.show_shift(shift, limit, title)

    def _failed(self, message: str) -> None:
        """Show nothing of a section that cannot be used, and say why."""
        self._message.setText(warning(message))
        self.bars.clear()
        self._made.hide_all()

    def _clear(self, message: str = "") -> None:
        """Show nothing rather than something stale."""
        self._message.setText(warning(message) if message else "")
        self.bars.clear()
        self._made.remove_all()

    def _source_changed(self) -> None:
        model, layer = self.source.model, self.source.layer
        self.regions.lie_on(layer, None if model is None else model.shape)
        self._limit = 1.0
        self.population.forget()
        if self.source.ready:
            self.refresh()
        else:
            self._clear()

    def _region_changed(self) -> None:
        self._limit = 1.0
        self.refresh()

    def _options_changed(self) -> None:
        self._limit = 1.0
        self.population.forget()
        self.refresh()

    def _set_range(self) -> None:
        """Let the slider go from one extreme to the other."""
        values = self.population.controls.values()
        if values["low"] < values["high"]:
            self.weight.setRange(values["low"], values["high"])
