"""A bar for each factor's shift, quick enough to follow a slider."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_brainvae.reporting.paper_figures import HIGH, LOW

LIGHTER_LOW = QColor(LOW).lighter(150)
"""Seen on a dark panel, too."""

LEFT, RIGHT, TOP, BOTTOM = 40, 8, 30, 20
"""Margins around the bars, px."""


class ShiftBars(QWidget):
    """Shift of each factor in units of its spread over the population.

    Painted here: a matplotlib figure takes 40 to 150 ms, which is felt at a slider.
    """

    def __init__(self, height: int) -> None:
        super().__init__()
        self.shift: npt.NDArray[np.float32] | None = None
        self._limit, self._title, self._height = 1.0, "", height
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(200, 120)

    def show_shift(self, shift: npt.NDArray[np.float32], limit: float, title: str) -> None:
        """Show a bar per factor ``(L,)`` on a scale from -limit to +limit."""
        self.shift, self._limit, self._title = shift, limit, title
        self.update()

    def clear(self) -> None:
        """Show nothing."""
        self.shift = None
        self.update()

    def sizeHint(self) -> QSize:
        """Ask for the height that was given."""
        return QSize(340, self._height)

    def paintEvent(self, event: Any) -> None:
        """Paint axis, bars and names."""
        if self.shift is None:
            return
        painter = QPainter(self)
        plot = QRectF(self.rect()).adjusted(LEFT, TOP, -RIGHT, -BOTTOM)
        scale = plot.height() / 2 / self._limit
        self._paint_axis(painter, plot, scale)
        width = plot.width() / len(self.shift)
        for i, shift in enumerate(self.shift.tolist()):
            left = plot.left() + i * width
            bar = QRectF(left + 0.15 * width, plot.center().y(), 0.7 * width, -shift * scale)
            painter.fillRect(bar.normalized(), QColor(HIGH if shift > 0 else LIGHTER_LOW))
            name = QRectF(left, plot.bottom(), width, BOTTOM)
            painter.drawText(name, Qt.AlignmentFlag.AlignCenter, f"F{i + 1}")
        painter.end()

    def _paint_axis(self, painter: QPainter, plot: QRectF, scale: float) -> None:
        head = QRectF(0, 0, self.width(), TOP)
        painter.drawText(head, Qt.AlignmentFlag.AlignCenter, f"{self._title}   (population SD)")
        step = tick_step(self._limit)
        for value in step * np.arange(-np.floor(self._limit / step), self._limit / step + 1e-9):
            y = plot.center().y() - value * scale
            painter.setOpacity(1.0 if value == 0 else 0.25)
            painter.drawLine(int(plot.left()), round(y), int(plot.right()), round(y))
            painter.setOpacity(1.0)
            number = QRectF(0, y - 10, LEFT - 6, 20)
            right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(number, right, f"{value:+g}" if value else "0")


def tick_step(limit: float) -> float:
    """Give a round step with which 2 to 5 ticks fit between 0 and ``limit``."""
    power = 10.0 ** np.floor(np.log10(limit))
    return float(power * next(s for s in (0.2, 0.5, 1, 2) if limit / (s * power) <= 5))
