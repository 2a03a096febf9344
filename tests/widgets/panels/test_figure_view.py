"""Figures in a panel."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from qtpy.QtCore import QPoint, Qt

from napari_brainvae.widgets.panels.figure_view import FigureView
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
