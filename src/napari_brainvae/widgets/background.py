"""Work in the background: the newest request of a slider, work ahead, a job with a cancel button.

Workers only compute. What they give is put into layers and labels by the GUI thread, and the
GUI thread asks them how far they are; they never report by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QCoreApplication, QEvent, QObject, QThreadPool, QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_brainvae.files import Progress, Stopped

POLL_MS = 100
REST_MS = 200


class PluginWidget(QWidget):
    """A widget that knows when it is done with, however that comes about.

    napari takes a widget out of its dock without closing it, and closes a window without
    telling the widgets in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._docked = self._done_with = False

    def release(self) -> None:
        """Stop what runs and disconnect from the viewer; called once."""
        raise NotImplementedError

    def event(self, event: QEvent) -> bool:
        """Notice being taken out of the dock."""
        if event.type() == QEvent.ParentChange:
            if self._docked and self.parent() is None:
                self._release_once()
            self._docked = self.parent() is not None
        return bool(super().event(event))

    def closeEvent(self, event: QEvent) -> None:
        """Notice being closed."""
        self._release_once()
        super().closeEvent(event)

    def _release_once(self) -> None:
        if not self._done_with:
            self._done_with = True
            self.release()


class Latest(QObject):
    """Compute only the newest request; those that came while it was busy are dropped.

    Parameters
    ----------
    parent
        The widget it works for; nothing is shown any more once that is gone.
    compute
        Runs in a background thread; its exceptions go to napari's notifications.
    show
        Takes the result, in the GUI thread.
    failed
        Called in the GUI thread after an exception, so that nothing stale stays on show.
    """

    def __init__(
        self,
        compute: Callable[..., Any],
        show: Callable[[Any], None],
        failed: Callable[[], None] = lambda: None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._compute, self._show, self._failed = compute, show, failed
        self._wanted: tuple[Any, ...] | None = None
        self._worker: Any = None
        self._closed = False
        if (application := QCoreApplication.instance()) is not None:
            application.aboutToQuit.connect(self.close)

    @property
    def idle(self) -> bool:
        """Whether the newest request has been shown."""
        return self._worker is None

    def request(self, *arguments: Any) -> None:
        """Ask for ``compute(*arguments)``, instead of whatever was asked before and not begun."""
        if not self._closed:
            self._wanted = arguments
            self._start()

    def close(self) -> None:
        """Show nothing any more."""
        self._closed = True
        self._wanted = None

    def _start(self) -> None:
        if self._wanted is None or self._worker is not None:
            return
        arguments, self._wanted = self._wanted, None
        self._worker = create_worker(self._compute, *arguments)
        self._worker.returned.connect(self._returned)
        self._worker.errored.connect(self._errored)
        self._worker.finished.connect(self._finished)
        _start_now(self._worker)

    def _returned(self, result: Any) -> None:
        if not self._closed:
            self._show(result)

    def _errored(self, _: Exception) -> None:
        if not self._closed:
            self._failed()

    def _finished(self) -> None:
        self._worker = None
        self._start()


class AtRest(QObject):
    """Work that nobody waits for, done step by step while the user does nothing else.

    Parameters
    ----------
    steps
        A generator; it runs in a background thread and is left between two of its steps.
    parent
        The widget it works for.
    """

    def __init__(self, steps: Callable[..., Iterator[None]], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._steps = steps
        self._arguments: tuple[Any, ...] = ()
        self._stop, self._gone = Event(), Event()
        self._rest = QTimer(self, singleShot=True, interval=REST_MS)
        self._rest.timeout.connect(self._start)
        self.destroyed.connect(self._gone.set)

    def begin(self, *arguments: Any) -> None:
        """Run ``steps(*arguments)``, if nothing stops it in the next moment."""
        self.stop()
        self._arguments = arguments
        self._rest.start()

    def stop(self) -> None:
        """Do no further step."""
        self._rest.stop()
        self._stop.set()

    def _start(self) -> None:
        stop, gone = Event(), self._gone
        steps, self._stop = self._steps(*self._arguments), stop

        def run() -> None:
            for _ in steps:
                if stop.is_set() or gone.is_set():
                    break

        # Not a worker of napari's, which would ask whether to close the window in spite of it.
        Thread(target=run).start()


class JobBar(QWidget):
    """A progress bar with the time left and a cancel button; hidden while nothing runs."""

    def __init__(self) -> None:
        super().__init__()
        self._bar, self._text, self._cancel = QProgressBar(), QLabel(), QPushButton("Cancel")
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
        self._stop = Event()
        # Not a method of this object: it is called when the object is gone.
        self.destroyed.connect(self._stop.set)
        self.hide()

    @property
    def running(self) -> bool:
        """Whether a job runs."""
        return self._worker is not None

    def run(
        self, label: str, job: Callable[[Progress], Any], finished: Callable[[Any], None]
    ) -> None:
        """Run ``job(progress)`` in the background; then ``finished(result)`` in the GUI thread.

        A job that is cancelled raises `files.Stopped` at its next step and has no result.
        """
        if self.running:
            raise RuntimeError("a job is running already: cancel it first")
        self._stop.clear()
        self._done = self._total = 0
        self._label, self._began = label, time.monotonic()
        self._worker = create_worker(self._quietly, job)
        self._finished = finished
        self._worker.returned.connect(self._conclude)
        self._worker.finished.connect(self._reset)
        self._text.setText(f"{label} …")
        self._bar.setRange(0, 0)
        self._cancel.setEnabled(True)
        self.show()
        self._timer.start()
        _start_now(self._worker)

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

    def _conclude(self, outcome: tuple[bool, Any]) -> None:
        complete, result = outcome
        if complete and not self._stop.is_set():
            self._finished(result)

    def _poll(self) -> None:
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
        self._timer.stop()
        self.hide()


def _start_now(worker: Any) -> None:
    """Start a worker at once.

    Its own ``start`` waits for a millisecond. A viewer that is closed removes its layers, to which
    widgets answer with requests, and a worker that begins after napari, in quitting, has waited for
    all of them aborts the process.
    """
    QThreadPool.globalInstance().start(worker)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
