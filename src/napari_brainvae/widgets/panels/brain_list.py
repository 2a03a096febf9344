"""The list of all brains in the widget "Reconstruct and denoise", the outliers first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QGridLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_brainvae.data.covariates import flags_of
from napari_brainvae.data.population import Population
from napari_brainvae.models.base import Model
from napari_brainvae.reporting.export import export_brain_table, results_folder
from napari_brainvae.reporting.paper_figures import association_heatmap
from napari_brainvae.reporting.provenance import provenance
from napari_brainvae.widgets.panels.brain_rows import BrainRows
from napari_brainvae.widgets.panels.figure_view import FigureView
from napari_brainvae.widgets.panels.folder_question import ask_folder
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.mark_bar import MarkBar
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.panels.table_model import Column, TableModel
from napari_brainvae.widgets.shared_brains import BrainTable
from napari_brainvae.widgets.workers import notify

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
    Column("mark", "mark", tooltip="What you have marked; excluded brains are left out of fits."),
    Column(
        "note",
        "note",
        tooltip="<p>Flagged by the covariates; outlier, and whether by its error or its KL "
        "divergence; cannot be used.</p>",
    ),
]


MARK = next(i for i, column in enumerate(COLUMNS) if column.name == "mark")


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
        self._shared = source.workspace.brains
        self._list, self._export = QPushButton("List brains"), QPushButton("Export list …")
        self._list.setToolTip("<p>Reconstruct every brain, and list the outliers first.</p>")
        self._export.setToolTip(
            "<p>Write the list, with each brain's latent factors, and what goes with the "
            "covariates, as tables (CSV) and figure (PNG, SVG).</p>"
        )
        self._about = QLabel()
        self._table = TableModel(COLUMNS, tooltip="problem", parent=self)
        self._view = BrainRows(self._table, self._shared)
        self._view.setTextElideMode(Qt.TextElideMode.ElideNone)
        self._counted, self.covariates = QLabel(wordWrap=True), FigureView(200)
        self.covariates.setToolTip(
            "<p>Which factors go with what is known of the brains that are not flagged: "
            "rank correlation ρ, or ε² between groups. It need not be a cause.</p>"
        )
        self._pages, self.marks = QTabWidget(), MarkBar(source.viewer, "list")
        self._view.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self._view.addActions(self.marks.marking)
        self._arrange()
        self._list.clicked.connect(self.measure)
        self._export.clicked.connect(
            lambda: ask_folder(self, "for the list of brains", self.export)
        )
        self._view.chosen.connect(self.chosen)
        source.changed.connect(self._enable)
        job.changed.connect(self._enable)
        self._shared.table_changed.connect(self._show)
        source.workspace.marks.changed.connect(self._show_marks)
        self._show()

    def _arrange(self) -> None:
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._list, 0, 0)
        layout.addWidget(self._export, 0, 1)
        layout.addWidget(self._about, 1, 0, 1, 2)
        # Above the list, which is as long as the screen is high.
        layout.addWidget(self.marks, 2, 0, 1, 2)
        layout.addWidget(self._pages, 3, 0, 1, 2)
        self._pages.addTab(self._view, "Brains")
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._counted)
        column.addWidget(self.covariates, 1)
        self._pages.addTab(page, "Covariates")

    def measure(self) -> None:
        """Reconstruct every brain in the background, then list them."""
        self._shared.measure(self.job.run)

    def export(self, folder: Path) -> None:
        """Write list, covariates and figure to a folder, in the background."""
        listed = self.listed
        if listed is not None and not self.job.running:
            self.job.run(
                "Writing",
                lambda _: _write(folder, listed),
                lambda _: notify(f"Wrote brains.csv and more to {folder}"),
            )

    @property
    def listed(self) -> BrainTable | None:
        """What is shown; of what is chosen, or nothing."""
        return self._shared.table

    def follow(self, index: int) -> None:
        """Mark the brain that the slider is at, without leading there."""
        self._view.follow(index)

    def _enable(self) -> None:
        """What cannot work is off."""
        self._list.setEnabled(self.source.ready and not self.job.running)
        self._export.setEnabled(not self.job.running)

    def release(self) -> None:
        """Draw nothing any more."""
        self._shared.table_changed.disconnect(self._show)
        self._view.release()
        self.source.workspace.marks.changed.disconnect(self._show_marks)
        self.marks.release()
        self.covariates.release()

    def _show(self) -> None:
        """List what all panels share, or nothing rather than something stale."""
        self._table.show_table(None)
        self._view.show_brains()
        self.covariates.clear()
        listed = self.listed
        self._set_shown(listed is not None)
        self._enable()
        if listed is None:
            return
        table = listed.brains
        _, model, population, *_ = listed.inputs
        self._table.show_table(_as_shown(table, model, population))
        self._show_marks()
        known = "deviation" in table
        self._view.setColumnHidden(1, not known)
        self._view.sortByColumn(1 if known else 2, Qt.SortOrder.DescendingOrder)
        self._view.show_brains()
        header = self._view.horizontalHeader()
        if header.visualIndex(MARK) == MARK:
            header.moveSection(MARK, 1)  # beside the name, where it is seen without scrolling
        header.setResizeContentsPrecision(100)  # rows that are measured
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        outliers = f", {_count(int(table['unusual'].sum()), 'outlier')}" if known else ""
        unusable = int((table["problem"] != "").sum())
        more = f", {unusable} cannot be used" if unusable else ""
        flagged = int(flags_of(population.covariates).sum())
        marked = f", {flagged} flagged" if flagged else ""
        self._about.setText(f"{_count(len(table), 'brain')}{outliers}{marked}{more}")
        count = int((listed.counted & (table["problem"] == "")).sum())
        left = " (flagged and excluded ones and those that cannot be used are left out)"
        self._counted.setText(
            f"{count} of {_count(len(table), 'brain')} count{left if count < len(table) else ''}."
        )
        self._pages.setTabVisible(1, len(listed.associations) > 0)
        if len(listed.associations):
            self.covariates.show_figure(lambda: association_heatmap(listed.associations))

    def _show_marks(self) -> None:
        """Marks change nothing that was measured: the list stays, and where it is scrolled to."""
        marks = self.source.workspace.marks.of_brains
        if self.listed is not None and len(marks) == len(self.listed.brains):
            self._table.show_column("mark", marks)

    def _set_shown(self, shown: bool) -> None:
        for widget in (self._export, self._about, self._pages):
            widget.setVisible(shown)
        high = QSizePolicy.Policy.Expanding if shown else QSizePolicy.Policy.Maximum
        self.setSizePolicy(QSizePolicy.Policy.Preferred, high)


def _write(folder: Path, listed: BrainTable) -> None:
    _, model, population, *_ = listed.inputs
    about = provenance({}, population, {model.label: model})
    with results_folder(folder, about) as beside:
        export_brain_table(beside, listed.brains, listed.associations, about, population.known())


def _as_shown(brains: pd.DataFrame, model: Model, population: Population) -> pd.DataFrame:
    """Add notes; what cannot be used is in bold, and on top where the largest come first."""
    table = brains.reset_index()
    bad, outlier = table["problem"] != "", table.get("unusual", False)
    reference = model.header.reference
    by = [""] * len(table)
    if reference is not None:
        by = reference.outlier_by(table["squared_error"], table["kl_divergence"])
    notes = zip(flags_of(population.covariates), by, bad, strict=True)
    table["note"] = [_note(*each) for each in notes]
    numbers = table.columns.intersection([column.name for column in COLUMNS[1:4]])
    table[numbers] = table[numbers].mask(bad, np.inf)
    return table.assign(strong=bad | outlier)


def _note(flagged: bool, outlier_by: str, bad: bool) -> str:
    said = {
        "flagged": flagged,
        f"outlier by {outlier_by}": bool(outlier_by) and not bad,
        "cannot be used": bad,
    }
    return ", ".join(text for text, is_so in said.items() if is_so)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
