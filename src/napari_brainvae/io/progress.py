"""How a long computation says how far it is, and the one way it is stopped."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], "bool | None"]
"""Called as ``progress(done, total)``; returning ``False`` asks the computation to stop."""


class Stopped(Exception):
    """Raised by a long computation whose progress callback answered ``False``."""


def report(progress: Progress | None, done: int, total: int) -> None:
    """Tell ``progress`` how far things are.

    Raises
    ------
    Stopped
        If the callback returned ``False``.
    """
    if progress is not None and progress(done, total) is False:
        raise Stopped(f"stopped after {done} of {total}")


def part_of(progress: Progress | None, begin: int, end: int) -> Progress | None:
    """Give the progress of a part, from ``begin`` to ``end``, of a whole that is 1,000."""
    if progress is None:
        return None
    return lambda done, total: progress(begin + (end - begin) * done // max(total, 1), 1000)


def still(progress: Progress, done: int, total: int, *_: int) -> bool | None:
    """Ask again, as far as things were, whatever round a part of them is in."""
    return progress(done, total)
