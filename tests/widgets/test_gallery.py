"""The widget "Gallery" in a real window: thumbnails made as one scrolls, selected, marked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_brainvae.data.population import Population
from napari_brainvae.widgets.workspace import workspace_of
from tests.listeners import callbacks
from tests.widgets.windows import LONG, PLUGIN, done

CONTROL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


def gallery_of(viewer, qtbot):
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Gallery")
    qtbot.waitUntil(lambda: widget.thumbnails.making is not None, timeout=LONG)
    settle(widget, qtbot)
    return widget


def settle(widget, qtbot):
    seen, brains = widget.thumbnails.visible_positions, widget.thumbnails.brains
    qtbot.waitUntil(lambda: bool(seen()) and all(map(brains.has, seen())), timeout=LONG)


@pytest.fixture
def gallery(viewer, qtbot):
    qtbot.waitUntil(lambda: workspace_of(viewer).ready, timeout=LONG)
    return gallery_of(viewer, qtbot)


def click(widget, row, modifiers=Qt.KeyboardModifier.NoModifier):
    view = widget.thumbnails
    place = view.visualRect(view.model().index(row)).center()
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, modifiers, place)


def test_a_click_shows_the_brain_and_selects_it_everywhere(gallery, viewer):
    workspace = gallery.workspace
    click(gallery, 2)
    assert viewer.dims.point[0] == 2 and workspace.brains.selected == {2}
    click(gallery, 0, CONTROL)
    assert workspace.brains.selected == {0, 2}
    click(gallery, 3, SHIFT)
    assert workspace.brains.selected == {0, 1, 2, 3}
    told = []
    workspace.brains.selection_changed.connect(lambda: told.append(1))
    workspace.brains.select([1])
    rows = [index.row() for index in gallery.thumbnails.selectionModel().selectedIndexes()]
    assert rows == [1] and told == [1], "each change is heard once"
    viewer.dims.set_point(0, 4)
    assert gallery.thumbnails.currentIndex().row() == 4
    assert workspace.brains.selected == {1}, "scrolling selects nothing"


def test_a_drawn_rectangle_selects(gallery, qtbot):
    view = gallery.thumbnails
    viewport, left = view.viewport(), Qt.MouseButton.LeftButton
    beside = viewport.rect().topRight() - QPoint(2, -3)
    target = view.visualRect(view.model().index(0)).center()
    QTest.mousePress(viewport, left, pos=beside)
    QTest.mouseMove(viewport, (beside + target) / 2)
    QTest.mouseMove(viewport, target)
    QTest.mouseRelease(viewport, left, pos=target)
    assert gallery.workspace.brains.selected >= {0, 1}


def test_the_outliers_come_first_once_the_brains_are_listed(gallery, qtbot, tmp_path):
    order = gallery._order
    assert not order.model().item(1).isEnabled(), "nothing is measured yet"
    gallery.measure()
    done(gallery, qtbot)
    table = gallery.workspace.brains.table.brains
    assert order.currentText() == "outliers first"
    wanted = np.argsort(-table["deviation"].to_numpy(), kind="stable")
    assert gallery.thumbnails.brains.order == wanted.tolist()
    gallery.workspace.marks.mark([int(wanted[0])], "exclude", by="gallery")
    gallery._unmarked.setChecked(True)
    assert gallery.thumbnails.brains.order == wanted[1:].tolist()
    gallery._unmarked.setChecked(False)
    settle(gallery, qtbot)
    seen = gallery.thumbnails.visible_positions()
    gallery.export(tmp_path / "page")
    done(gallery, qtbot)
    page = pd.read_csv(tmp_path / "page" / "gallery.csv", keep_default_na=False)
    assert page["id"].tolist() == [table.index[i] for i in seen]
    assert page["mark"][0] == "exclude"
    assert {"gallery.png", "gallery.svg", "gallery.csv", "record.json"} == {
        file.name for file in (tmp_path / "page").iterdir()
    }


def test_marks_are_drawn_as_a_word_too(gallery, viewer):
    view, marks = gallery.thumbnails, gallery.workspace.marks
    place = view.visualRect(view.model().index(0))
    pictures = []
    for mark in ("", "accept", "exclude", "unsure"):
        marks.mark([0], mark, by="gallery")
        assert (view.model().index(0).data(Qt.ItemDataRole.UserRole + 1) or "") == mark
        pictures.append(view.viewport().grab(place).toImage())
    for i, one in enumerate(pictures):
        assert all(one != other for other in pictures[:i])


def test_pictures_of_other_brains_are_forgotten(gallery, viewer, qtbot):
    brains = gallery.thumbnails.brains
    assert brains.has(0)
    viewer.add_image(np.random.default_rng(0).random((5, 64, 80)).astype(np.float32))
    assert not brains.has(0) and brains.rowCount() == 5
    settle(gallery, qtbot)
    viewer.layers.clear()
    assert brains.rowCount() == 0 and gallery.thumbnails.making is None


def test_only_what_is_seen_is_made(make_napari_viewer, qtbot, monkeypatch):
    """1,723 brains: the window is there at once, and a jump to the end makes the end."""
    made = []

    images = np.zeros((1723, 64, 80), np.uint8)
    images[:] = np.arange(1723)[:, None, None] % 200 + 20
    images[:, ::2] //= 2
    sections = Population.sections
    monkeypatch.setattr(
        Population,
        "sections",
        lambda self, index=slice(None): (
            made.extend(np.arange(len(self))[index]) or sections(self, index)
        ),
    )
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1366, 768)
    viewer.add_image(images)
    widget = gallery_of(viewer, qtbot)
    assert 0 < len(set(made)) < 60
    before = set(made)
    widget.thumbnails.scrollToBottom()
    settle(widget, qtbot)
    after = set(made) - before
    assert 1722 in after and len(after) < 60
    assert min(after) > 1600, "what was scrolled past is not made"


def test_nothing_is_left_behind(gallery, viewer, qtbot):
    gallery.close()
    before = callbacks(viewer)
    gallery_of(viewer, qtbot).close()
    assert callbacks(viewer) == before
