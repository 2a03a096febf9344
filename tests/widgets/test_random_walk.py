"""Whatever she does next, all that is on show belongs to the sections, model and options of now."""

from __future__ import annotations

import gc
from collections import Counter
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from napari.layers import Image

from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.denoising.reconstruction import reconstruct_section
from napari_brainvae.factors.latent_paths import brain_code
from napari_brainvae.factors.perturbation import Perturbation
from napari_brainvae.factors.projective_field import population_mean, traverse
from napari_brainvae.factors.receptive_field import Probe, region_weights
from napari_brainvae.factors.signed_change import signed_change
from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.pca import PCA
from napari_brainvae.widgets.layers.section_layers import (
    CHECKPOINT,
    MADE_BY,
    MADE_HERE,
    population_layer,
    shown_index,
)
from napari_brainvae.widgets.panels.explorer_buttons import NOTHING, SHOWN
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.windows import LONG, PLUGIN, RECTANGLE, add_atlas

PANELS = {
    "Reconstruct": "Reconstruct and denoise",
    "Receptive field": "Receptive field",
    "Projective field": "Projective field",
    "Factors": "Factors",
    "Explore": "Explore factors",
}
BRAINS = 5
STEPS = 42
DOINGS = (
    *("open_panel", "run_a_job") * 3,
    *("move_slider", "switch_model", "choose_factor", "move_weight", "pick_sections", "move_codes")
    * 2,
    *("close_panel", "open_sections", "rename", "remove", "reorder", "draw"),
    "choose_what_is_reconstructed",
)
desk = SimpleNamespace()
"""What the walks share: window, ``qtbot`` and files; and what was seen on how many steps."""


class Walk(RuleBasedStateMachine):
    """One window, from one population and one model on; every rule is something she may do."""

    def __init__(self):
        super().__init__()
        self.viewer, self.workspace = desk.viewer, workspace_of(desk.viewer)
        self.panels = {}
        self.add(0)
        self.viewer.open(desk.models[0], plugin=PLUGIN)
        self.viewer.layers[0].name = "phantom"
        add_atlas(self.viewer, desk.atlas)
        self.open_panel(0, 0)
        self.open_panel(1, 0)
        self.wait()

    def teardown(self):
        while self.panels:
            self.close_panel(0, 0)
        self.viewer.layers.clear()
        self.workspace.checkpoint = None

    def add(self, which):
        images, options, _ = population_layer(desk.populations[which], f"population {which}")
        self.viewer.add_layer(Image(images, **options))

    def wait(self):
        def still():
            loading = self.workspace.checkpoint is not None and self.workspace.model is None
            busy = [panel.latest for panel in self.panels.values() if hasattr(panel, "latest")]
            return not loading and all(latest.idle for latest in busy) and not self.moving()

        desk.qtbot.waitUntil(still, timeout=LONG)

    def moving(self):
        field, explorer = self.panels.get("Projective field"), self.panels.get("Explore")
        explored = explorer is None or explorer.encode.idle
        return not explored or (field is not None and not field.traversal.idle)

    @property
    def made(self):
        return [each for each in self.viewer.layers if MADE_BY in each.metadata]

    # What she may do: one rule, because Hypothesis leaves out some rules in each walk

    @rule(what=st.sampled_from(DOINGS), number=st.integers(0, 999), to=st.integers(0, 999))
    def do(self, what, number, to):
        getattr(self, what)(number, to)

    def open_panel(self, number, _):
        name = [*PANELS][number % len(PANELS)]
        if name not in self.panels:
            _, widget = self.viewer.window.add_plugin_dock_widget(PLUGIN, PANELS[name])
            self.panels[name] = widget
            if name == "Receptive field":
                widget.population.controls.widgets["resamples"].value = 0

    def close_panel(self, number, _):
        if self.panels:
            name = [*self.panels][number % len(self.panels)]
            self.viewer.window.remove_dock_widget(self.panels.pop(name))

    def move_slider(self, number, _):
        self.viewer.dims.set_point(0, number % BRAINS)

    def open_sections(self, number, _):
        if len(self.workspace.chosen("sections").layers) < 3:
            self.add(number % 2)

    def pick_sections(self, number, _):
        if layers := self.workspace.chosen("sections").layers:
            self.workspace.sections = layers[number % len(layers)]

    def switch_model(self, number, _):
        if sum(CHECKPOINT in layer.metadata for layer in self.viewer.layers) < 2:
            self.viewer.open(desk.models[number % 2], plugin=PLUGIN)
        else:
            self.workspace.checkpoint = desk.models[number % 2]

    def rename(self, number, to):
        if self.viewer.layers:
            self.viewer.layers[number % len(self.viewer.layers)].name = f"renamed {to}"

    def remove(self, number, _):
        layers = self.viewer.layers
        if len(layers) > 2:
            layers.selection.active = layers[number % len(layers)]
            layers.remove_selected()

    def reorder(self, number, to):
        if count := len(self.viewer.layers):
            self.viewer.layers.move(number % count, to % count)

    def draw(self, number, _):
        if panel := self.panels.get("Receptive field"):
            drawn = [each for each in panel.regions.names if each.startswith("mine")]
            if drawn:
                self.viewer.layers[drawn[0]].data = [RECTANGLE + number % 7 - 3]
            elif self.workspace.sections is not None:
                layer = panel.regions.new()
                layer.name = "mine"
                layer.add_rectangles(RECTANGLE)

    def move_weight(self, number, to):
        if panel := self.panels.get("Receptive field"):
            panel.controls.widgets["mode"].value = ("content", "fill")[to % 2]
            panel.weight.setValue((-1, -0.5, 0, 1)[number % 4])

    def choose_factor(self, number, to):
        if (panel := self.panels.get("Projective field")) and panel._factor.count():
            panel.factor = number % panel._factor.count()
            panel.position.setValue((0, 1.5)[to % 2])
        if (panel := self.panels.get("Factors")) and panel.factors.count():
            panel.factors.setCurrentRow(number % panel.factors.count())

    def move_codes(self, number, to):
        if (panel := self.panels.get("Explore")) and panel.sliders.sliders:
            names = ("Brain on show", "Prior", "Back", "Mean", "Nearest brain", "Population")
            if to % 2:
                panel.buttons[names[number % len(names)]].click()
            else:
                sliders = panel.sliders.sliders
                sliders[number % len(sliders)].setValue(to % 5 - 2)
            panel.buttons.against.setCurrentIndex(to % 3)

    def choose_what_is_reconstructed(self, number, to):
        if panel := self.panels.get("Reconstruct"):
            panel._robust.setChecked(number % 2 == 0)
            panel._plain.setChecked(number % 3 == 0)
            if panel._side_by_side.isEnabled():
                panel._side_by_side.setChecked(to % 2 == 0)

    def run_a_job(self, number, to):
        if not self.panels or not self.workspace.ready:
            return
        name, panel = [*self.panels.items()][number % len(self.panels)]
        {
            "Reconstruct": lambda: panel.brains.measure(),
            "Receptive field": lambda: panel.population.measure(),
            "Projective field": lambda: panel.compute_all(),
            "Factors": lambda: panel.describe(),
            "Explore": lambda: panel.list_brains(),
        }[name]()
        job = panel.population.job if name == "Receptive field" else panel.job
        if to % 2:
            desk.qtbot.waitUntil(lambda: not job.running, timeout=LONG)
            desk.results[name] += 1

    # What must hold

    @invariant()
    def all_belongs_to_what_is_chosen(self):
        self.wait()
        desk.steps += 1
        for layer in self.made:
            if layer.visible and layer.metadata[MADE_BY] != "Atlas":
                assert self.workspace.ready, layer.name
                self.check_layer(layer)
        for name, panel in self.panels.items():
            self.check_head(panel)
            getattr(self, "check_" + name.lower().replace(" ", "_"))(panel)

    def check_head(self, panel):
        assert panel.source._models.currentText() == self.workspace.model_name
        sections = self.workspace.sections
        shown = panel.source._layers.native.currentText()
        assert shown == ("" if sections is None else sections.name)

    @property
    def index(self):
        return shown_index(self.workspace.sections, self.viewer.dims.point)

    def check_layer(self, layer):
        owner, part = layer.metadata[MADE_BY], layer.metadata[MADE_HERE]
        assert owner in self.panels, "of a panel that is closed"
        panel, workspace = self.panels[owner], self.workspace
        desk.layers[owner, part] += 1
        assert np.allclose(layer.scale, workspace.sections.scale[-2:])
        assert layer.units == workspace.sections.units[-2:]
        if owner == "Reconstruct":
            expected = getattr(self.reconstruction(panel), part)
            if expected is None:
                section = self.reconstruction(panel).section
                expected = {"artifact": np.zeros(section.shape), "repaired": section}[part]
        elif owner == "Receptive field":
            expected = self.response(panel).section
        elif owner == "Explore":
            decoded = workspace.model.decode(panel.sliders.codes[None])[0]
            expected = decoded if part == "generated" else decoded - self.held_against(panel)
            assert panel.buttons.against.currentText() != NOTHING or part == "generated"
        elif part == "change":
            factor = panel.factors.currentRow() if owner == "Factors" else panel.factor
            expected = change(workspace.model, factor)
            assert layer.name.startswith(f"change: F{factor + 1}") or "renamed" in layer.name
        elif part == "traversal":
            expected = traverse(workspace.model, panel.factor, panel.position.value())[0]
        else:
            assert panel._still(panel._fields.job)
            return
        assert np.allclose(layer.data, expected, atol=1e-5), layer.name

    def reconstruction(self, panel):
        model, population, robust = self.workspace.model, self.workspace.population, panel.robust
        key = id(model), id(population), self.index, robust
        if key not in desk.known:
            look = reconstruct_section(model, population, self.index, robust=robust)
            desk.known[key] = look, model, population  # whose identities are not to be used again
        return desk.known[key][0]

    def held_against(self, panel):
        model, population = self.workspace.model, self.workspace.population
        shown = panel.buttons.against.currentText() == SHOWN
        code = brain_code(model, population, self.index) if shown else population_mean(model)
        return model.decode(code[None])[0]

    def response(self, panel):
        model, options = self.workspace.model, Perturbation(**panel.controls.values())
        population = self.workspace.population
        section = population.prepared(model.header.preprocessing, [self.index])[0]
        mask = panel.regions.current().mask
        weights = region_weights(mask, model.shape, options.soft_edge)
        return Probe(model, section).shift(weights, panel.weight.value(), options.mode)

    def check_reconstruct(self, panel):
        said = panel._readout.text()
        if self.workspace.ready:
            look = self.reconstruction(panel)
            assert self.workspace.population.ids[self.index] in said
            assert f"{look.error_left:.5f}" in said and f"{look.kl:.1f} nats" in said
        else:
            assert said == ""
        if (listed := panel.brains.listed) is not None:
            assert listed.inputs.same(self.workspace.inputs(atlas=False))
            assert list(listed.brains.index) == self.workspace.population.ids
        assert (panel.brains._table.rowCount() > 0) == (listed is not None)

    def check_receptive_field(self, panel):
        if panel.bars.shift is not None:
            assert self.workspace.ready
            assert np.allclose(panel.bars.shift, self.response(panel).shift, atol=1e-3)
        elif self.workspace.ready:
            assert panel._message.text()
        measured = panel.population.measured
        if measured is None:
            assert not panel.population._export.isEnabled()
            assert panel.population.heat_map._draw is None
            return
        now = panel.population._inputs()
        assert measured.inputs[:4] == now[:4] and measured.inputs.options[0] == now.options[0]
        same = measured.inputs.same(now)
        assert panel.population._outdated.isHidden() == same, "marked if, and only if, it is not"

    def check_projective_field(self, panel):
        if (shown := panel._shown) is not None:
            assert shown.job.model is self.workspace.model
            assert shown.job.factor == panel.factor
        if panel._fields is not None:
            assert panel._still(panel._fields.job)
        if not self.workspace.ready:
            assert panel._shown is None and panel._fields is None
            assert panel.table.shares.rowCount() == 0

    def check_explore(self, panel):
        workspace, sliders = self.workspace, panel.sliders.sliders
        assert len(sliders) == (workspace.model.latent_dim if workspace.ready else 0)
        table = workspace.brains.table
        for i, slider in enumerate(sliders):
            ticks = [] if table is None else table.codes.iloc[:, i]
            assert np.array_equal(slider._brains, ticks)
        for brain in panel.way.brains:
            assert brain is None or workspace.ready

    def check_factors(self, panel):
        if panel.described is None:
            assert panel.factors.count() == 0 and panel.brains.table.rowCount() == 0
            return
        assert panel.described.inputs.same(self.workspace.inputs())
        assert panel.factors.count() == self.workspace.model.latent_dim
        assert len(panel.described.codes) == panel.brains.table.rowCount()


@cache
def change(model, factor):
    return signed_change(model, factor)[0]


@pytest.fixture
def shared_desk(make_napari_viewer, qtbot, atlas, population, tmp_path):
    """Two small populations, a model of each; a window."""
    sections = population.sections()
    parts = [range(0, BRAINS), range(BRAINS, 2 * BRAINS)]
    desk.populations = [
        Population(
            sections[list(part)],
            [f"{name}{i}" for i in range(BRAINS)],
            description=population.description,
        )
        for name, part in zip("ab", parts, strict=True)
    ]
    desk.models = [tmp_path / name / "model.safetensors" for name in ("two", "three")]
    preprocessing = Preprocessing.fit(sections)
    for file, factors in zip(desk.models, (2, 3), strict=True):
        file.parent.mkdir()
        model = PCA.fit(preprocessing.apply(sections), factors, preprocessing=preprocessing)
        save_checkpoint(model, file)
    desk.viewer, desk.qtbot, desk.atlas = make_napari_viewer(), qtbot, atlas
    desk.steps, desk.layers, desk.results, desk.known = 0, Counter(), Counter(), {}
    gc.freeze()  # napari collects garbage whenever a layer goes: a second each time
    yield desk
    gc.unfreeze()
    change.cache_clear()
    for name in list(vars(desk)):
        delattr(desk, name)


def test_all_on_show_belongs_to_what_is_chosen_whatever_she_does(shared_desk):
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=5,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert shared_desk.steps >= 200
    # Nothing of this is of use if next to nothing is ever on show.
    assert len(shared_desk.layers) >= 4, shared_desk.layers
    assert len(shared_desk.results) >= 2, shared_desk.results
