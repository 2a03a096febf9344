"""Thumbnails in rows, made as one scrolls to them: the list of the widget "Gallery"."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import (
    QAbstractListModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QObject,
    QRect,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from qtpy.QtGui import QColor, QImage, QKeyEvent, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from napari_brainvae.reporting.thumbnails import Picture, Thumbnails
from napari_brainvae.widgets.workers import Latest

AT_ONCE = 6
"""Thumbnails of one request; between two the newest place to which one scrolled counts."""

KEPT = 2000
"""Thumbnails that stay in memory, about 50 kB each."""

MARGIN, LINE = 4, 3

COLOURS = {"accept": "#3fa34d", "exclude": "#e5484d", "unsure": "#e0a100"}
STYLES = {
    "accept": Qt.PenStyle.SolidLine,
    "exclude": Qt.PenStyle.SolidLine,
    "unsure": Qt.PenStyle.DashLine,
}

POSITION, MARK, PICTURE = (Qt.ItemDataRole.UserRole + i for i in range(3))


class ThumbnailModel(QAbstractListModel):
    """Brains in an order, with a caption, a mark and, once it is made, a picture.

    Signals
    -------
    wanted
        A picture was asked for that is not made yet.
    """

    wanted = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.order: list[int] = []
        self._captions: Sequence[str] = []
        self._tips: Sequence[str] = []
        self._marks: Sequence[str] = []
        self._rows: dict[int, int] = {}
        self._pictures: OrderedDict[int, QPixmap] = OrderedDict()

    def show_brains(
        self, order: Sequence[int], captions: Sequence[str], tips: Sequence[str]
    ) -> None:
        """Show brains in another order; captions and tips by position."""
        self.beginResetModel()
        self.order, self._captions, self._tips = list(order), captions, tips
        self._rows = {position: row for row, position in enumerate(self.order)}
        self.endResetModel()

    def show_marks(self, marks: Sequence[str]) -> None:
        """Show other marks, by position."""
        self._marks = marks
        self._repaint(0, len(self.order) - 1)

    def forget(self) -> None:
        """Throw the pictures away: they are of something else."""
        self._pictures.clear()
        self._repaint(0, len(self.order) - 1)

    def take(self, position: int, picture: Picture) -> None:
        """Keep a picture, and show it where it is on show."""
        height, width, _ = picture.shape
        data = np.ascontiguousarray(picture).tobytes()
        image = QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888)
        self._pictures[position] = QPixmap.fromImage(image)
        if len(self._pictures) > KEPT:
            self._pictures.popitem(last=False)
        if (row := self._rows.get(position)) is not None:
            self._repaint(row, row)

    def has(self, position: int) -> bool:
        """Whether the picture is made."""
        return position in self._pictures

    def row(self, position: int) -> int | None:
        """Row on show of a brain."""
        return self._rows.get(position)

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """How many brains are shown."""
        return 0 if parent is not None and parent.isValid() else len(self.order)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Caption, tip, mark and picture of a brain."""
        position = self.order[index.row()]
        if role == PICTURE:
            if position in self._pictures:
                self._pictures.move_to_end(position)
            else:
                self.wanted.emit()
            return self._pictures.get(position)
        if role == POSITION:
            return position
        if role == MARK:
            return self._marks[position] if position < len(self._marks) else ""
        if role == Qt.ItemDataRole.DisplayRole:
            return self._captions[position]
        return self._tips[position] if role == Qt.ItemDataRole.ToolTipRole else None

    def _repaint(self, first: int, last: int) -> None:
        if last >= first:
            self.dataChanged.emit(self.index(first), self.index(last))


class _Painter(QStyledItemDelegate):
    """A thumbnail, framed by its mark's colour and named with its word."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.shape = (96, 134)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        height, width = self.shape
        lines = 2 * option.fontMetrics.height()
        return QSize(width + 2 * (MARGIN + LINE), height + lines + 2 * (MARGIN + LINE))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        painter.save()
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        if selected:
            painter.fillRect(option.rect, option.palette.highlight())
        height, width = self.shape
        place = QRect(
            option.rect.left() + MARGIN + LINE, option.rect.top() + MARGIN + LINE, width, height
        )
        picture = index.data(PICTURE)
        if picture is None:
            painter.fillRect(place, QColor(128, 128, 128, 60))
        else:
            painter.drawPixmap(place, picture)
        mark = index.data(MARK)
        if mark:
            painter.setPen(QPen(QColor(COLOURS[mark]), LINE, STYLES[mark]))
            painter.drawRect(place.adjusted(-2, -2, 1, 1))
            self._name_mark(painter, place, mark)
        if option.state & QStyle.StateFlag.State_HasFocus:  # the brain on show
            painter.setPen(QPen(option.palette.text().color(), 1))
            painter.drawRect(option.rect.adjusted(0, 0, -1, -1))
        colour = option.palette.highlightedText() if selected else option.palette.text()
        painter.setPen(colour.color())
        line = option.fontMetrics.height()
        below = QRect(place.left(), place.bottom() + LINE, width, line)
        metrics, caption = option.fontMetrics, str(index.data(Qt.ItemDataRole.DisplayRole))
        name, _, number = caption.partition("\n")
        # Names tend to differ at the end.
        painter.drawText(below, 0, metrics.elidedText(name, Qt.TextElideMode.ElideLeft, width))
        below.translate(0, line)
        painter.drawText(below, 0, number)
        painter.restore()

    def _name_mark(self, painter: QPainter, place: QRect, mark: str) -> None:
        bold = painter.font()
        bold.setBold(True)
        painter.setFont(bold)
        metrics = painter.fontMetrics()
        banner = QRect(
            place.topLeft(), QSize(metrics.horizontalAdvance(mark) + 6, metrics.height())
        )
        painter.fillRect(banner, QColor(COLOURS[mark]))
        painter.setPen(QColor("black"))
        painter.drawText(banner, int(Qt.AlignmentFlag.AlignCenter), mark)
        bold.setBold(False)
        painter.setFont(bold)


class ThumbnailList(QListView):
    """Shows brains in rows; click, Ctrl, Shift and a drawn rectangle select them.

    Signals
    -------
    chosen
        Position of the brain that was clicked.
    selected
        Positions of the selected brains.
    """

    chosen, selected = Signal(int), Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self.brains = ThumbnailModel(self)
        self.setModel(self.brains)
        self._painter = _Painter(self)
        self.setItemDelegate(self._painter)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setSelectionMode(QListView.SelectionMode.ExtendedSelection)
        self.setSelectionRectVisible(True)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setUniformItemSizes(True)
        self.setSpacing(1)
        self.setMinimumHeight(2 * 140)
        self.making: Thumbnails | None = None
        self._following = False
        self._latest = Latest(_make, self._made, parent=self)
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._request)
        self.brains.wanted.connect(self._soon.start)
        self.selectionModel().selectionChanged.connect(self._tell_selected)
        self.selectionModel().currentChanged.connect(self._choose)

    @property
    def idle(self) -> bool:
        """Whether all that can be seen is made."""
        return self._latest.idle and not self._soon.isActive()

    def draw_with(self, making: Thumbnails | None) -> None:
        """Make the pictures anew, by something else; none without."""
        self.making = making
        self.brains.forget()
        if making is not None:
            self._painter.shape = making.shape
            self.scheduleDelayedItemsLayout()

    def visible_positions(self) -> list[int]:
        """Brains that can be seen, as they are shown."""
        area, seen = self.viewport().rect(), []
        first = self.indexAt(area.topLeft() + self._inset())
        for row in range(max(first.row(), 0), self.brains.rowCount()):
            place = self.visualRect(self.brains.index(row))
            if place.top() > area.bottom():
                break
            if place.intersects(area):
                seen.append(self.brains.order[row])
        return seen

    def follow(self, position: int) -> None:
        """Frame the brain on show, without leading there nor selecting it."""
        row = self.brains.row(position)
        if row is None or row == self.currentIndex().row():
            return
        self._following = True
        self.selectionModel().setCurrentIndex(
            self.brains.index(row), QItemSelectionModel.SelectionFlag.NoUpdate
        )
        self._following = False

    def select(self, positions: Sequence[int]) -> None:
        """Select brains as another panel did."""
        rows = [row for each in positions if (row := self.brains.row(each)) is not None]
        selection = QItemSelection()
        for row in rows:
            selection.select(self.brains.index(row), self.brains.index(row))
        self._following = True
        self.selectionModel().select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        self._following = False

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Leave what has a modifier to those that listen to it."""
        if event.modifiers() & Qt.KeyboardModifier.AltModifier:
            event.ignore()
        else:
            super().keyPressEvent(event)

    def close_worker(self) -> None:
        """Make nothing any more."""
        self._soon.stop()
        self._latest.close()

    def _inset(self) -> Any:
        return QRect(0, 0, 2 * MARGIN, 2 * MARGIN).bottomRight()

    def _request(self) -> None:
        """Ask for some of what can be seen and is not made; what was scrolled past is not."""
        if self.making is None:
            return
        missing = [each for each in self.visible_positions() if not self.brains.has(each)]
        if missing:
            self._latest.request(self.making, missing[:AT_ONCE])

    def _made(self, result: tuple[Thumbnails, dict[int, Picture]]) -> None:
        making, pictures = result
        if making is not self.making:
            return
        for position, picture in pictures.items():
            self.brains.take(position, picture)
        self._soon.start()

    def _tell_selected(self, *_: Any) -> None:
        if not self._following:
            rows = self.selectionModel().selectedIndexes()
            self.selected.emit([self.brains.order[index.row()] for index in rows])

    def _choose(self, current: QModelIndex, _: QModelIndex) -> None:
        if current.isValid() and not self._following:
            self.chosen.emit(self.brains.order[current.row()])


def _make(making: Thumbnails, positions: Sequence[int]) -> tuple[Thumbnails, dict[int, Picture]]:
    """Make some thumbnails; runs in a background thread."""
    return making, {each: making.make(each) for each in positions}
