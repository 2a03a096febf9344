"""Readers, sample data and the widget "Reconstruct and denoise", in a real napari."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tifffile
import zarr

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.brain_table import brain_table
from napari_brainvae.denoising.reconstruction import reconstruct_section
from napari_brainvae.models.checkpoint import DEMO_MODEL, load_checkpoint
from napari_brainvae.reporting.artifact_outline import artifact_outline
from napari_brainvae.widgets.layers.plugin_layers import canvas_grid
from napari_brainvae.widgets.layers.section_layers import (
    population_of,
)
from tests.listeners import callbacks
from tests.widgets.windows import LONG, PLUGIN, RECONSTRUCT, endless, reconstruction_of, show


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


def test_the_tour_through_the_menus(viewer, qtbot):
    """Sample data and widget by their menu entries; the layer holds what the core computes."""
    from napari._app_model import get_app_model

    commands = get_app_model().commands
    for entry in ("demo_population", "demo_model"):
        commands.execute_command(f"{PLUGIN}.{entry}").result()
    commands.execute_command(f"{PLUGIN}.reconstruct").result()
    [widget] = [w for name, w in viewer.window.dock_widgets.items() if name.startswith(RECONSTRUCT)]
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


def test_layers_follow_the_slider_with_scale_units_and_names(reconstruct, qtbot, phantom_file):
    viewer, widget = reconstruct
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


def test_only_the_newest_position_is_computed(reconstruct, qtbot, monkeypatch):
    viewer, widget = reconstruct
    asked = []
    compute = widget.latest._compute
    monkeypatch.setattr(
        widget.latest, "_compute", lambda *a: asked.append(a[2]) or compute(*a), raising=True
    )
    for brain in range(1, 20):
        viewer.dims.set_point(0, brain)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)
    assert asked == [1, 19]


def intact_brains(viewer, widget):
    """Those that are shown as they are: of an outlier the repaired section is encoded, too."""
    population = population_of(viewer.layers["phantom"])
    every = range(len(population))
    looks = (reconstruct_section(widget.source.model, population, i) for i in every)
    return [i for i, look in zip(every, looks, strict=True) if not look.outlier]


def test_brains_beside_the_one_on_show_are_encoded_while_the_slider_rests(reconstruct, qtbot):
    viewer, widget = reconstruct
    population = population_of(viewer.layers["phantom"])
    preprocessing = widget.source.model.header.preprocessing
    sections = [population.prepared(preprocessing, [i])[0] for i in range(len(population))]
    # The repaired section of an outlier counts, too: their number says nothing.
    qtbot.waitUntil(lambda: all(map(widget._model.knows, sections)), timeout=20_000)
    known = widget._model.known
    show(viewer, widget, qtbot, intact_brains(viewer, widget)[-1])
    assert widget._model.known == known, "known"
    viewer.layers.remove("phantom")
    assert widget._model.known == 0, "nothing is kept of what is not on show"


def test_of_sections_that_come_while_others_lie_side_by_side_the_residual_covers_nothing(
    reconstruct, phantom_file, qtbot
):
    viewer, widget = reconstruct
    widget._side_by_side.setChecked(True)
    viewer.layers.remove("phantom")
    viewer.open(phantom_file, plugin=PLUGIN)
    qtbot.waitUntil(lambda: reconstruction_of(viewer) is not None, timeout=LONG)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert canvas_grid(viewer).enabled and viewer.layers["residual: phantom"].visible
    widget._side_by_side.setChecked(False)
    assert not viewer.layers["residual: phantom"].visible
    assert reconstruction_of(viewer).visible


def test_side_by_side_and_back(reconstruct):
    viewer, widget = reconstruct
    before = {layer: layer.visible for layer in viewer.layers}
    widget._side_by_side.setChecked(True)
    assert canvas_grid(viewer).enabled
    pictures = sum(layer.visible for layer in viewer.layers)
    rows, columns = canvas_grid(viewer).actual_shape(viewer.layers)
    assert rows * columns >= pictures > (rows - 1) * columns
    assert pictures >= 3
    widget._side_by_side.setChecked(False)
    assert not canvas_grid(viewer).enabled
    assert {layer: layer.visible for layer in viewer.layers} == before


def test_artifacts_are_marked_and_repaired_while_asked_for(reconstruct, qtbot):
    viewer, widget = reconstruct
    population = population_of(viewer.layers["phantom"])
    brain = int(np.flatnonzero(population.flagged)[0])
    show(viewer, widget, qtbot, brain)
    widget._robust.setChecked(True)
    qtbot.waitUntil(lambda: "artifact: phantom" in viewer.layers, timeout=20_000)
    qtbot.waitUntil(lambda: widget.latest.idle)
    look = reconstruct_section(widget.source.model, population, brain, robust=True)
    for part in ("repaired", "reconstruction"):
        assert np.array_equal(viewer.layers[f"{part}: phantom"].data, getattr(look, part))
    mask = viewer.layers["artifact: phantom"]
    assert np.array_equal(mask.data, artifact_outline(look.artifact)), "clear beside it"
    repaired, drawn = (viewer.layers[f"{part}: phantom"] for part in ("repaired", "reconstruction"))
    assert repaired.contrast_limits == drawn.contrast_limits, "one brightness for both"
    widget._side_by_side.setChecked(True)
    assert sorted(canvas_grid(viewer).actual_shape(viewer.layers)) == [2, 3]
    white = viewer.layers["phantom"].contrast_limits[1] * look.gain
    assert np.array_equal(mask.data, artifact_outline(look.artifact, look.section / white)), (
        "in a cell of its own, over the section that it is in"
    )
    widget._side_by_side.setChecked(False)
    assert np.array_equal(mask.data, artifact_outline(look.artifact))
    assert look.finding in widget._readout.text()
    assert viewer.layers["artifact: phantom"].visible, "over the denoised section"
    assert not viewer.layers["repaired: phantom"].visible, "that would cover it"
    widget._plain.setChecked(True)
    qtbot.waitUntil(lambda: "artifact: phantom" not in viewer.layers, timeout=20_000)
    assert "repaired: phantom" not in viewer.layers
    assert "as it came" in widget._readout.text()


def test_finding_artifacts_makes_no_brain_look_worse(reconstruct, qtbot):
    """Its error is that of what is left, its verdict that of the section as it came; both said."""
    viewer, widget = reconstruct
    population, found = population_of(viewer.layers["phantom"]), []
    for brain in np.flatnonzero(population.flagged):
        widget._plain.setChecked(True)
        show(viewer, widget, qtbot, brain)
        plain = reconstruct_section(widget.source.model, population, brain, robust=False)
        assert f"squared error {plain.error:.5f}" in widget._readout.text()
        widget._plain.setChecked(False)
        widget._robust.setChecked(True)
        qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)
        look = reconstruct_section(widget.source.model, population, brain, robust=True)
        if look.artifact_share > 0.01:  # leakage or missing tissue, no grid
            assert look.error_left < plain.error
            found.append(brain)
            assert ("outlier as it came" in widget._readout.text()) == look.outlier
        left = " of what is left" if look.artifact_share else ""
        assert f"squared error {look.error_left:.5f}{left}" in widget._readout.text()
    assert len(found) >= 3


def test_outliers_are_denoised_robustly_unless_she_says_otherwise(reconstruct, qtbot, tmp_path):
    """And what is exported is what is shown."""
    viewer, widget = reconstruct
    model, population = widget.source.model, population_of(viewer.layers["phantom"])
    table = brain_table(model, population)
    outlier, intact = (int(np.flatnonzero(table["unusual"] == each)[-1]) for each in (True, False))
    for brain in (outlier, intact, outlier):
        show(viewer, widget, qtbot, brain)
        look = reconstruct_section(model, population, brain)
        assert np.array_equal(reconstruction_of(viewer).data, look.reconstruction)
        assert (look.artifact is not None) == (brain == outlier)
        nothing = np.zeros(look.section.shape, dtype=bool)
        marked = artifact_outline(look.artifact if brain == outlier else nothing)
        assert np.array_equal(viewer.layers["artifact: phantom"].data, marked)
        assert ("outlier" in widget._readout.text()) == (brain == outlier)
    widget.export(tmp_path / "shown.zarr", all_brains=False)
    qtbot.waitUntil(lambda: not widget.job.running, timeout=20_000)
    written = zarr.open_group(tmp_path / "shown.zarr", mode="r")
    assert np.array_equal(written["images"][0], reconstruction_of(viewer).data)
    outline = artifact_outline(written["artifact"][0])
    assert np.array_equal(outline, viewer.layers["artifact: phantom"].data)
    widget._plain.setChecked(True)
    qtbot.waitUntil(lambda: "artifact: phantom" not in viewer.layers, timeout=20_000)
    plain = model.reconstruct(population.prepared(model.header.preprocessing, [outlier]))[0]
    assert np.allclose(reconstruction_of(viewer).data, plain, atol=1e-5)


@pytest.mark.parametrize("all_brains", [True, False])
@pytest.mark.parametrize("name", ["r.zarr", "r.tif"])
def test_export(reconstruct, qtbot, tmp_path, all_brains, name):
    viewer, widget = reconstruct
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


def test_export_of_repaired_sections(reconstruct, qtbot, tmp_path):
    viewer, widget = reconstruct
    widget._robust.setChecked(True)
    show(viewer, widget, qtbot, 17)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)
    assert viewer.layers["artifact: phantom"].data[..., 3].any(), "leakage"
    widget.export(tmp_path / "r.zarr", all_brains=False)
    qtbot.waitUntil(lambda: not widget.job.running, timeout=20_000)
    written = zarr.open_group(tmp_path / "r.zarr", mode="r")
    for name, part in {"images": "reconstruction", "repaired": "repaired"}.items():
        assert np.array_equal(written[name][0], viewer.layers[f"{part}: phantom"].data)
    outline = artifact_outline(written["artifact"][0])
    assert np.array_equal(outline, viewer.layers["artifact: phantom"].data)


def test_layers_may_be_renamed_removed_and_replaced(reconstruct, qtbot, phantom_file):
    viewer, widget = reconstruct
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
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, RECONSTRUCT)
    qtbot.waitUntil(lambda: reconstruction_of(viewer) is not None, timeout=20_000)
    widget.job.run("Endless", endless, lambda _: pytest.fail("done"))
    assert callbacks(viewer) != before
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: not widget.job.running, timeout=5_000)
    for layer in [each for each in viewer.layers if each.name.endswith(": phantom")]:
        viewer.layers.remove(layer)
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


def test_layers_follow_sections_that_are_moved_or_replaced(reconstruct, qtbot):
    viewer, widget = reconstruct
    show(viewer, widget, qtbot, 3)
    stack = viewer.layers["phantom"]
    stack.scale = (1, 50, 50)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)
    assert np.array_equal(reconstruction_of(viewer).scale, (50, 50))
    population = population_of(stack)
    stack.data = population.sections()[::-1].copy()
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)
    look = reconstruct_section(widget.source.model, population_of(stack), 3)
    assert np.array_equal(reconstruction_of(viewer).data, look.reconstruction)


BAD = {
    "a truncated checkpoint": "not a whole safetensors file",
    "a pickle": "not a whole safetensors file",
    "another size": "do not fit a model",
    "a NaN": "NaN",
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_said_in_the_panel_and_nothing_stale_is_shown(
    case, reconstruct, qtbot, tmp_path, run_folder
):
    viewer, widget = reconstruct
    file = tmp_path / "m.safetensors"
    where = widget._readout
    if case == "a truncated checkpoint":
        file.write_bytes((run_folder / "model.safetensors").read_bytes()[:-500])
        widget.source.checkpoint, where = file, widget.source._about
    elif case == "a pickle":
        file.write_bytes(b"\x80\x04K\x01.")
        widget.source.checkpoint, where = file, widget.source._about
    else:
        size = (70, 100) if case == "another size" else (64, 80)
        images = np.random.default_rng(1).uniform(1, 2, (2, *size))
        if case == "a NaN":
            images[0, 0, 0] = np.nan
        viewer.dims.set_point(0, 0)
        viewer.add_image(images, name="bad", contrast_limits=(0, 2))
        where = where if case == "a NaN" else widget.source._about
    qtbot.waitUntil(lambda: BAD[case] in where.text(), timeout=20_000)
    assert reconstruction_of(viewer) is None
    if where is not widget._readout:
        assert widget._readout.text() == ""
