"""The list of all brains in the widget "Reconstruct and denoise", the most unusual first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QStandardItem, QStandardItemModel
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
from napari_brainvae.widgets.workers import notify

UNUSUAL = "#ff9933"
COLUMNS = {
    "brain": "Click a brain to show it.",
    "deviation": "<p>Spreads above the median of the brains that the model was fitted on, of the "
    "error or the KL divergence, whichever is more. More than 4 is unusual.</p>",
    "error": "Squared error, averaged over pixels.",
    "KL": "KL divergence from the prior, nats.",
}
VALUE, BRAIN = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1


@dataclass(frozen=True, eq=False)
class Listed:
    """A survey, and what goes with the covariates of the brains that count."""

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
        self.listed: Listed | None = None
        self._list, self._export = QPushButton("List brains"), QPushButton("Export list …")
        self._list.setToolTip("<p>Reconstruct every brain, and list the most unusual first.</p>")
        self._export.setToolTip(
            "<p>Write the list, with each brain's latent factors, and what goes with the "
            "covariates, as tables (CSV) and figure (PNG, SVG).</p>"
        )
        self._about = QLabel()
        self._items = QStandardItemModel(self)
        self._items.setSortRole(VALUE)
        self._view = QTableView(sortingEnabled=True)
        self._view.setModel(self._items)
        self._view.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self._view.setEditTriggers(QTableView.EditTrigger.NoEditTriggers)
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

        def job(progress: Progress) -> Listed:
            brains = brain_table(model, population, progress=progress)
            factors = factors_of(brains[~population.flagged])
            associations = associate(factors, population.covariates)
            return Listed(brains, associations, model, population)

        def finished(listed: Listed) -> None:
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
        self._items.clear()
        self.covariates.clear()
        self._list.setEnabled(self.source.ready)
        self._set_shown(False)

    def release(self) -> None:
        """Draw nothing any more."""
        self.covariates.release()

    def _show(self, listed: Listed) -> None:
        self.clear()
        self.listed, table = listed, listed.brains
        for position, row in enumerate(table.reset_index().to_dict("records")):
            self._items.appendRow(_items(position, row))
        self._items.setHorizontalHeaderLabels(list(COLUMNS))
        for column, tip in enumerate(COLUMNS.values()):
            self._items.horizontalHeaderItem(column).setToolTip(tip)
        known = "deviation" in table
        self._view.setColumnHidden(1, not known)
        self._view.sortByColumn(1 if known else 2, Qt.SortOrder.DescendingOrder)
        header = self._view.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        unusual = f", {int(table['unusual'].sum())} unusual" if known else ""
        unusable = int((table["problem"] != "").sum())
        more = f", {unusable} cannot be used" if unusable else ""
        self._about.setText(f"{len(table)} brains{unusual}{more}")
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
            self.chosen.emit(self._items.item(current.row(), 0).data(BRAIN))

    def _ask_export(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder for the list of brains")
        if name:
            self.export(Path(name))


def _write(folder: Path, listed: Listed) -> None:
    about = provenance({}, listed.population, {listed.model.label: listed.model})
    with results_folder(folder, about) as beside:
        export_brain_table(beside, listed.brains, listed.associations, about)


def _items(position: int, row: dict[Any, Any]) -> list[QStandardItem]:
    """One row: what is shown, what it is sorted by, and which brain it is."""
    values = [row.get(name, np.nan) for name in ("deviation", "squared_error", "kl_divergence")]
    texts = [f"{value:.{digits}f}" for value, digits in zip(values, (1, 5, 1), strict=True)]
    if row["problem"]:  # on top where the largest come first
        values, texts = [np.inf] * 3, ["–"] * 3
    items = [QStandardItem(text) for text in (row["id"], *texts)]
    for item, value in zip(items, (row["id"], *values), strict=True):
        item.setData(value, VALUE)
        item.setToolTip(row["problem"])
        if row["problem"] or row.get("unusual"):
            item.setForeground(QColor(UNUSUAL))
    for item in items[1:]:
        item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    items[0].setData(position, BRAIN)
    return items
