"""Whatever she does next, all that is on show belongs to the sections, model and options of now."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from napari.layers import Image

from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.pca import PCA
from napari_brainvae.widgets.layers.section_layers import CHECKPOINT, MADE_BY, population_layer
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.panel_checks import PanelChecks, change
from tests.widgets.windows import PLUGIN, RECTANGLE, add_atlas

PANELS = {
    "Reconstruct": "Reconstruct and denoise",
    "Receptive field": "Receptive field",
    "Projective field": "Projective field",
    "Factors": "Factors",
    "Two models": "Two models",
    "Explore": "Explore factors",
    "Map": "Map of brains",
    "Gallery": "Gallery",
    "Compare": "Compare",
    "Fit": "Fit",
    "Gather": "Gather",
    "Atlas": "Atlas",
}
JOBS = {
    "Reconstruct": lambda panel: panel.brains.measure(),
    "Receptive field": lambda panel: panel.population.measure(),
    "Projective field": lambda panel: panel.compute_all(),
    "Factors": lambda panel: panel.describe(),
    "Two models": lambda panel: panel.compare(),
    "Explore": lambda panel: panel.list_brains(),
    "Map": lambda panel: panel.measure(),
    "Gallery": lambda panel: panel.measure(),
    "Compare": lambda panel: panel.compare(),
}
"""What a panel computes of all brains, or of all factors."""

WALKS = 6
"""Each begins with two of the panels and their results, which are not left to chance."""

PATIENCE = 120_000
"""Until something is waited for in vain, ms: a busy machine is no defect."""

BRAINS = 6
STEPS = 34
DOINGS = (
    *("open_panel", "run_a_job") * 3,
    *("move_slider", "switch_model", "choose_factor", "move_weight", "pick_sections", "move_codes")
    * 2,
    *("close_panel", "open_sections", "rename", "remove", "reorder", "draw"),
    *("choose_what_is_reconstructed", "choose_in_lists"),
)
desk = SimpleNamespace()
"""What the walks share: window, ``qtbot`` and files; and what was seen on how many steps."""


class Walk(PanelChecks, RuleBasedStateMachine):
    """One window, from one population and one model on; every rule is something she may do."""

    def __init__(self):
        super().__init__()
        self.viewer, self.workspace, self.desk = desk.viewer, workspace_of(desk.viewer), desk
        self.panels = {}
        self.add(0)
        self.viewer.open(desk.models[0], plugin=PLUGIN)
        self.viewer.layers[0].name = "phantom"
        add_atlas(self.viewer, desk.atlas)
        self.wait()
        first = 2 * desk.walks % len(PANELS)
        desk.walks += 1
        for number in (first, first + 1):
            self.open_panel(number, 0)
            self.wait()
            self.run_a_job(len(self.panels) - 1, 1)

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
            return not loading and all(map(self.idle, self.panels.values()))

        desk.qtbot.waitUntil(still, timeout=PATIENCE)

    @staticmethod
    def idle(panel):
        workers = ("latest", "traversal", "encode", "line", "_prepare", "looking")
        return all(getattr(panel, name).idle for name in workers if hasattr(panel, name)) and (
            not hasattr(panel, "second") or panel.second._load.idle
        )

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
            elif name == "Compare":
                for options in ("permutations", "pixel_permutations"):
                    widget.choice.plain.widgets[options].value = 19
            elif name == "Two models":
                widget.second.choose(desk.models[1])
            elif name == "Atlas":
                widget.open_atlas(desk.atlas.directory)

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

    def choose_in_lists(self, number, to):
        """Another plane of the map, order of the gallery, second model, comparison."""
        if panel := self.panels.get("Map"):
            for box, which in ((panel.x, number), (panel.y, to), (panel.colour, number + to)):
                if box.count():
                    box.setCurrentIndex(which % box.count())
            panel._draw()
            panel.brains.select([number % BRAINS, to % BRAINS])
        panel, row = self.panels.get("Gallery"), number % 5
        if panel and panel._order.model().item(row).isEnabled():
            panel._order.setCurrentIndex(row)
            panel._order.activated.emit(row)
        if panel := self.panels.get("Two models"):
            panel.second.choose(desk.models[number % 2])
            panel._side_by_side.setChecked(to % 2 == 0)
        if panel := self.panels.get("Compare"):
            if panel.found is not None and to % 3:
                panel.picture.setCurrentIndex(number % 3)
            else:
                panel.choice.by.setCurrentIndex(number % max(panel.choice.by.count(), 1))

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
        if name not in JOBS:
            return
        JOBS[name](panel)
        job = panel.population.job if name == "Receptive field" else panel.job
        if to % 2:
            desk.qtbot.waitUntil(lambda: not job.running, timeout=PATIENCE)
            desk.results[name] += not job.message

    # What must hold

    @invariant()
    def all_belongs_to_what_is_chosen(self):
        self.wait()
        desk.steps += 1
        self.check_shared_brains()
        for layer in self.made:
            if layer.visible and layer.metadata[MADE_BY] != "Atlas":
                assert self.workspace.ready, layer.name
                self.check_layer(layer)
        for name, panel in self.panels.items():
            self.check_head(panel)
            getattr(self, "check_" + name.lower().replace(" ", "_"))(panel)

    def check_head(self, panel):
        sections = self.workspace.sections
        name = "" if sections is None else sections.name
        source = getattr(panel, "source", None)
        choices = [source._layers] if source else [getattr(panel, "layers", None)]
        for choice in filter(None, choices):
            assert choice.native.currentText() == name
        if source:
            assert source._models.currentText() == self.workspace.model_name


@pytest.fixture
def shared_desk(make_napari_viewer, qtbot, atlas, population, tmp_path):
    """Two small populations, a model of each; a window."""
    sections = population.sections()
    parts = [range(0, BRAINS), range(BRAINS, 2 * BRAINS)]
    desk.populations = [
        Population(
            sections[list(part)],
            [f"{name}{i}" for i in range(BRAINS)],
            pd.DataFrame({"sex": ["f", "m"] * (BRAINS // 2), "age": range(BRAINS)}),
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
    desk.steps = desk.walks = 0
    desk.layers, desk.results, desk.numbers, desk.known = Counter(), Counter(), Counter(), {}
    yield desk
    change.cache_clear()
    for name in list(vars(desk)):
        delattr(desk, name)


def test_all_on_show_belongs_to_what_is_chosen_whatever_she_does(shared_desk):
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert shared_desk.walks >= WALKS and shared_desk.steps >= 200
    # Nothing of this is of use if something is never on show.
    assert shared_desk.results.keys() == JOBS.keys()
    shown = {owner for owner, _ in shared_desk.layers}
    assert shown >= {"Reconstruct", "Receptive field", "Projective field", "Factors"}
    assert shown >= {"Two models", "Explore", "Compare"}
    numbers = {"brains", "Map", "Gallery", "Two models", "Compare", "Atlas"}
    assert shared_desk.numbers.keys() == numbers
