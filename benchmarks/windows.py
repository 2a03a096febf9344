"""What benchmarks in a real window share."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait(condition: Callable[[], bool], seconds: float = 600) -> None:
    """Let the window work until something has happened."""
    from qtpy.QtWidgets import QApplication  # which benchmarks without a window do not need

    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("this took too long")
        QApplication.processEvents()
        time.sleep(0.0005)
