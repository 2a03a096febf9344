"""Figures in a panel, drawn in the background: matplotlib never holds the GUI thread up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QSize, Qt, QTimer, Signal
from qtpy.QtGui import QImage, QPainter
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_brainvae.io.errors import InputError
from napari_brainvae.reporting.paper_figures import MATPLOTLIB, shorten_texts
from napari_brainvae.widgets.workers import Latest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[], "Figure"]
DPI = 80
"""Small type: a panel is narrower than a page."""


class FigureView(QWidget):
    """Shows a figure at the size of the panel; a function gives it, in a background thread.

    Signals
    -------
    clicked
        The axes' index and the position in its data coordinates.
    """

    clicked = Signal(int, float, float)

    def __init__(self, height: int, dpi: int = DPI) -> None:
        super().__init__()
        self._height, self._dpi = height, dpi
        self._draw: Draw | None = None
        self._image: QImage | None = None
        self._message = ""
        self._figure: Figure | None = None
        self.latest = Latest(_render, self._show, self._say, parent=self)
        self._resized = QTimer(self, singleShot=True, interval=100)
        self._resized.timeout.connect(self._request)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(200, 120)

    @property
    def figure(self) -> Figure | None:
        """The figure on show."""
        return self._figure

    def show_figure(self, draw: Draw) -> None:
        """Show what ``draw`` gives, which runs in a background thread at every new size."""
        self._draw = draw
        self._message = "Drawing …"
        self._request()

    def clear(self) -> None:
        """Show nothing."""
        self._draw = self._image = self._figure = None
        self._message = ""
        self.update()

    def _say(self, message: str) -> None:
        self.clear()
        self._message = message

    def release(self) -> None:
        """Show nothing any more."""
        self._resized.stop()
        self.latest.close()

    def sizeHint(self) -> QSize:
        """Ask for the height that was given."""
        return QSize(340, self._height)

    def resizeEvent(self, event: Any) -> None:
        """Draw again once the size has settled."""
        self._resized.start()
        super().resizeEvent(event)

    def showEvent(self, event: Any) -> None:
        """Draw what was asked for while the panel was hidden."""
        if self._image is None:
            self._request()
        super().showEvent(event)

    def paintEvent(self, event: Any) -> None:
        """Paint the picture."""
        painter = QPainter(self)
        if self._image is not None:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(self.rect(), self._image)
        else:
            centred = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(self.rect(), centred, self._message)
        painter.end()

    def mousePressEvent(self, event: Any) -> None:
        """Say which point of which axes was clicked."""
        if self._figure is None or event.button() != Qt.MouseButton.LeftButton:
            return
        width, height = self._figure.bbox.size
        x = event.pos().x() / self.width() * width
        y = (1 - event.pos().y() / self.height()) * height
        for index, axes in enumerate(self._figure.axes):
            if axes.bbox.contains(x, y):
                self.clicked.emit(index, *axes.transData.inverted().transform((x, y)))
                return

    def _request(self) -> None:
        if self._draw is not None and self.isVisible():
            ratio = self.devicePixelRatioF()
            size = self.width() / self._dpi, self.height() / self._dpi
            self.latest.request(self._draw, *size, self._dpi * ratio)

    def _show(self, result: tuple[Draw, Figure | str, npt.NDArray[np.uint8]]) -> None:
        draw, figure, pixels = result
        if draw is not self._draw:
            return
        if isinstance(figure, str):
            self._figure, self._image, self._message = None, None, figure
            self.update()
            return
        self._figure = figure
        height, width = pixels.shape[:2]
        image = QImage(pixels.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888)
        self._image = image.copy()  # owns its pixels
        self.update()


def _render(
    draw: Draw, width: float, height: float, dpi: float
) -> tuple[Draw, Figure | str, npt.NDArray[np.uint8]]:
    """Draw into pixels, at a size in inches; where that fails, give the reason."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow, so not before it is used

    with MATPLOTLIB:
        try:
            figure = draw()
        except InputError as error:
            return draw, str(error), np.zeros((1, 1, 4), np.uint8)
        shorten_texts(figure)
        figure.set_dpi(dpi)
        figure.set_size_inches(width, height)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return draw, figure, np.asarray(canvas.buffer_rgba()).copy()
