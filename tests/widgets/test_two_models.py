"""The widget "Two models", in a real napari."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt

from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.denoising.reconstruction import reconstruct_section
from napari_brainvae.models.checkpoint import load_checkpoint, save_checkpoint
from napari_brainvae.models.pca import PCA
from napari_brainvae.widgets.layers.section_layers import shown_index
from tests.listeners import callbacks
from tests.training.commands import ended
from tests.widgets.windows import LONG, done, open_widget

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(scope="module")
def other(run_folder, population, tmp_path_factory):
    """Two components of the same brains, prepared like those of the run."""
    preprocessing = load_checkpoint(run_folder / "model.safetensors").header.preprocessing
    return fitted(population, preprocessing, tmp_path_factory.mktemp("pca") / "two.safetensors")


def fitted(population, preprocessing, path):
    sections = population.prepared(preprocessing, slice(None))
    save_checkpoint(PCA.fit(sections, 2, preprocessing=preprocessing), path)
    return path


@pytest.fixture
def two(viewer, other, qtbot):
    widget = open_widget(viewer, qtbot, "Two models")
    assert not widget._compare.isEnabled()
    chosen(widget, other, qtbot)
    return widget


def chosen(widget, path, qtbot):
    widget.second.choose(path)
    qtbot.waitUntil(lambda: widget.inputs is not None and widget.latest.idle, timeout=LONG)


def layers(viewer):
    return {each.name.partition(":")[0]: each for each in viewer.layers if each.visible}


def rows(table):
    model = table.table
    return [
        [model.data(model.index(row, column)) for column in range(model.columnCount())]
        for row in range(model.rowCount())
    ]


def test_both_reconstructions_and_their_difference_follow_the_slider(
    viewer, two, population, qtbot
):
    widget = two
    models = widget.source.model, widget.second.model
    assert [model.latent_dim for model in models] == [4, 2]
    for brain in (0, 5):
        viewer.dims.set_point(0, brain)
        qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
        a, b = (reconstruct_section(m, population, brain, robust=False) for m in models)
        shown = layers(viewer)
        assert np.array_equal(shown["A"].data, a.reconstruction)
        assert np.array_equal(shown["B"].data, b.reconstruction)
        assert np.array_equal(shown["B less A"].data, b.reconstruction - a.reconstruction)
        text = widget._readout.text()
        assert population.ids[brain] in text
        assert f"A: error {a.error:.5f}" in text
        assert f"B: error {b.error:.5f}" in text
        assert re.search("B less A: .*brighter.*darker; full colour: 25 % of white", text)
    widget._side_by_side.setChecked(True)
    assert set(layers(viewer)) == {"phantom", "A", "B", "B less A"}
    widget._side_by_side.setChecked(False)


def test_factors_and_brains_are_listed_and_lead_there(viewer, two, population, qtbot, tmp_path):
    widget = two
    qtbot.mouseClick(widget._compare, LEFT)
    done(widget, qtbot)
    found = widget.compared.found
    table = found.match.table()
    said = rows(widget.factors)
    assert [row[0] for row in said] == list(table["factor_a"])
    assert [row[1] for row in said] == list(table["factor_b"])
    assert said[0][2] == f"{table['correlation'][0]:+.2f}"
    assert [row[4] for row in said[2:]] == list(table["said"][2:])
    assert said[3][4].startswith("only in A")
    widget.brains._choose(widget.brains.table.index(1, 0))
    position = found.brains["position"][1]
    assert shown_index(viewer.layers["phantom"], viewer.dims.point) == position
    assert rows(widget.brains)[1][0] == population.ids[position]


def test_the_command_writes_the_same(
    viewer, two, other, phantom_file, run_folder, qtbot, tmp_path, capsys
):
    widget = two
    widget.compare()
    done(widget, qtbot)
    widget.export(tmp_path / "out")
    done(widget, qtbot)
    files = [run_folder / "model.safetensors", other, phantom_file]
    code, said = ended(capsys, "match", [*files, "--out", tmp_path / "again"])
    assert code == 0, said
    first, again = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("out", "again")
    )
    assert first == again
    assert len(pd.read_csv(tmp_path / "out" / "match.csv")) == 4


def test_sections_prepared_otherwise_are_not_subtracted(viewer, two, population, qtbot, tmp_path):
    before = layers(viewer)
    assert "B less A" in before
    preprocessing = Preprocessing.fit(population.sections())
    otherwise = preprocessing.model_copy(update={"clip": 3 * preprocessing.clip})
    chosen(two, fitted(population, otherwise, tmp_path / "other.safetensors"), qtbot)
    assert "B less A" not in layers(viewer)
    assert "only their codes are compared" in two._readout.text()
    two.compare()
    done(two, qtbot)
    assert two.compared.found.incomparable
    assert two.factors.table.rowCount() == 4


def test_nothing_stale_stays_and_closing_leaves_nobody_behind(viewer, run_folder, other, qtbot):
    before = callbacks(viewer)
    widget = open_widget(viewer, qtbot, "Two models")
    chosen(widget, other, qtbot)
    widget.compare()
    done(widget, qtbot)
    assert widget.compared is not None
    widget.second.choose(run_folder / "model.safetensors")
    assert widget.compared is None
    assert not widget.factors.table.rowCount()
    assert not set(layers(viewer)) & {"A", "B", "B less A"}
    qtbot.waitUntil(lambda: widget.inputs is not None and widget.latest.idle, timeout=LONG)
    widget.compare()
    viewer.layers["phantom"].data = np.asarray(viewer.layers["phantom"].data)[:, ::-1]
    done(widget, qtbot)
    assert widget.compared is None, "others were chosen while it ran"
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    viewer.window.remove_dock_widget(widget)
    assert not set(layers(viewer)) & {"A", "B", "B less A"}
    for layer in [each for each in viewer.layers if each.name[0] in "AB"]:
        viewer.layers.remove(layer)
    assert callbacks(viewer) == before


def test_a_file_that_is_no_model_is_said(viewer, two, qtbot, tmp_path):
    (tmp_path / "no.safetensors").write_text("nothing")
    two.second.choose(tmp_path / "no.safetensors")
    qtbot.waitUntil(lambda: "⚠" in two.second._about.text(), timeout=LONG)
    assert two.inputs is None
    assert not two._compare.isEnabled()
