"""The widget "Gallery": all brains as thumbnails, outliers first, to be looked over and marked."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
)

from napari_brainvae.denoising.brain_table import factors_of
from napari_brainvae.io.errors import present
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.reporting.export import results_folder
from napari_brainvae.reporting.gallery_page import export_gallery
from napari_brainvae.reporting.provenance import provenance
from napari_brainvae.reporting.thumbnails import Thumbnails
from napari_brainvae.widgets.layers.section_layers import show_index, shown_index
from napari_brainvae.widgets.panels.field_legend import residual_legend
from napari_brainvae.widgets.panels.folder_question import ask_folder
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.mark_bar import MarkBar
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.panels.thumbnail_list import ThumbnailList
from napari_brainvae.widgets.workers import Latest, notify, warning

ORDERS = {
    "as they lie in the file": None,
    "outliers first": "deviation",
    "largest error first": "squared_error",
    "largest KL first": "kl_divergence",
    "by id": "id",
}
FORMS = {
    "deviation": "deviation {:.1f}",
    "squared_error": "error {:.5f}",
    "kl_divergence": "KL {:.1f}",
}


class GalleryWidget(Panel):
    """Thumbnails of all sections with their residual, to be sorted, selected and marked."""

    page, tab = "gallery", "Gallery"
    first = "To begin, drop brain sections on the canvas; with a model, residuals are shown."
    needs = ("sections",)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.source, self.job = SectionsAndModel(viewer), JobBar()
        self.thumbnails, self.marks = ThumbnailList(), MarkBar(viewer, "gallery")
        self._order = QComboBox(toolTip="In which order brains are shown.")
        self._order.addItems(list(ORDERS))
        self._measure = QPushButton("List brains")
        self._measure.setToolTip(
            "<p>Reconstruct every brain, to sort by error, KL and outliers.</p>"
        )
        self._unmarked = QCheckBox("Unmarked only")
        self._unmarked.setToolTip("Show only the brains that have no mark yet.")
        self._export = QPushButton("Export page …")
        self._export.setToolTip("Write the thumbnails on show as PNG, SVG and a table (CSV).")
        self._legend = QLabel(residual_legend())
        self._problem = QLabel(wordWrap=True, visible=False)
        self.thumbnails.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self.thumbnails.addActions(self.marks.marking)
        self.thumbnails.setToolTip("Click: show the brain. Ctrl, Shift or a rectangle: select.")
        self._prepare = Latest(_prepared, self._draw_with, self._failed, parent=self)
        self._wanted: Any = None
        self._arrange()
        self._connect()
        self._changed()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self.body)
        layout.addWidget(self.source)
        row = QHBoxLayout()
        row.addWidget(self._order, 1)
        row.addWidget(self._measure)
        layout.addLayout(row)
        row = QHBoxLayout()
        row.addWidget(self._unmarked)
        row.addStretch()
        row.addWidget(self._export)
        layout.addLayout(row)
        layout.addWidget(self._legend)
        layout.addWidget(self._problem)
        layout.addWidget(self.marks)
        layout.addWidget(self.thumbnails, 1)
        layout.addWidget(self.job)

    def _connect(self) -> None:
        self.source.changed.connect(self._changed)
        self.job.changed.connect(self._enable)
        self.workspace.brains.table_changed.connect(self._measured)
        self.workspace.brains.selection_changed.connect(self._select)
        self.workspace.marks.changed.connect(self._marked)
        self.viewer.dims.events.point.connect(self._follow)
        self._order.activated.connect(self._list)
        self._unmarked.toggled.connect(self._list)
        self._measure.clicked.connect(self.measure)
        self._export.clicked.connect(
            lambda: ask_folder(self, "for the page of the gallery", self.export)
        )
        self.thumbnails.chosen.connect(self._go_to)
        self.thumbnails.selected.connect(self.workspace.brains.select)

    def measure(self) -> None:
        """Reconstruct every brain in the background; all panels get the list."""
        self.workspace.brains.measure(self.job.run)

    def export(self, folder: Path) -> None:
        """Write the thumbnails on show to a folder, in the background."""
        making, positions = self.thumbnails.making, self.thumbnails.visible_positions()
        if making is None or not positions or self.job.running:
            return
        marks = self.workspace.marks.of_brains
        table = self._about(positions).assign(mark=[marks[i] for i in positions])
        self.job.run(
            "Writing",
            partial(_write, folder, making, positions, table),
            lambda _: notify(f"Wrote gallery.png and more to {folder}"),
        )

    def release(self) -> None:
        """Stop what runs and leave no callback behind."""
        self._prepare.close()
        self.thumbnails.close_worker()
        self.job.cancel()
        self.marks.release()
        self.source.release()
        self.workspace.brains.table_changed.disconnect(self._measured)
        self.workspace.brains.selection_changed.disconnect(self._select)
        self.workspace.marks.changed.disconnect(self._marked)
        self.viewer.dims.events.point.disconnect(self._follow)

    def _changed(self) -> None:
        """Show the brains that are chosen now, and no picture of others."""
        layer, population = self.workspace.sections, self.workspace.population
        model = self.workspace.model if self.workspace.ready else None
        wanted = (layer, population, model)
        if self._wanted is None or any(
            a is not b for a, b in zip(wanted, self._wanted, strict=True)
        ):
            self._wanted = wanted
            self.thumbnails.draw_with(None)
            self._list()
            if population is not None and layer is not None:
                self._prepare.request(population, model, float(layer.contrast_limits[1]))
        self._enable()

    def _draw_with(self, making: Thumbnails) -> None:
        _, population, model = self._wanted
        if making.population is population and making.model is model:
            self._problem.hide()
            self.thumbnails.draw_with(making)

    def _failed(self, message: str) -> None:
        self._problem.setText(warning(message))
        self._problem.show()

    def _measured(self) -> None:
        """With the first list, the outliers come first; without one, nothing is sorted by it."""
        table = self._table()
        names = list(ORDERS.values())
        if table is not None and self._order.currentIndex() == 0:
            first = "deviation" if "deviation" in table else "squared_error"
            self._order.setCurrentIndex(names.index(first))
        elif table is None and names[self._order.currentIndex()] in FORMS:
            self._order.setCurrentIndex(0)
        self._enable()
        self._list()

    def _table(self) -> pd.DataFrame | None:
        shared = self.workspace.brains.table
        return None if shared is None else shared.brains

    def _about(self, positions: Any) -> pd.DataFrame:
        """Id, caption and what was measured of some brains."""
        population, table = present(self.workspace.population, "a population"), self._table()
        by = list(ORDERS.values())[self._order.currentIndex()]
        about = pd.DataFrame({"id": population.ids})
        if table is not None:
            measured = table.drop(columns=factors_of(table).columns).reset_index(drop=True)
            about = about.join(measured)
        shown = by if by in FORMS else ("deviation" if "deviation" in about else None)
        numbers = (
            [FORMS[shown].format(v) if v == v else "cannot be used" for v in about[shown]]
            if (shown is not None)
            else [""] * len(about)
        )
        about["caption"] = [
            f"{i}\n{number}" for i, number in zip(about["id"], numbers, strict=True)
        ]
        return about.iloc[list(positions)]

    def _list(self, *_: Any) -> None:
        population = self.workspace.population
        brains = self.thumbnails.brains
        if population is None:
            brains.show_brains([], [], [])
            return
        about = self._about(range(len(population)))
        by = list(ORDERS.values())[self._order.currentIndex()]
        order = np.arange(len(population))
        if by == "id":
            order = np.argsort(about["id"].to_numpy(str), kind="stable")
        elif by in about:
            # Those that cannot be used come first of all.
            order = np.argsort(-about[by].fillna(np.inf).to_numpy(float), kind="stable")
        marks = self.workspace.marks.of_brains
        if self._unmarked.isChecked():
            order = np.array([i for i in order if not marks[i]], dtype=int)
        tips = about.get("problem", pd.Series([""] * len(about)))
        captions = about["caption"].tolist()
        said = [tip or caption for tip, caption in zip(tips, captions, strict=True)]
        brains.show_brains(order.tolist(), captions, said)
        brains.show_marks(marks)
        self._select()
        self._follow()

    def _marked(self) -> None:
        marks = self.workspace.marks.of_brains
        self.thumbnails.brains.show_marks(marks)

    def _select(self) -> None:
        self.thumbnails.select(sorted(self.workspace.brains.selected))

    def _follow(self, event: Any = None) -> None:
        """Scroll to the brain on show as the slider moves, not when the order is another."""
        layer = self.workspace.sections
        if layer is not None:
            index = shown_index(layer, self.viewer.dims.point)
            self.thumbnails.follow(index, scroll=event is not None)

    def _go_to(self, position: int) -> None:
        layer = self.workspace.sections
        if layer is not None:
            show_index(self.viewer, layer, position)

    def _enable(self) -> None:
        """What cannot work is off."""
        table = self._table()
        for row, name in enumerate(ORDERS.values()):
            there = name not in FORMS or (table is not None and name in table)
            self._order.model().item(row).setEnabled(there)
        self._measure.setEnabled(self.workspace.ready and not self.job.running)
        self._export.setEnabled(self.workspace.population is not None and not self.job.running)
        self._legend.setVisible(self.workspace.ready)


def _prepared(population: Any, model: Any, white: float) -> Thumbnails:
    return Thumbnails.of(population, model, white)


def _write(
    folder: Path, making: Thumbnails, positions: Any, table: pd.DataFrame, progress: Progress
) -> None:
    pictures = []
    for i, position in enumerate(positions):
        report(progress, i, len(positions))
        pictures.append(making.make(position))
    models = {} if making.model is None else {making.model.label: making.model}
    about = provenance({}, making.population, models, measured=positions)
    with results_folder(folder, about) as beside:
        plane = making.population.description.plane
        size = making.pixel_size_um
        export_gallery(beside, pictures, table, about, pixel_size_um=size, plane=plane)
