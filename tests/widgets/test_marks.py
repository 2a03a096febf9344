"""Marks in a real window: set by buttons and keys, written at once, shown, undone."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_brainvae.data.marks import marks_beside, read_marks
from napari_brainvae.widgets.shared_marks import SharedMarks
from napari_brainvae.widgets.workspace import workspace_of
from tests.listeners import callbacks
from tests.widgets.windows import LONG, PLUGIN, RECONSTRUCT, done


@pytest.fixture
def mice(phantom_file, tmp_path):
    """A population of her own, beside which marks can be written."""
    shutil.copytree(phantom_file, tmp_path / "mice.zarr")
    return tmp_path / "mice.zarr"


@pytest.fixture
def marking(make_napari_viewer, mice, run_folder, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.open(mice, plugin=PLUGIN)
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, RECONSTRUCT)
    qtbot.waitUntil(lambda: widget.source.ready, timeout=LONG)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    return viewer, widget, workspace_of(viewer)


def marks_in(mice, ids):
    """What stands in the file, apart from brains that have no mark."""
    read = read_marks(marks_beside(mice), ids).of(ids)
    return {i: mark for i, mark in enumerate(read) if mark}


def press(viewer, key, modifiers=Qt.KeyboardModifier.AltModifier):
    QTest.keyClick(viewer.window._qt_window, key, modifiers)


def test_keys_mark_the_brain_on_show_whatever_is_selected(marking, mice):
    viewer, _widget, workspace = marking
    ids = workspace.population.ids
    workspace.brains.select([7, 8])
    for brain, key in ((3, "A"), (4, "E"), (5, "U")):
        viewer.dims.set_point(0, brain)
        press(viewer, getattr(Qt.Key, f"Key_{key}"))
    assert marks_in(mice, ids) == {3: "accept", 4: "exclude", 5: "unsure"}
    press(viewer, Qt.Key.Key_Z)
    assert marks_in(mice, ids) == {3: "accept", 4: "exclude"}
    both = Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.ShiftModifier
    press(viewer, Qt.Key.Key_Z, both)
    assert marks_in(mice, ids) == {3: "accept", 4: "exclude", 5: "unsure"}


def test_buttons_mark_the_selected_brains_or_the_one_on_show(marking, mice, monkeypatch):
    viewer, widget, workspace = marking
    bar, ids = widget.brains.marks, workspace.population.ids
    _accept, exclude, unsure, clear, undo, redo = bar.marking
    viewer.dims.set_point(0, 6)
    assert ids[6] in bar._which.text()
    unsure.trigger()
    workspace.brains.select([1, 2])
    assert "2 selected" in bar._which.text()
    exclude.trigger()
    assert marks_in(mice, ids) == {1: "exclude", 2: "exclude", 6: "unsure"}
    assert "2 exclude, 1 unsure; a fit leaves the excluded out; in mice.marks.csv" in (
        bar._about.text()
    )
    clear.trigger()
    assert marks_in(mice, ids) == {6: "unsure"}
    undo.trigger()
    assert marks_in(mice, ids) == {1: "exclude", 2: "exclude", 6: "unsure"}
    assert undo.isEnabled() and redo.isEnabled()
    workspace.brains.select([])
    again = property(lambda _: pytest.fail("of all brains, at a step of the slider"))
    with monkeypatch.context() as patched:
        patched.setattr(SharedMarks, "of_brains", again)
        viewer.dims.set_point(0, 2)
    assert f"{ids[2]}, marked <b>exclude</b>" in bar._which.text()


def test_marks_change_no_list_but_are_shown_in_it(marking, qtbot):
    _viewer, widget, workspace = marking
    widget.brains.measure()
    done(widget, qtbot)
    listed = widget.brains.listed
    table = widget.brains._table
    column = [each.name for each in table.columns].index("mark")
    workspace.marks.mark([2, 9], "exclude", by="list")
    assert widget.brains.listed is listed and workspace.inputs(atlas=False).same(listed.inputs)
    words = {
        table.position(row): table.data(table.index(row, column)) for row in range(table.rowCount())
    }
    assert {i for i, word in words.items() if word} == {2, 9}
    assert np.flatnonzero(workspace.population.excluded).tolist() == [2, 9]
    # What is computed from now on leaves them out.
    widget.brains.measure()
    done(widget, qtbot)
    assert not widget.brains.listed.counted[[2, 9]].any()


def test_marks_come_again_and_a_hand_may_have_changed_them(marking, mice, make_napari_viewer):
    _, _, workspace = marking
    ids = workspace.population.ids
    workspace.marks.mark([2], "exclude", by="list")
    file = marks_beside(mice)
    file.write_text(file.read_text() + f"{ids[3]},exclude,,hand\n")
    other = make_napari_viewer()
    other.open(mice, plugin=PLUGIN)
    again = workspace_of(other)
    assert [i for i, mark in enumerate(again.marks.of_brains) if mark == "exclude"] == [2, 3]
    workspace.marks.mark([4], "unsure", by="list")
    assert marks_in(mice, ids) == {2: "exclude", 3: "exclude", 4: "unsure"}


def test_a_damaged_file_is_said_and_stays(marking, mice):
    _, _widget, workspace = marking
    marks_beside(mice).write_text("id,mark\nme,maybe\n")
    workspace.marks.mark([2], "exclude", by="list")
    assert "Not marked: mice.marks.csv names none of the brains" in workspace.said
    assert marks_beside(mice).read_text() == "id,mark\nme,maybe\n"
    assert not workspace.population.excluded.any()


def test_a_stack_that_napari_opened_is_marked_beside_its_file(make_napari_viewer, tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", np.ones((5, 64, 80), np.float32))
    viewer = make_napari_viewer()
    workspace = workspace_of(viewer)
    viewer.open(tmp_path / "a.tif", plugin="napari")
    workspace.marks.mark([1], "exclude", by="list")
    assert "0001,exclude" in (tmp_path / "a.marks.csv").read_text()


def test_without_a_file_marks_are_said_to_be_kept_nowhere(make_napari_viewer):
    viewer = make_napari_viewer()
    workspace = workspace_of(viewer)
    viewer.add_image(np.ones((3, 64, 80), np.float32))
    workspace.marks.mark([1], "exclude", by="list")
    assert workspace.population.excluded.tolist() == [False, True, False]
    assert "kept only while this window is open" in workspace.marks.sentence
    workspace.marks.undo()
    assert workspace.marks.sentence == "No brain is marked."


def test_keys_and_callbacks_go_with_the_last_panel(marking):
    viewer, widget, _workspace = marking
    before = dict(viewer.keymap)
    assert any("Alt" in str(key) for key in before)
    widget.close()
    assert not any("Alt" in str(key) for key in viewer.keymap)
    left = callbacks(viewer)
    _, again = viewer.window.add_plugin_dock_widget(PLUGIN, RECONSTRUCT)
    again.close()
    assert callbacks(viewer) == left
