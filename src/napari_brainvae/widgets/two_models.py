"""The widget "Two models": one section through both, and what has become of factors and brains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import napari.viewer
import numpy as np
import pandas as pd
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
)

from napari_brainvae.denoising.reconstruction import Reconstruction, reconstruct_section
from napari_brainvae.io.progress import Progress
from napari_brainvae.models.base import Model
from napari_brainvae.reporting.match_report import match_heatmap, write_match
from napari_brainvae.statistics.two_models import TwoModels, compare_models, incomparable
from napari_brainvae.widgets.inputs import Inputs
from napari_brainvae.widgets.layers.change_layer import SIGNED
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers, SideBySide
from napari_brainvae.widgets.layers.section_layers import show_index, shown_index
from napari_brainvae.widgets.panels.field_legend import sign_legend
from napari_brainvae.widgets.panels.figure_view import FigureView
from napari_brainvae.widgets.panels.folder_question import ask_folder
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.panels.result_table import ResultTable
from napari_brainvae.widgets.panels.second_model import SecondModel
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.panels.table_model import Column
from napari_brainvae.widgets.workers import Latest, notify, warning

FULL = 0.25
"""Difference at which a colour is full, share of what is shown white."""

FACTORS = [
    Column("factor_a", "A", tooltip="Factor of the model that all panels use."),
    Column("factor_b", "B", tooltip="Its partner in the second model."),
    Column("correlation", "r", "{:+.2f}", "Correlation of their codes over the brains that count."),
    Column("cosine", "fields", "{:+.2f}", "Cosine of their fields, the change of each pixel."),
    Column("said", "note", tooltip="What has no partner, or another one by its field."),
]
BRAINS = [
    Column("id", "brain", tooltip="Click a brain to show it."),
    Column("deviation_a", "A", "{:.1f}", "Deviation by A, spreads; more than 4 is an outlier."),
    Column("deviation_b", "B", "{:.1f}", "Deviation by B, spreads; more than 4 is an outlier."),
    Column("deviation_change", "B − A", "{:+.1f}", "How much more unusual it is by B, spreads."),
    Column("error_percent", "error", "{:+.0f} %", "Squared error by B, more or less than by A."),
    Column("fitted", "in fit", tooltip="Which of the models were fitted on this brain."),
]


@dataclass(frozen=True, eq=False)
class Compared:
    """What was compared, and what of."""

    found: TwoModels
    inputs: Inputs
    other: Model


class Both(NamedTuple):
    """One brain through both models."""

    inputs: Inputs
    other: Model
    brain: int
    a: Reconstruction
    b: Reconstruction
    incomparable: str


class TwoModelsWidget(Panel):
    """Hold a second model against the one that all panels work on."""

    page, tab = "two_models", "Models"
    first = "To begin, drop brain sections and a model on the canvas."

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.source, self.second = SectionsAndModel(viewer), SecondModel(self.workspace)
        self._side_by_side = QCheckBox("Side by side")
        self._side_by_side.setToolTip("<p>The section, A's and B's of it, and B less A.</p>")
        self._readout = QLabel(wordWrap=True)
        self._readout.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._compare, self._export = QPushButton("Compare all brains"), QPushButton("Export …")
        self._compare.setToolTip(
            "<p>Encode every brain by both: which factors are the same, and which brains have "
            "become more or less unusual.</p>"
        )
        self._export.setToolTip("Write both tables (CSV) and the heat map (PNG, SVG).")
        self.factors, self.brains = ResultTable(FACTORS), ResultTable(BRAINS)
        self.brains.horizontalHeader().setStretchLastSection(False)
        # Notes are read whole, in as many lines as they need.
        self.factors.setWordWrap(True)
        self.factors.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.map, self.tabs, self.job = FigureView(320), QTabWidget(), JobBar()
        self.map.setToolTip("<p>Correlation of the codes of every factor of A with every one of B; "
                            "pairs are framed.</p>")  # fmt: skip
        self._arrange()
        self._made, self._grid = PluginLayers(viewer, "Two models"), SideBySide(viewer)
        self._made.hide_all()
        self.compared: Compared | None = None
        self.latest = Latest(_through_both, self._show, self._failed, parent=self)
        self._connect()
        self._changed()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self.body)
        layout.addWidget(self.source)
        layout.addWidget(self.second)
        layout.addWidget(self._side_by_side)
        layout.addWidget(self._readout)
        row = QHBoxLayout()
        row.addWidget(self._compare)
        row.addWidget(self._export)
        layout.addLayout(row)
        for name, page in (("Factors", self.factors), ("Map", self.map), ("Brains", self.brains)):
            self.tabs.addTab(page, name)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.job)

    def _connect(self) -> None:
        self.source.changed.connect(self._changed)
        self.second.changed.connect(self._changed)
        self.viewer.dims.events.point.connect(self.refresh)
        self._side_by_side.toggled.connect(self._lay_out)
        self.job.changed.connect(self._enable)
        self._compare.clicked.connect(lambda _=False: self.compare())
        self._export.clicked.connect(
            lambda: ask_folder(self, "for tables and heat map", self.export)
        )
        self.brains.chosen.connect(self._go_to)

    @property
    def inputs(self) -> Inputs | None:
        """What is compared: model A, sections, and, as its options, model B."""
        other = self.second.model
        return None if other is None else self.workspace.inputs(_Same(other), atlas=False)

    def refresh(self, event: Any = None) -> None:
        """Ask for the brain on show through both models."""
        inputs = self.inputs
        if inputs is not None:
            index = shown_index(inputs.sections, self.viewer.dims.point)
            self.latest.request(inputs, index)

    def compare(self) -> None:
        """Compare the models on all brains, in the background."""
        inputs = self.inputs
        if inputs is None or self.job.running:
            return
        known = self.workspace.brains.table
        measured = None if known is None else known.brains
        self.job.run(
            "Comparing",
            partial(_compared, inputs, measured),
            self._show_compared,
            lambda: inputs.same(self.inputs),
        )

    def export(self, folder: Path) -> None:
        """Write tables and heat map to a folder, in the background."""
        if self.compared is not None and not self.job.running:
            self.job.run(
                f"Writing {folder.name}",
                partial(_write, folder, self.compared),
                lambda _: notify(f"Wrote {folder}"),
            )

    def release(self) -> None:
        """Stop what runs and leave no callback behind; the layers stay."""
        self._grid.end()
        self.latest.close()
        self.job.cancel()
        self.map.release()
        self.second.release()
        self.source.release()
        self.viewer.dims.events.point.disconnect(self.refresh)
        self._made.release()

    def stand_back(self) -> None:
        """Give the view back, and take the layers out of sight."""
        self._grid.end()
        super().stand_back()

    def come_forward(self) -> None:
        """Show the layers again, side by side if they were."""
        super().come_forward()
        self._lay_out()

    def _show(self, both: Both) -> None:
        if not both.inputs.same(self.inputs) or both.inputs.sections not in self.viewer.layers:
            return
        before = {part for part, layer in self._made.items() if layer.visible}
        self._show_layers(both)
        self._readout.setText(_told(both))
        if {part for part, layer in self._made.items() if layer.visible} != before:
            self._lay_out()

    def _show_layers(self, both: Both) -> None:
        sections, bright = both.inputs.sections, float(both.inputs.sections.contrast_limits[1])
        looks = {name: each for name, each in (("A", both.a), ("B", both.b))}
        names = {"A": self.workspace.model_name, "B": self.second.name}
        for part, look in looks.items():
            limits = (0, max(bright * look.gain, 1e-3))
            name = f"{part}: {names[part]}"
            self._made.show(part, look.reconstruction, sections, name, contrast_limits=limits)
        if both.incomparable:
            self._made.hide("difference")
            return
        limit = FULL * max(float(np.percentile(both.a.reconstruction, 99.8)), 1e-3)
        self._made.show(
            "difference",
            both.b.reconstruction - both.a.reconstruction,
            sections,
            "B less A",
            colormap=SIGNED,
            contrast_limits=(-limit, limit),
            blending="translucent",
        )

    def _lay_out(self, on: Any = None) -> None:
        """Show both beside the section and their difference, or above each other."""
        inputs, seen = self.inputs, [each for each in self._made.values() if each.visible]
        wanted = self._side_by_side.isChecked() and not self._made.behind
        if wanted and inputs is not None and self._made:
            self._grid.show([inputs.sections, *(seen or self._made.values())])
        else:
            self._grid.end()

    def _show_compared(self, compared: Compared) -> None:
        self._clear_compared()
        self.compared = compared
        found, a, b = compared.found, compared.inputs.model, compared.other
        factors = found.match.table()
        told = {each.factor: each.sentence for each in self.workspace.factors.descriptions}
        factors["tooltip"] = [
            f"<p>{said}</p><p>A: {told[name]}</p>" if name in told else said
            for name, said in zip(factors["factor_a"], factors["said"], strict=True)
        ]
        factors["strong"] = (factors["factor_a"] == "") | (factors["factor_b"] == "")
        self.factors.show_table(factors)
        brains = found.brains.assign(error_percent=100 * found.brains["error_change"])
        brains["strong"] = brains["outlier_a"] != brains["outlier_b"]
        self.brains.show_table(brains)
        self.map.show_figure(
            lambda: match_heatmap(found.match, a, b, parts=["codes"], count=len(found.positions))
        )
        self._enable()

    def _go_to(self, row: int) -> None:
        if self.compared is not None:
            position = int(self.compared.found.brains["position"].iloc[row])
            show_index(self.viewer, self.compared.inputs.sections, position)

    def _changed(self) -> None:
        """Show nothing stale."""
        inputs = self.inputs
        if self.compared is not None and not self.compared.inputs.same(inputs):
            self._clear_compared()
        if inputs is None:
            self._grid.end()
            self._made.hide_all()
            self._readout.setText("")
        self._enable()
        self.refresh()

    def _clear_compared(self) -> None:
        self.compared = None
        self.factors.show_table(None)
        self.brains.show_table(None)
        self.map.clear()

    def _failed(self, message: str) -> None:
        """Show nothing of a section that cannot be used, and say why."""
        self._grid.end()
        self._made.hide_all()
        self._readout.setText(warning(message))

    def _enable(self) -> None:
        """What cannot work is off."""
        ready, busy = self.inputs is not None, self.job.running
        self._side_by_side.setEnabled(ready)
        self._compare.setEnabled(ready and not busy)
        self._export.setEnabled(self.compared is not None and not busy)
        self.tabs.setVisible(self.compared is not None)


@dataclass(frozen=True)
class _Same:
    """A model among the options of `Inputs`, which are compared by ``==``."""

    model: Model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.model is self.model

    __hash__ = None  # type: ignore[assignment]


def _through_both(inputs: Inputs, index: int) -> Both:
    """Reconstruct a section as it came, by both; runs in a background thread."""
    other = inputs.options.model
    a, b = (
        reconstruct_section(model, inputs.population, index, robust=False)
        for model in (inputs.model, other)
    )
    return Both(inputs, other, index, a, b, incomparable(inputs.model, other))


def _compared(inputs: Inputs, measured: pd.DataFrame | None, progress: Progress) -> Compared:
    other = inputs.options.model
    found = compare_models(
        inputs.model, other, inputs.population, measured=measured, progress=progress
    )
    return Compared(found, inputs, other)


def _write(folder: Path, compared: Compared, _: Progress) -> None:
    inputs = compared.inputs
    write_match(folder, compared.found, inputs.model, compared.other, inputs.population)


def _told(both: Both) -> str:
    """Say how well either model fits the brain on show."""
    rows = [f"<b>{both.inputs.population.ids[both.brain]}</b>"]
    for name, look in (("A", both.a), ("B", both.b)):
        outlier = ", outlier" * bool(look.outlier)
        rows.append(f"{name}: error {look.error:.5f}, KL {look.kl:.1f} nats{outlier}")
    if both.incomparable:
        rows.append(warning(both.incomparable))
    else:
        if both.a.error > 0:
            change = 100 * (both.b.error / both.a.error - 1)
            more = "more" if change > 0 else "less"
            rows.append(f"error by B {abs(change):.0f} % {more} than by A")
        rows.append(f"B less A: {sign_legend()}; full colour: {100 * FULL:.0f} % of white")
    return "<br>".join(rows)
