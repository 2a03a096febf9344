"""The widget "Factors", in a real napari."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.denoising.brain_table import brain_table, factors_of
from napari_brainvae.factors.description import FactorDescription
from napari_brainvae.factors.signed_change import signed_change
from napari_brainvae.models.checkpoint import fingerprint
from napari_brainvae.reporting.factor_cards import BRIGHTER, DARKER
from napari_brainvae.widgets.layers.atlas_layers import ATLAS
from napari_brainvae.widgets.layers.change_layer import SIGNED
from napari_brainvae.widgets.layers.section_layers import shown_index
from napari_brainvae.widgets.panels.factor_list import FactorList
from tests.listeners import callbacks
from tests.widgets.windows import LONG, RECTANGLE, add_atlas, done, endless, open_widget


@pytest.fixture
def factors(viewer, atlas, qtbot):
    add_atlas(viewer, atlas)
    return open_widget(viewer, qtbot, "Factors")


def described(widget, qtbot):
    widget.describe()
    done(widget, qtbot)
    return widget.described


def sentences(widget):
    return [widget.factors.item(i).text() for i in range(widget.factors.count())]


def shown_brain(viewer):
    return shown_index(viewer.layers["phantom"], viewer.dims.point)


def test_a_click_on_a_factor_shows_its_change_and_leads_to_its_extremes(
    viewer, factors, population, qtbot
):
    widget, model = factors, factors.source.model
    viewer.add_shapes([RECTANGLE], name="mine", scale=(140, 140), units=("um", "um"))
    told = described(widget, qtbot)
    assert sentences(widget) == [card.description.sentence for card in told.cards]
    assert [each[:3] for each in sentences(widget)] == ["F1:", "F2:", "F3:", "F4:"]
    expected = signed_change(model)
    codes = factors_of(brain_table(model, population))[~population.flagged]
    pd.testing.assert_frame_equal(told.codes, codes)

    for factor in (1, 3):
        widget.factors.setCurrentRow(factor)
        layer = viewer.layers[f"change: F{factor + 1}"]
        assert np.array_equal(layer.data, expected[factor])
        assert layer.contrast_limits[0] == -layer.contrast_limits[1]
        assert np.array_equal(layer.scale, viewer.layers["phantom"].scale[1:])
        order = [viewer.layers.index(each) for each in ("phantom", layer.name, "mine")]
        assert order == sorted(order)
        assert len(widget._made) == 1, "one at a time"

        code = codes[f"F{factor + 1}"].sort_values(ascending=False)
        table = widget.brains.table
        rows = [table.data(table.index(row, 0)) for row in range(table.rowCount())]
        assert rows == list(code.index)
        ends = {widget._highest: 0, widget._lowest: -1}
        for button, end in ends.items():
            button.click()
            assert population.ids[shown_brain(viewer)] == code.index[end]
        widget.brains.selectRow(2)
        assert population.ids[shown_brain(viewer)] == code.index[-3], "the lowest are on top now"
        widget._lowest.click()
        viewer.dims.set_point(0, 0)
        widget._lowest.click()
        assert population.ids[shown_brain(viewer)] == code.index[-1], "chosen again"

    widget.tabs.setCurrentIndex(2)
    qtbot.waitUntil(lambda: widget.card.figure is not None, timeout=LONG)
    said = " ".join(text.get_text() for text in widget.card.figure.texts)
    assert told.cards[3].description.name in said.replace("\n", " ")


def test_the_change_is_transparent_where_nothing_changes():
    less, none, more = SIGNED.map(np.array([0, 0.5, 1]))
    assert none[3] == 0
    assert np.allclose(less[:3], DARKER)
    assert np.allclose(more[:3], BRIGHTER)
    assert 0.5 < less[3] == more[3] < 1, "the section is seen beneath"


def test_what_did_not_replicate_is_doubtful(qtbot):
    nan = float("nan")
    told = [
        FactorDescription(
            "F1", "cortex", "brighter", nan, 12, 0, 1, verdict, nan, 0, 0, "", nan, halves
        )
        for verdict, halves in ((True, (20, 20)), (False, (3, 20)), (None, None))
    ]
    view = FactorList()
    qtbot.addWidget(view)
    view.fill(told)
    doubtful = [view.item(i).font().italic() for i in range(3)]
    assert doubtful == [False, True, False]
    assert "not replicated" in view.item(1).text()
    assert "replicated" not in view.item(2).text(), "nobody looked"


def test_the_export_has_the_sentences_and_says_where_they_come_from(factors, qtbot, tmp_path):
    widget = factors
    told = described(widget, qtbot)
    widget.export(tmp_path / "out")
    done(widget, qtbot)
    table = pd.read_csv(tmp_path / "out" / "factors.csv")
    assert list(table["sentence"]) == [card.description.sentence for card in told.cards]
    assert set(table["checkpoint"]) == {fingerprint(widget.source.model)}
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"record.json", "report.html", "shape_and_brightness.ome.tif"} <= files
    assert {f"factor_F{i}.png" for i in range(1, 5)} <= files


def test_nothing_stale_stays(viewer, factors, atlas, run_folder, qtbot):
    widget = factors
    stack, labels = viewer.layers["phantom"], widget.source.atlas.layer

    def is_clear():
        return (
            widget.described is None
            and not sentences(widget)
            and not widget.brains.table.rowCount()
            and not [each for each in viewer.layers if each.name.startswith("change")]
            and not widget._export.isEnabled()
        )

    assert described(widget, qtbot) is not None
    stack.translate = stack.translate + np.array([0, 700, 0])
    assert widget.described is not None, "the same sections elsewhere"
    assert np.array_equal(viewer.layers["change: F1"].translate, stack.translate[1:])

    labels.metadata[ATLAS].show(AtlasSection.lay(atlas, 3, (64, 80)))
    assert is_clear(), "another plane"
    labels.metadata[ATLAS].show(AtlasSection.lay(atlas, 2, (64, 80)))
    assert described(widget, qtbot) is not None
    widget.source.checkpoint = run_folder / "model.safetensors"
    assert is_clear(), "another model"
    qtbot.waitUntil(lambda: widget.source.ready, timeout=LONG)

    widget.describe()
    stack.data = np.asarray(stack.data)[:, ::-1]
    done(widget, qtbot)
    assert is_clear(), "others were chosen while it ran"


def test_describing_is_cancelled(factors, qtbot, monkeypatch):
    widget = factors
    monkeypatch.setattr(
        "napari_brainvae.widgets.factors.factor_cards", lambda *_, progress, **__: endless(progress)
    )
    widget.describe()
    qtbot.waitUntil(lambda: widget.job._total == 1_000_000, timeout=LONG)
    widget.job.cancel()
    done(widget, qtbot)
    assert widget.described is None
    assert not sentences(widget)


def test_closing_leaves_nobody_behind_and_the_layer(viewer, atlas, qtbot):
    add_atlas(viewer, atlas)
    before = callbacks(viewer)
    widget = open_widget(viewer, qtbot, "Factors")
    described(widget, qtbot)
    assert "change: F1" in viewer.layers
    widget.describe()
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: not widget.job.running, timeout=LONG)
    viewer.layers.remove("change: F1")
    assert callbacks(viewer) == before
