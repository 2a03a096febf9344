"""Whatever she does next, all panels have the same brains selected and the same one on show."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
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
    "gallery": "Gallery",
}
BRAINS = 9
KEYS = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.AltModifier,
)
SELECTING = (
    *("click_in_the_map", "draw_a_lasso", "draw_in_pairs", "click_in_a_list"),
    *("click_in_the_gallery", "select_none", "select_a_group", "select_points"),
)
DOINGS = (
    *(*SELECTING, "move_the_slider", "step", "choose_axes") * 3,
    *("open_panel", "close_panel") * 2,
    *("describe", "measure", "switch_model", "switch_sections"),
)
"""What she does in a round: what takes long, less often."""


class Walk:
    """One window; whatever she may do, by real events where there are any.

    Attributes
    ----------
    expected
        What must be selected now.
    handled
        How often each panel was told that others are selected, since it was looked at.
    done
        How often each doing found something to be done to.
    """

    def __init__(self, viewer, qtbot, populations, models):
        self.viewer, self.qtbot, self.models = viewer, qtbot, models
        self.workspace = workspace_of(viewer)
        self.shared, self.panels = self.workspace.brains, {}
        self.handled, self.done, self.seen = Counter(), Counter(), 0
        for population in populations:
            images, options, _ = population_layer(population, population.ids[0])
            self.viewer.add_layer(Image(images, **options))
        self.workspace.checkpoint = models[0]
        for name in PANELS:
            self.open(name)
        self.expected, self.told = frozenset(self.shared.selected), []
        self.moved = []
        self.shared.selection_changed.connect(self.note)
        self.viewer.dims.events.current_step.connect(self.note_slider)
        self.wait()
        self.panels["map"].measure()
        self.wait()

    def end(self):
        self.shared.selection_changed.disconnect(self.note)
        self.viewer.dims.events.current_step.disconnect(self.note_slider)
        while self.panels:
            self.viewer.window.remove_dock_widget(self.panels.popitem()[1])

    def note(self):
        self.told.append(self.shared.selected)

    def note_slider(self, event):
        self.moved.append(self.index)

    def open(self, name):
        _, panel = self.viewer.window.add_plugin_dock_widget(PLUGIN, PANELS[name])
        self.panels[name] = panel
        views = {"map": ("plane", "pairs"), "gallery": ("thumbnails",)}
        for view in views.get(name, ()):
            self.count(name, getattr(panel, view))

    def count(self, name, view):
        """Note how often a panel shows which brains are selected."""
        of = "show_selected" if name == "map" else "select"
        show = getattr(view, of)

        def counted(selected):
            self.handled[name, view.objectName() or id(view)] += 1
            show(selected)

        setattr(view, of, counted)

    def wait(self):
        def still():
            loading = self.workspace.checkpoint is not None and self.workspace.model is None
            jobs = [panel.job for panel in self.panels.values()]
            latest = self.panels["list"].latest.idle if "list" in self.panels else True
            return not loading and latest and not any(job.running for job in jobs)

        self.qtbot.waitUntil(still, timeout=LONG)
        self.qtbot.wait(1)  # what would go round in a loop, would now

    @property
    def index(self):
        return shown_index(self.workspace.sections, self.viewer.dims.point)

    @property
    def map(self):
        """The map, if it shows anything."""
        panel = self.panels.get("map")
        return panel if panel is not None and panel.table is not None else None

    def do(self, what, number, to):
        before = self.expected
        for noted in (self.told, self.moved, self.handled):
            noted.clear()
        self.done[what] += bool(getattr(self, what)(number, to))
        self.wait()
        changes = [] if self.expected == before else [self.expected]
        assert self.told == changes, f"{what}: each change once, and no other"
        assert len(self.moved) <= 1, f"{what}: the slider moves once"
        if what in SELECTING:
            views = 2 * ("map" in self.panels) + ("gallery" in self.panels)
            assert [*self.handled.values()] == [1] * views * len(changes), f"{what}: once each"
        self.all_have_the_same()

    # What she may do; each says whether there was anything to do it to, and notes what follows

    def show_page(self, panel, page):
        panel.pages.setCurrentWidget(page)
        self.front(panel)
        self.qtbot.waitUntil(lambda: page.isVisible() and page.height() > 100, timeout=LONG)

    def front(self, panel):
        above = panel
        while not hasattr(above, "toggleViewAction"):
            above = above.parent()
        above.raise_()
        self.qtbot.waitUntil(panel.isVisible, timeout=LONG)

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
            click(self.qtbot, panel.plane, number % BRAINS, KEYS[to % 2])
            self.clicked(brain, KEYS[to % 2])
            assert self.index == brain
            return True

    def draw_a_lasso(self, number, to):
        if panel := self.map:
            self.show_page(panel, panel.plane)
            brains = sorted({number % BRAINS, to % BRAINS})
            line, within = around(panel.plane, brains, reach=6)
            lasso(self.qtbot, panel.plane, line, KEYS[to % 3])
            self.combined(frozenset(within), KEYS[to % 3])
            return True

    def draw_in_pairs(self, number, to):
        if panel := self.map:
            self.show_page(panel, panel.pairs)
            line, within = around(panel.pairs, [number % BRAINS], reach=6)
            lasso(self.qtbot, panel.pairs, line, KEYS[to % 3])
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
            view, brains = self.rows(number + 1)
        if not brains:
            return False
        self.qtbot.waitUntil(view.isVisible, timeout=LONG)
        row, add = to % len(brains), number % 3 == 0
        key = Qt.KeyboardModifier.ControlModifier if add else Qt.KeyboardModifier.NoModifier
        view.scrollTo(view.table.index(row, 0))
        middle = view.visualRect(view.table.index(row, 0)).center()
        self.qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, key, middle)
        brain = brains[row]
        if add:
            self.expected = (self.expected & set(brains)) ^ {brain}
        elif brain not in self.expected or len(self.expected) == 1:
            self.expected = frozenset({brain})
        assert self.index == brain
        return True

    def click_in_the_gallery(self, number, to):
        panel = self.panels.get("gallery")
        if panel and (order := panel.thumbnails.brains.order):
            self.front(panel)
            row, add = number % len(order), to % 3 == 0
            key = Qt.KeyboardModifier.ControlModifier if add else Qt.KeyboardModifier.NoModifier
            view = panel.thumbnails
            view.scrollTo(view.brains.index(row))
            middle = view.visualRect(view.brains.index(row)).center()
            self.qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, key, middle)
            brain = order[row]
            self.expected = self.expected ^ {brain} if add else frozenset({brain})
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

    def open_panel(self, number, to):
        """Or, where all are open, one of them anew."""
        if len(self.panels) == len(PANELS):
            self.close_panel(number, to)
        closed = [name for name in PANELS if name not in self.panels]
        self.open(closed[number % len(closed)])
        return True

    def close_panel(self, number, _):
        if len(self.panels) > 1:
            name = [*self.panels][number % len(self.panels)]
            self.viewer.window.remove_dock_widget(self.panels.pop(name))
            return True

    def switch_model(self, *_):
        first, second = self.models
        self.workspace.checkpoint = second if self.workspace.checkpoint == first else first
        assert self.shared.table is None
        return True

    def switch_sections(self, *_):
        layers = self.workspace.chosen("sections").layers
        self.workspace.sections = next(
            each for each in layers if each is not self.workspace.sections
        )
        self.expected = frozenset()
        return True

    # What must hold

    def all_have_the_same(self):
        assert self.shared.selected == self.expected
        table, points = self.shared.table, self.workspace.points.layer
        if table is not None:
            assert table.inputs.same(self.workspace.inputs(atlas=False)), "stale"
            self.seen += bool(self.expected)
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
        if (panel := self.panels.get("gallery")) and (order := panel.thumbnails.brains.order):
            rows = panel.thumbnails.selectionModel().selectedIndexes()
            assert {order[each.row()] for each in rows} == self.expected & set(order)
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


def test_selecting_anywhere_selects_everywhere(
    make_napari_viewer, qtbot, tmp_path, rng, pytestconfig
):
    """The same walk every time; ``--walk-rounds 20`` goes on, and does other things each round."""
    viewer, rounds = make_napari_viewer(show=True), pytestconfig.getoption("--walk-rounds")
    walk, steps = Walk(viewer, qtbot, *files(tmp_path, rng)), 0
    for _ in range(rounds):
        for what in rng.permutation(DOINGS):
            if walk.shared.table is None and rng.random() < 0.5:
                walk.do("measure", *rng.integers(1000, size=2).tolist())
            walk.do(str(what), *rng.integers(1000, size=2).tolist())
            steps += 1
    walk.end()
    assert walk.seen > steps / 2, "most of the time there is something to see"
    assert all(walk.done[what] for what in DOINGS), walk.done
