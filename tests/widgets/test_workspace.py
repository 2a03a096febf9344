"""One workspace per viewer: what was opened last is chosen, for all panels, and said."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_brainvae.widgets.inputs import Inputs
from napari_brainvae.widgets.layers.section_layers import CHECKPOINT, MADE_HERE
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.windows import LONG, PLUGIN, done, open_widget

SECTIONS = np.random.default_rng(0).random((3, 64, 80), dtype=np.float32)


@pytest.fixture
def bare(qtbot):
    return ViewerModel()


def test_what_was_opened_last_is_chosen_until_another_is_picked(bare):
    workspace = workspace_of(bare)
    assert workspace_of(bare) is workspace and workspace.sections is None
    told = []
    workspace.sections_changed.connect(lambda: told.append(workspace.sections))
    first = bare.add_image(SECTIONS, name="first")
    assert workspace.sections is first and workspace.said == "", "nothing else was chosen"
    second = bare.add_image(SECTIONS, name="second")
    assert workspace.sections is second and workspace.said == "Sections: now “second”, opened last."
    for other in ({"name": "drawn", "metadata": {MADE_HERE: "field"}}, {"name": "c", "rgb": True}):
        data = np.zeros((64, 80, 3)) if other.get("rgb") else SECTIONS
        bare.add_image(data, **other)
    bare.add_labels(np.ones((64, 80), int))
    assert workspace.sections is second, "those are no sections"
    workspace.sections = first
    bare.layers.move(0, 2)
    assert workspace.sections is first
    bare.layers.remove(first)
    assert workspace.sections is second
    assert "now “second”; the other was removed" in workspace.said
    bare.layers.remove(second)
    assert workspace.sections is None
    assert told == [first, second, first, second, None]


@pytest.mark.parametrize("changed", range(5))
def test_inputs_are_the_same_objects_and_equal_options(changed):
    one = Inputs(*(object() for _ in range(4)), options={"low": -1})
    assert one.same(Inputs(*one[:4], options={"low": -1})) and not one.same(None)
    other = list(one)
    other[changed] = object()
    assert not one.same(Inputs(*other))


def test_inputs_say_whether_the_model_crops_the_sections(
    make_napari_viewer, population, run_folder, qtbot
):
    viewer = make_napari_viewer()
    workspace, whole = workspace_of(viewer), population.sections(range(3))
    wider = np.pad(whole, ((0, 0), (0, 0), (1, 1)))
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Explore factors")
    qtbot.waitUntil(lambda: workspace.model is not None, timeout=20_000)
    for images, cropped in ((whole, False), (wider, True)):
        viewer.add_image(images)
        assert workspace.inputs().cropped == cropped
        assert ("64 x 82 px are cropped" in panel.source._about.text()) == cropped


def test_a_model_is_loaded_in_the_background_and_named_by_its_run(
    bare, qtbot, run_folder, tmp_path
):
    workspace = workspace_of(bare)
    workspace.checkpoint = run_folder / "model.safetensors"
    assert workspace.model is None and not workspace.ready
    qtbot.waitUntil(lambda: workspace.model is not None, timeout=LONG)
    assert workspace.inputs() is None, "no sections yet"
    bare.add_image(SECTIONS)
    first = workspace.inputs()
    assert first.same(workspace.inputs()) and first.model is workspace.model
    bare.layers[0].data = SECTIONS[::-1]
    assert not first.same(workspace.inputs()), "other pixels"
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nothing")
    bare.add_image(SECTIONS[0], name="b", metadata={CHECKPOINT: str(bad)})
    assert workspace.model is None
    assert workspace.said == f"Model: now “{tmp_path.name}/bad.safetensors”, opened last."
    qtbot.waitUntil(lambda: "not a whole safetensors file" in workspace.problem, timeout=LONG)


def test_all_panels_work_on_the_same_and_say_its_name(
    viewer, atlas, qtbot, run_folder, tmp_path, phantom_file
):
    """A second model that is dropped is taken by the open panels, as by the next one."""
    widgets = [open_widget(viewer, qtbot, name) for name in ("Receptive field", "Factors")]
    other = tmp_path / "second run" / "model.safetensors"
    other.parent.mkdir()
    other.write_bytes((run_folder / "model.safetensors").read_bytes())
    viewer.open(other, plugin=PLUGIN)
    widgets.append(open_widget(viewer, qtbot, "Projective field"))
    for widget in widgets:
        assert widget.source.checkpoint == other and widget.source.model is not None
        shown = widget.source._models
        assert shown.currentText() == "second run/model.safetensors"
        assert [shown.itemText(i) for i in range(shown.count())] == [
            f"{run_folder.name}/model.safetensors",
            "second run/model.safetensors",
        ]
        assert "opened last" in widget.source._said.text() and widget.source._said.isVisibleTo(
            widget
        )
    models = widgets[0].source._models
    models.setCurrentIndex(0)
    models.activated.emit(0)
    assert all(widget.source._said.isHidden() for widget in widgets), "it is of the other model"
    viewer.open(phantom_file, plugin=PLUGIN)
    names = [widget.source._layers.native.currentText() for widget in widgets]
    assert names == ["phantom [1]"] * 3
    assert all(widget.source._said.isVisibleTo(widget) for widget in widgets)
    viewer.layers["phantom [1]"].name = "mice"
    names = [widget.source._layers.native.currentText() for widget in widgets]
    assert names == ["mice"] * 3
    widgets[1].describe()
    widgets[0].source._layers.native.activated.emit(0)
    assert all(widget.source._said.isHidden() for widget in widgets), "it is of the other layer"
    assert all(widget.source.layer.name == "phantom" for widget in widgets), "picked in one of them"
    done(widgets[1], qtbot)
    assert widgets[1].described is None, "of the others"


def test_what_is_loading_ends_with_the_window(make_napari_viewer):
    """Panels go with it unasked, and are not to be told of a model then."""
    viewer = make_napari_viewer()
    assert workspace_of(viewer)._load.parent() is viewer.window._qt_window
