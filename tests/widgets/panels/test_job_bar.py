"""A long job and its cancel button."""

from __future__ import annotations

import pytest

from tests.widgets.windows import endless


def test_cancel_leaves_nothing(reconstruct, qtbot, tmp_path, monkeypatch):
    _, widget = reconstruct
    widget.job.run("Endless", lambda progress: endless(progress), lambda _: pytest.fail("done"))
    qtbot.waitUntil(lambda: widget.job._done > 3)
    widget.job.cancel()
    qtbot.waitUntil(lambda: not widget.job.running)
    assert widget.job.isHidden()
