"""The widget "Projective field", in a real napari."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from qtpy.QtCore import Qt

from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.factors.field_colours import change_limit
from napari_brainvae.factors.projective_field import (
    field_by_region,
    population_mean,
    projective_field,
    traverse,
)
from napari_brainvae.factors.signed_change import signed_change
from napari_brainvae.models.checkpoint import fingerprint
from napari_brainvae.widgets.layers.atlas_layers import ATLAS
from napari_brainvae.widgets.layers.plugin_layers import canvas_grid, canvas_size, grid_shape
from tests.widgets.windows import LONG, done, finish


def test_a_field_refines_itself(viewer, projective, atlas, qtbot):
    widget, model = projective, projective.source.model
    widget.factor, widget.signed = 1, False
    finish(widget, qtbot)
    expected = projective_field(model, 1)
    assert np.array_equal(widget._shown.estimate.maps, expected[0])
    layer = viewer.layers["field: F2"]
    assert layer.rgb
    assert layer.data.shape == (64, 80, 4)
    assert viewer.layers.index(layer) < viewer.layers.index(viewer.layers["outlines: p"])

    masks = {name: atlas.mask(name, 2) for name in ("SSp", "RSP", "HPF", "STR", "TH", "HY")}
    tissue = atlas.plane(2) > 0
    table = field_by_region(expected, masks, [1], tissue=tissue)
    share = table.query("region == 'TH' and part == 'large'")["share"].item()
    shown = widget.table.shares
    names = [shown.headerData(i, Qt.Orientation.Vertical) for i in range(6)]
    assert shown.index(names.index("TH"), 3).data() == f"{100 * share:.1f}"
    assert shown.index(names.index("TH"), 0).data() == "TH: Thalamus"
    widget.table.which.setCurrentText("every structure")
    finish(widget, qtbot)
    assert shown.rowCount() == len(np.unique(atlas.plane(2))) - 1
    assert "all of the section's tissue" in widget.table.rest.text()


def test_the_signed_change_is_shown_first_and_the_paper_s_map_is_one_click_away(
    viewer, projective, atlas, qtbot
):
    widget, model = projective, projective.source.model
    change, layer = signed_change(model, 0)[0], viewer.layers["change: F1"]
    assert np.array_equal(layer.data, change)
    limit = change_limit(change)
    assert np.allclose(layer.contrast_limits, (-limit, limit)), "no change is the middle"
    assert layer.colormap.map(np.array([0.5]))[0, 3] < 0.01, "and transparent"
    assert viewer.layers["atlas: p"].opacity == 0, "its colours would read as the change's"
    assert viewer.layers["outlines: p"].visible and viewer.layers["phantom"].visible

    masks = {name: atlas.mask(name, 2) for name in ("SSp", "RSP", "HPF", "STR", "TH", "HY")}
    tissue, shown = atlas.plane(2) > 0, widget.table.shares
    size, inside = np.abs(change), masks["TH"] & tissue
    [row] = [i for i in range(6) if shown.index(i, 0).data() == "TH: Thalamus"]
    assert shown.index(row, 1).data() == f"{100 * size[inside].sum() / size[tissue].sum():.1f}"
    level = widget._shown.job.level
    assert shown.index(row, 2).data() == f"{100 * change[inside].mean() / level:+.1f}"
    rest = tissue & ~np.any(list(masks.values()), axis=0)
    said = widget.table.rest.text()
    assert f"share {100 * size[rest].sum() / size[tissue].sum():.1f} %" in said
    assert f"(area {100 * rest.sum() / tissue.sum():.1f} %)" in said
    assert f"{100 * limit / level:.2g} % of the mean brightness" in widget._legend.text()

    widget.signed = False
    assert "change: F1" not in viewer.layers and viewer.layers["field: F1"].rgb
    assert all(word in widget._legend.text() for word in ("c&gt;0 + large", "all three"))
    widget.signed = True
    assert "field: F1" not in viewer.layers and "change: F1" in viewer.layers


def test_a_click_in_the_table_outlines_the_structure(viewer, projective, atlas, qtbot):
    table = projective.table
    where = table.view.visualRect(table.shares.index(2, 1)).center()
    qtbot.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=where)
    layer = viewer.layers["structure: HPF"]
    section = viewer.layers["atlas: p"].metadata[ATLAS].section
    assert layer.data[section.thin(atlas.mask("HPF", 2))].all()
    assert viewer.layers.index(layer) == len(viewer.layers) - 1, "above all else"


def test_a_newer_factor_is_not_kept_waiting(projective, qtbot):
    widget = projective
    for factor in (0, 1, 2, 3, 0, 2):
        widget.factor = factor
    finish(widget, qtbot)
    assert widget._shown.job.factor == 2


def test_the_generated_section_follows_the_slider(viewer, projective, population, qtbot):
    widget, model = projective, projective.source.model
    widget.position.setValue(3)
    qtbot.waitUntil(lambda: widget.traversal.idle, timeout=LONG)
    [layer] = [layer for layer in viewer.layers if layer.name.startswith("generated")]
    assert layer.name == "generated: F1 moved by +3.00"
    assert np.array_equal(layer.data, traverse(model, 0, 3.0)[0])
    above = viewer.layers[viewer.layers.index(layer) + 1 :]
    assert [each.name for each in above] == ["outlines: p"], "nothing hides it but lines"
    widget.position.zero.click()
    assert not [layer for layer in viewer.layers if layer.name.startswith("generated")]
    assert viewer.layers["change: F1"].visible, "what it covered is there again"

    viewer.dims.set_point(0, 7)
    widget.controls.widgets["start"].value = "brain on show"
    finish(widget, qtbot)
    section = population.prepared(model.header.preprocessing, [7])
    z0 = model.encode(section)[0][0]
    assert not np.allclose(z0, population_mean(model), atol=1e-3)
    assert np.array_equal(widget._shown.estimate.maps, projective_field(model, 0, z0=z0)[0])
    widget.controls.widgets["limit"].value = 2
    finish(widget, qtbot)
    assert widget.position.maximum() == 2
    widget.signed = False
    assert "|c| &gt; 1" in widget._legend.text()


def test_all_factors_side_by_side_and_exported(viewer, projective, atlas, qtbot, tmp_path):
    widget, model = projective, projective.source.model
    before = {layer: layer.visible for layer in viewer.layers}
    widget.compute_all()
    done(widget, qtbot)
    made = [layer for layer in viewer.layers if layer.name.endswith("(all)")]
    assert len(made) == 4
    widget._grid.setChecked(True)
    assert canvas_grid(viewer).shape == grid_shape(4, 64 / 80, canvas_size(viewer))
    signed = made[0].data.copy()
    widget.signed = False
    assert not np.array_equal(made[0].data, signed), "the paper's map, side by side, too"
    widget.signed = True
    assert np.array_equal(made[0].data, signed)
    widget._grid.setChecked(False)
    assert not canvas_grid(viewer).enabled
    assert {layer: layer.visible for layer in before} == before

    widget.export(tmp_path / "out")
    done(widget, qtbot)
    with tifffile.TiffFile(tmp_path / "out" / "projective_field.ome.tif") as tif:
        maps, metadata = tif.asarray(), tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
    assert np.array_equal(maps, projective_field(model))
    assert metadata["Pixels"]["PhysicalSizeX"] == pytest.approx(140)
    assert metadata["Pixels"]["PhysicalSizeXUnit"] == "µm"
    assert fingerprint(model) in metadata["Description"]
    changes = tifffile.imread(tmp_path / "out" / "signed_change.ome.tif")
    assert np.array_equal(changes.squeeze(), signed_change(model))
    table = pd.read_csv(tmp_path / "out" / "field_by_region.csv")
    assert set(table["factor"]) == {"F1", "F2", "F3", "F4"}
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["options"]["limit"] == 7
    assert fingerprint(model) in (tmp_path / "out" / "projective_fields.svg").read_text()
    widget.controls.widgets["limit"].value = 3
    assert not [layer for layer in viewer.layers if layer.name.endswith("(all)")]


def test_cancelling_all_factors_leaves_nothing(viewer, projective, qtbot):
    projective.compute_all()
    projective.job.cancel()
    done(projective, qtbot)
    assert projective._fields is None
    assert not projective._grid.isEnabled()
    assert not [layer for layer in viewer.layers if layer.name.endswith("(all)")]


def test_an_unknown_model_clears_what_was_shown(viewer, projective, qtbot, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    projective.source.checkpoint = tmp_path / "bad.safetensors"
    qtbot.waitUntil(lambda: "bad.safetensors" in projective.source._about.text(), timeout=LONG)
    assert not [layer for layer in viewer.layers if layer.name.startswith("field")]
    assert projective.table.shares.rowCount() == 0


def test_an_atlas_of_sections_of_another_size_is_said_in_the_panel(viewer, projective, qtbot):
    """Nothing is raised in the window, and nothing is shown of what cannot be."""
    widget, sections = projective, viewer.layers["phantom"]
    layer = viewer.layers["change: F1"]
    selection = widget.atlas.layer.metadata[ATLAS]
    fitting = selection.section
    selection.show(AtlasSection.lay(fitting.atlas, 2, (32, 40)))
    assert "\u26a0" in widget._status.text() and "32 x 40 px" in widget._status.text()
    assert widget._shown is None and not layer.visible and not widget._export.isEnabled()
    widget.compute_all()
    assert not widget.job.running
    selection.show(fitting)
    finish(widget, qtbot)
    assert layer.visible and layer in viewer.layers and sections.visible
