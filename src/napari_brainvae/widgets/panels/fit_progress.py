"""How far a fit is: a bar, the time left, its loss, and how it is stopped."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import QPointF, QSize
from qtpy.QtGui import QPainter, QPalette, QPolygonF
from qtpy.QtWidgets import (
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
        self.stop = QPushButton("Stop")
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
        if self.run.stopping:
            self.run.kill()
        else:
            self.run.stop()

    def _choose(self, on: bool) -> None:
        self.run.goes_on = on


class LossCurve(QWidget):
    """Reconstruction term and KL divergence over the logged steps, each from its least to most."""

    def __init__(self) -> None:
        super().__init__()
        self.history: tuple[tuple[float, float, float], ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Ask for a few lines of text."""
        return QSize(200, 5 * self.fontMetrics().height())

    def show_history(self, history: tuple[tuple[float, float, float], ...]) -> None:
        """Show rows of step, reconstruction and KL."""
        self.history = history
        self.setVisible(len(history) > 1)
        if len(history) > 1:
            _, error, kl = history[-1]
            self.setToolTip(
                f"<p>Solid: squared error a section, now {error:.1f}; dotted: KL divergence, now "
                f"{kl:.1f} nats; each from its least to its most.</p>"
            )
        self.update()

    def paintEvent(self, event: object) -> None:
        """Draw in the colours of the theme."""
        painter, line = QPainter(self), self.fontMetrics().height()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = painter.pen()
        pen.setColor(self.palette().color(QPalette.ColorRole.WindowText))
        pen.setWidthF(1.5)
        top, bottom = line + 4.0, self.height() - 4.0
        for column, dashes in ((1, []), (2, [1.0, 2.0])):
            pen.setDashPattern(dashes) if dashes else None
            painter.setPen(pen)
            values = [row[column] for row in self.history]
            low, high = min(values), max(values)
            points = [
                QPointF(
                    4 + i / (len(values) - 1) * (self.width() - 8),
                    bottom - (value - low) / ((high - low) or 1) * (bottom - top),
                )
                for i, value in enumerate(values)
            ]
            painter.drawPolyline(QPolygonF(points))
        _, error, kl = self.history[-1]
        text = f"squared error {error:.1f} (solid), KL {kl:.1f} nats (dotted)"
        painter.drawText(QPointF(4, line - 2.0), text)
        painter.end()


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
