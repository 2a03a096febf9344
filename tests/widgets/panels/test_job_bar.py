"""A long job and its cancel button."""

from __future__ import annotations

import pytest

from napari_brainvae.io.errors import InputError
from napari_brainvae.widgets.panels.job_bar import CHANGED, POLL_MS, JobBar
from tests.widgets.windows import endless


def test_cancel_leaves_nothing(reconstruct, qtbot, tmp_path, monkeypatch):
    _, widget = reconstruct
    widget.job.run("Endless", lambda progress: endless(progress), lambda _: pytest.fail("done"))
    qtbot.waitUntil(lambda: widget.job._done > 3)
    widget.job.cancel()
    qtbot.waitUntil(lambda: not widget.job.running)
    assert widget.job.isHidden()


def test_what_went_wrong_is_said_for_as_long_as_it_is_of_what_is_chosen(qtbot):
    bar, chosen = JobBar(), ["a"]
    qtbot.addWidget(bar)

    def impossible(progress):
        raise InputError("a cannot be compared")

    bar.run("Comparing", impossible, pytest.fail, lambda: chosen == ["a"])
    qtbot.waitUntil(lambda: bar.message == "a cannot be compared")
    assert not bar.isHidden()
    qtbot.wait(3 * POLL_MS)
    assert not bar.isHidden()
    chosen[:] = ["b"]
    qtbot.waitUntil(bar.isHidden)
    assert bar.message == ""


def test_that_a_job_was_overtaken_stays_to_be_read(qtbot):
    bar, chosen = JobBar(), ["a"]
    qtbot.addWidget(bar)
    bar.run("Comparing", endless, pytest.fail, lambda: chosen == ["a"])
    chosen[:] = ["b"]
    qtbot.waitUntil(lambda: bar.message == CHANGED)
    qtbot.wait(3 * POLL_MS)
    assert not bar.isHidden()
