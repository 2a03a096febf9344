"""A long job with a progress bar, the time left, and a cancel button."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from html import escape
from threading import Event
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_brainvae.io.progress import Progress, Stopped
from napari_brainvae.widgets.workers import BUG, said_or_done, start_now, warning

POLL_MS = 100
CHANGED = "What it was computed from was changed while it ran: nothing is kept of it. Run it again."


class JobBar(QWidget):
    """A progress bar with the time left and a cancel button, then what went wrong if it did.

    Parameters
    ----------
    cancelled
        What becomes of a job that is cancelled.

    Signals
    -------
    changed
        A job began or ended.
    """

    changed = Signal()

    def __init__(self, cancelled: str = "nothing is kept") -> None:
        super().__init__()
        self._bar, self._text = QProgressBar(), QLabel(wordWrap=True)
        self._text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._cancel = QPushButton("Cancel", toolTip=f"Stop it; {cancelled}.")
        self._cancel.clicked.connect(self.cancel)
        row = QHBoxLayout()
        row.addWidget(self._bar)
        row.addWidget(self._cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._text)
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        self._worker: Any = None
        self.message = ""
        """What went wrong with the last job."""
        self._stop = Event()
        # Not a method of this object: it is called when the object is gone.
        self.destroyed.connect(self._stop.set)
        self.hide()

    @property
    def running(self) -> bool:
        """Whether a job runs."""
        return self._worker is not None

    def run(
        self,
        label: str,
        job: Callable[[Progress], Any],
        finished: Callable[[Any], None],
        belongs: Callable[[], bool] = lambda: True,
    ) -> None:
        """Run ``job(progress)`` in the background; then ``finished(result)`` in the GUI thread.

        A job that is cancelled raises `io.progress.Stopped` at its next step and has no result.
        While one runs, another is not begun. What the user can put right is said here.

        Parameters
        ----------
        belongs
            Says whether the job still is of what is chosen: if not, it is cancelled, and what went
            wrong with it is said no longer.
        """
        if self.running:
            return
        self._stop.clear()
        self._done, self._total, self.message = 0, 0, ""
        self._label, self._began = label, time.monotonic()
        self._finished, self._belongs = finished, belongs

        self._worker = create_worker(said_or_done, partial(self._quietly, job))
        self._worker.returned.connect(self._conclude)
        self._worker.errored.connect(self._errored)
        self._worker.finished.connect(self._reset)
        self._text.setText(f"{label} …")
        self._bar.setRange(0, 0)
        self._cancel.setEnabled(True)
        for widget in (self._bar, self._cancel, self):
            widget.show()
        self._timer.start()
        start_now(self._worker)
        self.changed.emit()

    def cancel(self) -> None:
        """Ask the job to stop at its next step."""
        self._stop.set()
        self._cancel.setEnabled(False)
        if self.running:
            self._text.setText("Stopping …")

    def _quietly(self, job: Callable[[Progress], Any]) -> tuple[bool, Any]:
        try:
            return True, job(self._progress)
        except Stopped:
            return False, None

    def _progress(self, done: int, total: int) -> bool:
        """Note how far the job is; runs in its thread, so it touches nothing of Qt."""
        self._done, self._total = done, total
        return not self._stop.is_set()

    def _conclude(self, outcome: tuple[str, tuple[bool, Any] | None]) -> None:
        message, ended = outcome
        if not self._belongs():
            self.message = CHANGED
            return
        if self._stop.is_set():
            return
        self.message = message
        if ended is not None and ended[0]:
            self._finished(ended[1])

    def _errored(self, _: Exception) -> None:
        self.message = BUG

    def _poll(self) -> None:
        if not self.running:  # what went wrong is on show
            if not self._belongs():
                self.message = ""
                self._end()
            return
        if not self._stop.is_set() and not self._belongs():
            self.cancel()
        if self._stop.is_set() or not self._total:
            return
        self._bar.setRange(0, self._total)
        self._bar.setValue(self._done)
        spent = time.monotonic() - self._began
        if 0 < self._done < self._total:
            left = spent / self._done * (self._total - self._done)
            self._text.setText(f"{self._label}: about {_duration(left)} left")

    def _reset(self) -> None:
        self._worker = None
        self._text.setText(warning(escape(self.message)))
        for widget in (self._bar, self._cancel):
            widget.hide()
        self._end()

    def _end(self) -> None:
        """Show what went wrong, if anything did, for as long as it holds."""
        if self.message in ("", CHANGED):
            self._timer.stop()
        self.setVisible(bool(self.message))
        self.changed.emit()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
