"""The layers that a widget has made, without a window."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers._layer_actions import _duplicate_layer
from napari.utils.colormaps import Colormap

from napari_brainvae.widgets.layers.plugin_layers import (
    PluginLayers,
    SideBySide,
    camera,
    canvas_grid,
    canvas_size,
    grid_shape,
)
from napari_brainvae.widgets.workspace import workspace_of
from tests.listeners import callbacks

CLEAR = Colormap([[1, 0.9, 0, 0], [1, 0.9, 0, 1]], name="clear")


@pytest.fixture
def viewer(qtbot):
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).random((5, 8, 10)), name="sections", scale=(1, 2, 2))
    return viewer


@pytest.fixture
def made(viewer):
    return PluginLayers(viewer, "panel")


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((8, 10), dtype=np.float32)


def show(
    made: PluginLayers, viewer: ViewerModel, seed: int = 1, part: str = "residual", **look
) -> None:
    made.show(part, picture(seed), viewer.layers["sections"], f"{part} {seed}", **look)


def test_a_layer_is_made_once_and_its_look_is_the_users(made, viewer):
    show(made, viewer, 1, contrast_limits=(0, 1), colormap="red")
    layer = made["residual"]
    layer.contrast_limits, layer.visible = (0, 0.5), False
    told = []
    layer.events.data.connect(told.append)
    show(made, viewer, 2, contrast_limits=(0, 1), colormap="red")
    assert made["residual"] is layer and layer.name == "residual 2"
    assert np.array_equal(layer.data, picture(2))
    assert told, "whoever looks at the layer, such as a histogram, is told"
    assert tuple(layer.contrast_limits) == (0, 0.5) and not layer.visible
    assert tuple(layer.scale) == (2, 2), "as the sections"


def test_a_layer_that_the_user_renames_is_called_so_until_it_shows_something_else(made, viewer):
    show(made, viewer, 1)
    layer = made["residual"]
    layer.name = "hers"
    for _ in range(2):
        show(made, viewer, 1)
        assert layer.name == "hers"
    show(made, viewer, 2)
    assert layer.name == "residual 2"


def test_a_copy_is_the_users_and_not_what_a_panel_finds_again(made, viewer):
    workspace_of(viewer)
    show(made, viewer, 1)
    viewer.layers.selection = {made["residual"]}
    _duplicate_layer(viewer.layers)
    [copy] = (layer for layer in viewer.layers if layer.name == "residual 1 copy")
    made.release()
    again = PluginLayers(viewer, "panel")
    assert again["residual"] is made["residual"]
    show(again, viewer, 2)
    assert np.array_equal(copy.data, picture(1)) and copy.visible


def test_a_picture_of_before_stays_as_it_was(made, viewer):
    show(made, viewer, 1)
    before = made["residual"].data
    show(made, viewer, 2)
    assert np.array_equal(before, picture(1))


def test_the_viewer_looks_where_layers_lie_only_after_a_picture_of_another_size(
    made, viewer, monkeypatch
):
    show(made, viewer, 1)
    looked, look = [], ViewerModel._on_layers_change

    def _on_layers_change(self: ViewerModel) -> None:
        looked.append(True)
        look(self)

    monkeypatch.setattr(ViewerModel, "_on_layers_change", _on_layers_change)
    show(made, viewer, 2)
    assert not looked, "it takes longer than all else"
    viewer.layers.remove("sections")
    larger = viewer.add_image(np.zeros((5, 80, 100)), name="sections")
    looked.clear()
    made.show("residual", np.zeros((80, 100)), larger, "residual 3")
    assert looked and viewer.dims.range[-1].stop == 99


def test_a_layer_that_the_user_removes_is_made_again(made, viewer):
    show(made, viewer)
    first = made["residual"]
    viewer.layers.remove(first)
    assert not made
    show(made, viewer)
    assert made["residual"] is not first and made["residual"] in viewer.layers


def test_parts_are_removed_by_name_or_all(made, viewer):
    for part in ("a", "b", "c"):
        show(made, viewer, part=part)
    made.remove("b")
    made.remove("never made")
    assert list(made) == ["a", "c"]
    made.remove_all()
    assert not made and [layer.name for layer in viewer.layers] == ["sections"]


def test_new_layers_go_where_they_are_told_and_the_active_one_stays(made, viewer):
    viewer.layers.selection.active = viewer.layers["sections"]
    show(made, viewer, part="top")
    show(made, viewer, part="between", position=1)
    assert [layer.name for layer in viewer.layers] == ["sections", "between 1", "top 1"]
    assert viewer.layers.selection.active is viewer.layers["sections"]


def test_nothing_is_left_behind(viewer):
    before = callbacks(viewer)
    made = PluginLayers(viewer, "panel")
    show(made, viewer)
    made.remove_all()
    made.release()
    assert callbacks(viewer) == before


def test_side_by_side_and_back(made, viewer):
    for part in ("a", "b"):
        show(made, viewer, part=part)
    hidden = viewer.add_image(picture(3), visible=False)
    grid, other = canvas_grid(viewer), viewer.layers["sections"]
    grid.stride, before = 2, {layer: layer.visible for layer in viewer.layers}
    camera(viewer).zoom, camera(viewer).center = 6, (0, 5, 4)
    beside = SideBySide(viewer)
    beside.end()  # of nothing
    for _ in range(2):
        beside.show([*made.values()])
    assert grid.enabled and not other.visible
    assert all(layer.visible and layer.name_overlay.visible for layer in made.values())
    viewer.layers.remove(made["b"])
    beside.end()
    assert not grid.enabled and grid.stride == 2
    assert camera(viewer).zoom == 6 and camera(viewer).center[-2:] == (5, 4)
    assert not made["a"].name_overlay.visible
    assert {layer: layer.visible for layer in before} == before and not hidden.visible


def test_clear_colours_lie_over_black_in_a_cell_of_their_own(made, viewer):
    """There is no section beneath them, and the canvas of a light theme is white."""
    show(made, viewer, part="artifact", colormap=CLEAR, opacity=0.5)
    layer, beside = made["artifact"], SideBySide(viewer)
    for _ in range(2):
        beside.show([layer])
    assert np.allclose(layer.colormap.map([0, 1]), [[0, 0, 0, 1], [1, 0.9, 0, 1]])
    assert layer.opacity == 1
    beside.end()
    assert layer.colormap == CLEAR and layer.opacity == 0.5
    beside.show([layer])
    layer.colormap = "green"
    beside.end()
    assert layer.colormap.name == "green", "what the user chose meanwhile"


@pytest.mark.parametrize(
    ("count", "aspect", "canvas", "shape"),
    [
        (3, 0.7, (400, 1200), (1, 3)),  # as wide as three
        (3, 0.7, (900, 500), (3, 1)),  # higher than wide
        (4, 0.7, (700, 1000), (2, 2)),
        (8, 0.7, (700, 570), (4, 2)),
        (1, 0.7, (100, 900), (1, 1)),
    ],
)
def test_the_grid_has_the_shape_of_the_canvas(count, aspect, canvas, shape):
    assert grid_shape(count, aspect, canvas) == shape


def test_the_grid_shows_every_picture_whole(made, viewer):
    """The view is fitted to the cells, whatever it was before."""
    for part in "abc":
        show(made, viewer, part=part)
    camera(viewer).zoom = 50
    SideBySide(viewer).show([*made.values()])
    rows, columns = canvas_grid(viewer).shape
    height, width = canvas_size(viewer)
    zoom = camera(viewer).zoom
    extent = np.array(made["a"].data.shape) * made["a"].scale
    assert zoom * extent[0] <= height / rows and zoom * extent[1] <= width / columns
    assert max(zoom * extent[0] / (height / rows), zoom * extent[1] / (width / columns)) > 0.9


def test_a_layer_that_is_made_while_all_lie_side_by_side_is_then_seen_as_it_was_made(made, viewer):
    beside = SideBySide(viewer)
    show(made, viewer, part="reconstruction")
    beside.show([viewer.layers["sections"], *made.values()])
    show(made, viewer, part="repaired", visible=False)
    show(made, viewer, part="artifact")
    beside.show([viewer.layers["sections"], *made.values()])
    assert all(layer.visible for layer in made.values())
    made["artifact"].visible = False
    beside.show([viewer.layers["sections"], *made.values()])
    assert not made["artifact"].visible, "what she hides stays so"
    beside.end()
    assert [name for name, layer in made.items() if layer.visible] == ["reconstruction", "artifact"]


def test_a_panel_that_is_closed_beside_others_stays_out_of_sight(made, viewer):
    """The grid's end brings back what was seen before, but for layers that nobody keeps up."""
    show(made, viewer, part="a")
    other = PluginLayers(viewer, "other panel")
    show(other, viewer, part="b")
    beside = SideBySide(viewer)
    beside.show([made["a"]])
    left = other["b"]
    other.release()
    beside.end()
    assert made["a"].visible and not left.visible
    again = PluginLayers(viewer, "other panel")
    assert again["b"] is left
    show(again, viewer, part="b")
    assert left.visible, "as before the grid"
    made.release()
    again.release()
