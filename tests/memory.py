"""How much memory a piece of code takes at its worst."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """What was taken, MB; 0 where the system does not tell."""

    mb = 0.0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure how far this process grows within; Linux alone lets its high-water mark be reset."""
    peak = Peak()
    if not RESET.exists():
        yield peak
        return
    RESET.write_text("5")
    before = _kilobytes("VmRSS")
    try:
        yield peak
    finally:
        peak.mb = (_kilobytes("VmHWM") - before) / 1024


def _kilobytes(what: str) -> int:
    match = re.search(rf"{what}:\s+(\d+)", STATUS.read_text())
    assert match
    return int(match[1])
