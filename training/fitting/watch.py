"""What a fit tells while it goes on, and the ways it is asked to stop after saving."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from napari_brainvae.models.run_state import forget_progress, is_asked_to_stop, tell_progress
from training.fitting.run_folder import RunFolder

SHOWN = ("reconstruction", "rate")
"""Terms of the objective that stand beside the progress bar."""

PAUSE = 0.5
"""Seconds, at least, from one telling to the next."""

BAR_IN_A_FILE = 10.0
"""Seconds from one line of a log to the next."""


class Watched:
    """The progress of a run: a bar in the terminal, and a file for other programs to read.

    It ends with `Stopped` after Ctrl-C, or once there is a file ``stop`` in the folder; at the
    second Ctrl-C at once. Several processes that share the steps stop only all at once.
    """

    def __init__(self, folder: RunFolder, *, stoppable: bool = True) -> None:
        self.folder, self.stoppable = folder, stoppable
        self.interrupted = False
        self._bar: tqdm[Any] | None = None
        self._began, self._first, self._told = 0.0, 0, 0.0

    def __call__(self, done: int, total: int) -> bool:
        """Tell of a step; False asks for the end."""
        now = time.monotonic()
        if self._bar is None:
            pause = PAUSE if sys.stderr.isatty() else BAR_IN_A_FILE
            self._bar = tqdm(
                total=total, initial=done - 1, unit="step", mininterval=pause, smoothing=0.1
            )
            self._began, self._first = now, done
        if self.folder.rows:
            shown = {n: v for n, v in self.folder.rows[-1].items() if n in SHOWN}
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update(done - self._bar.n)
        # The last step but one is always told: after the last, factors are held against halves.
        if now - self._told < PAUSE and done < total - 1:
            return not self.interrupted
        self._told = now
        took = (now - self._began) / (done - self._first) if done > self._first else None
        left = None if took is None else took * (total - done)
        tell_progress(self.folder.folder, done, total, left, self.folder.rows)
        if done == total:  # there is nothing left to stop
            return True
        return not (self.interrupted or (self.stoppable and is_asked_to_stop(self.folder.folder)))

    def close(self) -> None:
        """Leave nothing in the folder that is of a run that goes on."""
        if self._bar is not None:
            self._bar.close()
        forget_progress(self.folder.folder)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the first Ctrl-C as the wish to stop after saving."""
        main = threading.current_thread() is threading.main_thread()
        if not (self.stoppable and main):
            yield
            return

        def interrupted(number: int, frame: Any) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, before)

        before = signal.signal(signal.SIGINT, interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
