"""Whatever is docked, the sections are seen whole, unless she has moved the view herself."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.colormaps import Colormap
from scipy.ndimage import binary_dilation

from napari_brainvae.widgets.layers.plugin_layers import (
    PluginLayers,
    SideBySide,
    camera,
    canvas_grid,
)
from tests.widgets.windows import LONG, PLUGIN, open_widget, reconstruction_of

PANELS = ("Gallery", "Compare", "Projective field", "Gather", "Map of brains")

CLEAR = Colormap([[1.0, 0.9, 0.0, 0.0], [1.0, 0.9, 0.0, 1.0]], name="clear to yellow")


def room(viewer):
    """Height and width of the canvas, or of a cell of its grid, px."""
    native = viewer.window._qt_viewer.canvas.native
    size, grid = np.array([native.height(), native.width()]), canvas_grid(viewer)
    return size / grid.actual_shape(viewer.layers) if grid.enabled else size


def shown(viewer):
    """How much of the room the sections fill, and whether all of them is in it."""
    view, layer = camera(viewer), viewer.layers["phantom"]
    low, high = layer.extent.world[:, -2:]
    reach = room(viewer) / view.zoom / 2
    grid = canvas_grid(viewer).enabled
    middle = (low + high) / 2 if grid else np.array(view.center[-2:])
    whole = (low >= middle - reach).all() and (high <= middle + reach).all()
    return ((high - low) / (2 * reach)).max(), whole


def used(viewer):
    """Share of the canvas that all pictures beside each other cover."""
    native, layer = viewer.window._qt_viewer.canvas.native, viewer.layers["phantom"]
    seen = sum(each.visible for each in viewer.layers)
    area = np.prod(np.ptp(layer.extent.world, axis=0)[-2:]) * camera(viewer).zoom ** 2
    return seen * area / (native.height() * native.width())


def is_fitted(viewer):
    filled, whole = shown(viewer)
    return whole and filled > 0.8


@pytest.fixture
def docked(viewer, qtbot):
    """A window of a small laptop, as large as it is on its screen."""
    viewer.window._qt_window.resize(1366, 768)
    qtbot.wait(200)
    viewer.reset_view()
    return viewer


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_that_is_docked_crops_no_section(docked, qtbot, name):
    docked.window.add_plugin_dock_widget(PLUGIN, name)
    qtbot.wait(300)
    qtbot.waitUntil(lambda: is_fitted(docked), timeout=5000)


def test_neither_does_one_that_is_wider_than_those_before(docked, qtbot):
    for name in ("Explore factors", *PANELS):
        docked.window.add_plugin_dock_widget(PLUGIN, name)
        qtbot.wait(200)
        qtbot.waitUntil(lambda: is_fitted(docked), timeout=5000)
    for _, widget in list(docked.window.dock_widgets.items()):
        docked.window.remove_dock_widget(widget)
    qtbot.wait(200)
    qtbot.waitUntil(lambda: is_fitted(docked), timeout=5000)


def test_a_view_that_she_has_moved_stays(docked, qtbot):
    camera(docked).zoom *= 1.7
    camera(docked).center = (0, 3000, 4000)
    before = camera(docked).zoom, camera(docked).center
    docked.window.add_plugin_dock_widget(PLUGIN, "Compare")
    qtbot.wait(400)
    assert (camera(docked).zoom, camera(docked).center) == before
    docked.window._qt_window.resize(1200, 700)
    qtbot.wait(200)
    assert (camera(docked).zoom, camera(docked).center) == before


def test_brains_beside_each_other_are_whole_as_the_window_changes(docked, qtbot):
    """And as large as the canvas allows; and so is the view that comes after."""
    widget = open_widget(docked, qtbot, "Reconstruct and denoise")
    qtbot.waitUntil(lambda: reconstruction_of(docked) is not None, timeout=LONG)
    widget._side_by_side.setChecked(True)
    assert canvas_grid(docked).enabled
    qtbot.waitUntil(lambda: is_fitted(docked), timeout=5000)
    assert used(docked) > 0.5, "laid to the shape of the canvas, not in one row"
    docked.window._qt_window.resize(1000, 760)
    qtbot.wait(200)
    qtbot.waitUntil(lambda: is_fitted(docked), timeout=5000)
    widget._side_by_side.setChecked(False)
    qtbot.waitUntil(lambda: is_fitted(docked), timeout=5000)


def test_what_is_clear_stands_out_in_a_cell_of_its_own_on_any_canvas(docked, qtbot):
    """As a mask in yellow: hardly to be seen on white."""
    sections, made = docked.layers["phantom"], PluginLayers(docked, "panel")
    mask = np.zeros(sections.data.shape[-2:], np.float32)
    mask[10:-10, 10:-10] = 1
    look = {"colormap": CLEAR, "contrast_limits": (0, 1), "opacity": 0.5}
    made.show("artifact", mask, sections, "artifact", blending="translucent", **look)
    SideBySide(docked).show([sections, made["artifact"]])
    for theme in ("light", "dark"):
        docked.theme = theme
        qtbot.wait(100)
        picture = docked.screenshot(canvas_only=True, flash=False)[..., :3] / 255
        marked = (picture[..., 0] > 0.9) & (picture[..., 2] < 0.5 * picture[..., 0])
        beside = binary_dilation(marked, iterations=3) & ~binary_dilation(marked)
        light = picture**2.2 @ (0.2126, 0.7152, 0.0722) + 0.05
        assert marked.sum() > 1000 and np.median(light[marked] / light[beside].max()) >= 3
