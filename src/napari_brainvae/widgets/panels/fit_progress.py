"""How far a fit is: a bar, the time left, its loss, and how it is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from qtpy.QtCore import QElapsedTimer, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_brainvae.widgets.fit_run import FitRun
from napari_brainvae.widgets.workers import warning

FINISHING = "Last step: which factors come again in halves of the brains is looked at …"


class FitProgress(QWidget):
    """Shows a run; it can be taken away while the run goes on."""

    def __init__(self, run: FitRun) -> None:
        super().__init__()
        self.run = run
        self.bar, self.text = QProgressBar(), _wrapped()
        self.stop, self._asked = QPushButton("Stop"), QElapsedTimer()
        self.curve = LossCurve()
        self.goes_on = QCheckBox("Goes on when napari is closed", checked=run.goes_on)
        self.goes_on.setToolTip("<p>Else it is saved and stopped then, and can be resumed.</p>")
        row, layout = QHBoxLayout(), QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.stop)
        for widget in (self.goes_on, self.curve, self.text):
            layout.addWidget(widget)
        layout.insertLayout(1, row)
        self.stop.clicked.connect(self._stop)
        self.goes_on.toggled.connect(self._choose)
        self.tell()

    def tell(self) -> None:
        """Show what is known of the run now."""
        run, state = self.run, self.run.state
        for widget in (self.bar, self.stop):
            widget.setVisible(run.running)
        self.goes_on.setVisible(run.running and run.ours)
        self.curve.show_history(state.history)
        self.bar.setRange(0, state.steps if run.running else 0)
        self.bar.setValue(state.step)
        self.stop.setText("End now" if run.stopping and run.ours else "Stop")
        self.stop.setEnabled(not run.stopping or run.ours)
        self.stop.setToolTip(
            "<p>End it at once; steps since the last save are done again.</p>"
            if run.stopping
            else "<p>Stop it after saving; it can be resumed.</p>"
        )
        self.text.setText(self._said())

    def _said(self) -> str:
        run, state = self.run, self.run.state
        name = "" if run.folder is None else escape(run.folder.name)
        if run.running and run.stopping:
            return "Stopping, once this step is saved …"
        if run.running and not state.steps:
            return f"<b>{name}</b>: reading the sections, and the linear start …"
        if run.running and state.step >= state.steps - 1:
            return FINISHING
        if run.running:
            left = "" if state.seconds_left is None else f", about {_time(state.seconds_left)} left"
            return f"<b>{name}</b>: step {state.step} of {state.steps}{left}"
        said = "<br>".join(map(escape, run.said.splitlines()))
        return {
            "": "",
            "done": f"<b>{name}</b> is done, and the model of all panels.<br>{said}",
            "stopped": f"<b>{name}</b>: {said.replace('--resume', 'Resume')}",
            "failed": warning(f"<b>{name}</b>: {said.replace('--resume', 'Resume')}"),
        }[run.outcome]

    def _stop(self) -> None:
        """Ask it to stop, and the next time end it; a double click is one wish."""
        if not self.run.stopping:
            self._asked.start()
            self.run.stop()
        elif (
            not self._asked.isValid() or self._asked.elapsed() > QApplication.doubleClickInterval()
        ):
            self.run.kill()

    def _choose(self, on: bool) -> None:
        self.run.goes_on = on


class LossCurve(QWidget):
    """Squared error and KL divergence over the logged steps, each on an axis of its own."""

    CURVES: tuple[tuple[str, list[float]], ...] = (
        ("squared error of a section", []),
        ("KL, nats", [1.0, 2.0]),
    )
    """What is drawn, with the dashes of its line; the first on the left axis."""

    def __init__(self) -> None:
        super().__init__()
        self.history: tuple[tuple[float, float, float], ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Ask for a few lines of text."""
        return QSize(240, 8 * self.fontMetrics().height())

    def show_history(self, history: tuple[tuple[float, float, float], ...]) -> None:
        """Show rows of step, reconstruction and KL."""
        self.history = history
        self.setVisible(len(history) > 1)
        if len(history) > 1:
            step, error, kl = history[-1]
            self.setToolTip(
                f"<p>At step {step:.0f}: squared error, summed over the pixels of a section, "
                f"{error:.1f} (solid, left axis); KL divergence from the prior {kl:.1f} nats "
                "(dotted, right axis).</p>"
            )
        self.update()

    def labels(self) -> list[tuple[QRectF, Qt.AlignmentFlag, str]]:
        """Where what is written: the names of both curves, the ends of the three axes."""
        area, line = self._area(), float(self.fontMetrics().height())
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        steps, *curves = zip(*self.history, strict=True)
        below = QRectF(area.left(), area.bottom() + 2, area.width(), line)
        (solid, _), (dotted, _) = self.CURVES
        top = QRectF(0, 0, self.width(), line)
        labels = [(top, left, f"— {solid}"), (top, right, f"··· {dotted}")]
        for values, side in zip(curves, (left, right), strict=True):
            x = 0.0 if side == left else area.right() + 4
            width = (area.left() if side == left else self.width() - area.right()) - 4
            inward = right if side == left else left
            for value, y in ((max(values), area.top()), (min(values), area.bottom() - line)):
                labels.append((QRectF(x, y, width, line), inward, _number(value)))
        return [
            *labels,
            (below, left, f"{steps[0]:.0f}"),
            (below, Qt.AlignmentFlag.AlignHCenter, "step"),
            (below, right, f"{steps[-1]:.0f}"),
        ]

    def paintEvent(self, event: object) -> None:
        """Draw in the colours of the theme."""
        painter, area = QPainter(self), self._area()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = QPen(self.palette().color(QPalette.ColorRole.WindowText), 1)
        painter.setPen(pen)
        for rect, side, text in self.labels():
            painter.drawText(rect, int(side), text)
        corners = area.topLeft(), area.bottomLeft(), area.bottomRight(), area.topRight()
        painter.drawPolyline(QPolygonF(corners))
        steps, *curves = zip(*self.history, strict=True)
        pen.setWidthF(1.5)
        for values, (_, dashes) in zip(curves, self.CURVES, strict=True):
            if dashes:
                pen.setDashPattern(dashes)
            painter.setPen(pen)
            across, up = _shares(steps), _shares(values)
            points = [
                QPointF(area.left() + x * area.width(), area.bottom() - y * area.height())
                for x, y in zip(across, up, strict=True)
            ]
            painter.drawPolyline(QPolygonF(points))
        painter.end()

    def _area(self) -> QRectF:
        """Where curves are drawn: between the names, the numbers and the steps."""
        metrics = self.fontMetrics()
        _, *curves = zip(*self.history, strict=True)
        left, right = (
            max(metrics.horizontalAdvance(_number(v)) for v in (min(values), max(values))) + 6
            for values in curves
        )
        line = metrics.height()
        return QRectF(left, line + 4, self.width() - left - right, self.height() - 2 * line - 8)


def _shares(values: Sequence[float]) -> list[float]:
    """Each value's place from the least to the most, 0 to 1."""
    low, high = min(values), max(values)
    return [(value - low) / ((high - low) or 1) for value in values]


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _wrapped() -> QLabel:
    label = QLabel(wordWrap=True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label
