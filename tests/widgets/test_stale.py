"""Nothing on show or exported belongs to something else than what the panels say."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_brainvae.atlas.atlas_section import AtlasRegion
from napari_brainvae.atlas.regions import Region
from napari_brainvae.models.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from napari_brainvae.models.pca import PCA
from napari_brainvae.widgets.layers.atlas_layers import ATLAS
from tests.widgets.windows import LONG, PLUGIN, RECTANGLE, done, endless, finish, open_widget


@pytest.fixture(scope="module")
def other_model(population, run_folder, tmp_path_factory):
    """A PCA beside the run of the window's model."""
    preprocessing = load_checkpoint(run_folder / "model.safetensors").header.preprocessing
    file = tmp_path_factory.mktemp("runs") / "pca.safetensors"
    sections = population.prepared(preprocessing, range(8))
    save_checkpoint(PCA.fit(sections, 2, preprocessing=preprocessing), file)
    return file


def begun(job, qtbot):
    qtbot.waitUntil(lambda: job._done > 0, timeout=LONG)


def layers_of(viewer, start):
    return [layer for layer in viewer.layers if layer.name.startswith(start)]


def all_fields_of(viewer):
    return [layer for layer in viewer.layers if layer.name.endswith("(all)")]


def another_model(viewer, widget, other_model):
    viewer.open(other_model, plugin=PLUGIN)


def other_weights(viewer, widget, other_model):
    widget.population.controls.widgets["high"].value = 0.3


def other_regions(viewer, widget, other_model):
    widget.regions.check("TH", on=False)


def no_sections(viewer, widget, other_model):
    viewer.layers.remove("phantom")


@pytest.mark.parametrize(
    "change", [another_model, other_weights, other_regions, no_sections], ids=lambda f: f.__name__
)
def test_a_measurement_of_something_else_is_stopped_and_nothing_comes_of_it(
    viewer, receptive, qtbot, other_model, change
):
    panel = receptive.population
    panel.measure()
    begun(panel.job, qtbot)
    change(viewer, receptive, other_model)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=LONG)
    assert panel.measured is None
    assert not panel._export.isEnabled()
    assert panel.heat_map.figure is None
    assert "changed while it ran" in panel.job.message


def test_fields_of_something_else_are_not_shown(viewer, projective, qtbot, other_model, tmp_path):
    widget = projective
    widget.compute_all()
    widget.controls.widgets["limit"].value = 2
    qtbot.waitUntil(lambda: not widget.job.running, timeout=LONG)
    assert not all_fields_of(viewer) and widget._fields is None, "of limit 7"
    widget.compute_all()
    viewer.open(other_model, plugin=PLUGIN)
    qtbot.waitUntil(lambda: not widget.job.running and widget.source.ready, timeout=LONG)
    finish(widget, qtbot)
    assert not all_fields_of(viewer) and widget._fields is None, "of the model before"
    widget.export(tmp_path / "out")
    done(widget, qtbot)
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    [written] = record["models"].values()
    assert written["fingerprint"] == fingerprint(widget.source.model)
    assert record["options"]["limit"] == 2


def test_results_say_that_regions_are_not_what_they_were(viewer, receptive, qtbot, tmp_path):
    panel, regions = receptive.population, receptive.regions
    layer = regions.new()
    layer.add_rectangles(RECTANGLE)
    panel.measure()
    done(receptive, qtbot)
    assert panel.measured is not None and panel._outdated.isHidden()
    mask = regions.current().mask

    layer.data = [RECTANGLE + 5]
    assert "region was changed" in panel._outdated.text() and not panel._outdated.isHidden()
    panel.export(tmp_path / "out")
    done(receptive, qtbot)
    written = Region.load(tmp_path / "out" / "regions" / "region.json").to_mask()
    assert np.array_equal(written, mask), "as it was measured"
    layer.data = [RECTANGLE]
    assert panel._outdated.isHidden(), "as it was"
    layer.name = "barrel"
    assert "region is not chosen any more; barrel was not measured" in panel._outdated.text()
    layer.name = "region"
    regions.check("HPF", on=False)
    assert "HPF is not chosen any more" in panel._outdated.text()
    viewer.layers.remove("phantom")
    assert panel.measured is None


def test_layers_are_found_again_when_a_panel_is_reopened(viewer, receptive, qtbot):
    """The hole of weight -1 does not cover what weight +1 shows."""
    receptive.regions.select("TH")
    receptive.weight.setValue(-1)
    qtbot.waitUntil(lambda: receptive.latest.idle, timeout=LONG)
    [hole] = layers_of(viewer, "perturbed")
    viewer.window.remove_dock_widget(receptive)
    assert not hole.visible, "nobody keeps it up to date"
    again = open_widget(viewer, qtbot, "Receptive field")
    again.regions.select("TH")
    again.weight.setValue(1)
    qtbot.waitUntil(lambda: again.latest.idle, timeout=LONG)
    assert layers_of(viewer, "perturbed") == [hole]
    assert hole.visible
    region = again.regions.current().mask
    section = again._brain.probe._section
    assert hole.data[region].mean() > section[region].mean(), "more, no hole"


def test_a_region_is_deleted_right_after_the_weight_was_moved(viewer, receptive, qtbot):
    """Its answer comes when it is gone; no structure of the atlas is left to take its place."""
    viewer.layers.remove("atlas: p")
    layer = receptive.regions.new()
    layer.add_rectangles(RECTANGLE)
    receptive.weight.setValue(-0.5)
    viewer.layers.selection.active = layer
    viewer.layers.remove_selected()
    qtbot.waitUntil(lambda: receptive.latest.idle, timeout=LONG)
    assert not layers_of(viewer, "perturbed")
    assert "Draw a region" in receptive._message.text()


def test_the_regions_that_can_be_measured_are(viewer, receptive, qtbot):
    panel = receptive.population
    viewer.layers["atlas: p"].metadata[ATLAS].add(AtlasRegion("LM", "left"))  # drawn on the right
    receptive.regions.new()  # and nothing drawn in it
    outside = receptive.regions.new()
    outside.add_rectangles(RECTANGLE + 500)
    panel.measure()
    done(receptive, qtbot)
    assert panel.measured.impact.regions == ["SSp", "RSP", "HPF", "STR", "TH", "HY"]
    said = panel._about.text()
    assert "Left out" in said and "is empty: draw a polygon" in said and "region [1]" in said
    assert "LM (left) is not in this section" in said


def test_regions_are_removed_and_brought_back(viewer, receptive, qtbot):
    layer = receptive.regions.new()
    layer.add_rectangles(RECTANGLE)
    layer.data = [RECTANGLE + 9]
    canvas = viewer.window._qt_viewer.canvas.native
    viewer.layers.selection.active = layer
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert np.allclose(layer.data[0], RECTANGLE)
    receptive.regions.select("region")
    buttons = receptive.regions._clickable
    qtbot.mouseClick(buttons["Remove"], Qt.MouseButton.LeftButton)
    assert layer not in viewer.layers and "region" not in receptive.regions.names
    qtbot.mouseClick(buttons["Undo"], Qt.MouseButton.LeftButton)
    assert layer in viewer.layers and "region" in receptive.regions.names
    qtbot.mouseClick(buttons["Undo"], Qt.MouseButton.LeftButton)
    assert not layer.data, "before it was drawn"
    qtbot.mouseClick(buttons["Undo"], Qt.MouseButton.LeftButton)
    assert "nothing to bring back" in receptive.regions.message.text()


def test_a_second_click_on_a_running_job_is_nothing(reconstruct, qtbot, tmp_path):
    _, widget = reconstruct
    widget.job.run("Endless", endless, lambda _: pytest.fail("done"))
    off = [widget._save_shown, widget._save_all, widget.brains._list]
    assert not any(button.isEnabled() for button in off)
    widget.brains.measure()
    widget.export(tmp_path / "r.zarr", all_brains=True)
    widget.job.cancel()
    qtbot.waitUntil(lambda: not widget.job.running, timeout=LONG)
    assert all(button.isEnabled() for button in off)
    assert not (tmp_path / "r.zarr").exists()


def test_what_cannot_be_written_is_said_where_it_was_asked_for(reconstruct, qtbot, tmp_path):
    _, widget = reconstruct
    widget.export(tmp_path / "no such folder" / "r.png", all_brains=False)
    qtbot.waitUntil(lambda: not widget.job.running, timeout=LONG)
    assert "written as .zarr, .tif or .tiff" in widget.job.message
    assert not widget.job.isHidden()


def test_the_list_of_brains_follows_the_slider_and_says_why(reconstruct, qtbot):
    viewer, widget = reconstruct
    brains, known = widget.brains, widget.workspace.population
    ids = [f"litter-12-{name}-stitched-coronal-{i:04d}" for i, name in enumerate(known.ids)]
    widget.workspace.give(replace(known, ids=ids))
    brains.measure()
    qtbot.waitUntil(lambda: brains.listed is not None, timeout=LONG)
    population = brains.listed.inputs.population
    for brain in (7, 2):
        viewer.dims.set_point(0, brain)
        row = brains._view.currentIndex().row()
        assert brains._table.position(row) == brain
        assert viewer.dims.point[0] == brain
    notes = brains._table.columns[-1]
    assert notes.title == "note"
    table = brains._table._table
    assert list(table["note"].str.contains("flagged")) == list(population.flagged)
    assert table["note"][table["unusual"]].str.contains("outlier by (?:error|KL)").all()
    count = int((~population.flagged).sum())
    assert f"{count} of 24 brains count (flagged and excluded ones" in brains._counted.text()
    widest = max(map(brains._view.fontMetrics().horizontalAdvance, ids))
    assert brains._view.columnWidth(0) >= widest, "the whole id"
    assert brains._view.textElideMode() == Qt.TextElideMode.ElideNone


def test_the_first_picture_is_the_reconstruction_and_colours_are_explained(reconstruct):
    viewer, widget = reconstruct
    assert viewer.layers["reconstruction: phantom"].visible
    assert not viewer.layers["residual: phantom"].visible
    widget._side_by_side.setChecked(True)
    assert viewer.layers["residual: phantom"].visible
    said, ends = widget._readout.text(), viewer.layers["residual: phantom"].colormap.map([0.0, 1.0])
    for color, meaning in zip(ends, ("darker", "brighter than the model"), strict=True):
        rgb = tuple((255 * color[:3]).round().astype(int).tolist())
        assert re.search(rf"color:{re.escape(f'rgb{rgb}')}[^<]*■[^<]*</span>&nbsp;{meaning}", said)


def test_scores_say_what_is_good(viewer, receptive, qtbot):
    receptive.population.measure()
    done(receptive, qtbot)
    said = receptive.population._scores.text()
    assert "the larger the better" in said and "0.33 where all" in said, "of 4 factors"
    assert "s (paper)" in said and "The paper's s has no such order" in said
