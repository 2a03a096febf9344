"""Brains as points in one plane, or in small multiples; quick enough for a hundred thousand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_brainvae.io.errors import present
from napari_brainvae.reporting.point_raster import draw_points
from napari_brainvae.statistics.brain_map import enclosed, nearest, simplified
from napari_brainvae.widgets.panels.brain_planes import ROOM, Layout, Look, Plane, polygon, ticks

REACH = 10
"""How far from a brain the mouse may be, px."""

BESIDE = 30
"""How far beside a plane a lasso may begin, px: brains at its edge are drawn around from there."""

FINE = 20_000
"""Points, up to which they are drawn finer than the screen, and a lasso is taken exactly."""

STEP = 2
"""Between two points of a lasso, px."""

FADED = 0.3
"""Of brains that are not selected, where some are."""

Chosen = npt.NDArray[np.intp]
Mode = Literal["only", "more", "less"]
"""Whether brains are selected alone, too, or no more."""


class BrainScatter(QWidget):
    """Points that a click, a lasso and the mouse above them ask for.

    Painted here: at 100,000 points matplotlib (and with it biaplotter) takes 1.2 s to show what a
    lasso holds, pyqtgraph 0.2 to 0.4 s, pixels in NumPy 4 ms; and a second canvas of OpenGL beside
    napari's ends the process where OpenGL is software.

    Signals
    -------
    clicked
        A brain, and how it is selected.
    lassoed
        Positions of brains, and how they are selected.
    opened
        Index of a plane that was clicked twice.
    """

    clicked, lassoed, opened = Signal(int, str), Signal(object, str), Signal(int)

    def __init__(self, empty: str = "") -> None:
        super().__init__()
        self.empty = empty
        self.planes: Sequence[Plane] = ()
        self.look: Look | None = None
        self.selected: Collection[int] = ()
        self.shown: int | None = None
        self.lasso: list[tuple[float, float]] = []
        self.drawn = 0
        """How often points were drawn: once for each change."""
        self.named: int | None = None
        self._under: tuple[float, float] | None = None
        self._lassoed: int | None = None
        self._layout: Layout | None = None
        self._all: QImage | None = None
        self._top: QImage | None = None
        self._around: tuple[QColor, QImage, QImage] | None = None
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(240, 200)

    def sizeHint(self) -> QSize:
        """Ask for a square."""
        return QSize(340, 340)

    def show_planes(self, planes: Sequence[Plane], look: Look | None) -> None:
        """Show the same brains in some planes; none without."""
        self.planes, self.look = planes, look
        self._forget()

    def show_selected(self, selected: Collection[int]) -> None:
        """Show which brains are selected, the others faded."""
        self.selected, self._top = selected, None
        self.update()

    def show_brain(self, index: int | None) -> None:
        """Ring the brain that the slider is at."""
        if index != self.shown:
            self.shown = index
            self.update()

    def brain_at(self, x: float, y: float) -> int | None:
        """Give the brain nearest to a pixel, if it is near."""
        plane = self._plane_at(x, y)
        if plane is None or self._layout is None:
            return None
        return nearest(self._layout.places[plane].T, (x, y), REACH)

    def place_of(self, index: int, plane: int = 0) -> tuple[float, float]:
        """Give the pixel where a brain is."""
        x, y = self._lay_out().places[plane, :, index].tolist()
        return x, y

    def _forget(self) -> None:
        """Draw all anew."""
        self._layout = self._all = self._top = self._around = None
        self.lasso, self._lassoed, self.named = [], None, None
        self.update()

    # Where planes and points are

    def _lay_out(self) -> Layout:
        """Find the pixel of every brain in every plane, once a size."""
        if self._layout is None:
            self._layout = Layout(self.planes, self.width(), self.height())
        return self._layout

    def _plane_at(self, x: float, y: float, reach: float = 0) -> int | None:
        return self._lay_out().plane_at(x, y, reach) if self.planes else None

    # What is painted

    def paintEvent(self, event: Any) -> None:
        """Paint axes, points, outlines, the brain on show and the lasso."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self.look is None or not self.planes:
            centred = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(self.rect(), centred, self.empty)
            painter.end()
            return
        layout = self._lay_out()
        around = self._drawn_around(layout, painter)
        painter.drawImage(QPointF(0, 0), around[1])
        self._paint_points(layout, painter)
        painter.drawImage(QPointF(0, 0), around[2])
        self._paint_shown(layout, painter)
        self._paint_name(painter)
        if self.lasso:
            painter.setPen(QPen(painter.pen().color(), 1.2, Qt.PenStyle.DashLine))
            painter.drawPolygon(polygon(np.array(self.lasso)))
        painter.end()

    def _drawn_around(self, layout: Layout, painter: QPainter) -> tuple[QColor, QImage, QImage]:
        """Draw axes below the points and outlines above, again only after a change or a theme's."""
        text = painter.pen().color()
        if self._around is None or self._around[0] != text:
            pictures = []
            for paint in (self._paint_axes, self._paint_outlines):
                ratio = self.devicePixelRatioF()
                picture = QImage(self.size() * ratio, QImage.Format.Format_ARGB32_Premultiplied)
                picture.setDevicePixelRatio(ratio)
                picture.fill(0)
                inside = QPainter(picture)
                inside.setRenderHint(QPainter.RenderHint.Antialiasing)
                inside.setFont(self.font())
                for plane in range(len(self.planes)):
                    inside.setPen(text)
                    paint(inside, layout, plane)
                inside.end()
                pictures.append(picture)
            self._around = text, *pictures
        return self._around

    def _paint_axes(self, painter: QPainter, layout: Layout, index: int) -> None:
        plane, frame = self.planes[index], layout.frames[index]
        low, high = layout.limits[index]
        single = len(self.planes) == 1
        painter.setOpacity(0.35)
        painter.drawRect(frame)
        painter.setOpacity(1.0)
        centre, right = Qt.AlignmentFlag.AlignCenter, Qt.AlignmentFlag.AlignRight
        beneath = frame.bottom() + (20 if single else 4)
        lowest = all(each.row <= plane.row for each in self.planes if each.column == plane.column)
        if lowest:
            painter.drawText(QRectF(frame.left(), beneath, frame.width(), 18), centre, plane.x)
        if plane.column == 0:
            painter.save()
            painter.translate(14 if single else ROOM - 14, frame.center().y())
            painter.rotate(-90)
            painter.drawText(QRectF(-frame.height() / 2, -10, frame.height(), 18), centre, plane.y)
            painter.restore()
        if not single:
            return
        for axis in (0, 1):
            for value in ticks(low[axis], high[axis]):
                x, y = layout.pixels(index, np.where(np.arange(2) == axis, value, low)).tolist()
                painter.setOpacity(0.15)
                end = (x, frame.top()) if axis == 0 else (frame.right(), y)
                painter.drawLine(QPointF(x, y), QPointF(*end))
                painter.setOpacity(1.0)
                text = f"{value:.4g}"
                if axis == 0:
                    painter.drawText(QRectF(x - 30, y + 2, 60, 18), centre, text)
                else:
                    box = QRectF(18, y - 9, ROOM - 21, 18)
                    painter.drawText(box, right | Qt.AlignmentFlag.AlignVCenter, text)

    def _paint_points(self, layout: Layout, painter: QPainter) -> None:
        """Draw all brains, and those that are selected above them, again only after a change."""
        if self._all is None:
            self._all = self._picture(layout, slice(None), 0.0)
            self.drawn += 1
        if self.selected and self._top is None:
            chosen = np.fromiter(self.selected, np.intp, len(self.selected))
            chosen.sort()
            self._top = self._picture(layout, chosen, 1.0)
        painter.setOpacity(FADED if self.selected else 1.0)
        painter.drawImage(QRectF(self.rect()), self._all)
        painter.setOpacity(1.0)
        if self.selected and self._top is not None:
            painter.drawImage(QRectF(self.rect()), self._top)

    def _picture(self, layout: Layout, chosen: slice | Chosen, larger: float) -> QImage:
        """Draw some brains in all planes; few of them finer than the screen is, to be smooth."""
        look = present(self.look, "the look of the brains")
        many = len(look.colours) * len(self.planes)
        fine = self.devicePixelRatioF() * (2 if many <= FINE else 1)
        height, width = round(self.height() * fine), round(self.width() * fine)
        small, dense = len(self.planes) > 1 or many > FINE, len(self.planes) > 1 and many > FINE
        picture = draw_points(
            (height, width),
            layout.places[:, :, chosen] * fine,
            look.colours[chosen],
            look.hollow[chosen],
            look.crossed[chosen],
            radius=fine * (larger + (1.0 if dense else 1.6 if small else 3.0)),
            line=max(1.0, 1.2 * fine),
        )
        # Each pixel is a colour or nothing, which is the same with its alpha multiplied.
        form = QImage.Format.Format_ARGB32_Premultiplied
        image = QImage(picture.data, width, height, 4 * width, form)
        size = self.size() * self.devicePixelRatioF()
        smooth = Qt.TransformationMode.SmoothTransformation
        ours = image.scaled(size, transformMode=smooth)
        return ours.copy() if size == image.size() else ours  # owns its pixels

    def _paint_outlines(self, painter: QPainter, layout: Layout, index: int) -> None:
        """Draw where groups lie: a line of 1 px takes a thirtieth of the time of a wider one."""
        text, single = painter.pen().color(), len(self.planes) == 1
        diamond = (5 if single else 2.5) * np.array([[0, -1], [1, 0], [0, 1], [-1, 0]])
        painter.setClipRect(layout.frames[index])
        for name, line, mean in self.planes[index].outlines:
            colour = QColor(name)
            painter.setPen(QPen(colour, 1.5 if single else 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawPolyline(polygon(layout.pixels(index, line)))
            painter.setPen(QPen(text, 1))
            painter.setBrush(colour)
            painter.drawPolygon(polygon(layout.pixels(index, mean) + diamond))

    def _paint_shown(self, layout: Layout, painter: QPainter) -> None:
        if self.shown is None or self.look is None or self.shown >= len(self.look.colours):
            return
        radius = 7.0 if len(self.planes) == 1 else 4.0
        painter.save()
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(painter.pen().color(), 2))
        for x, y in layout.places[:, :, self.shown].tolist():
            if np.isfinite(x + y):
                painter.drawEllipse(QPointF(x, y), radius, radius)
        painter.restore()

    def _paint_name(self, painter: QPainter) -> None:
        """Say beside the mouse which brain it is at."""
        if self.named is None or self.look is None or self._under is None:
            return
        text = self.look.said(self.named)
        box = QRectF(painter.boundingRect(QRectF(), Qt.AlignmentFlag.AlignLeft, text))
        box.adjust(-4, -2, 4, 2)
        x, y = self._under
        left = min(x + REACH, self.width() - box.width())
        top = y + REACH if y + REACH + box.height() < self.height() else y - box.height()
        box.moveTo(max(left, 0), top)
        painter.save()
        text_colour = painter.pen().color()
        dark = text_colour.lightness() > 127
        painter.setBrush(QColor(0, 0, 0, 210) if dark else QColor(255, 255, 255, 225))
        painter.drawRect(box)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)
        painter.restore()

    # What the mouse does

    def resizeEvent(self, event: Any) -> None:
        """Lay out anew."""
        self._forget()
        super().resizeEvent(event)

    def mousePressEvent(self, event: Any) -> None:
        """Begin a lasso, or a click."""
        x, y = event.position().x(), event.position().y()
        if event.button() == Qt.MouseButton.LeftButton and self.look is not None:
            self._lassoed = self._plane_at(x, y, BESIDE)
            self.lasso = [(x, y)] if self._lassoed is not None else []

    def mouseMoveEvent(self, event: Any) -> None:
        """Draw the lasso on, or say which brain the mouse is at."""
        x, y = event.position().x(), event.position().y()
        if self.lasso:
            if np.hypot(x - self.lasso[-1][0], y - self.lasso[-1][1]) >= STEP:
                self.lasso.append((x, y))
                self.update()
        elif self.look is not None:
            self._under = x, y
            self._name(self.brain_at(x, y))

    def leaveEvent(self, event: Any) -> None:
        """Name no brain any more."""
        self._name(None)
        super().leaveEvent(event)

    def event(self, event: QEvent) -> bool:
        """Say how the map is used where no brain is named."""
        if event.type() == QEvent.Type.ToolTip and self.named is not None:
            return True
        return bool(super().event(event))

    def _name(self, brain: int | None) -> None:
        if brain != self.named:
            self.named = brain
            self.update()

    def mouseReleaseEvent(self, event: Any) -> None:
        """End a lasso, or a click; nothing selects nothing."""
        if event.button() != Qt.MouseButton.LeftButton or not self.lasso:
            return
        line, plane = np.array(self.lasso), present(self._lassoed, "a plane to draw in")
        self.lasso, self._lassoed = [], None
        self.update()
        mode = _mode(event.modifiers())
        if np.ptp(line, axis=0).max() >= REACH / 2:
            # Simpler by half a pixel: the time is that of points times corners.
            places = self._lay_out().places[plane].T
            within = enclosed(places, simplified(line, 0.5) if len(places) > FINE else line)
            self.lassoed.emit(np.flatnonzero(within), mode)
            return
        brain = self.brain_at(*line[0].tolist())
        if brain is not None:
            self.clicked.emit(brain, mode)
        elif mode == "only":
            self.lassoed.emit(np.arange(0), mode)

    def mouseDoubleClickEvent(self, event: Any) -> None:
        """Ask for one plane alone."""
        plane = self._plane_at(event.position().x(), event.position().y())
        if plane is not None and self.look is not None:
            self.opened.emit(plane)


def _mode(modifiers: Any) -> Mode:
    if modifiers & (Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.ControlModifier):
        return "more"
    return "less" if modifiers & Qt.KeyboardModifier.AltModifier else "only"
