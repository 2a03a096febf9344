"""Whatever she does next, all panels have the same brains selected and the same one on show."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from napari.layers import Image
from qtpy.QtCore import Qt

from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.pca import PCA
from napari_brainvae.widgets.layers.section_layers import population_layer, shown_index
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.test_brain_map import around, click, lasso
from tests.widgets.windows import LONG, PLUGIN

PANELS = {
    "map": "Map of brains",
    "list": "Reconstruct and denoise",
    "factors": "Factors",
}
BRAINS, STEPS = 9, 40
KEYS = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.AltModifier,
)
DOINGS = (
    *("click_in_the_map", "draw_a_lasso", "click_in_a_list", "move_the_slider", "measure") * 2,
    *("select_none", "select_a_group", "select_points", "step", "describe", "draw_in_pairs"),
    *("open_panel", "close_panel", "switch_model", "switch_sections", "choose_axes"),
)
desk = SimpleNamespace()
"""What the walk has: window, ``qtbot`` and files; and how often what was seen."""


class Walk(RuleBasedStateMachine):
    """One window; every rule is something she may do, by real events where there are any."""

    def __init__(self):
        super().__init__()
        self.viewer, self.workspace = desk.viewer, workspace_of(desk.viewer)
        self.shared, self.panels = self.workspace.brains, {}
        for population in desk.populations:
            images, options, _ = population_layer(population, population.ids[0])
            self.viewer.add_layer(Image(images, **options))
        self.workspace.checkpoint = desk.models[0]
        for name in PANELS:
            self.open(name)
        self.expected, self.told = frozenset(self.shared.selected), []
        self.moved = []
        self.shared.selection_changed.connect(self.note)
        self.viewer.dims.events.current_step.connect(self.note_slider)
        self.wait()
        self.panels["map"].measure()
        self.wait()

    def teardown(self):
        self.shared.selection_changed.disconnect(self.note)
        self.viewer.dims.events.current_step.disconnect(self.note_slider)
        while self.panels:
            self.viewer.window.remove_dock_widget(self.panels.popitem()[1])
        self.viewer.layers.clear()
        self.workspace.checkpoint = None

    def note(self):
        self.told.append(self.shared.selected)

    def note_slider(self, event):
        self.moved.append(self.index)

    def open(self, name):
        _, self.panels[name] = self.viewer.window.add_plugin_dock_widget(PLUGIN, PANELS[name])

    def wait(self):
        def still():
            loading = self.workspace.checkpoint is not None and self.workspace.model is None
            jobs = [panel.job for panel in self.panels.values()]
            latest = self.panels["list"].latest.idle if "list" in self.panels else True
            return not loading and latest and not any(job.running for job in jobs)

        desk.qtbot.waitUntil(still, timeout=LONG)
        desk.qtbot.wait(1)  # what would go round in a loop, would now

    @property
    def index(self):
        return shown_index(self.workspace.sections, self.viewer.dims.point)

    @property
    def map(self):
        """The map, if it shows anything."""
        panel = self.panels.get("map")
        return panel if panel is not None and panel.table is not None else None

    @rule(what=st.sampled_from(DOINGS), number=st.integers(0, 999), to=st.integers(0, 999))
    def do(self, what, number, to):
        before = self.expected
        self.told.clear()
        self.moved.clear()
        desk.done[what] = desk.done.get(what, 0) + bool(getattr(self, what)(number, to))
        self.wait()
        changes = [] if self.expected == before else [self.expected]
        assert self.told == changes, f"{what}: each change once, and no other"
        assert len(self.moved) <= 1, f"{what}: the slider moves once"

    # What she may do; each says whether there was anything to do it to, and notes what follows

    def show_page(self, panel, page):
        panel.pages.setCurrentWidget(page)
        self.front(panel)
        desk.qtbot.waitUntil(lambda: page.isVisible() and page.height() > 100, timeout=LONG)

    @staticmethod
    def front(panel):
        above = panel
        while not hasattr(above, "toggleViewAction"):
            above = above.parent()
        above.raise_()
        desk.qtbot.waitUntil(panel.isVisible, timeout=LONG)

    def clicked(self, brain, key):
        """What follows a click, which toggles with a key."""
        if key != KEYS[0]:
            self.expected = self.expected ^ {brain}
        elif brain not in self.expected:
            self.expected = frozenset({brain})

    def combined(self, brains, key):
        before = self.expected
        self.expected = frozenset(
            {KEYS[0]: brains, KEYS[1]: before | brains, KEYS[2]: before - brains}[key]
        )

    def click_in_the_map(self, number, to):
        if panel := self.map:
            self.show_page(panel, panel.plane)
            place = panel.plane.place_of(number % BRAINS)
            brain = panel.plane.brain_at(*np.round(place).tolist())  # another may lie upon it
            click(desk.qtbot, panel.plane, number % BRAINS, KEYS[to % 2])
            self.clicked(brain, KEYS[to % 2])
            assert self.index == brain
            return True

    def draw_a_lasso(self, number, to):
        if panel := self.map:
            self.show_page(panel, panel.plane)
            brains = sorted({number % BRAINS, to % BRAINS})
            line, within = around(panel.plane, brains, reach=6)
            lasso(desk.qtbot, panel.plane, line, KEYS[to % 3])
            self.combined(frozenset(within), KEYS[to % 3])
            return True

    def draw_in_pairs(self, number, to):
        panel = self.map
        if panel and panel.pages.isTabVisible(1):
            self.show_page(panel, panel.pairs)
            line, within = around(panel.pairs, [number % BRAINS], reach=6)
            lasso(desk.qtbot, panel.pairs, line, KEYS[to % 3])
            self.combined(frozenset(within), KEYS[to % 3])
            return True

    def rows(self, number):
        """A list that is shown, and which brain each row is."""
        panel = self.panels.get(("list", "factors")[number % 2])
        if panel is None:
            return None, []
        view = panel.brains._view if panel is self.panels.get("list") else panel.brains
        self.front(panel)
        if view is panel.brains and panel.described is not None:
            panel.tabs.setCurrentWidget(view)
        table = view.table
        return view, [int(view._positions[table.position(r)]) for r in range(table.rowCount())]

    def click_in_a_list(self, number, to):
        view, brains = self.rows(number)
        if not brains:
            return False
        desk.qtbot.waitUntil(view.isVisible, timeout=LONG)
        row, add = to % len(brains), number % 3 == 0
        key = Qt.KeyboardModifier.ControlModifier if add else Qt.KeyboardModifier.NoModifier
        view.scrollTo(view.table.index(row, 0))
        middle = view.visualRect(view.table.index(row, 0)).center()
        desk.qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, key, middle)
        brain = brains[row]
        if add:
            self.expected = (self.expected & set(brains)) ^ {brain}
        elif brain not in self.expected or len(self.expected) == 1:
            self.expected = frozenset({brain})
        assert self.index == brain
        return True

    def move_the_slider(self, number, _):
        self.viewer.dims.set_point(0, number % BRAINS)
        return True

    def step(self, number, _):
        if (panel := self.map) and self.expected:
            now, chosen = self.index, sorted(self.expected)
            (panel._after if number % 2 else panel._before).click()
            further = (
                [b for b in chosen if b > now] if number % 2 else [b for b in chosen if b < now]
            )
            ends = (chosen[0], further[:1]) if number % 2 else (chosen[-1], further[-1:])
            assert self.index == (ends[1] or [ends[0]])[0]
            return True

    def select_none(self, *_):
        if (panel := self.map) and self.expected:
            panel._none.click()
            self.expected = frozenset()
            return True

    def select_a_group(self, number, _):
        panel = self.map
        if panel and (groups := panel._coloured.groups):
            number %= len(groups)
            panel.legend.linkActivated.emit(str(number))
            self.expected = frozenset(np.flatnonzero(groups[number].members).tolist())
            return True

    def select_points(self, number, to):
        """As napari's features table does."""
        points = self.workspace.points.layer
        if points is not None and points in self.viewer.layers:
            self.viewer.layers.selection.active = points
            chosen = {number % BRAINS, to % BRAINS}
            points.selected_data = chosen
            self.expected = frozenset(chosen)
            return True

    def choose_axes(self, number, to):
        if panel := self.map:
            panel.x.setCurrentIndex(number % panel.x.count())
            panel.y.setCurrentIndex(to % panel.y.count())
            panel._draw()
            return True

    def measure(self, number, _):
        if (panel := self.panels.get(("map", "list")[number % 2])) and self.workspace.ready:
            before = self.shared.table
            panel.measure() if number % 2 == 0 else panel.brains.measure()
            self.wait()
            return self.shared.table is not before

    def describe(self, *_):
        if (panel := self.panels.get("factors")) and self.workspace.ready:
            panel.describe()
            self.wait()
            return panel.described is not None

    def open_panel(self, number, _):
        name = [*PANELS][number % len(PANELS)]
        if name not in self.panels:
            self.open(name)
            return True

    def close_panel(self, number, _):
        if len(self.panels) > 1:
            name = [*self.panels][number % len(self.panels)]
            self.viewer.window.remove_dock_widget(self.panels.pop(name))
            return True

    def switch_model(self, number, _):
        path = desk.models[number % 2]
        if path != self.workspace.checkpoint:
            self.workspace.checkpoint = path
            assert self.shared.table is None
            return True

    def switch_sections(self, number, _):
        layers = self.workspace.chosen("sections").layers
        if (layer := layers[number % len(layers)]) is not self.workspace.sections:
            self.workspace.sections = layer
            self.expected = frozenset()
            return True

    # What must hold

    @invariant()
    def all_have_the_same(self):
        assert self.shared.selected == self.expected
        table, points = self.shared.table, self.workspace.points.layer
        if table is not None:
            assert table.inputs.same(self.workspace.inputs(atlas=False)), "stale"
            desk.seen += bool(self.expected)
        if panel := self.panels.get("map"):
            assert (panel.table is None) == (table is None) == (not panel.plane.planes)
            assert set(panel.plane.selected) == set(panel.pairs.selected) == self.expected
            assert panel.plane.shown == (None if table is None else self.index)
        for which in (0, 1):
            view, brains = self.rows(which)
            if not brains:
                continue
            rows = {brains[each.row()] for each in view.selectionModel().selectedRows()}
            assert rows == self.expected & set(brains)
            assert brains[view.currentIndex().row()] == self.index
        if points is not None and points in self.viewer.layers:
            assert table is not None, "features of nothing"
            if points in self.viewer.layers.selection:
                assert set(points.selected_data) == self.expected


def files(tmp_path, rng):
    """Two populations of other brains, and two models that both can be given to."""
    images = rng.random((BRAINS, 64, 80), dtype=np.float32)
    lines = pd.DataFrame({"line": ["wt", "ko", "het"] * (BRAINS // 3)})
    populations = [
        Population(images[::step], [f"{name}{i}" for i in range(BRAINS)], lines)
        for step, name in ((1, "mouse"), (-1, "rat"))
    ]
    preprocessing = Preprocessing.fit(images)
    sections = populations[0].prepared(preprocessing, range(BRAINS))
    models = [tmp_path / f"{factors}.safetensors" for factors in (2, 3)]
    for factors, path in zip((2, 3), models, strict=True):
        save_checkpoint(PCA.fit(sections, factors, preprocessing=preprocessing), path)
    return populations, models


def test_selecting_anywhere_selects_everywhere(make_napari_viewer, qtbot, tmp_path, rng):
    desk.viewer, desk.qtbot, desk.done, desk.seen = make_napari_viewer(show=True), qtbot, {}, 0
    desk.populations, desk.models = files(tmp_path, rng)
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=6,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert desk.seen > STEPS, "most of the time there is something to see"
    assert sum(bool(count) for count in desk.done.values()) > 10, desk.done
