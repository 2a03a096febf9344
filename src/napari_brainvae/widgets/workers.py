"""Work in the background: the newest request of a slider, work ahead, a job with a cancel button.

Workers only compute. What they give is put into layers and labels by the GUI thread, and the
GUI thread asks them how far they are; they never report by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from threading import Event, Thread
from typing import Any

from napari.qt.threading import create_worker
from napari.utils.notifications import show_info
from qtpy.QtCore import QCoreApplication, QEvent, QObject, QThreadPool, QTimer
from qtpy.QtWidgets import QWidget

from napari_brainvae.io.errors import InputError

REST_MS = 200
BUG = "This went wrong in a way that nobody foresaw: napari's notification says how."


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

    An answer is shown by a timer: Qt goes on with what workers send as long as something comes, and
    would show the next answer right after painting this one, without looking at the mouse.

    Parameters
    ----------
    parent
        The widget it works for; nothing is shown any more once that is gone.
    compute
        Runs in a background thread.
    show
        Takes the result, in the GUI thread.
    failed
        Called in the GUI thread instead, so that nothing stale stays on show: with the sentence of
        an `InputError` or `OSError`, to be shown in the panel. Any other exception is a bug: napari
        shows it, too.
    """

    def __init__(
        self,
        compute: Callable[..., Any],
        show: Callable[[Any], None],
        failed: Callable[[str], None] = lambda _: None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._compute, self._show, self._failed = compute, show, failed
        self._wanted: tuple[Any, ...] | None = None
        self._worker: Any = None
        self._outcome: tuple[str, Any] | None = None
        self._turn = QTimer(self, singleShot=True, interval=0)
        self._turn.timeout.connect(self._conclude)
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
        self._worker = create_worker(said_or_done, partial(self._compute, *arguments))
        self._worker.returned.connect(self._returned)
        self._worker.errored.connect(self._errored)
        self._worker.finished.connect(self._turn.start)
        start_now(self._worker)

    def _returned(self, outcome: tuple[str, Any]) -> None:
        self._outcome = outcome

    def _errored(self, _: Exception) -> None:
        self._outcome = BUG, None

    def _conclude(self) -> None:
        outcome, self._outcome = self._outcome, None
        try:
            if outcome is not None and not self._closed:
                message, result = outcome
                if message:
                    self._failed(message)
                else:
                    self._show(result)
        finally:
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


def said_or_done(compute: Callable[[], Any]) -> tuple[str, Any]:
    """Compute; what the user can put right is said in a sentence, not raised."""
    try:
        return "", compute()
    except (InputError, OSError) as error:
        return str(error) or type(error).__name__, None


def start_now(worker: Any) -> None:
    """Start a worker at once.

    Its own ``start`` waits for a millisecond. A viewer that is closed removes its layers, to which
    widgets answer with requests, and a worker that begins after napari, in quitting, has waited for
    all of them aborts the process.
    """
    QThreadPool.globalInstance().start(worker)


def warning(text: str) -> str:
    """Mark what is wrong; not by a colour, none of which can be read on dark and on light."""
    return f"<b>\u26a0</b> {text}"


def notify(message: str) -> None:
    """Tell the user something that is not an error."""
    show_info(message)
