"""The widget "Receptive field", in a real napari."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.atlas.regions import Region
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.factors.impact import impact_matrix
from napari_brainvae.factors.perturbation import ImpactOptions, Perturbation
from napari_brainvae.factors.receptive_field import Probe, region_weights
from napari_brainvae.models.checkpoint import fingerprint, save_checkpoint
from napari_brainvae.models.pca import PCA
from napari_brainvae.widgets.layers.section_layers import (
    section_geometry,
)
from tests.listeners import callbacks
from tests.widgets.windows import LONG, RECTANGLE, add_atlas, done, finish, open_widget
from training.interpret import interpret
from training.interpretation.options import InterpretOptions


def test_the_weight_moves_section_and_bars(viewer, receptive, population, atlas, qtbot):
    widget, model = receptive, receptive.source.model
    assert widget.regions.names == ["SSp", "RSP", "HPF", "STR", "TH", "HY"], "the paper's six"
    asked = []
    compute = widget.latest._compute
    widget.latest._compute = lambda *a: asked.append(a[-2]) or compute(*a)
    viewer.dims.set_point(0, 12)
    widget.regions.select("HPF")
    for weight in np.linspace(0, -1, 30):
        widget.weight.setValue(weight)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert len(asked) < 10, "stale requests are dropped"
    assert asked[-1] == -1

    def is_shown(brain, weight, **options):
        section = population.prepared(model.header.preprocessing, [brain])[0]
        mask = atlas.mask("HPF", 2)
        options = Perturbation(**options)
        region = region_weights(mask, model.shape, options.soft_edge)
        expected = Probe(model, section).shift(region, weight, options.mode)
        layer = viewer.layers["perturbed: phantom"]
        assert np.array_equal(layer.data, expected.section)
        assert np.array_equal(layer.scale, viewer.layers["phantom"].scale[1:])
        assert viewer.layers.index(layer) == 1, "right above the sections"
        assert np.allclose(widget.bars.shift, expected.shift, atol=1e-4)

    is_shown(12, -1)
    viewer.dims.set_point(0, 5)
    widget.controls.widgets["mode"].value = "fill"
    widget.controls.widgets["soft_edge"].value = 2
    widget.weight.setValue(0.5)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    is_shown(5, 0.5, mode="fill", soft_edge=2)


@pytest.mark.parametrize(
    ("move", "message"),
    [((500, 0), "is empty: no pixel of it lies in the section"), ((-9, -19), "outside the tissue")],
)
def test_regions_without_tissue_are_said_so(viewer, receptive, qtbot, move, message):
    layer = receptive.regions.new()
    layer.add_rectangles(np.array([[10, 20], [10, 24], [12, 24], [12, 20]]) + move)
    qtbot.waitUntil(lambda: message in receptive._message.text(), timeout=LONG)
    assert not viewer.layers["perturbed: phantom"].visible, "nothing stale is seen"
    receptive.population.measure()
    done(receptive, qtbot)
    assert message in receptive.population._about.text()
    assert layer.name not in receptive.population.measured.impact.regions, "left out"


def test_the_population_is_measured_and_exported(
    viewer, receptive, population, phantom_file, atlas_folder, qtbot, tmp_path
):
    widget, panel = receptive, receptive.population
    layer = widget.regions.new()
    layer.add_rectangles(RECTANGLE)
    for name in ("SSp", "RSP", "STR", "TH"):
        widget.regions.check(name, on=False)
    assert f"{(~population.flagged).sum()} sections count" in panel._about.text()
    panel.measure()
    done(widget, qtbot)
    impact, model = panel.measured.impact, widget.source.model
    masks = {region.name: region.mask for region in widget.regions.checked()}
    assert list(masks) == ["HPF", "HY", "region"]
    options = ImpactOptions(resamples=20)
    expected = impact_matrix(model, population, masks, options)
    assert impact.options == options
    assert np.array_equal(impact.matrix(), expected.matrix())
    assert len(impact.sections) == (~population.flagged).sum(), "unflagged by default"

    # A click on a cell of the heat map.
    assert widget.tabs.currentWidget() is panel.results
    panel.heat_map.clicked.emit(0, 2.2, 0.9)
    qtbot.waitUntil(lambda: panel.distributions.latest.idle, timeout=LONG)
    # Another direction needs no new measurement, other weights do.
    panel.controls.widgets["direction"].value = "forward"
    assert panel.measured.impact is impact
    assert np.array_equal(panel._in_direction().matrix(), expected.matrix("forward"))

    panel.export(tmp_path / "out")
    done(widget, qtbot)
    out = tmp_path / "out"
    matrix = pd.read_csv(out / "impact_matrix.csv", index_col="region")
    assert np.allclose(matrix[["F1", "F2", "F3", "F4"]], expected.matrix("forward"))
    assert set(matrix["checkpoint"]) == {fingerprint(model)}
    assert "options" not in matrix
    record = json.loads((out / "record.json").read_text())
    assert record["models"]["beta-VAE"]["fingerprint"] == fingerprint(model)
    region = Region.load(out / "regions" / "region.json")
    assert np.array_equal(region.to_mask(), masks["region"])
    for figure in ("impact", "factor_covariance", "disentanglement"):
        assert (out / f"{figure}.png").stat().st_size > 0
        assert fingerprint(model) in (out / f"{figure}.svg").read_text()

    # The command writes the same.
    interpret(
        InterpretOptions(
            population=phantom_file,
            model=[widget.source.checkpoint],
            out=tmp_path / "command",
            atlas=atlas_folder,
            regions=["HPF", "HY"],
            region_file=[out / "regions" / "region.json"],
            resamples=20,
            direction="forward",
            parts=["regions", "impact"],
        )
    )
    files = {path.relative_to(out) for path in out.rglob("*")}
    command = tmp_path / "command"
    assert {path.relative_to(command) for path in command.rglob("*")} == files
    for table in ("impact.csv", "scores.csv", "impact_matrix.csv"):
        assert (out / table).read_text() == (command / table).read_text()

    panel.controls.widgets["low"].value = -0.5
    assert panel.measured is None, "nothing stale stays"
    assert widget.weight.minimum() == -0.5
    panel.controls.widgets["low"].value = 3
    panel.measure()
    assert "must be below" in panel._about.text()


def test_closing_in_mid_run_stops_everything(viewer, atlas, qtbot):
    labels = add_atlas(viewer, atlas)
    viewer.add_shapes([RECTANGLE], name="mine", scale=(140, 140), units=("um", "um"))
    before = callbacks(viewer)
    for name in ("Receptive field", "Projective field"):
        widget = open_widget(viewer, qtbot, name)
        bar = widget.job if name.startswith("P") else widget.population.job
        if name.startswith("P"):
            widget.compute_all()
        else:
            widget.population.controls.widgets["resamples"].value = 0
            widget.population.measure()
        qtbot.waitUntil(lambda bar=bar: bar._done > 0, timeout=LONG)
        assert callbacks(viewer) != before
        viewer.window.remove_dock_widget(widget)
        made = [layer for layer in viewer.layers if layer.name.startswith(("pert", "field"))]
        for layer in made:
            viewer.layers.remove(layer)
        assert callbacks(viewer) == before
        qtbot.waitUntil(lambda bar=bar: not bar.running, timeout=LONG)
        qtbot.waitUntil(lambda widget=widget: widget.latest.idle, timeout=LONG)
        assert not [layer for layer in viewer.layers if layer.name.startswith(("pert", "field"))]
    assert labels in viewer.layers


def test_one_factor_and_a_population_of_one(viewer, qtbot, tmp_path, population):
    sections = population.sections()
    preprocessing = Preprocessing.fit(sections)
    model = PCA.fit(preprocessing.apply(sections), 1, preprocessing=preprocessing)
    save_checkpoint(model, tmp_path / "one.safetensors")
    widget = open_widget(viewer, qtbot, "Receptive field")
    widget.population.controls.widgets["resamples"].value = 20
    widget.source.checkpoint = tmp_path / "one.safetensors"
    qtbot.waitUntil(lambda: widget.source.ready, timeout=LONG)
    widget.regions.new().add_rectangles(RECTANGLE)
    widget.population.measure()
    done(widget, qtbot)
    assert widget.population.measured.impact.matrix().shape == (1, 1)
    assert "at least 2 regions and 2 factors" in widget.population._scores.text()
    view = widget.population.covariance
    widget.population.pages.setCurrentIndex(1)
    qtbot.waitUntil(lambda: "at least 2 regions" in view._message, timeout=LONG)

    widget.source.layer = viewer.add_image(
        sections[3], name="one", **section_geometry(viewer.layers["phantom"], (64, 80))
    )
    widget.population.measure()
    done(widget, qtbot)
    assert "cannot be fitted to 1 section" in widget.population._about.text()
    field = open_widget(viewer, qtbot, "Projective field")
    field.source.checkpoint = tmp_path / "one.safetensors"
    qtbot.waitUntil(lambda: field._factor.count() == 1, timeout=LONG)
    finish(field, qtbot)


def test_population_of_this_file_is_unflagged_in_part(population: Population):
    """What the tests above rely on."""
    assert 2 < population.flagged.sum() < len(population) - 2


def test_a_single_section_is_encoded_once_however_the_weight_moves(
    viewer, receptive, population, qtbot, monkeypatch
):
    widget, probes = receptive, []

    class Counted(Probe):
        def __init__(self, *arguments):
            probes.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr("napari_brainvae.widgets.receptive_field.Probe", Counted)
    stack = viewer.layers["phantom"]
    one = viewer.add_image(
        population.sections([3])[0], name="one", **section_geometry(stack, (64, 80))
    )
    widget.source.layer = one
    for weight in (-1, -0.5, 0.5):
        widget.weight.setValue(weight)
        qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert "perturbed: one" in viewer.layers
    assert len(probes) == 1
    one.data = population.sections([4])[0]
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert len(probes) == 2, "another section"
    one.translate = one.translate + 700
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert len(probes) == 2, "the same one elsewhere"
    assert np.array_equal(viewer.layers["perturbed: one"].translate, one.translate)


def test_a_bug_is_not_shown_as_the_user_s_mistake(viewer, receptive, qtbot, monkeypatch):
    def fail(*_, **__):
        raise ValueError("operands could not be broadcast together")

    with qtbot.captureExceptions() as exceptions:
        monkeypatch.setattr(Probe, "shift", fail)
        receptive.weight.setValue(0.7)
        qtbot.waitUntil(lambda: len(exceptions) > 0 and receptive.latest.idle, timeout=LONG)
        of_brain = len(exceptions)
        monkeypatch.setattr("napari_brainvae.widgets.panels.impact_panel.impact_matrix", fail)
        receptive.population.measure()
        done(receptive, qtbot)
        qtbot.waitUntil(lambda: receptive.latest.idle, timeout=LONG)
    monkeypatch.undo()  # the viewer is yet to be closed
    assert len(exceptions) > of_brain, "the population's, too"
    assert {str(error) for _, error, _ in exceptions} == {
        "operands could not be broadcast together"
    }
    assert "broadcast" not in receptive._message.text() + receptive.population._about.text()
    assert not viewer.layers["perturbed: phantom"].visible, "nothing stale is seen"
