"""The widget "Factors": what each factor is, in a sentence, a picture and a list of brains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import napari.viewer
import pandas as pd
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_brainvae.atlas.atlas_section import labels_and_tree, place_of
from napari_brainvae.denoising.brain_table import brain_table, factors_of
from napari_brainvae.factors.cards import FactorCard, factor_cards
from napari_brainvae.factors.impact import usable_sections
from napari_brainvae.io.errors import present
from napari_brainvae.io.progress import Progress
from napari_brainvae.reporting.factor_cards import card_size, factor_card
from napari_brainvae.reporting.provenance import provenance
from napari_brainvae.statistics.association import associate
from napari_brainvae.widgets.inputs import Inputs
from napari_brainvae.widgets.layers.change_layer import show_change
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers
from napari_brainvae.widgets.layers.section_layers import show_index, shown_index
from napari_brainvae.widgets.panels.brains_by_code import BrainsByCode
from napari_brainvae.widgets.panels.factor_list import FactorList
from napari_brainvae.widgets.panels.field_legend import change_legend
from napari_brainvae.widgets.panels.figure_view import FigureView
from napari_brainvae.widgets.panels.folder_question import ask_folder
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.workers import notify

CARD_DPI = 112
"""Enough to read a card, most of which a dock scrolls."""


@dataclass(frozen=True, eq=False)
class Described:
    """The cards of all factors, and the codes ``(N, L)`` of the brains at these positions."""

    inputs: Inputs
    cards: list[FactorCard]
    codes: pd.DataFrame
    positions: list[int]


class FactorsWidget(Panel):
    """Describe the factors; a click shows what one does, and leads to its extreme brains."""

    page, tab = "factors", "Factors"
    first = "To begin, drop brain sections and a model on the canvas."

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.source = SectionsAndModel(viewer, atlas=True)
        self._describe = QPushButton("Describe factors")
        self._describe.setToolTip(
            "<p>Say of each factor where it acts, whether tissue gets brighter or is displaced, "
            "and how much per standard deviation.</p>"
        )
        self._export = QPushButton("Export …")
        self._export.setToolTip(
            "<p>Write the table (CSV), cards (PNG, SVG), maps (OME-TIFF) and a report (HTML).</p>"
        )
        self.factors = FactorList()
        self.brains = BrainsByCode(self.workspace.brains)
        self.card = FigureView(400, CARD_DPI)
        self._lowest, self._highest = QPushButton("Lowest"), QPushButton("Highest")
        self._lowest.setToolTip("Show the brain with the smallest code of the factor.")
        self._highest.setToolTip("Show the brain with the largest code of the factor.")
        self.tabs, self.job = QTabWidget(), JobBar()
        self._arrange()
        self._made = PluginLayers(viewer, "Factors")
        self.described: Described | None = None
        self._connect()
        self._clear()  # of a panel before: nobody knows what of
        self._enable()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self.body)
        layout.addWidget(self.source)
        layout.addLayout(_row(self._describe, self._export))
        scrolled = QScrollArea()
        scrolled.setWidget(self.card)
        self.tabs.addTab(self.factors, "Factors")
        self.tabs.addTab(self.brains, "Brains")
        self.tabs.addTab(scrolled, "Card")
        layout.addWidget(self.tabs, 1)
        legend = QLabel(change_legend(), wordWrap=True)  # large letters need two lines
        layout.addLayout(_row(legend, self._lowest, self._highest))
        layout.addWidget(self.job)

    def _connect(self) -> None:
        self.source.changed.connect(self._changed)
        self.source.workspace.atlas_changed.connect(self._changed)
        self.job.changed.connect(self._enable)
        self._describe.clicked.connect(self.describe)
        self._export.clicked.connect(lambda: ask_folder(self, "for the factors", self.export))
        self.factors.chosen.connect(self._show_factor)
        self.brains.chosen.connect(self._go_to)
        self.viewer.dims.events.point.connect(self._follow)
        self._lowest.clicked.connect(self.brains.go_to_lowest)
        self._highest.clicked.connect(self.brains.go_to_highest)

    def describe(self, event: Any = None) -> None:
        """Describe all factors, in the background."""
        inputs = self._inputs()
        if inputs is None or self.job.running:
            return
        self.job.run(
            "Describing",
            lambda progress: _described(inputs, progress),
            self._show,
            lambda: inputs.same(self._inputs()),
        )

    def export(self, folder: Path) -> None:
        """Write table, cards, maps and report to a folder, in the background."""
        described = self.described
        if described is None or self.job.running:
            return
        self.job.run(
            f"Writing {folder.name}",
            lambda progress: _write(folder, described, progress),
            lambda _: notify(f"Wrote factors.csv and more to {folder}"),
        )

    def release(self) -> None:
        """Stop what runs and leave no callback behind; the layers stay."""
        self.job.cancel()
        self.card.release()
        self.brains.release()
        self.viewer.dims.events.point.disconnect(self._follow)
        self.source.release()
        self.source.workspace.atlas_changed.disconnect(self._changed)
        self._made.release()

    def _inputs(self) -> Inputs | None:
        return self.source.workspace.inputs()

    def _show(self, described: Described) -> None:
        self._clear()
        self.described = described
        descriptions = [card.description for card in described.cards]
        self.factors.fill(descriptions)
        self.workspace.factors.give(descriptions, described.inputs)
        self._enable()
        self.factors.setCurrentRow(0)

    def _show_factor(self, factor: int) -> None:
        described = self.described
        if described is None or described.inputs.sections not in self.viewer.layers:
            return
        inputs, card = described.inputs, described.cards[factor]
        self._show_change(factor)
        self.brains.show_codes(described.codes.iloc[:, factor], described.positions)
        self._follow()
        labels, tree = labels_and_tree(inputs.atlas)
        self.card.setFixedSize(*(round(CARD_DPI * side) for side in card_size(card.change.shape)))
        self.card.show_figure(lambda: factor_card(card, labels=labels, tree=tree))

    def _show_change(self, factor: int) -> None:
        """Show a factor's change; its contrast is the user's as long as it is this factor."""
        described = present(self.described, "a description of the factors")
        layer, change = described.inputs.sections, described.cards[factor].change
        show_change(self._made, change, layer, f"change: F{factor + 1}")

    def _go_to(self, index: int) -> None:
        if self.described is not None:
            show_index(self.viewer, self.described.inputs.sections, index)

    def _follow(self, event: Any = None) -> None:
        if self.described is not None:
            self.brains.follow(shown_index(self.described.inputs.sections, self.viewer.dims.point))

    def _changed(self) -> None:
        """Show nothing stale; sections that only moved take the change along."""
        if self.described is not None:
            if not self.described.inputs.same(self._inputs()):
                self._clear()
            elif "change" in self._made:
                self._show_change(self.factors.currentRow())
        self._enable()

    def _clear(self) -> None:
        self.described = None
        self.factors.fill([])
        self.brains.show_codes(None)
        self.card.clear()
        self._made.remove_all()

    def _enable(self) -> None:
        busy = self.job.running
        self._describe.setEnabled(self.source.ready and not busy)
        self._export.setEnabled(self.described is not None and not busy)
        for button in (self._lowest, self._highest):
            button.setEnabled(self.described is not None)


def _described(inputs: Inputs, progress: Progress) -> Described:
    """Measure the brains that are not flagged, then describe; runs in a background thread."""
    _, model, population, section, _ = inputs
    positions = usable_sections(population)
    codes = factors_of(brain_table(model, population, progress=progress)).iloc[positions]
    labels, tree = labels_and_tree(section)
    cards = factor_cards(
        model,
        labels=labels,
        tree=tree,
        pixel_size_um=population.description.pixel_size_um,
        codes=codes,
        associations=associate(codes, population.covariates),
        progress=progress,
    )
    return Described(inputs, cards, codes, positions)


def _write(folder: Path, described: Described, progress: Progress) -> None:
    # Imported here: matplotlib is slow to import.
    from napari_brainvae.reporting.export import export_cards, results_folder

    _, model, population, section, _ = described.inputs
    about = provenance(
        {},
        population,
        {model.label: model},
        measured=described.positions,
        **place_of(section),
    )
    with results_folder(folder, about) as beside:
        export_cards(beside, described.cards, about, section, progress=progress)


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
