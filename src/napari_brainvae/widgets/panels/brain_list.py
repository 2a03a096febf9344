"""The list of all brains in the widget "Reconstruct and denoise", the outliers first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableView,
    QTabWidget,
    QWidget,
)

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.brain_table import brain_table, factors_of
from napari_brainvae.io.progress import Progress
from napari_brainvae.models.base import Model
from napari_brainvae.reporting.export import export_brain_table, results_folder
from napari_brainvae.reporting.paper_figures import association_heatmap
from napari_brainvae.reporting.provenance import provenance
from napari_brainvae.statistics.association import associate
from napari_brainvae.widgets.layers.section_layers import population_of
from napari_brainvae.widgets.panels.figure_view import FigureView
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.panels.table_model import Column, TableModel
from napari_brainvae.widgets.workers import notify

OUTLIER = "#ff9933"
"""Colour of brains that the model does not know, and of those that cannot be used."""
COLUMNS = [
    Column("id", "brain", tooltip="Click a brain to show it."),
    Column(
        "deviation",
        "deviation",
        "{:.1f}",
        "<p>Spreads above the median of the brains that the model was fitted on, of the error or "
        "the KL divergence, whichever is more. A brain with more than 4 is an outlier.</p>",
    ),
    Column("squared_error", "error", "{:.5f}", "Squared error, averaged over pixels."),
    Column("kl_divergence", "KL", "{:.1f}", "KL divergence from the prior, nats."),
]


@dataclass(frozen=True, eq=False)
class BrainTable:
    """The brains, and what goes with the covariates of those that count."""

    brains: pd.DataFrame
    associations: pd.DataFrame
    model: Model
    population: Population


class BrainList(QWidget):
    """A button that reconstructs every brain, the table that comes of it, and the covariates.

    Parameters
    ----------
    source
        Which sections and model.
    job
        Shows how far it is.

    Signals
    -------
    chosen
        Position of the brain that was clicked.
    """

    chosen = Signal(int)

    def __init__(self, source: SectionsAndModel, job: JobBar) -> None:
        super().__init__()
        self.source, self.job = source, job
        self.listed: BrainTable | None = None
        self._list, self._export = QPushButton("List brains"), QPushButton("Export list …")
        self._list.setToolTip("<p>Reconstruct every brain, and list the outliers first.</p>")
        self._export.setToolTip(
            "<p>Write the list, with each brain's latent factors, and what goes with the "
            "covariates, as tables (CSV) and figure (PNG, SVG).</p>"
        )
        self._about = QLabel()
        self._table = TableModel(COLUMNS, tooltip="problem", parent=self)
        self._view = QTableView(sortingEnabled=True)
        self._view.setModel(self._table)
        self._view.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self._view.setTextElideMode(Qt.TextElideMode.ElideLeft)  # ids tend to differ at the end
        self._view.verticalHeader().setDefaultSectionSize(20)
        self._view.verticalHeader().hide()
        self.covariates = FigureView(200)
        self.covariates.setToolTip(
            "<p>Which factors go with what is known of the brains that are not flagged: "
            "rank correlation ρ, or ε² between groups. It need not be a cause.</p>"
        )
        self._pages = QTabWidget()
        self._arrange()
        self._list.clicked.connect(self.measure)
        self._export.clicked.connect(self._ask_export)
        self._view.selectionModel().currentRowChanged.connect(self._choose)
        source.changed.connect(self.clear)
        self.clear()

    def _arrange(self) -> None:
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._list, 0, 0)
        layout.addWidget(self._export, 0, 1)
        layout.addWidget(self._about, 1, 0, 1, 2)
        layout.addWidget(self._pages, 2, 0, 1, 2)
        self._pages.addTab(self._view, "Brains")
        self._pages.addTab(self.covariates, "Covariates")

    def measure(self) -> None:
        """Reconstruct every brain in the background, then list them."""
        layer, model = self.source.layer, self.source.model
        assert layer is not None and model is not None  # else the button is off
        population = population_of(layer)

        def job(progress: Progress) -> BrainTable:
            brains = brain_table(model, population, progress=progress)
            factors = factors_of(brains[~population.flagged])
            associations = associate(factors, population.covariates)
            return BrainTable(brains, associations, model, population)

        def finished(listed: BrainTable) -> None:
            if self.source.layer is layer and self.source.model is model:
                self._show(listed)

        self.job.run("Listing", job, finished)

    def export(self, folder: Path) -> None:
        """Write list, covariates and figure to a folder, in the background."""
        assert self.listed is not None  # else the button is off
        listed = self.listed
        self.job.run(
            "Writing",
            lambda _: _write(folder, listed),
            lambda _: notify(f"Wrote brains.csv and more to {folder}"),
        )

    def clear(self) -> None:
        """Show no list, rather than that of other sections or another model."""
        self.listed = None
        self._table.show_table(None)
        self.covariates.clear()
        self._list.setEnabled(self.source.ready)
        self._set_shown(False)

    def release(self) -> None:
        """Draw nothing any more."""
        self.covariates.release()

    def _show(self, listed: BrainTable) -> None:
        self.clear()
        self.listed, table = listed, listed.brains
        self._table.show_table(_as_shown(table))
        known = "deviation" in table
        self._view.setColumnHidden(1, not known)
        self._view.sortByColumn(1 if known else 2, Qt.SortOrder.DescendingOrder)
        header = self._view.horizontalHeader()
        header.setResizeContentsPrecision(100)  # rows that are measured
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        outliers = f", {_count(int(table['unusual'].sum()), 'outlier')}" if known else ""
        unusable = int((table["problem"] != "").sum())
        more = f", {unusable} cannot be used" if unusable else ""
        self._about.setText(f"{_count(len(table), 'brain')}{outliers}{more}")
        self._pages.setTabVisible(1, len(listed.associations) > 0)
        if len(listed.associations):
            self.covariates.show_figure(lambda: association_heatmap(listed.associations))
        self._set_shown(True)

    def _set_shown(self, shown: bool) -> None:
        for widget in (self._export, self._about, self._pages):
            widget.setVisible(shown)
        high = QSizePolicy.Policy.Expanding if shown else QSizePolicy.Policy.Maximum
        self.setSizePolicy(QSizePolicy.Policy.Preferred, high)

    def _choose(self, current: QModelIndex, _: QModelIndex) -> None:
        if current.isValid():
            self.chosen.emit(self._table.position(current.row()))

    def _ask_export(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder for the list of brains")
        if name:
            self.export(Path(name))


def _write(folder: Path, listed: BrainTable) -> None:
    about = provenance({}, listed.population, {listed.model.label: listed.model})
    with results_folder(folder, about) as beside:
        export_brain_table(beside, listed.brains, listed.associations, about)


def _as_shown(brains: pd.DataFrame) -> pd.DataFrame:
    """Add colours; what cannot be used is on top where the largest come first."""
    table = brains.reset_index()
    bad = table["problem"] != ""
    outlier = table.get("unusual", False)
    numbers = table.columns.intersection([column.name for column in COLUMNS[1:]])
    table[numbers] = table[numbers].mask(bad, np.inf)
    return table.assign(colour=np.where(bad | outlier, OUTLIER, ""))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
