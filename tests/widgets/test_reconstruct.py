"""Readers, sample data and the widget "Reconstruct and denoise", in a real napari."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import Qt

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.brain_table import brain_table, factors_of
from napari_brainvae.denoising.reconstruction import reconstruct_section
from napari_brainvae.models.checkpoint import DEMO_MODEL, fingerprint, load_checkpoint
from napari_brainvae.statistics.association import associate
from napari_brainvae.widgets import readers as contributions
from napari_brainvae.widgets.layers.plugin_layers import canvas_grid
from napari_brainvae.widgets.layers.section_layers import (
    CHECKPOINT,
    population_layer,
    population_of,
    section_geometry,
    show_index,
    shown_index,
)
from tests.listeners import callbacks

PLUGIN = "napari-brainvae"
WIDGET = "Reconstruct and denoise"


def reconstruction_of(viewer) -> Image | None:
    named = [layer for layer in viewer.layers if layer.name.startswith("reconstruction: ")]
    return named[0] if named else None


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def opened(viewer, phantom_file, run_folder, qtbot):
    """Open population, checkpoint and widget, as drag and drop and the menu do."""
    viewer.open(phantom_file, plugin=PLUGIN)
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    qtbot.waitUntil(lambda: reconstruction_of(viewer) is not None, timeout=20_000)
    qtbot.waitUntil(lambda: widget.latest.idle)
    return viewer, widget


def show(viewer, widget, qtbot, brain):
    viewer.dims.set_point(0, brain)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)


def test_the_tour_through_the_menus(viewer, qtbot):
    """Sample data and widget by their menu entries; the layer holds what the core computes."""
    from napari._app_model import get_app_model

    commands = get_app_model().commands
    for entry in ("demo_population", "demo_model"):
        commands.execute_command(f"{PLUGIN}.{entry}").result()
    commands.execute_command(f"{PLUGIN}.reconstruct").result()
    [widget] = [w for name, w in viewer.window.dock_widgets.items() if name.startswith(WIDGET)]
    qtbot.waitUntil(lambda: reconstruction_of(viewer) is not None, timeout=20_000)
    population = population_of(viewer.layers["Demo population"])
    model = load_checkpoint(DEMO_MODEL)
    errors = []
    for brain in range(0, 48, 6):
        show(viewer, widget, qtbot, brain)
        look = reconstruct_section(model, population, brain)
        assert np.array_equal(reconstruction_of(viewer).data, look.reconstruction)
        assert population.ids[brain] in widget._readout.text()
        errors.append(look.error)
    assert np.median(errors) < 2 * model.header.reference.error_median, "the two belong together"


def test_layers_follow_the_slider_with_scale_units_and_names(opened, qtbot, phantom_file):
    viewer, widget = opened
    stack = viewer.layers["phantom"]
    population = Population.open(phantom_file)
    show(viewer, widget, qtbot, 9)
    look = reconstruct_section(widget.source.model, population, 9)
    for part in ("reconstruction", "residual"):
        layer = viewer.layers[f"{part}: phantom"]
        assert np.array_equal(layer.data, getattr(look, part))
        assert np.array_equal(layer.scale, stack.scale[1:])
        assert layer.units == stack.units[1:]
        assert layer.axis_labels == ("DV", "ML")
    low, high = viewer.layers["residual: phantom"].contrast_limits
    assert low == -high


def test_only_the_newest_position_is_computed(opened, qtbot, monkeypatch):
    viewer, widget = opened
    asked = []
    compute = widget.latest._compute
    monkeypatch.setattr(
        widget.latest, "_compute", lambda *a: asked.append(a[2]) or compute(*a), raising=True
    )
    for brain in range(1, 20):
        viewer.dims.set_point(0, brain)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)
    assert asked == [1, 19]


def test_brains_beside_the_one_on_show_are_encoded_while_the_slider_rests(opened, qtbot):
    viewer, widget = opened
    brains = len(population_of(viewer.layers["phantom"]))
    qtbot.waitUntil(lambda: widget._model.known == brains, timeout=20_000)
    show(viewer, widget, qtbot, 5)
    assert widget._model.known == brains, "known"
    viewer.layers.remove("phantom")
    assert widget._model.known == 0, "nothing is kept of what is not on show"


def test_side_by_side_and_back(opened):
    viewer, widget = opened
    before = {layer: layer.visible for layer in viewer.layers}
    widget._side_by_side.setChecked(True)
    assert canvas_grid(viewer).enabled
    assert canvas_grid(viewer).actual_shape(viewer.layers) == (1, 3)
    widget._side_by_side.setChecked(False)
    assert not canvas_grid(viewer).enabled
    assert {layer: layer.visible for layer in viewer.layers} == before


def test_artifacts_are_marked_and_repaired_while_asked_for(opened, qtbot):
    viewer, widget = opened
    population = population_of(viewer.layers["phantom"])
    brain = int(np.flatnonzero(population.flagged)[0])
    show(viewer, widget, qtbot, brain)
    widget._robust.setChecked(True)
    qtbot.waitUntil(lambda: "artifact: phantom" in viewer.layers, timeout=20_000)
    qtbot.waitUntil(lambda: widget.latest.idle)
    look = reconstruct_section(widget.source.model, population, brain, robust=True)
    for part in ("artifact", "repaired", "reconstruction"):
        assert np.array_equal(viewer.layers[f"{part}: phantom"].data, getattr(look, part))
    repaired, drawn = (viewer.layers[f"{part}: phantom"] for part in ("repaired", "reconstruction"))
    assert repaired.contrast_limits == drawn.contrast_limits, "one brightness for both"
    widget._side_by_side.setChecked(True)
    assert canvas_grid(viewer).actual_shape(viewer.layers) == (2, 3)
    widget._side_by_side.setChecked(False)
    widget._robust.setChecked(False)
    qtbot.waitUntil(lambda: "artifact: phantom" not in viewer.layers, timeout=20_000)
    assert "repaired: phantom" not in viewer.layers


@pytest.mark.parametrize("all_brains", [True, False])
@pytest.mark.parametrize("name", ["r.zarr", "r.tif"])
def test_export(opened, qtbot, tmp_path, all_brains, name):
    viewer, widget = opened
    show(viewer, widget, qtbot, 4)
    widget.export(tmp_path / name, all_brains=all_brains)
    qtbot.waitUntil(lambda: not widget.job.running, timeout=20_000)
    images = (
        Population.open(tmp_path / name).sections()
        if name.endswith("zarr")
        else np.atleast_3d(tifffile.imread(tmp_path / name)).reshape(-1, 64, 80)
    )
    assert len(images) == (24 if all_brains else 1)
    shown = viewer.layers["reconstruction: phantom"].data
    assert np.allclose(images[4 if all_brains else 0], shown, atol=1e-6)


def test_export_of_repaired_sections(opened, qtbot, tmp_path):
    viewer, widget = opened
    show(viewer, widget, qtbot, 4)
    widget._robust.setChecked(True)
    qtbot.waitUntil(lambda: "repaired: phantom" in viewer.layers, timeout=20_000)
    widget.export(tmp_path / "r.zarr", all_brains=False)
    qtbot.waitUntil(lambda: not widget.job.running, timeout=20_000)
    written = zarr.open_group(tmp_path / "r.zarr", mode="r")
    for name in ("repaired", "artifact"):
        assert np.array_equal(written[name][0], viewer.layers[f"{name}: phantom"].data)


def test_the_list_of_brains_leads_to_the_most_unusual(opened, qtbot, tmp_path):
    viewer, widget = opened
    brains, population = widget.brains, population_of(viewer.layers["phantom"])
    assert not brains._view.isVisible()
    brains._list.click()
    qtbot.waitUntil(lambda: brains.listed is not None, timeout=20_000)
    table, associations = brains.listed.brains, brains.listed.associations
    pd.testing.assert_frame_equal(table, brain_table(widget.source.model, population))
    usable = factors_of(table[~population.flagged])
    pd.testing.assert_frame_equal(associations, associate(usable, population.covariates))
    order = table["deviation"].argsort()[::-1].tolist()
    rows = brains._view.model()
    shown = [rows.index(i, 0).data() for i in range(len(population))]
    assert shown == [population.ids[i] for i in order]
    for row in (0, 5):
        brains._view.selectRow(row)
        qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)
        assert viewer.dims.point[0] == order[row]
        assert shown[row] in widget._readout.text()
    brains._view.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert rows.index(0, 0).data() == population.ids[0]
    assert brains._pages.isTabVisible(1)
    brains.export(tmp_path / "out")
    qtbot.waitUntil(lambda: not widget.job.running, timeout=20_000)
    for name, expected in {"brains": table.reset_index(), "covariates": associations}.items():
        written = pd.read_csv(tmp_path / "out" / f"{name}.csv", keep_default_na=False)
        assert (written.pop("checkpoint") == fingerprint(widget.source.model)).all()
        pd.testing.assert_frame_equal(written.drop(columns="options"), expected, rtol=1e-9)
    assert {path.name for path in (tmp_path / "out").glob("covariates.*g")} == {
        "covariates.png",
        "covariates.svg",
    }
    widget.source.checkpoint = shutil.copy(widget.source.checkpoint, tmp_path / "other.safetensors")
    assert brains.listed is None
    assert not brains._view.isVisible(), "of another model"


def test_brains_that_cannot_be_used_lead_the_list_and_say_why(
    viewer, population, run_folder, qtbot
):
    images = population.sections()
    images[4] = 0
    viewer.add_image(images, name="mice")
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    qtbot.waitUntil(lambda: widget.source.ready, timeout=20_000)
    widget.brains.measure()
    qtbot.waitUntil(lambda: widget.brains.listed is not None, timeout=20_000)
    first = widget.brains._items.item(0, 0)
    assert first.text() == "0004"
    assert "one constant value" in first.toolTip()
    assert "1 cannot be used" in widget.brains._about.text()
    assert not widget.brains._pages.isTabVisible(1), "nothing is known of these"


def test_cancel_leaves_nothing(opened, qtbot, tmp_path, monkeypatch):
    _, widget = opened
    widget.job.run("Endless", lambda progress: endless(progress), lambda _: pytest.fail("done"))
    qtbot.waitUntil(lambda: widget.job._done > 3)
    widget.job.cancel()
    qtbot.waitUntil(lambda: not widget.job.running)
    assert widget.job.isHidden()


def endless(progress):
    from itertools import count

    from napari_brainvae.io.progress import report

    for i in count():
        report(progress, i, 1_000_000)


def test_layers_may_be_renamed_removed_and_replaced(opened, qtbot, phantom_file):
    viewer, widget = opened
    viewer.layers["phantom"].name = "mice"
    show(viewer, widget, qtbot, 2)
    assert "reconstruction: mice" in viewer.layers
    viewer.layers.remove("reconstruction: mice")
    show(viewer, widget, qtbot, 3)
    assert "reconstruction: mice" in viewer.layers
    viewer.layers.remove("mice")
    assert widget.source.layer is None
    assert "reconstruction: mice" not in viewer.layers, "nothing stale stays"
    viewer.open(phantom_file, plugin=PLUGIN)
    qtbot.waitUntil(lambda: reconstruction_of(viewer) is not None, timeout=20_000)


def test_closing_leaves_no_callback_and_stops_the_job(viewer, phantom_file, run_folder, qtbot):
    viewer.open(phantom_file, plugin=PLUGIN)
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    before = callbacks(viewer)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    qtbot.waitUntil(lambda: reconstruction_of(viewer) is not None, timeout=20_000)
    widget.job.run("Endless", endless, lambda _: pytest.fail("done"))
    assert callbacks(viewer) != before
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: not widget.job.running, timeout=5_000)
    for part in ("reconstruction", "residual"):
        viewer.layers.remove(f"{part}: phantom")
    assert callbacks(viewer) == before


QUIT = """
import sys
import napari
from qtpy.QtCore import QTimer

viewer = napari.Viewer()
for sample in ("demo_population", "demo_model", "demo_atlas"):
    viewer.open_sample("napari-brainvae", sample)
widgets = [
    viewer.window.add_plugin_dock_widget("napari-brainvae", name)[1]
    for name in ("Atlas", "Reconstruct and denoise", "Receptive field", "Projective field")
]

def move():
    ready = all(widget.source.ready for widget in widgets[1:])
    if not ready or not all(widget.latest.idle for widget in widgets):
        return QTimer.singleShot(50, move)
    viewer.dims.set_point(0, 7)
    widgets[1].brains.measure()
    QTimer.singleShot(int(sys.argv[1]), viewer.close)

QTimer.singleShot(500, move)
napari.run()
"""


@pytest.mark.parametrize("after_ms", [1, 250])
def test_napari_quits_well_while_everything_computes(after_ms):
    """Closing removes the layers one by one, which must not set anything going."""
    run = subprocess.run(
        [sys.executable, "-c", QUIT, str(after_ms)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert "Error" not in run.stderr


BAD = {
    "a truncated checkpoint": "not a whole safetensors file",
    "a pickle": "not a whole safetensors file",
    "another size": "do not fit a model",
    "a NaN": "NaN",
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_notified_and_nothing_stale_is_shown(
    case, opened, qtbot, tmp_path, run_folder
):
    viewer, widget = opened
    file = tmp_path / "m.safetensors"
    # What reaches the exception hook here, napari shows as a notification.
    with qtbot.captureExceptions() as exceptions:
        if case == "a truncated checkpoint":
            file.write_bytes((run_folder / "model.safetensors").read_bytes()[:-500])
            widget.source.checkpoint = file
        elif case == "a pickle":
            file.write_bytes(b"\x80\x04K\x01.")
            widget.source.checkpoint = file
        else:
            size = (70, 100) if case == "another size" else (64, 80)
            images = np.random.default_rng(1).uniform(1, 2, (2, *size))
            if case == "a NaN":
                images[0, 0, 0] = np.nan
            viewer.dims.set_point(0, 0)
            layer = viewer.add_image(images, name="bad", contrast_limits=(0, 2))
            widget.source.layer = layer
        qtbot.waitUntil(lambda: any(BAD[case] in str(e[1]) for e in exceptions), timeout=20_000)
        qtbot.waitUntil(lambda: reconstruction_of(viewer) is None, timeout=5_000)
    assert widget._readout.text() == ""


def test_a_run_that_is_fitted_again_is_loaded_again(opened, qtbot, run_folder, tmp_path):
    _, widget = opened
    file = tmp_path / "model.safetensors"
    shutil.copy(run_folder / "model.safetensors", file)
    widget.source.checkpoint = file
    qtbot.waitUntil(lambda: widget.source.ready, timeout=20_000)
    assert "beta 3" in widget.source._about.text()
    assert "64 x 80 px" in widget.source._about.text()


# Without Qt: layers and readers.


@pytest.mark.parametrize(
    ("index", "scale", "translate"), [(0, 1, 0), (5, 1, 0), (23, 1, 0), (5, 2.0, 100.0)]
)
def test_the_brain_on_show(population, index, scale, translate):
    viewer = ViewerModel()
    layer = viewer.add_image(
        np.zeros((24, 64, 80)), scale=(scale, 1, 1), translate=(translate, 0, 0)
    )
    viewer.dims.set_point(0, index * scale + translate)
    assert shown_index(layer, viewer.dims.point) == index
    show_index(viewer, layer, 5)
    assert shown_index(layer, viewer.dims.point) == 5
    viewer.add_image(np.zeros((2, 24, 64, 80)))  # with another axis before
    show_index(viewer, layer, index)
    assert shown_index(layer, viewer.dims.point) == index


def test_a_section_lies_exactly_on_its_stack():
    layer = Image(
        np.zeros((2, 100, 104)),
        scale=(1, 25, 25),
        translate=(0, 50, -75),
        units=("pixel", "um", "um"),
        axis_labels=("brain", "DV", "ML"),
    )
    part = Image(np.zeros((100, 100)), **section_geometry(layer, (100, 100)))
    # The model crops two columns on either side.
    assert np.allclose(part.data_to_world((7, 3)), layer.data_to_world((0, 7, 3 + 2))[1:])
    turned = Image(np.zeros((100, 104)), scale=(25, 25), rotate=30, translate=(5, 6))
    part = Image(np.zeros((100, 100)), **section_geometry(turned, (100, 100)))
    assert np.allclose(part.data_to_world((7, 3)), turned.data_to_world((7, 5)))


def test_readers_know_their_files(phantom_file, run_folder, tmp_path):
    other = tmp_path / "other.zarr"
    other.mkdir()
    assert contributions.population_reader(str(other)) is None
    assert contributions.population_reader([str(phantom_file)]) is None
    [(data, options, kind)] = contributions.population_reader(str(phantom_file))(str(phantom_file))
    assert kind == "image"
    assert data.shape == (24, 64, 80)
    assert options["units"] == ("pixel", "um", "um")
    path = str(run_folder / "model.safetensors")
    [(data, options, _)] = contributions.checkpoint_reader(path)(path)
    assert data.shape == (64, 80)
    assert options["metadata"][CHECKPOINT] == path
    assert options["name"].startswith("small")


def test_a_population_without_a_pixel_size_is_in_pixels(rng):
    _, options, _ = population_layer(Population(rng.uniform(1, 2, (3, 64, 64))), "x")
    assert options["units"] == ("pixel",) * 3
    assert options["scale"] == (1, 1, 1)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Image(np.zeros((4, 5, 3)), rgb=True), "colour"),
        (Image(np.zeros((2, 3, 4, 5))), "4 axes"),
        (Image([np.zeros((3, 8, 8)), np.zeros((3, 4, 4))], multiscale=True), "multiscale"),
    ],
)
def test_layers_that_are_no_population(layer, message):
    with pytest.raises(ValueError, match=message):
        population_of(layer)
