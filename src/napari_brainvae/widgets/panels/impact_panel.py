"""The part of the widget "Receptive field" that measures a whole population."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QLabel,
    QPushButton,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_brainvae.atlas.regions import Region
from napari_brainvae.factors.impact import Impact, impact_matrix, unusable_regions
from napari_brainvae.factors.perturbation import ImpactOptions
from napari_brainvae.io.errors import InputError, present
from napari_brainvae.io.progress import Progress
from napari_brainvae.reporting.export import export_impact, export_regions, results_folder
from napari_brainvae.reporting.paper_figures import (
    factor_covariance,
    impact_distributions,
    impact_heatmap,
)
from napari_brainvae.reporting.provenance import provenance
from napari_brainvae.widgets.inputs import Inputs
from napari_brainvae.widgets.layers.region_layers import RequestedRegion
from napari_brainvae.widgets.layers.section_layers import population_of
from napari_brainvae.widgets.panels.figure_view import FigureView
from napari_brainvae.widgets.panels.folder_question import ask_folder
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.option_controls import Controls
from napari_brainvae.widgets.panels.region_list import RegionList
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.workers import notify, warning

SCORES = {
    "paper": "s (paper)",
    "trace_over_absolute": "Tr A / Σ |off-diagonal|",
    "log_correlation": "of log-correlations",
}
GOOD = (
    "<p>Of the last two, the larger the better: {alike:.2f} where all factors react alike, no "
    "upper end. The paper's s has no such order: {alike:.2f} where all react alike, −1 where each "
    "has regions of its own, and anything where covariances cancel. Do not rank by it.</p>"
)
"""What is good, beneath the scores."""


@dataclass(frozen=True, eq=False)
class MeasuredImpact:
    """An impact matrix, what it was measured with, and why which regions were left out."""

    impact: Impact
    scores: pd.DataFrame
    regions: dict[str, Region]
    left_out: dict[str, str]
    inputs: Inputs


class MeasurePanel(QWidget):
    """Options and one button; ``results`` shows the impact matrix and what lies behind each cell.

    Parameters
    ----------
    source, regions
        Which sections and model; which regions.
    perturbation
        Gives the options that are shared with the view of one brain.

    Signals
    -------
    finished
        There are new results.
    """

    finished = Signal()

    def __init__(
        self,
        source: SectionsAndModel,
        regions: RegionList,
        perturbation: Callable[[], dict[str, Any]],
    ) -> None:
        super().__init__()
        self.source, self.regions, self._perturbation = source, regions, perturbation
        self.measured: MeasuredImpact | None = None
        names = ["low", "high", "direction", "include_flagged", "resamples", "confidence"]
        self.controls = Controls(ImpactOptions, names, columns=1)
        self._about = QLabel(wordWrap=True)
        self._about.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._measure = QPushButton("Measure population")
        self._measure.setToolTip("Perturb each checked region in every section that counts.")
        self._export = QPushButton("Export …", enabled=False)
        self._export.setToolTip("<p>Write tables (CSV), figures (PNG, SVG) and regions.</p>")
        self.job = JobBar()
        self.heat_map, self.distributions = FigureView(230), FigureView(190)
        self.heat_map.setToolTip("Click a cell to see its two distributions.")
        self.covariance, self._scores = FigureView(260, dpi=60), QLabel(wordWrap=True)
        self.results, self.pages = QWidget(), QTabWidget()
        self._outdated = QLabel(wordWrap=True, visible=False)
        self._outdated.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._arrange()
        self.heat_map.clicked.connect(self._cell)
        self._measure.clicked.connect(self.measure)
        self._export.clicked.connect(
            lambda: ask_folder(self, "for tables, figures and regions", self.export)
        )
        self.controls.changed.connect(self._options_changed)
        self.regions.edited.connect(self._regions_edited)
        self.job.changed.connect(self._enable)
        self.tell()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(self.controls)
        layout.addWidget(self._about)
        layout.addWidget(self._measure)
        layout.addWidget(self.job)
        layout.addStretch()
        for title, widgets in {
            "Impact": (self.heat_map, self.distributions),
            "Likeness of factors": (self.covariance, self._scores),
        }.items():
            page = QWidget()
            column = QVBoxLayout(page)
            column.setContentsMargins(0, 0, 0, 0)
            for widget in widgets:
                column.addWidget(widget, isinstance(widget, FigureView))
            self.pages.addTab(page, title)
        column = QVBoxLayout(self.results)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(self._outdated)
        column.addWidget(self.pages, 1)
        column.addWidget(self._export)

    def options(self) -> ImpactOptions:
        """Options as the controls say.

        Raises
        ------
        InputError
            If they contradict each other.
        """
        try:
            return ImpactOptions(**self._perturbation(), **self.controls.values())
        except ValidationError as error:
            raise InputError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None

    def tell(self, wrong: str = "") -> None:
        """Say which sections count, or what is wrong."""
        if wrong:
            self._about.setText(warning(wrong))
        elif self.source.layer is not None:
            try:
                flagged = population_of(self.source.layer).flagged
            except InputError as error:
                self.tell(str(error))
                return
            out = 0 if self.controls.widgets["include_flagged"].value else int(flagged.sum())
            left = f"; {out} flagged ones are left out" if out else ""
            count = len(flagged) - out
            self._about.setText(f"{count} section{'s count' if count != 1 else ' counts'}{left}.")
        self._enable()

    def _enable(self) -> None:
        """What cannot work is off."""
        busy = self.job.running
        self._measure.setEnabled(self.source.ready and not busy)
        self._export.setEnabled(self.measured is not None and not busy)

    def _inputs(self) -> Inputs | None:
        """What would be measured now, but for the direction, which needs no measurement."""
        keys = {each.name: each.key for each in self.regions.checked()}
        try:
            options = self.options().model_copy(update={"direction": "symmetric"})
        except InputError:
            return None
        return self.source.workspace.inputs((options, keys), atlas=False)

    def measure(self, event: Any = None) -> None:
        """Measure the checked regions over the population, in the background."""
        if self.job.running:
            return
        self.forget()
        try:
            options = self.options()
        except InputError as error:
            self.tell(str(error))
            return
        inputs = self._inputs()
        if inputs is None:
            return
        job = partial(_measure, inputs, self.regions.checked(), options)
        self.job.run("Measuring", job, self._finished, lambda: inputs.same(self._inputs()))

    def forget(self) -> None:
        """Show no results rather than those of other regions, options or models."""
        self.measured = None
        self._outdated.hide()
        self._scores.setText("")
        for view in (self.heat_map, self.distributions, self.covariance):
            view.clear()
        self.tell()

    def export(self, folder: Path) -> None:
        """Write tables, figures and regions to a folder, in the background."""
        if self.measured is None or self.job.running:
            return
        shown = replace(self.measured, impact=self._in_direction())
        self.job.run(
            f"Writing {folder.name}",
            partial(_write, folder, shown),
            lambda _: notify(f"Wrote {folder}"),
        )

    def release(self) -> None:
        """Stop what runs and show nothing any more."""
        self.job.cancel()
        for view in (self.heat_map, self.distributions, self.covariance):
            view.release()

    def _finished(self, measured: MeasuredImpact) -> None:
        self.measured = measured
        reasons = [escape(reason) for reason in measured.left_out.values()]
        self.tell("Left out: " + "; ".join(reasons) + "." if reasons else "")
        self._regions_edited()
        self._show()
        self.finished.emit()

    def _regions_edited(self) -> None:
        """Say on the results that regions are not what they were when they were measured."""
        if self.measured is None:
            return
        inputs = self._inputs()
        _, before = self.measured.inputs.options
        now = {} if inputs is None else inputs.options[1]
        changes = [
            f"{name} was changed" if name in now else f"{name} is not chosen any more"
            for name, key in before.items()
            if now.get(name) != key
        ] + [f"{name} was not measured" for name in now if name not in before]
        if changes:
            self._outdated.setText(
                warning(
                    f"Out of date: {escape('; '.join(changes))}. Measure again; the export holds "
                    "the regions as they were measured."
                )
            )
        self._outdated.setVisible(bool(changes))

    def _show(self) -> None:
        if self.measured is None:
            return
        impact = self._in_direction()
        self.heat_map.show_figure(lambda: impact_heatmap(impact))
        row, factor = np.unravel_index(int(impact.matrix().argmax()), impact.matrix().shape)
        self.show_cell(int(row), int(factor))
        self.covariance.show_figure(lambda: factor_covariance(impact))
        self._scores.setText(_scores(self.measured.scores, impact.options, len(impact.matrix()[0])))

    def show_cell(self, row: int, factor: int) -> None:
        """Show the two distributions of a region's row and a factor, from 0."""
        if self.measured is None:
            return
        impact = self._in_direction()
        region = impact.regions[row]
        self.distributions.show_figure(lambda: impact_distributions(impact, region, factor))

    def _cell(self, axes: int, x: float, y: float) -> None:
        if axes == 0:  # the other one is the colour bar
            self.show_cell(round(y), round(x))

    def _in_direction(self) -> Impact:
        """The measured impact in the direction that is chosen now: it needs no new measurement."""
        impact = present(self.measured, "a measured impact").impact
        direction = self.controls.widgets["direction"].value
        if impact.options.direction == direction:
            return impact
        turned = impact.options.model_copy(update={"direction": direction})
        # What the bootstrap found holds for all directions.
        other = replace(impact, options=turned)
        other.__dict__["intervals"] = impact.intervals
        return other

    def _options_changed(self) -> None:
        if self.measured is not None and self.measured.impact.options == self._turned_back():
            self._show()
        elif self.measured is not None:
            self.forget()
        self.tell()

    def _turned_back(self) -> ImpactOptions | None:
        """Give the options of now, but for the direction."""
        try:
            direction = self.measured.impact.options.direction if self.measured else "symmetric"
            return self.options().model_copy(update={"direction": direction})
        except InputError:
            return None


def _measure(
    inputs: Inputs, requested: list[RequestedRegion], options: ImpactOptions, progress: Progress
) -> MeasuredImpact:
    """Measure the regions that can be, bootstrap included, and say why others cannot."""
    masks, left_out = {}, {}
    for each in requested:
        try:
            masks[each.name] = each.mask
        except InputError as error:
            left_out[each.name] = str(error)
    left_out |= unusable_regions(inputs.model, inputs.population, masks, options)
    masks = {name: mask for name, mask in masks.items() if name not in left_out}
    if not masks:
        raise InputError("; ".join(left_out.values()) or "draw a region, or check one in the list")
    impact = impact_matrix(inputs.model, inputs.population, masks, options, progress=progress)
    size = inputs.population.description.pixel_size_um
    regions = {each.name: each.to_file(size) for each in requested if each.name in masks}
    return MeasuredImpact(impact, impact.scores(), regions, left_out, inputs)


def _write(folder: Path, shown: MeasuredImpact, progress: Progress) -> None:
    name, impact = shown.inputs.model.label, shown.impact
    about = provenance(
        impact.options,
        shown.inputs.population,
        {name: shown.inputs.model},
        measured=impact.sections.tolist(),
    )
    with results_folder(folder, about) as beside:
        export_regions(beside, shown.regions)
        export_impact(beside, {name: impact}, about, progress=progress)


def _scores(table: pd.DataFrame, options: ImpactOptions, factors: int) -> str:
    """Disentanglement scores in the direction on show, as a table."""
    table = table[table["direction"] == options.direction].set_index("score")
    table = table.reindex([name for name in SCORES if name in table.index])
    rows = [
        f"<tr><td>{title}</td><td>&nbsp; <b>{row.value:.3f}</b></td>"
        f"<td>&nbsp; [{row.low:.3f}, {row.high:.3f}]</td></tr>"
        for title, row in zip(SCORES.values(), table.itertuples(), strict=False)
    ]
    if not rows:
        return "Scores compare at least 2 regions and 2 factors."
    level = f"{options.confidence:.0%} intervals over brains"
    good = GOOD.format(alike=1 / (factors - 1))
    return f"<table>{''.join(rows)}</table>{level}{good}"
