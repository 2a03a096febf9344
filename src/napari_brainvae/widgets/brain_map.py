"""The widget "Map of brains": brains as points, factor against factor, linked with all panels."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
import numpy.typing as npt
import pandas as pd
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
)

from napari_brainvae.denoising.brain_table import factors_of, with_covariates
from napari_brainvae.io.errors import present
from napari_brainvae.reporting.brain_map import PAIRED, TITLES, MapOptions, export_brain_map
from napari_brainvae.reporting.export import results_folder
from napari_brainvae.reporting.provenance import provenance
from napari_brainvae.statistics.brain_map import (
    colour_brains,
    colour_columns,
    ellipses_of_pairs,
    hollow_and_crossed,
    number_columns,
)
from napari_brainvae.widgets.layers.brain_points import BrainPoints
from napari_brainvae.widgets.layers.section_layers import show_index, shown_index
from napari_brainvae.widgets.panels.brain_planes import Look, Plane
from napari_brainvae.widgets.panels.brain_scatter import BrainScatter
from napari_brainvae.widgets.panels.folder_question import ask_folder
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.map_legend import MapLegend
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.shared_brains import BrainTable
from napari_brainvae.widgets.workers import notify

EMPTY = "Measure brains to see each of them as a point."
HOW = (
    "<p>Click a brain to show it; draw around brains to select them, with Shift to select more, "
    "with Alt fewer. The ring is the brain on show.</p>"
)


class BrainMapWidget(Panel):
    """Brains in the plane of two columns, coloured by a third, and in the planes of all pairs."""

    page, tab = "brain_map", "Map"
    first = "To begin, drop brain sections and a model on the canvas."

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.source, self.brains = SectionsAndModel(viewer), self.workspace.brains
        if self.workspace.points is None:
            self.workspace.points = BrainPoints(viewer, self.brains)
        self._points = self.workspace.points
        self.table: pd.DataFrame | None = None
        self._measure, self._export = QPushButton("Measure brains"), QPushButton("Export …")
        self._measure.setToolTip(
            "<p>Reconstruct every brain: its factors, error and deviation.</p>"
        )
        self._export.setToolTip(
            "<p>Write what is shown: the plane and all pairs as figures (PNG, SVG), all brains and "
            "the selected ones as tables (CSV).</p>"
        )
        self.x, self.y, self.colour = QComboBox(), QComboBox(), QComboBox()
        for box, what in ((self.x, "across"), (self.y, "upwards"), (self.colour, "as colour")):
            box.setToolTip(f"What is shown {what}: a factor, a measure or a covariate.")
            box.setMinimumContentsLength(6)
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        self.ellipses = QCheckBox("Groups")
        self.ellipses.setToolTip(
            "<p>Mean of each group and the ellipse that 95 % of a normal distribution of its "
            "covariance lie in; flagged brains are left out.</p>"
        )
        self.ellipses.setChecked(True)
        self.plane, self.pairs = BrainScatter(EMPTY), BrainScatter(EMPTY)
        self.pages, self.legend, self.job = QTabWidget(), MapLegend(), JobBar()
        self._before, self._after = QPushButton("◀"), QPushButton("▶")
        self._before.setToolTip("Show the selected brain before this one.")
        self._after.setToolTip("Show the selected brain after this one.")
        self._none = QPushButton("Select none", toolTip="Select no brain, in all panels.")
        self._counted = QLabel()
        self._arrange()
        self._connect()
        self._show()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self.body)
        layout.addWidget(self.source)
        grid = QGridLayout()
        grid.addWidget(self._measure, 0, 0, 1, 2)
        grid.addWidget(self._export, 0, 2, 1, 2)
        for column, (name, box) in enumerate((("x", self.x), ("y", self.y))):
            grid.addWidget(QLabel(name), 1, 2 * column)
            grid.addWidget(box, 1, 2 * column + 1)
        grid.addWidget(QLabel("Colour"), 2, 0)
        grid.addWidget(self.colour, 2, 1)
        grid.addWidget(self.ellipses, 2, 3)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        layout.addLayout(grid)
        for page, title, more in (
            (self.plane, "Plane", ""),
            (self.pairs, "All pairs", "<p>Click a plane twice to see it alone.</p>"),
        ):
            page.setToolTip(HOW + more)
            self.pages.addTab(page, title)
        layout.addWidget(self.pages, 1)
        layout.addWidget(self.legend)
        row = QHBoxLayout()
        row.addWidget(self._counted, 1)
        for button in (self._before, self._after):
            button.setFixedWidth(30)
            row.addWidget(button)
        row.addWidget(self._none)
        layout.addLayout(row)
        layout.addWidget(self.job)

    def _connect(self) -> None:
        self._measure.clicked.connect(self.measure)
        self._export.clicked.connect(lambda: ask_folder(self, "for the map of brains", self.export))
        for box in (self.x, self.y):
            box.activated.connect(self._draw_plane)
        self.colour.activated.connect(self._draw)
        self.ellipses.toggled.connect(self._draw)
        for page in (self.plane, self.pairs):
            page.clicked.connect(self._click)
            page.lassoed.connect(self._select)
        self.pages.currentChanged.connect(self._draw_pairs)
        self.pairs.opened.connect(self._open)
        self.legend.chosen.connect(lambda group: self._select(group, "only"))
        self._before.clicked.connect(lambda: self._step(-1))
        self._after.clicked.connect(lambda: self._step(1))
        self._none.clicked.connect(lambda: self.brains.select([]))
        self.source.changed.connect(self._enable)
        self.job.changed.connect(self._enable)
        self.brains.table_changed.connect(self._show)
        self.brains.selection_changed.connect(self._show_selected)
        self.viewer.dims.events.point.connect(self._follow)

    def measure(self) -> None:
        """Reconstruct every brain in the background, for all panels."""
        self.brains.measure(self.job.run)

    def export(self, folder: Path) -> None:
        """Write what is shown to a folder, in the background."""
        measured = self.brains.table
        if measured is not None and self.table is not None and not self.job.running:
            write = partial(
                _write, folder, measured, self.table, self.options, sorted(self.brains.selected)
            )
            self.job.run(
                "Writing",
                lambda _: write(),
                lambda _: notify(f"Wrote brain_map.csv and more to {folder}"),
            )

    @property
    def options(self) -> MapOptions:
        """What is shown; of a table that is shown."""
        x, y, colour = (str(box.currentData() or "") for box in (self.x, self.y, self.colour))
        return MapOptions(x=x, y=y, colour=colour, ellipses=self.ellipses.isChecked())

    @options.setter
    def options(self, options: MapOptions) -> None:
        for box, name in ((self.x, options.x), (self.y, options.y), (self.colour, options.colour)):
            box.setCurrentIndex(max(box.findData(name), 0))
        self.ellipses.setChecked(options.ellipses)
        self._draw()

    def release(self) -> None:
        """Stop what runs and leave no callback behind."""
        self.job.cancel()
        self.source.release()
        self.brains.table_changed.disconnect(self._show)
        self.brains.selection_changed.disconnect(self._show_selected)
        self.viewer.dims.events.point.disconnect(self._follow)

    # What is shown

    def _show(self) -> None:
        """Show what all panels share, or nothing rather than something stale."""
        measured, before = self.brains.table, self.options
        self.table = None
        if measured is not None:
            population = measured.inputs.population
            known = population.covariates.assign(flagged=population.flagged)
            self.table = with_covariates(measured.brains, known)
        self._list_columns(before)
        self._enable()
        self._draw()

    def _list_columns(self, before: MapOptions) -> None:
        """Offer what the table has; what was chosen stays, if it is still there."""
        table = pd.DataFrame() if self.table is None else self.table
        numbers = number_columns(table)
        factors = [name for name in factors_of(table) if name in numbers]
        ordered = [*factors, *(name for name in numbers if name not in factors)]
        for box, name, usual in ((self.x, before.x, 0), (self.y, before.y, 1)):
            _fill(box, ordered, name, usual)
        colours = [name for name in colour_columns(table) if name != "problem"]
        # At first by what is known of the brains, not by what was measured.
        measured = () if self.brains.table is None else self.brains.table.brains
        ours = {*numbers, *measured, "flagged"}
        covariates = [name for name in colours if name not in ours]
        usual = 1 + colours.index(covariates[0]) if covariates else 0
        _fill(self.colour, ["", *colours], before.colour or "-", usual)

    def _draw(self, _: Any = None) -> None:
        """Draw both pages anew: there are other brains, colours or groups."""
        self._coloured = self._look = None
        self._pairs: list[tuple[str, str]] = []
        if self.table is not None:
            self._coloured = colour_brains(self.table, self.options.colour)
            hollow, crossed = hollow_and_crossed(self.table)
            self._look = Look(self._coloured.colours, hollow, crossed, self._said)
            factors = [str(name) for name in factors_of(self.table)][:PAIRED]
            self._pairs = [*combinations(factors, 2)]
        self.pairs.empty = EMPTY if self.table is None else "One factor makes no pairs."
        self.legend.tell(self._coloured, self._look)
        self.pairs.show_planes((), None)
        self._draw_plane()
        self._draw_pairs()

    def _draw_pairs(self, _: Any = None) -> None:
        """Draw all pairs, once somebody looks at them."""
        if self.pages.currentWidget() is self.pairs and not self.pairs.planes:
            self.pairs.show_planes(self._planes(self._pairs), self._look)

    def _draw_plane(self, _: Any = None) -> None:
        """Draw the one plane anew."""
        options = self.options
        shown = self._look is not None and options.x and options.y
        planes = self._planes([(options.x, options.y)]) if shown else []
        self.plane.show_planes(planes, self._look)
        if self.table is not None and shown:
            self._points.show(self.table, options.x, options.y)
        self._show_selected()
        self._follow()

    def _planes(self, pairs: list[tuple[str, str]]) -> list[Plane]:
        """Where all brains and groups are in the planes of some pairs; nothing without."""
        if not pairs:
            return []
        table, look = present(self.table, "a list of brains"), present(self._look, "their look")
        order = {name: i for i, name in enumerate(dict.fromkeys(sum(pairs, ())))}
        columns = table[[*order]].to_numpy(np.float64)
        indices = [(order[x], order[y]) for x, y in pairs]
        outlines: list[list[Any]] = [[] for _ in pairs]
        groups = present(self._coloured, "the colours of the brains").groups
        for group in groups if self.ellipses.isChecked() else ():
            known, of_pairs = ellipses_of_pairs(columns[group.members & ~look.hollow], indices)
            lines = of_pairs.outline(count=64 if len(pairs) == 1 else 24)
            for pair in known.nonzero()[0]:
                outlines[pair].append((group.colour, lines[pair], of_pairs.mean[pair]))
        return [
            Plane(
                TITLES.get(x, x),
                TITLES.get(y, y),
                columns[:, [order[x], order[y]]],
                max(order[y] - 1, 0),
                order[x],
                outlines[pair],
            )
            for pair, (x, y) in enumerate(pairs)
        ]

    def _said(self, brain: int) -> str:
        """What is said of a brain under the mouse."""
        table = present(self.table, "a list of brains")
        name, by = str(table.index[brain]), self.options.colour
        if not by:
            return name
        value = table[by].iloc[brain]
        if isinstance(value, bool | np.bool_):
            value = "yes" if value else "no"
        shown = f"{value:.4g}" if isinstance(value, float) else value
        return f"{name}\n{TITLES.get(by, by)}: {shown}"

    def _show_selected(self) -> None:
        selected = self.brains.selected
        for page in (self.plane, self.pairs):
            page.show_selected(selected)
        total = 0 if self.table is None else len(self.table)
        self._counted.setText(f"{len(selected)} of {total} selected" if total else "")
        for button in (self._before, self._after, self._none):
            button.setEnabled(bool(selected))

    def _follow(self, event: Any = None) -> None:
        """Ring the brain that the slider is at."""
        sections = self.workspace.sections
        known = self.table is not None and sections is not None
        index = shown_index(sections, self.viewer.dims.point) if known else None
        for page in (self.plane, self.pairs):
            page.show_brain(index)

    # What is asked for

    def _click(self, brain: int, mode: str) -> None:
        """Show a brain and select it alone; one of several that are selected is only shown."""
        if mode != "only":
            self._select(np.array([brain]), "less" if brain in self.brains.selected else "more")
        elif brain not in self.brains.selected:
            self.brains.select([brain])
        self._go_to(brain)

    def _select(self, positions: npt.NDArray[np.intp], mode: str) -> None:
        before = self.brains.selected if mode != "only" else frozenset()
        chosen = frozenset(positions.tolist())
        self.brains.select(before - chosen if mode == "less" else before | chosen)

    def _step(self, by: int) -> None:
        """Show the next of the selected brains, after the last the first."""
        selected = np.array(sorted(self.brains.selected))
        now = -1 if self.plane.shown is None else self.plane.shown
        further = selected[selected > now] if by > 0 else selected[selected < now][::-1]
        around = selected[0] if by > 0 else selected[-1]
        self._go_to(int(further[0] if len(further) else around))

    def _go_to(self, brain: int) -> None:
        if self.workspace.sections is not None:
            show_index(self.viewer, self.workspace.sections, brain)

    def _open(self, plane: int) -> None:
        """Show one of the small planes alone."""
        x, y = self._pairs[plane]
        self.options = self.options.model_copy(update={"x": x, "y": y})
        self.pages.setCurrentIndex(0)

    def _enable(self) -> None:
        """What cannot work is off."""
        there = self.table is not None
        self._measure.setEnabled(self.source.ready and not self.job.running and not there)
        self._export.setEnabled(there and not self.job.running)
        for control in (self.x, self.y, self.colour, self.ellipses):
            control.setEnabled(there)


def _fill(box: QComboBox, names: list[str], before: str, usual: int) -> None:
    """Offer names of columns; the one before, or else the usual one, is chosen."""
    box.clear()
    for name in names:
        box.addItem(TITLES.get(name, name) or "one colour", name)
    found = box.findData(before)
    box.setCurrentIndex(found if found >= 0 else min(usual, len(names) - 1))


def _write(
    folder: Path,
    measured: BrainTable,
    table: pd.DataFrame,
    options: MapOptions,
    selected: list[int],
) -> None:
    _, model, population, *_ = measured.inputs
    about = provenance(options, population, {model.label: model})
    with results_folder(folder, about) as beside:
        export_brain_map(beside, table, options, selected, about)
