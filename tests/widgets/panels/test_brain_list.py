"""The list of brains in the widget "Reconstruct and denoise"."""

from __future__ import annotations

import shutil

import pandas as pd
from qtpy.QtCore import Qt

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.brain_table import brain_table, factors_of
from napari_brainvae.models.checkpoint import fingerprint
from napari_brainvae.statistics.association import associate
from napari_brainvae.widgets.layers.section_layers import (
    population_of,
)
from tests.widgets.windows import PLUGIN, RECONSTRUCT


def test_the_list_of_brains_leads_to_the_outliers(reconstruct, qtbot, tmp_path):
    viewer, widget = reconstruct
    brains, population = widget.brains, population_of(viewer.layers["phantom"])
    assert not brains._view.isVisible()
    brains._list.click()
    qtbot.waitUntil(lambda: brains.listed is not None, timeout=20_000)
    table, associations = brains.listed.brains, brains.listed.associations
    pd.testing.assert_frame_equal(table, brain_table(widget.source.model, population))
    usable = factors_of(table[~population.flagged])
    pd.testing.assert_frame_equal(associations, associate(usable, population.covariates))
    order = (-table["deviation"]).argsort(kind="stable").tolist()
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
    known = population.known()
    listed = table.join(known.set_axis(table.index)).reset_index()
    for name, expected in {"brains": listed, "covariates": associations}.items():
        written = pd.read_csv(tmp_path / "out" / f"{name}.csv", keep_default_na=False)
        assert (written.pop("checkpoint") == fingerprint(widget.source.model)).all()
        pd.testing.assert_frame_equal(written, expected, rtol=1e-9)
    assert {path.name for path in (tmp_path / "out").glob("covariates.*g")} == {
        "covariates.png",
        "covariates.svg",
    }
    widget.source.checkpoint = shutil.copy(widget.source.checkpoint, tmp_path / "other.safetensors")
    assert brains.listed is None
    assert not brains._view.isVisible(), "of another model"


def test_brains_that_cannot_be_used_lead_the_list_and_say_why(
    make_napari_viewer, population, run_folder, qtbot, tmp_path
):
    viewer, images = make_napari_viewer(), population.sections()
    images[3] = 0  # one of the eight that give the contrast
    Population(images).save(tmp_path / "mice.zarr")
    viewer.open(tmp_path / "mice.zarr", plugin=PLUGIN)
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, RECONSTRUCT)
    qtbot.waitUntil(lambda: widget.source.ready, timeout=20_000)
    widget.brains.measure()
    qtbot.waitUntil(lambda: widget.brains.listed is not None, timeout=20_000)
    first = widget.brains._view.model().index(0, 0)
    assert first.data() == "0003"
    assert "one constant value" in first.data(Qt.ItemDataRole.ToolTipRole)
    assert "1 cannot be used" in widget.brains._about.text()
    assert not widget.brains._pages.isTabVisible(1), "nothing is known of these"
