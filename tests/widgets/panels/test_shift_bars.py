"""The bars' axis."""

from __future__ import annotations

import pytest

from napari_brainvae.widgets.panels.shift_bars import tick_step


@pytest.mark.parametrize(("limit", "step"), [(1, 0.2), (1.5, 0.5), (4.7, 1), (10, 2), (0.3, 0.1)])
def test_ticks_are_round(limit, step):
    assert tick_step(limit) == pytest.approx(step)
    assert 2 <= limit / step <= 5
