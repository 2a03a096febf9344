"""The widget "Projective field", in a real napari."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from qtpy.QtCore import Qt

from napari_brainvae.factors.projective_field import (
    field_by_region,
    population_mean,
    projective_field,
    traverse,
)
from napari_brainvae.models.checkpoint import fingerprint
from napari_brainvae.widgets.layers.plugin_layers import canvas_grid
from tests.widgets.windows import LONG, done, finish


def test_a_field_refines_itself(viewer, projective, atlas, qtbot):
    widget, model = projective, projective.source.model
    widget.factor = 1
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
    shown = widget.table.model()
    names = [shown.headerData(i, Qt.Orientation.Vertical) for i in range(6)]
    assert shown.index(names.index("TH"), 2).data() == f"{100 * share:.1f} %"
    widget._which.setCurrentText("every structure")
    finish(widget, qtbot)
    assert shown.rowCount() == len(np.unique(atlas.plane(2))) - 1


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
    assert viewer.layers.index(layer) == 1

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
    assert "|c| &gt; 1" in widget._legend.text()


def test_all_factors_side_by_side_and_exported(viewer, projective, atlas, qtbot, tmp_path):
    widget, model = projective, projective.source.model
    before = {layer: layer.visible for layer in viewer.layers}
    widget.compute_all()
    done(widget, qtbot)
    made = [layer for layer in viewer.layers if layer.name.endswith("(all)")]
    assert len(made) == 4
    widget._grid.setChecked(True)
    assert canvas_grid(viewer).actual_shape(viewer.layers) == (2, 2)
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
    table = pd.read_csv(tmp_path / "out" / "field_by_region.csv")
    assert set(table["factor"]) == {1, 2, 3, 4}
    assert json.loads(table["options"][0])["limit"] == 7
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
    assert projective.table.model().rowCount() == 0
