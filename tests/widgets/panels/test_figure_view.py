"""Figures in a panel."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from qtpy.QtCore import QPoint, Qt

from napari_brainvae.io.errors import InputError
from napari_brainvae.widgets.panels.figure_view import FigureView
from napari_brainvae.widgets.workers import BUG
from tests.widgets.windows import LONG


def test_clicks_find_their_cell(qtbot):
    view = FigureView(200)
    qtbot.addWidget(view)
    clicked = []
    view.clicked.connect(lambda *where: clicked.append(where))
    view.resize(300, 200)
    view.show()

    def draw():
        figure = Figure(layout="constrained")
        figure.subplots().imshow(np.zeros((3, 5)))
        return figure

    view.show_figure(draw)
    qtbot.waitUntil(lambda: view.figure is not None and view.latest.idle, timeout=LONG)
    x, y = view.figure.axes[0].transData.transform((4, 1)) / view.figure.bbox.size
    point = QPoint(round(x * view.width()), round((1 - y) * view.height()))
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=point)
    assert clicked[0][0] == 0
    assert np.allclose(clicked[0][1:], (4, 1), atol=0.05)
    view.release()


def test_what_cannot_be_drawn_says_why_and_a_bug_is_shown_as_one(qtbot):
    view = FigureView(200)
    qtbot.addWidget(view)
    view.show()

    def refuse():
        raise InputError("scores need at least 2 regions")

    def fail():
        raise ValueError("operands could not be broadcast together")

    view.show_figure(refuse)
    qtbot.waitUntil(lambda: "at least 2 regions" in view._message, timeout=LONG)
    with qtbot.captureExceptions() as exceptions:
        view.show_figure(fail)
        qtbot.waitUntil(lambda: len(exceptions) > 0 and view.latest.idle, timeout=LONG)
    assert "broadcast" in str(exceptions[0][1])
    assert view._message == BUG
    view.release()
