"""The widget "Map of brains": points as brains, with real events; nothing stale; what it writes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from napari.layers import Points
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from benchmarks import brain_map as benchmark
from napari_brainvae.denoising.brain_table import brain_table
from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.pca import PCA
from napari_brainvae.widgets.layers.section_layers import population_of
from tests.listeners import callbacks
from tests.widgets.windows import LONG, done, open_widget

MAP = "Map of brains"
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def brain_map(viewer, qtbot):
    widget = open_widget(viewer, qtbot, MAP)
    widget._measure.click()
    done(widget, qtbot)
    assert widget.table is not None
    qtbot.waitUntil(lambda: widget.plane.height() > 100)
    return widget


def click(qtbot, scatter, brain, modifier=Qt.KeyboardModifier.NoModifier, plane=0):
    place = QPoint(*np.round(scatter.place_of(brain, plane)).astype(int).tolist())
    qtbot.mouseClick(scatter, LEFT, modifier, place)


def lasso(qtbot, scatter, corners, modifier=Qt.KeyboardModifier.NoModifier):
    corners = [QPoint(round(x), round(y)) for x, y in corners]
    qtbot.mousePress(scatter, LEFT, modifier, corners[0])
    for corner in corners[1:]:
        qtbot.mouseMove(scatter, corner)
    qtbot.mouseRelease(scatter, LEFT, modifier, corners[-1])


def hover(scatter, x, y):
    at, nothing = QPointF(x, y), Qt.MouseButton.NoButton
    kind, keys = QEvent.Type.MouseMove, Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(
        scatter, QMouseEvent(kind, at, scatter.mapToGlobal(at), nothing, nothing, keys)
    )


def around(scatter, brains, reach=3.0):
    """The corners of a rectangle around some brains, and which are in it."""
    places = np.array([scatter.place_of(i) for i in range(len(scatter.planes[0].points))])
    low, high = places[brains].min(axis=0) - reach, places[brains].max(axis=0) + reach
    low, high = np.floor(low), np.ceil(high)
    within = np.flatnonzero(((places > low) & (places < high)).all(axis=1))
    return [low, (high[0], low[1]), high, (low[0], high[1])], set(within.tolist())


def test_every_brain_is_where_its_factors_are(brain_map, viewer):
    population = population_of(viewer.layers["phantom"])
    measured = brain_table(brain_map.workspace.model, population)
    x, y = brain_map.options.x, brain_map.options.y
    assert (x, y) == ("F1", "F2")
    assert np.allclose(brain_map.plane.planes[0].points, measured[["F1", "F2"]])
    places = np.array([brain_map.plane.place_of(i) for i in range(len(measured))])
    assert np.corrcoef(places[:, 0], measured["F1"])[0, 1] == pytest.approx(1)
    assert np.corrcoef(places[:, 1], measured["F2"])[0, 1] == pytest.approx(-1), "upwards"


def test_a_click_shows_a_brain_and_a_lasso_selects(brain_map, viewer, qtbot):
    scatter, brains = brain_map.plane, brain_map.brains
    click(qtbot, scatter, 5)
    assert viewer.dims.point[0] == 5 == scatter.shown and brains.selected == {5}
    line, within = around(scatter, [2, 7, 9])
    lasso(qtbot, scatter, line)
    assert brains.selected == within >= {2, 7, 9}
    assert f"{len(within)} of" in brain_map._counted.text()
    click(qtbot, scatter, 9)
    assert viewer.dims.point[0] == 9 and brains.selected == within, "one of them is only shown"
    other = min(set(range(20)) - within)
    click(qtbot, scatter, other, Qt.KeyboardModifier.ShiftModifier)
    assert brains.selected == within | {other}
    click(qtbot, scatter, other, Qt.KeyboardModifier.ControlModifier)
    assert brains.selected == within, "once more takes it out"
    one, of_it = around(scatter, [2])
    lasso(qtbot, scatter, one, Qt.KeyboardModifier.AltModifier)
    assert brains.selected == within - of_it
    brain_map._none.click()
    assert brains.selected == frozenset()


def test_a_lasso_may_begin_beside_the_plane(brain_map, qtbot):
    """A brain at the edge is drawn around from outside."""
    brain_map.ellipses.setChecked(False)  # the plane reaches as far as they do
    scatter, brains = brain_map.plane, brain_map.brains
    lowest = int(np.argmin([scatter.place_of(i)[0] for i in range(24)]))
    line, within = around(scatter, [lowest], reach=20)
    left = min(corner[0] for corner in line)
    assert left < scatter._lay_out().frames[0].left(), "else it is no such brain"
    lasso(qtbot, scatter, line)
    assert brains.selected == within >= {lowest}
    qtbot.mouseClick(scatter, LEFT, pos=QPoint(2, 2))
    assert brains.selected == within, "too far away to be meant"


def test_the_arrows_lead_through_the_selected_brains(brain_map, viewer):
    brain_map.brains.select([3, 8, 11])
    seen = []
    for _ in range(4):
        brain_map._after.click()
        seen.append(int(viewer.dims.point[0]))
    assert seen == [3, 8, 11, 3]
    brain_map._before.click()
    assert viewer.dims.point[0] == 11


def test_the_mouse_over_a_brain_says_its_name(brain_map, viewer, qtbot):
    population = population_of(viewer.layers["phantom"])
    scatter, by = brain_map.plane, brain_map.options.colour
    x, y = (round(each) for each in scatter.place_of(4))
    hover(scatter, x, y)
    places = np.array([scatter.place_of(i) for i in range(len(population))])
    nearest = int(np.hypot(*(places - (x, y)).T).argmin())
    assert scatter.named == nearest
    value = population.covariates[by].iloc[nearest]
    assert scatter.look.said(nearest) == f"{population.ids[nearest]}\n{by}: {value}"
    bare = scatter.grab().toImage()
    hover(scatter, 1, 1)
    assert scatter.named is None
    assert scatter.grab().toImage() != bare, "its name was to be seen"


def test_colours_are_said_and_a_group_can_be_selected(brain_map, viewer, qtbot):
    population = population_of(viewer.layers["phantom"])
    assert brain_map.options.colour in population.covariates, "a covariate with groups, at first"
    group = brain_map._coloured.groups[1]
    assert f"{group.name}&nbsp;({group.members.sum()})" in brain_map.legend.text()
    brain_map.legend.linkActivated.emit("1")
    assert brain_map.brains.selected == set(np.flatnonzero(group.members).tolist())
    for theme in ("light", "dark"):
        viewer.theme = theme
        readable = brain_map.legend.palette().text().color().name()
        qtbot.waitUntil(lambda color=readable: color in brain_map.legend.text())
    brain_map.options = brain_map.options.model_copy(update={"colour": "deviation"})
    assert "deviation, spreads" in brain_map.legend.text()
    assert len(np.unique(brain_map.plane.look.colours, axis=0)) > 5
    assert brain_map.plane.planes[0].outlines == [], "a number has no groups"


def test_all_pairs_are_linked_and_lead_to_one(brain_map, viewer, qtbot):
    brain_map.pages.setCurrentWidget(brain_map.pairs)
    pairs, factors = brain_map.pairs, brain_map.workspace.model.latent_dim
    qtbot.waitUntil(lambda: pairs.height() > 100)
    assert len(pairs.planes) == factors * (factors - 1) // 2
    click(qtbot, pairs, 6, plane=2)
    assert brain_map.brains.selected == pairs.selected == {6}
    assert pairs.shown == viewer.dims.point[0] == 6
    frame = pairs._lay_out().frames[2].center().toPoint()
    qtbot.mouseDClick(pairs, LEFT, pos=frame)
    shown = pairs.planes[2]
    assert (brain_map.options.x, brain_map.options.y) == (shown.x, shown.y)
    assert brain_map.pages.currentWidget() is brain_map.plane


def test_only_what_has_changed_is_drawn_again(brain_map, viewer, qtbot):
    """At a hundred thousand brains, or in all pairs, that is most of the time."""
    brain_map.pages.setCurrentWidget(brain_map.pairs)
    pairs = brain_map.pairs
    qtbot.waitUntil(lambda: pairs._around is not None)
    drawn, around = pairs.drawn, pairs._around
    brain_map.brains.select([2, 5])
    viewer.dims.set_point(0, 7)
    hover(pairs, *pairs.place_of(3))
    pairs.grab()
    assert pairs.drawn == drawn and pairs._around is around
    brain_map.ellipses.setChecked(False)
    pairs.grab()
    assert pairs._around is not around, "groups are outlined no more"


def test_a_brain_that_is_not_known_is_not_drawn_and_is_in_no_way(brain_map):
    table = brain_map.table.copy()
    table.iloc[4, table.columns.get_loc("F2")] = np.nan
    brain_map.table = table
    brain_map._draw()
    where = brain_map.plane._lay_out().places[0]
    assert np.isnan(where[:, 4]).all() and np.isfinite(np.delete(where, 4, axis=1)).all()
    brain_map.plane.show_brain(4)
    brain_map.plane.grab()


def test_the_outlines_of_groups_are_seen_whole(brain_map):
    layout, [plane] = brain_map.plane._lay_out(), brain_map.plane.planes
    assert plane.outlines
    for _, line, _ in plane.outlines:
        assert all(layout.plane_at(x, y) == 0 for x, y in layout.pixels(0, line).tolist())


def test_a_plane_of_a_column_with_itself_is_a_diagonal(brain_map):
    brain_map.options = brain_map.options.model_copy(update={"x": "F2", "y": "F2"})
    across, upwards = brain_map.plane._lay_out().places[0]
    assert len(brain_map.plane.planes) == 1 and np.corrcoef(across, upwards)[0, 1] < -0.999


def test_its_benchmark_runs(make_napari_viewer, capsys):
    widget = benchmark.opened(make_napari_viewer(show=True), 40)
    benchmark.measure(widget, 40, turns=1)
    acts = [name for name in vars(benchmark.Acts) if not name.startswith("_")]
    said = capsys.readouterr().out
    assert all(act.replace("_", " ") in said for act in acts)
    assert widget.pairs.selected, "the last lasso held somebody"


def test_brains_are_a_layer_with_features(brain_map, viewer):
    layer = viewer.layers["brains: phantom"]
    assert isinstance(layer, Points) and not layer.visible and len(layer.data) == 24
    pd.testing.assert_frame_equal(
        layer.features[["id", "F1", "F2", "deviation"]],
        brain_map.table.reset_index()[["id", "F1", "F2", "deviation"]],
        check_dtype=False,
    )
    assert set(population_of(viewer.layers["phantom"]).covariates) <= set(layer.features)
    section = viewer.layers["phantom"].extent.world[:, -2:]
    inside = (layer.extent.world >= section[0]) & (layer.extent.world <= section[1])
    assert inside.all() and np.corrcoef(layer.data[:, 1], brain_map.table["F1"])[0, 1] > 0.999
    brain_map.brains.select([1, 2])
    assert not layer.selected_data, "nobody looks"
    viewer.layers.selection.active = layer
    assert set(layer.selected_data) == {1, 2}
    layer.selected_data = {4, 7}
    assert brain_map.brains.selected == {4, 7} == set(brain_map.plane.selected)
    brain_map.brains.select([9])
    assert set(layer.selected_data) == {9}


def test_nothing_stale_stays(brain_map, viewer, qtbot, tmp_path):
    model = brain_map.workspace.model
    population = population_of(viewer.layers["phantom"])
    sections = population.prepared(model.header.preprocessing, range(8))
    other = PCA.fit(sections, 3, preprocessing=model.header.preprocessing)
    save_checkpoint(other, tmp_path / "other.safetensors")
    brain_map.brains.select([3])
    brain_map.source.checkpoint = tmp_path / "other.safetensors"
    assert brain_map.table is None and brain_map.plane.planes == []
    assert "brains: phantom" not in viewer.layers
    assert "Measure brains" in brain_map.plane.empty
    assert brain_map.brains.selected == {3}, "the same brains"
    qtbot.waitUntil(lambda: brain_map._measure.isEnabled(), timeout=LONG)
    brain_map.measure()
    brain_map.job.cancel()
    done(brain_map, qtbot)
    assert brain_map.table is None, "cancelled"
    brain_map.measure()
    done(brain_map, qtbot)
    assert list(brain_map.table.filter(regex=r"^F\d$")) == ["F1", "F2", "F3"]
    viewer.layers.remove("phantom")
    assert brain_map.table is None and brain_map.brains.selected == frozenset()
    assert not brain_map._export.isEnabled()


def test_what_is_shown_is_written(brain_map, viewer, qtbot, tmp_path):
    brain_map.brains.select([0, 3])
    brain_map.export(tmp_path / "map")
    done(brain_map, qtbot)
    written = pd.read_csv(tmp_path / "map" / "selected_brains.csv", keep_default_na=False)
    population = population_of(viewer.layers["phantom"])
    assert written["id"].tolist() == [population.ids[0], population.ids[3]]
    names = {path.name for path in (tmp_path / "map").iterdir()}
    assert {"brain_map.csv", "brain_map.svg", "brains.png", "record.json"} <= names


def test_a_closed_panel_leaves_nobody_behind_and_a_new_one_shows_the_same(brain_map, viewer, qtbot):
    brain_map.brains.select([2])
    viewer.window.remove_dock_widget(brain_map)
    before = callbacks(viewer), len(brain_map.brains.selection_changed)
    again = open_widget(viewer, qtbot, MAP)
    assert again.table is not None and set(again.plane.selected) == {2}
    viewer.window.remove_dock_widget(again)
    assert (callbacks(viewer), len(again.brains.selection_changed)) == before
