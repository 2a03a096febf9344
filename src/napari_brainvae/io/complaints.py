"""What libraries log about files that they read, kept from the terminal and told to the reader."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def complaints(logger: str) -> Iterator[list[str]]:
    """Collect what a library's logger says in this thread, in place of its saying it."""
    found: list[str] = []
    here = threading.get_ident()

    def take(record: logging.LogRecord) -> bool:
        if record.thread != here:
            return True
        found.append(" ".join(record.getMessage().split()))
        return False

    theirs = logging.getLogger(logger)
    theirs.addFilter(take)
    try:
        yield found
    finally:
        theirs.removeFilter(take)
