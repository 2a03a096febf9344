"""Panels are tabs of one dock: what is seen is what the panel in front says."""

from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.denoising.reconstruction import reconstruct_section
from napari_brainvae.widgets.layers.plugin_layers import canvas_grid
from napari_brainvae.widgets.layers.section_layers import MADE_BY
from tests.widgets.windows import LONG, add_atlas, finish, open_widget

DENOISED = {"reconstruction: phantom", "artifact: phantom"}
"""Of the first brain, which is an outlier."""


def seen(viewer):
    """What panels show, but for the atlas, which serves all of them."""
    made = (each for each in viewer.layers if each.visible and MADE_BY in each.metadata)
    return {each.name for each in made if each.metadata[MADE_BY] != "Atlas"}


def bring_forward(qtbot, panel):
    dock(panel).raise_()
    qtbot.waitUntil(lambda: in_front(panel))
    qtbot.wait(50)


def in_front(panel):
    """Qt keeps tabs that are behind "visible", but elsewhere."""
    return not panel.visibleRegion().isEmpty()


def dock(widget):
    while not hasattr(widget, "isFloating"):
        widget = widget.parent()
    return widget


@pytest.fixture
def two(viewer, atlas, qtbot):
    """Denoise, and in front of it Fields."""
    add_atlas(viewer, atlas)
    denoise = open_widget(viewer, qtbot, "Reconstruct and denoise")
    qtbot.waitUntil(lambda: bool(seen(viewer)), timeout=LONG)
    assert seen(viewer) == DENOISED
    fields = open_widget(viewer, qtbot, "Projective field")
    finish(fields, qtbot)
    qtbot.waitUntil(lambda: denoise.latest.idle and not in_front(denoise), timeout=LONG)
    return denoise, fields


def test_layers_of_a_panel_behind_stand_back_and_come_again(viewer, two, qtbot):
    denoise, fields = two
    assert seen(viewer) == {"change: F1"}
    assert viewer.layers["outlines: p"].visible, "the atlas serves all"
    for _ in range(2):
        bring_forward(qtbot, denoise)
        qtbot.waitUntil(lambda: seen(viewer) == DENOISED, timeout=5000)
        bring_forward(qtbot, fields)
        qtbot.waitUntil(lambda: seen(viewer) == {"change: F1"}, timeout=5000)


def test_what_stands_back_is_kept_up_to_date_and_keeps_its_look(viewer, two, population, qtbot):
    denoise, fields = two
    layer = viewer.layers["reconstruction: phantom"]
    viewer.dims.set_point(0, 9)
    qtbot.waitUntil(lambda: denoise.latest.idle, timeout=LONG)
    look = reconstruct_section(denoise.source.model, population, 9)
    assert np.array_equal(layer.data, look.reconstruction) and not layer.visible
    layer.visible = True  # by hand: she wants to see both
    viewer.dims.set_point(0, 8)
    qtbot.waitUntil(lambda: denoise.latest.idle, timeout=LONG)
    assert layer.visible
    bring_forward(qtbot, denoise)
    qtbot.waitUntil(lambda: seen(viewer) == DENOISED, timeout=5000)
    layer.visible = False
    bring_forward(qtbot, fields)
    bring_forward(qtbot, denoise)
    qtbot.wait(100)
    assert seen(viewer) == DENOISED - {layer.name}, "she had hidden it"


def test_side_by_side_ends_behind_and_comes_again(viewer, two, qtbot):
    denoise, fields = two
    bring_forward(qtbot, denoise)
    denoise._side_by_side.setChecked(True)
    beside = {"reconstruction: phantom", "residual: phantom"}
    assert canvas_grid(viewer).enabled and beside <= seen(viewer)
    bring_forward(qtbot, fields)
    qtbot.waitUntil(lambda: seen(viewer) == {"change: F1"}, timeout=5000)
    assert not canvas_grid(viewer).enabled
    viewer.dims.set_point(0, 3)
    qtbot.waitUntil(lambda: denoise.latest.idle, timeout=LONG)
    assert not canvas_grid(viewer).enabled, "though it is kept up to date"
    bring_forward(qtbot, denoise)
    qtbot.waitUntil(lambda: canvas_grid(viewer).enabled, timeout=5000)
    assert beside <= seen(viewer)


def test_a_panel_that_floats_is_no_tab(viewer, two, qtbot):
    """Who wants to see the layers of two panels at once pulls one of them out."""
    denoise, fields = two
    dock(denoise).setFloating(True)
    qtbot.waitUntil(lambda: in_front(denoise) and in_front(fields))
    qtbot.waitUntil(lambda: seen(viewer) == {*DENOISED, "change: F1"}, timeout=5000)


def test_closing_the_one_in_front_leads_to_the_one_behind(viewer, two, qtbot):
    denoise, fields = two
    viewer.window.remove_dock_widget(fields)
    qtbot.waitUntil(lambda: seen(viewer) == DENOISED, timeout=5000)
    assert in_front(denoise)
    again = open_widget(viewer, qtbot, "Projective field")
    finish(again, qtbot)
    qtbot.waitUntil(lambda: seen(viewer) == {"change: F1"}, timeout=5000)
