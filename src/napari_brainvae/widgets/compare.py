"""The widget "Compare": how two groups of brains differ, or what goes with a dose."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, cast

import napari.viewer
import numpy as np
import pandas as pd
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
)

from napari_brainvae.arrays import Images
from napari_brainvae.atlas.atlas_section import (
    AtlasRegion,
    labels_and_tree,
    measured_regions,
    place_of,
)
from napari_brainvae.factors.cards import FactorCard, factor_cards
from napari_brainvae.io.errors import InputError, present
from napari_brainvae.io.progress import Progress
from napari_brainvae.reporting.comparison_words import headline, summary
from napari_brainvae.reporting.factor_cards import card_size, factor_card
from napari_brainvae.reporting.provenance import provenance
from napari_brainvae.statistics.comparison_options import ComparisonOptions
from napari_brainvae.statistics.study import Study, compare_population
from napari_brainvae.widgets.inputs import Inputs
from napari_brainvae.widgets.layers.atlas_layers import outline_picked
from napari_brainvae.widgets.layers.change_layer import show_change
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers
from napari_brainvae.widgets.layers.section_layers import show_index
from napari_brainvae.widgets.panels.comparison_choice import ComparisonChoice
from napari_brainvae.widgets.panels.figure_view import FigureView
from napari_brainvae.widgets.panels.folder_question import ask_folder
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.panels.result_table import ResultTable
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.panels.table_model import Column
from napari_brainvae.widgets.workers import notify

CARD_DPI = 112

FACTORS = [
    Column("factor", "factor", tooltip="Click a factor to see its card and where it acts."),
    Column("effect", "effect", "{:+.2f}", "Cohen's d, or partial r for a number."),
    Column("low", "from", "{:+.2f}", "95 % interval."),
    Column("high", "to", "{:+.2f}", "95 % interval."),
    Column("p_fwe", "p", "{:.2g}", "Corrected for all factors (max-t)."),
    Column("goes_with", "goes with", "{}", "Another that it differs with, and not of its own."),
    Column("name", "where", "{}"),
]
REGIONS = [
    Column("region", "region", tooltip="Click a region to see its place."),
    Column("what", "what"),
    Column("difference", "%", "{:+.1f}", "Adjusted difference, per cent."),
    Column("difference_low", "from", "{:+.1f}", "95 % interval."),
    Column("difference_high", "to", "{:+.1f}", "95 % interval."),
    Column("p_fwe", "p", "{:.2g}", "Corrected for all rows (max-t)."),
]
BRAINS = [
    Column("id", "brain", tooltip="Click a brain to show it."),
    Column("deviation", "deviation", "{:.2f}", "From what its covariates predict; 1 is as usual."),
]
PICTURES = ("sections", "model", "t of each pixel")


@dataclass(frozen=True, eq=False)
class Found:
    """A comparison, with the cards of the factors."""

    inputs: Inputs
    study: Study
    cards: list[FactorCard]
    factors: pd.DataFrame
    regions: pd.DataFrame

    @property
    def by(self) -> str:
        """The covariate."""
        return next(iter(self.study.compared))


class CompareWidget(Panel):
    """Compare groups or follow a dose; a click leads to a factor, a region or a brain."""

    page, tab = "compare", "Compare"
    first = "To begin, drop brain sections with covariates, and a model, on the canvas."

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.source = SectionsAndModel(viewer, atlas=True)
        self.choice, self.job = ComparisonChoice(), JobBar()
        self._compare, self._export = QPushButton("Compare"), QPushButton("Export …")
        self._compare.setToolTip("<p>Compare what is chosen above, in the background.</p>")
        self._export.setToolTip(
            "<p>Write tables (CSV), figures (PNG, SVG), maps (OME-TIFF) and a report (HTML).</p>"
        )
        self.picture = QComboBox(toolTip="What the layer of the difference shows.")
        self.picture.addItems(PICTURES)
        self.words = QLabel(wordWrap=True)
        self.effects, self.card = FigureView(260), FigureView(400, CARD_DPI)
        self.factors, self.regions = ResultTable(FACTORS), ResultTable(REGIONS)
        self.brains, self.tabs = ResultTable(BRAINS), QTabWidget()
        self._arrange()
        self._made = PluginLayers(viewer, "Compare")
        self.found: Found | None = None
        self._connect()
        self._clear()  # of a panel before: nobody knows what of
        self._offer()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self.body)
        layout.addWidget(self.source)
        layout.addWidget(self.choice)
        row = QHBoxLayout()
        for widget in (self._compare, self._export, QLabel("show"), self.picture):
            row.addWidget(widget)
        layout.addLayout(row)
        words, card = QScrollArea(widgetResizable=True), QScrollArea()
        words.setWidget(self.words)
        card.setWidget(self.card)
        for widget, title in (
            (words, "In short"),
            (self.effects, "Effects"),
            (self.factors, "Factors"),
            (self.regions, "Regions"),
            (self.brains, "Brains"),
            (card, "Card"),
        ):
            self.tabs.addTab(widget, title)
        self.tabs.setMinimumHeight(220)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.job)

    def _connect(self) -> None:
        self.source.changed.connect(self._offer)
        self.source.workspace.atlas_changed.connect(self._changed)
        self.choice.changed.connect(self._changed)
        self.job.changed.connect(self._enable)
        self.picture.currentTextChanged.connect(self._show_difference)
        self._compare.clicked.connect(self.compare)
        self._export.clicked.connect(lambda: ask_folder(self, "for the comparison", self.export))
        self.factors.chosen.connect(self._show_factor)
        self.regions.chosen.connect(self._show_region)
        self.brains.chosen.connect(self._show_brain)

    def begin(self) -> None:
        """Open the samples, and lay their atlas on the brains: regions are measured in it."""
        super().begin()
        if self.source.workspace.atlas is None:
            self.open_behind("Atlas")

    def compare(self, event: Any = None) -> None:
        """Compare what is chosen, in the background."""
        inputs = self._inputs()
        if inputs is not None and not self.job.running:
            self.job.run(
                "Comparing",
                lambda progress: _compared(inputs, progress),
                self._show,
                lambda: inputs.same(self._inputs()),
            )

    def export(self, folder: Path) -> None:
        """Write all that was found to a folder, in the background."""
        found = self.found
        if found is not None and not self.job.running:
            self.job.run(
                f"Writing {folder.name}",
                lambda progress: _write(folder, found),
                lambda _: notify(f"Wrote compare.csv and more to {folder}"),
            )

    def release(self) -> None:
        """Stop what runs and leave no callback behind; the layers stay."""
        self.job.cancel()
        for view in (self.effects, self.card):
            view.release()
        self.source.release()
        self.source.workspace.atlas_changed.disconnect(self._changed)
        self._made.release()

    def _inputs(self) -> Inputs | None:
        if not self.choice.possible:
            return None
        try:
            options = self.choice.options()
        except InputError:
            return None
        return self.source.workspace.inputs(options)

    def _show(self, found: Found) -> None:
        from napari_brainvae.reporting.comparison_report import forest_plot

        self._clear()
        self.found = found
        study = found.study
        said = [f"<b>{escape(k)}</b><br>{escape(v)}" for k, v in
                summary(study, found.factors).items()]  # fmt: skip
        self.words.setText("<br><br>".join(said))
        self.factors.show_table(found.factors.assign(strong=found.factors["p_fwe"] <= 0.05))
        if len(found.regions):
            strong = found.regions["p_fwe"] <= 0.05
            self.regions.show_table(found.regions.assign(strong=strong))
        self.brains.show_table(study.deviations.reset_index()[["id", "deviation"]])
        self.effects.show_figure(lambda: forest_plot(found.factors, model=found.inputs.model.label))
        self._show_difference()
        self.source.workspace.say("; ".join(headline(study, found.factors)))
        self._enable()

    def _show_difference(self, event: Any = None) -> None:
        if self.found is None:
            return
        compared = self.found.study.compared[self.found.by]
        what = self.picture.currentText()
        difference: Images | None = compared.difference.t
        if what != PICTURES[2]:
            of = compared.difference.model if what == "model" else compared.difference.data
            difference = of[0] - of[1]
        if difference is not None:
            self._lay(difference, f"{compared.design.contrast}: {what}")

    def _lay(self, picture: Images, name: str) -> None:
        layer = present(self.found, "a comparison").inputs.sections
        if layer in self.viewer.layers:
            show_change(self._made, np.nan_to_num(picture), layer, name)

    def _show_factor(self, row: int) -> None:
        """Show where a factor acts, and its card."""
        if self.found is None:
            return
        name = self.found.factors["factor"].iloc[row]
        card = next(each for each in self.found.cards if each.description.factor == name)
        self._lay(card.change, f"change: {name}")
        labels, tree = labels_and_tree(self.found.inputs.atlas)
        self.card.setFixedSize(*(round(CARD_DPI * side) for side in card_size(card.change.shape)))
        self.card.show_figure(lambda: factor_card(card, labels=labels, tree=tree))
        self.tabs.setCurrentIndex(self.tabs.count() - 1)

    def _show_region(self, row: int) -> None:
        """Outline a region where it is, and show the difference there."""
        atlas = self.source.workspace.atlas
        if self.found is not None and atlas is not None:
            self._show_difference()
            atlas.pick(AtlasRegion(self.found.regions["region"].iloc[row]))
            shown = present(self.source.atlas, "the atlas on show")
            outline_picked(self.viewer, shown.layer)

    def _show_brain(self, row: int) -> None:
        if self.found is not None:
            brains = self.found.study.brains
            name = self.found.study.deviations.index[row]
            position = brains.positions[list(brains.codes.index).index(name)]
            show_index(self.viewer, self.found.inputs.sections, position)

    def _offer(self) -> None:
        """Offer the covariates of the sections on show."""
        population = self.source.workspace.population
        self.choice.fill(pd.DataFrame() if population is None else population.covariates)
        self._changed()

    def _changed(self, event: Any = None) -> None:
        """Show nothing stale; sections that only moved take the difference along."""
        if self.found is not None:
            if not self.found.inputs.same(self._inputs()):
                self._clear()
            elif "change" in self._made:
                layer = self._made["change"]
                self._lay(layer.data, layer.name)
        self._enable()

    def _clear(self) -> None:
        self.found = None
        self.words.setText("")
        for table in (self.factors, self.regions, self.brains):
            table.show_table(None)
        for view in (self.effects, self.card):
            view.clear()
        self._made.remove_all()

    def _enable(self) -> None:
        busy = self.job.running
        self._compare.setEnabled(self._inputs() is not None and not busy)
        self._export.setEnabled(self.found is not None and not busy)
        self.picture.setEnabled(self.found is not None)
        if self.found is None and self.source.ready:
            self.words.setText(escape(self._wrong()))

    def _wrong(self) -> str:
        """Say why what is chosen cannot be compared; nothing if it can."""
        if not self.choice.possible:
            return "These brains have no covariates: drop a table whose column 'id' names them."
        try:
            self.choice.options()
        except InputError as error:
            return str(error)
        return ""


def _compared(inputs: Inputs, progress: Progress) -> Found:
    """Compare, and say what the factors are; runs in a background thread."""
    from napari_brainvae.reporting.comparison_report import comparison_table

    _, model, population, section, chosen = inputs
    options = cast(ComparisonOptions, chosen)
    masks = measured_regions(section, options.regions)
    pixel_size_um = model.pixel_size_um(population.description.pixel_size_um)
    study = compare_population(
        model,
        population,
        population.covariates,
        options,
        masks=masks,
        pixel_size_um=pixel_size_um,
        progress=progress,
    )
    labels, tree = labels_and_tree(section)
    cards = factor_cards(model, labels=labels, tree=tree, pixel_size_um=pixel_size_um)
    table, regions = comparison_table(study, model, cards), study.region_table()
    if len(regions):
        regions = regions.sort_values("p_fwe", kind="stable", ignore_index=True)
    return Found(inputs, study, cards, table, regions)


def _write(folder: Path, found: Found) -> None:
    # Imported here: matplotlib is slow to import.
    from napari_brainvae.reporting.comparison_report import export_comparison
    from napari_brainvae.reporting.export import results_folder
    from napari_brainvae.reporting.section_axes import structure_outlines

    _, model, population, section, options = found.inputs
    labels, tree = labels_and_tree(section)
    pixel_size_um = model.pixel_size_um(population.description.pixel_size_um)
    about = provenance(
        options,
        population,
        {model.label: model},
        measured=found.study.brains.positions,
        **place_of(section),
    )
    with results_folder(folder, about) as beside:
        export_comparison(
            beside,
            found.study,
            model,
            about,
            cards=found.cards,
            pixel_size_um=pixel_size_um,
            outlines=[] if labels is None else structure_outlines(labels, tree),
        )
