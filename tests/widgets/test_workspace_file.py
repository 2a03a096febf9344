"""A workspace's file: what is open comes again, whatever became of the files meanwhile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Shapes

from napari_brainvae.atlas.regions import Region
from napari_brainvae.io.errors import InputError
from napari_brainvae.widgets import saved_workspace
from napari_brainvae.widgets.readers import region_reader
from napari_brainvae.widgets.saved_workspace import open_workspace, save_workspace
from napari_brainvae.widgets.workspace import workspace_of
from napari_brainvae.widgets.workspace_file import LinkedFile, SavedWorkspace, measured
from tests.widgets.windows import LONG, PLUGIN, RECTANGLE

CORNERS = [[9.5, 9.5], [9.5, 40.0], [30.0, 40.0]]


def link(path: Path, folder: Path) -> dict[str, object]:
    return LinkedFile.to(path, folder).model_dump()


# the file


def test_what_is_saved_is_loaded_and_never_written_over_unasked(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.npy").write_bytes(b"123")
    saved = SavedWorkspace(
        sections=LinkedFile.to(tmp_path / "data" / "a.npy", tmp_path),
        regions=(Region.from_polygons("r", [CORNERS], (64, 80), 25),),
        panels=("Gallery",),
        brain="m1",
    )
    file = tmp_path / "a.brainvae.json"
    saved.save(file)
    assert SavedWorkspace.load(file) == saved
    assert json.loads(file.read_text())["sections"]["path"] == "data/a.npy"
    with pytest.raises(FileExistsError):
        SavedWorkspace().save(file)
    assert SavedWorkspace.load(file) == saved
    shutil.move(tmp_path / "data", tmp_path / "moved" / "data")
    shutil.move(file, tmp_path / "moved" / file.name)
    assert saved.sections.found(tmp_path / "moved").exists(), "paths are relative"


def test_a_folder_and_a_file_are_told_from_changed_ones(tmp_path):
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / "c").write_bytes(b"12")
    before = LinkedFile.to(folder, tmp_path)
    assert not before.changed(folder)
    (folder / "d").write_bytes(b"1")
    assert before.changed(folder)
    file = tmp_path / "a"
    file.write_bytes(b"12")
    of_file = LinkedFile.to(file, tmp_path)
    file.write_bytes(b"13")
    assert of_file.changed(file) and measured(file)[0] == 2


GOOD = {"format": "napari-brainvae workspace 1"}
WRONG = {
    "no JSON": "{",
    "nothing": "",
    "a list": "[]",
    "no format": "{}",
    "a later format": '{"format": "napari-brainvae workspace 3"}',
    "codes without end": json.dumps(GOOD | {"codes": [0] * 20_000}),
    "a code that is none": json.dumps(GOOD | {"codes": [float("inf")]}),
    "a map of nothing": json.dumps(GOOD | {"map": {"colour": "sex"}}),
    "another key": json.dumps(GOOD | {"run": "rm"}),
    "no path": json.dumps(GOOD | {"sections": {"path": "", "size": 1, "sha256": "0" * 64}}),
    "no hash": json.dumps(GOOD | {"sections": {"path": "a", "size": 1, "sha256": "x"}}),
    "a size below nothing": json.dumps(
        GOOD | {"sections": {"path": "a", "size": -1, "sha256": "0" * 64}}
    ),
    "a model that is not there": json.dumps(GOOD | {"model": 0}),
    "a name without end": json.dumps(GOOD | {"brain": "x" * 5000}),
    "nested without end": '{"format": ' + "[" * 100_000,
    "a region that is none": json.dumps(GOOD | {"regions": [{"name": "x"}]}),
    "a region of all memory": json.dumps(
        GOOD | {"regions": [{"name": "x", "shape": [10**9, 10**9], "polygons": [CORNERS]}]}
    ),
    "not finite": json.dumps(GOOD)[:-1] + ', "model": NaN}',
}


@pytest.mark.parametrize("case", WRONG)
def test_a_hostile_file_is_refused_in_one_line(case, tmp_path):
    file = tmp_path / "a.brainvae.json"
    file.write_text(WRONG[case])
    with pytest.raises(InputError, match=r"^a\.brainvae\.json is no workspace: ") as refused:
        SavedWorkspace.load(file)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


# the window


@pytest.fixture
def files(phantom_file, run_folder, atlas_folder, tmp_path):
    """A folder with all that is opened."""
    shutil.copytree(phantom_file, tmp_path / "mice.zarr")
    shutil.copytree(run_folder, tmp_path / "run")
    shutil.copytree(atlas_folder, tmp_path / "p.atlas")
    return tmp_path


def filled(viewer, files, qtbot):
    """Open sections, model, atlas and panels; draw, pick and select."""
    for name in ("mice.zarr", "run", "p.atlas"):
        viewer.open(files / name, plugin=PLUGIN)
    for name in ("Atlas", "Gallery", "Reconstruct and denoise"):
        viewer.window.add_plugin_dock_widget(PLUGIN, name)
    workspace = workspace_of(viewer)
    qtbot.waitUntil(lambda: workspace.ready and workspace.atlas is not None, timeout=LONG)
    atlas = viewer.window.dock_widgets["Atlas (napari-brainvae)"]
    atlas.plane = 1
    qtbot.waitUntil(lambda: workspace.atlas.section.plane == 1, timeout=LONG)
    for region in list(workspace.atlas.regions)[1:]:
        workspace.atlas.remove(region)
    viewer.add_layer(Shapes([RECTANGLE], shape_type="polygon", name="torn", scale=(25, 25)))
    viewer.layers["torn"].scale = viewer.layers["mice"].scale[-2:]
    viewer.dims.set_point(0, 5)
    workspace.brains.select([2, 3])
    dock = saved_workspace._docks(viewer)["Gallery"]
    dock.raise_()
    qtbot.waitUntil(lambda: not dock.visibleRegion().isEmpty(), timeout=LONG)
    return workspace


def state(viewer):
    """What is to come again."""
    workspace, names = workspace_of(viewer), []
    for layer in viewer.layers:
        if ": mice" not in layer.name:  # made by a panel for the brain on show
            names.append((type(layer).__name__, layer.name, tuple(layer.scale)))
    panels, raised = saved_workspace._panels(viewer)
    return {
        "layers": sorted(names),
        "sections": workspace.sections.name,
        "model": workspace.checkpoint,
        "plane": workspace.atlas and workspace.atlas.section.plane,
        "regions": workspace.atlas and list(workspace.atlas.regions),
        "panels": panels,
        "raised": raised,
        "brain": int(viewer.dims.point[0]),
        "selected": workspace.brains.selected,
        "marks": workspace.marks.of_brains,
    }


def test_a_window_comes_again_as_it_was(make_napari_viewer, files, qtbot):
    viewer = make_napari_viewer(show=True)
    workspace = filled(viewer, files, qtbot)
    workspace.marks.mark([4], "exclude", by="list")
    assert save_workspace(viewer, files / "a.brainvae.json") == []
    before, drawn = state(viewer), np.array(viewer.layers["torn"].data[0])
    viewer.close()
    again = make_napari_viewer(show=True)
    assert open_workspace(again, files / "a.brainvae.json", pytest.fail) == []
    there = workspace_of(again)
    qtbot.waitUntil(lambda: there.ready and there.atlas is not None, timeout=LONG)
    qtbot.waitUntil(lambda: there.atlas.section.plane == 1, timeout=LONG)
    qtbot.waitUntil(lambda: state(again) == before, timeout=LONG)
    np.testing.assert_allclose(again.layers["torn"].data[0], drawn)
    # Once more into the same window: nothing comes twice.
    open_workspace(again, files / "a.brainvae.json", pytest.fail)
    assert len(again.layers["mice"].data) == 24
    assert state(again)["layers"] == before["layers"]


def test_what_panels_show_of_a_model_comes_again(make_napari_viewer, files, qtbot):
    """The factor, what the sliders say to the bit, and the map as soon as it has brains."""
    viewer = make_napari_viewer(show=True)
    field, explorer, shown = with_views(viewer, files, qtbot)
    shown.measure()
    qtbot.waitUntil(lambda: shown.table is not None, timeout=LONG)
    field.factor = 2
    explorer.codes = np.array([0.1, -1.234567, 4.5, np.float32(np.pi)], np.float32)
    look = {"x": "F3", "y": "deviation", "colour": "flagged", "ellipses": False}
    shown.options = shown.options.model_copy(update=look)
    codes, options = explorer.codes, shown.options
    save_workspace(viewer, files / "a.brainvae.json")
    viewer.close()
    again = make_napari_viewer(show=True)
    assert open_workspace(again, files / "a.brainvae.json", pytest.fail) == []
    qtbot.waitUntil(lambda: workspace_of(again).ready, timeout=LONG)
    field, explorer, shown = (saved_workspace._panel(again, each) for each in VIEWS)
    assert field.factor == 2
    assert explorer.codes.tobytes() == codes.tobytes()
    qtbot.waitUntil(lambda: explorer.latest.idle, timeout=LONG)
    section = again.layers["generated"].data
    assert np.array_equal(section, workspace_of(again).model.decode(codes[None])[0])
    shown.measure()
    qtbot.waitUntil(lambda: shown.table is not None, timeout=LONG)
    assert shown.options == options


def test_views_of_another_model_are_not_shown(make_napari_viewer, files, qtbot):
    viewer = make_napari_viewer(show=True)
    field, explorer, shown = with_views(viewer, files, qtbot)
    file = files / "a.brainvae.json"
    SavedWorkspace(
        sections=LinkedFile.to(files / "mice.zarr", files),
        models=(LinkedFile.to(files / "run" / "model.safetensors", files),),
        model=0,
        panels=VIEWS,
        factor=99,
        codes=(1.0, 2.0),
        map={"x": "F9", "y": "F1", "colour": "no such column"},
    ).save(file)
    codes = explorer.codes
    open_workspace(viewer, file, pytest.fail)
    qtbot.waitUntil(lambda: workspace_of(viewer).ready, timeout=LONG)
    assert field.factor == 0 and np.array_equal(explorer.codes, codes), "it has no such factors"
    shown.measure()
    qtbot.waitUntil(lambda: shown.table is not None, timeout=LONG)
    assert (shown.options.x, shown.options.y) == ("F1", "F1")


VIEWS = ("Projective field", "Explore factors", "Map of brains")


def with_views(viewer, files, qtbot):
    """Open sections, a model and the panels that show something of it."""
    for name in ("mice.zarr", "run"):
        viewer.open(files / name, plugin=PLUGIN)
    panels = [viewer.window.add_plugin_dock_widget(PLUGIN, name)[1] for name in VIEWS]
    qtbot.waitUntil(lambda: workspace_of(viewer).ready, timeout=LONG)
    return panels


def test_a_workspace_of_format_1_opens(make_napari_viewer, files, qtbot):
    """As it was written before factor, codes and map were in it."""
    file = files / "a.brainvae.json"
    SavedWorkspace(
        sections=LinkedFile.to(files / "mice.zarr", files),
        models=(LinkedFile.to(files / "run" / "model.safetensors", files),),
        model=0,
        panels=("Explore factors",),
        selected=("m1",),
    ).save(file)
    older = json.loads(file.read_text())
    for later in ("factor", "codes", "map"):
        del older[later]
    file.write_text(json.dumps(older | {"format": "napari-brainvae workspace 1"}))
    viewer = make_napari_viewer(show=True)
    assert open_workspace(viewer, file, pytest.fail) == []
    qtbot.waitUntil(lambda: workspace_of(viewer).ready, timeout=LONG)
    assert workspace_of(viewer).sections.name == "mice"


def test_missing_files_are_asked_for_and_changed_ones_said(make_napari_viewer, files, qtbot):
    (files / "there").mkdir()
    file = files / "a.brainvae.json"
    SavedWorkspace(
        sections=LinkedFile.to(files / "mice.zarr", files),
        models=(LinkedFile.to(files / "run" / "model.safetensors", files),) * 2,
        model=0,
    ).save(file)
    shutil.move(files / "mice.zarr", files / "there" / "mice.zarr")
    (files / "there" / "mice.zarr" / "new").write_text("more")
    shutil.rmtree(files / "run")
    asked = []

    def ask(what, was):
        asked.append((what, was.name))
        return files / "there" / "mice.zarr" if what == "sections" else None

    viewer = make_napari_viewer()
    said = open_workspace(viewer, file, ask)
    assert asked == [("sections", "mice.zarr"), *[("model", "model.safetensors")] * 2]
    assert said[0] == "Changed since the workspace was saved: the sections mice.zarr."
    assert said[1].startswith("Not found, and left out: the model ")
    assert workspace_of(viewer).sections.name == "mice"
    assert "Changed since" in workspace_of(viewer).said


def test_it_is_dropped_like_a_region_and_told_from_it(make_napari_viewer, files, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.open(files / "mice.zarr", plugin=PLUGIN)
    save_workspace(viewer, files / "a.json")
    viewer.layers.clear()
    viewer.open(files / "a.json", plugin=PLUGIN)
    qtbot.waitUntil(lambda: workspace_of(viewer).sections is not None, timeout=LONG)
    Region.from_polygons("r", [CORNERS], (64, 80), 25).save(files / "r.json")
    viewer.open(files / "r.json", plugin=PLUGIN)
    assert isinstance(viewer.layers["r"], Shapes)
    (files / "b.brainvae.json").write_text("{}")
    with pytest.raises(InputError, match="is no workspace"):
        region_reader(str(files / "b.brainvae.json"))(str(files / "b.brainvae.json"))
    assert "b.brainvae.json was not opened" in workspace_of(viewer).said


def test_the_dialogs_save_and_open(make_napari_viewer, files, qtbot, monkeypatch):
    viewer = make_napari_viewer(show=True)
    viewer.open(files / "mice.zarr", plugin=PLUGIN)
    dialog = saved_workspace.QFileDialog
    name = str(files / "mine")
    monkeypatch.setattr(dialog, "getSaveFileName", lambda *_: (name, ""))
    saved_workspace.ask_to_save(viewer)
    assert workspace_of(viewer).said == "Saved mine.brainvae.json."
    before = (files / "mine.brainvae.json").read_bytes()
    viewer.add_image(np.ones((3, 64, 80), np.float32), name="nowhere")
    saved_workspace.ask_to_save(viewer)
    assert "was not saved" in workspace_of(viewer).said, "the dialog did not ask about that name"
    assert (files / "mine.brainvae.json").read_bytes() == before
    name = str(files / "mine.brainvae.json")
    saved_workspace.ask_to_save(viewer)
    assert "“nowhere” come from no file" in workspace_of(viewer).said
    monkeypatch.setattr(dialog, "getOpenFileName", lambda *_: (str(files / "gone.json"), ""))
    saved_workspace.ask_to_open(viewer)
    assert "was not opened" in workspace_of(viewer).said
