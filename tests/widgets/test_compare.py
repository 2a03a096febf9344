"""The widget "Compare", in a real napari."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt

from napari_brainvae.io.errors import InputError
from napari_brainvae.statistics.study import compare_population
from napari_brainvae.widgets.layers.section_layers import shown_index
from napari_brainvae.widgets.panels.comparison_choice import ComparisonChoice
from tests.listeners import callbacks
from tests.widgets.windows import LONG, PLUGIN, add_atlas, done, endless, open_widget


@pytest.fixture
def compare(viewer, atlas, qtbot):
    add_atlas(viewer, atlas)
    widget = open_widget(viewer, qtbot, "Compare")
    widget.choice.plain.widgets["permutations"].value = 99
    widget.choice.plain.widgets["pixel_permutations"].value = 19
    widget.choice.by.setCurrentText("sex")
    return widget


def found(widget, qtbot):
    widget.compare()
    done(widget, qtbot)
    assert widget.job.message == ""
    return widget.found


def take_out(choice, *names):
    for i in range(choice.adjust.count()):
        item = choice.adjust.item(i)
        chosen = item.text() in names
        item.setCheckState(Qt.CheckState.Checked if chosen else Qt.CheckState.Unchecked)


def rows(table, column):
    model = table.table
    return [model.data(model.index(row, column)) for row in range(model.rowCount())]


def test_what_is_chosen_is_what_is_compared(compare, population, qtbot):
    widget = compare
    take_out(widget.choice, "age_days")
    result = found(widget, qtbot)
    options = result.study.options
    assert (options.by, options.groups, options.adjust) == (["sex"], ["F", "M"], ["age_days"])
    expected = compare_population(
        widget.source.model, population, population.covariates, options,
        masks=widget.source.workspace.atlas.cropped((64, 80)).structures,
        pixel_size_um=population.description.pixel_size_um,
    )  # fmt: skip
    pd.testing.assert_frame_equal(result.study.table(), expected.table())
    assert rows(widget.factors, 0) == result.factors["factor"].tolist()
    assert rows(widget.regions, 0) == result.regions["region"].tolist()
    assert "F (" in widget.words.text()
    assert "need not be caused by it" in widget.words.text()
    widget.tabs.setCurrentWidget(widget.effects)
    qtbot.waitUntil(lambda: widget.effects.figure is not None, timeout=LONG)


def test_the_difference_is_laid_on_the_sections(viewer, compare, qtbot):
    widget = compare
    difference = found(widget, qtbot).study.compared["sex"].difference
    pictures = {
        "sections": difference.data[0] - difference.data[1],
        "model": difference.model[0] - difference.model[1],
        "t of each pixel": np.nan_to_num(difference.t),
    }
    for what, picture in pictures.items():
        widget.picture.setCurrentText(what)
        layer = viewer.layers[f"F minus M: {what}"]
        assert np.array_equal(layer.data, picture)
        assert np.array_equal(layer.scale, viewer.layers["phantom"].scale[1:])
        assert len(widget._made) == 1, "one at a time"


def test_a_click_leads_to_a_factor_a_region_and_a_brain(viewer, compare, population, qtbot):
    widget = compare
    result = found(widget, qtbot)
    widget.factors.chosen.emit(2)
    factor = result.factors["factor"].iloc[2]
    assert f"change: {factor}" in viewer.layers
    qtbot.waitUntil(lambda: widget.card.figure is not None, timeout=LONG)

    region = result.regions["region"].iloc[3]
    widget.regions.chosen.emit(3)
    assert f"structure: {region}" in viewer.layers
    assert "F minus M: sections" in viewer.layers

    widget.brains.chosen.emit(1)
    name = result.study.deviations.index[1]
    assert population.ids[shown_index(viewer.layers["phantom"], viewer.dims.point)] == name


def test_a_row_is_chosen_by_a_click_and_again_by_another(compare, qtbot):
    widget, chosen = compare, []
    result = found(widget, qtbot)
    table = widget.factors
    table.chosen.connect(chosen.append)
    table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    top = int(np.argmax(result.factors["effect"]))
    for _ in range(2):
        table.clicked.emit(table.table.index(0, 0))
    assert chosen == [top, top]


def test_nothing_stale_stays(viewer, compare, run_folder, qtbot):
    widget = compare

    def is_clear():
        return widget.found is None and not rows(widget.factors, 0) and not widget._made

    assert found(widget, qtbot) is not None
    take_out(widget.choice, "age_days")
    assert is_clear(), "something else is taken out"
    assert found(widget, qtbot) is not None
    stack = viewer.layers["phantom"]
    stack.translate = stack.translate + np.array([0, 700, 0])
    assert widget.found is not None, "the same sections elsewhere"
    assert np.array_equal(widget._made["change"].translate, stack.translate[1:])
    widget.source.checkpoint = run_folder / "model.safetensors"
    assert is_clear(), "another model"


def test_the_export_is_that_of_the_command(compare, qtbot, tmp_path):
    result = found(compare, qtbot)
    compare.export(tmp_path / "out")
    done(compare, qtbot)
    table = pd.read_csv(tmp_path / "out" / "compare.csv")
    assert list(table)[:7] == ["factor", "effect", "low", "high", "p", "p_fwe", "q"]
    assert table["effect"].tolist() == pytest.approx(result.factors["effect"].tolist())
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"compare_regions.csv", "report.html", "record.json", "difference_sex.png"} <= files
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    section = result.inputs.atlas
    assert (record["plane"], record["atlas"]) == (section.plane, str(section.atlas.directory))


def test_comparing_is_cancelled(compare, qtbot, monkeypatch):
    monkeypatch.setattr(
        "napari_brainvae.widgets.compare.compare_population",
        lambda *_, progress, **__: endless(progress),
    )
    compare.compare()
    qtbot.waitUntil(lambda: compare.job._total == 1_000_000, timeout=LONG)
    compare.job.cancel()
    done(compare, qtbot)
    assert compare.found is None


def test_what_cannot_be_compared_is_said(compare, qtbot):
    compare.choice.second.setCurrentText("F")
    assert compare.words.text() == "F is given twice"
    assert not compare._compare.isEnabled()
    compare.choice.second.setCurrentText("M")
    assert compare.words.text() == ""
    take_out(compare.choice, "age_days")
    compare.choice.blocks.setCurrentText("sex")
    compare.compare()
    done(compare, qtbot)
    assert "it cannot be taken out as well" in compare.job.message


def test_closing_leaves_nobody_behind(viewer, atlas, qtbot):
    add_atlas(viewer, atlas)
    before = callbacks(viewer)
    widget = open_widget(viewer, qtbot, "Compare")
    widget.choice.plain.widgets["permutations"].value = 99
    widget.choice.plain.widgets["pixel_permutations"].value = 0
    found(widget, qtbot)
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: not widget.job.running, timeout=LONG)
    for layer in [each for each in viewer.layers if " minus " in each.name]:
        viewer.layers.remove(layer)
    assert callbacks(viewer) == before


def test_brains_without_covariates_are_told_what_to_do(make_napari_viewer, run_folder, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(np.random.default_rng(0).random((6, 64, 80)), name="mine")
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    widget = open_widget(viewer, qtbot, "Compare")
    assert "no covariates" in widget.words.text()
    assert not widget._compare.isEnabled()


def test_the_choice_follows_the_covariates(qtbot):
    choice = ComparisonChoice()
    qtbot.addWidget(choice)
    mice = pd.DataFrame(
        {
            "line": ["a", "b", "c", ""] * 3,
            "dose": np.arange(12.0),
            "treated": [True, False] * 6,
            "empty": [np.nan] * 12,
            "same": ["x"] * 12,
            "flagged": [False] * 12,
        }
    )
    choice.fill(mice)
    offered = [choice.by.itemText(i) for i in range(choice.by.count())]
    assert offered == ["line", "dose", "treated"]
    assert choice.options().groups == ["a", "b"]
    choice.by.setCurrentText("dose")
    assert choice.options().groups == []
    assert not choice.first.isEnabled()
    choice.by.setCurrentText("treated")
    assert sorted(choice.options().groups) == ["False", "True"]
    take_out(choice, "dose", "treated")
    assert choice.options().adjust == ["dose"], "what is compared is not taken out"
    choice.fill(mice.drop(columns="line"))
    assert choice.options().adjust == ["dose"], "what was chosen stays"
    choice.plain.widgets["harmonize"].value = True
    with pytest.raises(InputError, match="name the batches"):
        choice.options()


def test_the_samples_lie_in_their_atlas_at_once(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Compare")
    assert widget.source.atlas.native.currentText() == ""
    widget._samples.click()
    qtbot.waitUntil(lambda: widget.source.ready, timeout=LONG)
    qtbot.waitUntil(lambda: widget.source.workspace.atlas is not None, timeout=LONG)
    assert widget.source.atlas.native.currentText() != ""
    qtbot.waitUntil(lambda: not dock.visibleRegion().isEmpty(), timeout=LONG)
    assert widget.source.workspace.inputs(widget.choice.options()).atlas is not None
