"""How soon the map of brains answers: lasso, hover, click, slider, other axes and colours.

From the event until the pixels of the map are painted: by the clock, and what the GUI thread works
meanwhile, which is what it costs where other work keeps the machine busy. What napari's canvas does
is not in it. Prints what renders, and the load.

    xvfb-run -a python -m benchmarks.brain_map [--brains 1723 100000] [--turns 15]

It fails if the median of that work is more than 100 ms for a lasso or 50 ms for a name at more than
10,000 brains, or with fewer more than a frame, 16.7 ms, for anything.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import napari
import numpy as np
import pandas as pd
from napari.layers import Image
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QImage, QMouseEvent
from qtpy.QtWidgets import QApplication, QWidget

from benchmarks.timing import print_machine
from benchmarks.windows import wait
from napari_brainvae.data.population import Population
from napari_brainvae.models.pca import PCA
from napari_brainvae.widgets.brain_map import BrainMapWidget
from napari_brainvae.widgets.layers.section_layers import population_layer
from napari_brainvae.widgets.shared_brains import BrainTable

FACTORS, FRAME_MS, LASSO_MS, NAME_MS = 8, 16.7, 100, 50
MANY = 10_000
wrong: list[str] = []
"""What took longer than it may."""

Spent = tuple[float, float]
"""Seconds by the clock, and of this thread's work."""


def opened(viewer: napari.Viewer, brains: int) -> BrainMapWidget:
    """Open small sections of many brains, and the panel with a table of them."""
    rng = np.random.default_rng(0)
    covariates = pd.DataFrame(
        {"line": rng.choice(["wt", "het", "ko"], brains), "age": rng.normal(60, 9, brains)}
    )
    images = np.broadcast_to(rng.random((1, 64, 64), dtype=np.float32), (brains, 64, 64))
    population = Population(images, covariates=covariates)
    some = rng.random((24, 64, 64), dtype=np.float32)
    data, options, _ = population_layer(population, "brains")
    viewer.add_layer(Image(data, **options))
    widget: BrainMapWidget
    _, widget = viewer.window.add_plugin_dock_widget("napari-brainvae", "Map of brains")
    known = widget.workspace
    known.model = PCA.fit(some, FACTORS)
    known.model_changed.emit()
    inputs = known.inputs(atlas=False)
    assert inputs is not None
    codes = rng.normal(size=(brains, FACTORS))
    table = pd.DataFrame(codes, population.ids, [f"F{i + 1}" for i in range(FACTORS)])
    table.insert(0, "squared_error", rng.random(brains))
    table.insert(1, "kl_divergence", rng.random(brains))
    table.insert(2, "deviation", rng.normal(size=brains))
    table.insert(3, "unusual", rng.random(brains) < 0.02)
    table["problem"] = ""
    table.index.name = "id"
    known.brains.give(BrainTable(table, pd.DataFrame(), inputs, np.ones(brains, bool)))
    wait(lambda: widget.plane.drawn > 0)
    return widget


def mouse(widget: QWidget, kind: QEvent.Type, x: float, y: float, held: bool) -> None:
    """Send an event of the mouse, as the window system does."""
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    at = QPointF(x, y)
    button = none if kind == QEvent.Type.MouseMove else left
    nothing = Qt.KeyboardModifier.NoModifier
    event = QMouseEvent(kind, at, widget.mapToGlobal(at), button, left if held else none, nothing)
    QApplication.sendEvent(widget, event)


def lasso(widget: QWidget, line: np.ndarray) -> Spent:
    """Draw a line; time from its end until what it holds is painted."""
    mouse(widget, QEvent.Type.MouseButtonPress, *line[0], held=True)
    for x, y in line[1:]:
        mouse(widget, QEvent.Type.MouseMove, x, y, held=True)
    return timed(
        lambda: mouse(widget, QEvent.Type.MouseButtonRelease, *line[-1], held=False), widget
    )


def timed(act: Callable[[], object], widget: QWidget) -> Spent:
    """Time something, with the painting of the panel's pixels."""
    began = time.perf_counter(), time.thread_time()
    act()
    widget.render(QImage(widget.size(), QImage.Format.Format_ARGB32_Premultiplied))
    return time.perf_counter() - began[0], time.thread_time() - began[1]


class Acts:
    """What she may do, each with the number of a turn; gives the time until it is painted."""

    def __init__(self, widget: BrainMapWidget) -> None:
        self.widget, self.plane = widget, widget.plane
        self.rng = np.random.default_rng(1)
        self.middle = np.array([self.plane.width() / 2, self.plane.height() / 2])

    def lasso_to_highlight(self, turn: int) -> Spent:
        """Around a tenth to a third of the brains."""
        angles = np.linspace(0, 2 * np.pi, 300)
        reach = self.plane.width() * (0.1 + 0.02 * (turn % 5)) * (1 + 0.1 * self.rng.random(300))
        circle = np.stack([np.cos(angles), np.sin(angles)], -1) * reach[:, None]
        return lasso(self.plane, self.middle + circle)

    def name_under_the_mouse(self, turn: int) -> Spent:
        """Of the brain there, if any."""
        x, y = self.middle + self.rng.normal(0, 20, 2)
        move = QEvent.Type.MouseMove
        return timed(lambda: mouse(self.plane, move, x, y, held=False), self.plane)

    def click(self, turn: int) -> Spent:
        """Without the section that napari shows then."""
        x, y = self.plane.place_of(turn)
        mouse(self.plane, QEvent.Type.MouseButtonPress, x, y, held=True)
        go_to, self.widget._go_to = self.widget._go_to, self.plane.show_brain
        release = QEvent.Type.MouseButtonRelease
        spent = timed(lambda: mouse(self.plane, release, x, y, held=False), self.plane)
        self.widget._go_to = go_to
        return spent

    def slider(self, turn: int) -> Spent:
        """Without napari's own work."""
        self.widget.viewer.dims.set_point(0, turn + 20)
        self.plane.show_brain(None)
        return timed(self.widget._follow, self.plane)

    def other_axes(self, turn: int) -> Spent:
        """Another factor across."""
        self.widget.x.setCurrentIndex(turn % FACTORS)
        return timed(self.widget._draw_plane, self.plane)

    def other_colours(self, turn: int) -> Spent:
        """A covariate, a number, or none."""
        self.widget.colour.setCurrentIndex(1 + turn % 3)
        return timed(self.widget._draw, self.plane)

    def all_pairs(self, turn: int) -> Spent:
        """Of all factors, drawn anew."""
        self.widget.pages.setCurrentIndex(0)
        self.widget._draw()
        pages = self.widget.pages
        return timed(lambda: pages.setCurrentIndex(1), self.widget.pairs)

    def lasso_in_all_pairs(self, turn: int) -> Spent:
        """In one of the small planes."""
        frame = self.widget.pairs._lay_out().frames[turn % 5]
        corners = [frame.topLeft(), frame.topRight(), frame.center(), frame.bottomLeft()]
        line = np.array([(each.x() + 1, each.y() + 1) for each in corners]) + turn % 3
        return lasso(self.widget.pairs, line)


def measure(widget: BrainMapWidget, brains: int, turns: int) -> None:
    """Print milliseconds of everything that she may do."""
    acts = Acts(widget)
    for name in [name for name in vars(Acts) if not name.startswith("_")]:
        act, what = getattr(acts, name), name.replace("_", " ")
        act(0)  # what is imported when it is first used
        clock, work = 1e3 * np.array([act(turn) for turn in range(1, turns + 1)]).T
        print(f"{brains:7d} brains, {what:22s}{_row(work)}{_row(clock)}")
        at_many = {"lasso_to_highlight": LASSO_MS, "name_under_the_mouse": NAME_MS}.get(name)
        most = at_many if brains > MANY else FRAME_MS
        if most is not None and np.median(work) > most:
            wrong.append(f"{what} of {brains} brains: {np.median(work):.1f} ms")


def _row(ms: np.ndarray) -> str:
    return f"{np.median(ms):9.1f}{ms.min():8.1f}{ms.max():8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brains", type=int, nargs="+", default=[1723, 100_000])
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    print_machine()
    print(f"load of the machine, mean of a minute: {os.getloadavg()[0]:.1f}")
    for brains in options.brains:
        viewer = napari.Viewer()
        widget = opened(viewer, brains)
        if brains == options.brains[0]:
            print(f"map: Qt's raster engine, {widget.plane.width()} x {widget.plane.height()} px")
            print(f"napari's canvas: {_renderer(viewer)}")
        print(
            f"{'ms, median, least and most':38s}{'work of the GUI thread':>25}{'by the clock':>25}"
        )
        measure(widget, brains, options.turns)
        viewer.close()
    if wrong:
        raise SystemExit("too long: " + "; ".join(wrong))


def _renderer(viewer: napari.Viewer) -> str:
    from vispy.gloo import gl

    viewer.window._qt_viewer.canvas._scene_canvas.set_current()
    return str(gl.glGetParameter(gl.GL_RENDERER))


if __name__ == "__main__":
    main()
