"""The widget "Explore factors": a slider a factor, and the brain that the model generates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
import numpy.typing as npt
from qtpy.QtWidgets import (
    QGroupBox,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
)

from napari_brainvae.arrays import Latents
from napari_brainvae.factors.latent_paths import (
    brain_code,
    draw_from_prior,
    draw_like_population,
    interpolate,
    nearest_brain,
)
from napari_brainvae.factors.live_section import Against, Generated, generate
from napari_brainvae.factors.path_options import PathOptions
from napari_brainvae.factors.projective_field import population_mean
from napari_brainvae.factors.replication import factor_names, replicated_of
from napari_brainvae.factors.signed_change import code_spread
from napari_brainvae.io.errors import present
from napari_brainvae.io.progress import Progress
from napari_brainvae.reporting.traversal import write_traversal
from napari_brainvae.widgets.inputs import Inputs
from napari_brainvae.widgets.layers.change_layer import show_change
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers
from napari_brainvae.widgets.layers.section_layers import show_index, shown_index
from napari_brainvae.widgets.panels.code_sliders import CodeSliders
from napari_brainvae.widgets.panels.explorer_buttons import NOTHING, SHOWN, ExplorerButtons
from napari_brainvae.widgets.panels.field_legend import sign_legend
from napari_brainvae.widgets.panels.folder_question import ask_folder
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.panels.way_between import WayBetween
from napari_brainvae.widgets.workers import Latest, notify, warning

FULL = 0.25
"""Change at which a colour is full, share of what is shown white."""


class ExplorerWidget(Panel):
    """Move the factors and watch the brain; go to real ones, to others by chance, and between.

    Attributes
    ----------
    codes_of_brains
        ``(N, L)``, NaN of brains that cannot be used; None before they are listed.
    """

    page, tab = "explorer", "Explore"
    first = "To begin, drop brain sections and a model on the canvas."

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.source = SectionsAndModel(viewer)
        self.buttons = ExplorerButtons()
        self.sliders, self.way, self.job = CodeSliders(), WayBetween(), JobBar()
        self._status = QLabel(wordWrap=True)
        self._status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._arrange()
        self._made = PluginLayers(viewer, "Explore")
        self._inputs: Inputs | None = None
        self._against: Against | None = None
        self.codes_of_brains: npt.NDArray[np.float64] | None = None
        self._said = ""
        self.latest = Latest(generate, self._show, self._failed, parent=self)
        self.encode = Latest(_encode, self._go, self._failed, parent=self)
        self.line = Latest(_line, self._run, self._failed, parent=self)
        self._connect()
        self._changed()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self.body)
        layout.addWidget(self.source)
        layout.addLayout(self.buttons.above())
        layout.addWidget(self.sliders)
        layout.addWidget(self._status)
        layout.addLayout(self.buttons.below())
        layout.addWidget(self.buttons.chance())
        between, column = QGroupBox("From brain A to brain B"), QVBoxLayout()
        column.addWidget(self.way)
        between.setLayout(column)
        layout.addWidget(between)
        layout.addWidget(self.job)
        layout.addStretch()

    def _connect(self) -> None:
        self.source.changed.connect(self._changed)
        self.workspace.brains.table_changed.connect(self._brains_listed)
        self.workspace.factors.changed.connect(self._describe)
        self.workspace.atlas_changed.connect(self._describe)
        self.viewer.dims.events.point.connect(self._brain_changed)
        self.buttons.against.currentIndexChanged.connect(self._look_changed)
        self.sliders.changed.connect(self._moved)
        self.job.changed.connect(self._enable)
        self.way.picked.connect(self._pick)
        self.way.play.connect(self._play)
        self.way.write.connect(lambda: ask_folder(self, "for the movie", self.write_movie))
        self.way.at.connect(self._frame)
        for name, action in {
            "Mean": self.go_to_mean,
            "Brain on show": self.go_to_brain,
            "Back": self.sliders.back,
            "Nearest brain": self.go_to_nearest,
            "Prior": self.draw_from_prior,
            "Population": self.draw_like_population,
            "List brains": self.list_brains,
            "Export …": lambda: ask_folder(self, "for the section", self.export),
        }.items():
            self.buttons[name].clicked.connect(lambda _=False, action=action: action())

    # Where the sliders go

    def go_to_mean(self) -> None:
        """Move to the mean code of the brains that the model was fitted on."""
        if self._inputs is not None:
            self._go((self._inputs, population_mean(self._inputs.model), "the mean section"))

    def go_to_brain(self) -> None:
        """Move to the posterior mean of the brain on show."""
        if self._inputs is not None:
            self.encode.request(self._inputs, self.index)

    def go_to_nearest(self) -> None:
        """Show the real brain that is nearest."""
        codes = self.codes_of_brains
        if codes is None or self._inputs is None:
            return
        brain, distance = nearest_brain(codes, self.sliders.codes)
        self._said = f"nearest: {self._inputs.population.ids[brain]}, {distance:.2f} SD away"
        show_index(self.viewer, self._inputs.sections, brain)
        self.refresh()

    def draw_from_prior(self) -> None:
        """Move to a brain by chance from the prior."""
        if self._inputs is not None:
            seed = self.buttons.next_seed()
            code = draw_from_prior(self._inputs.model.latent_dim, seed)
            self._go((self._inputs, code, f"by chance from the prior N(0, I), seed {seed}"))

    def draw_like_population(self) -> None:
        """Move to a brain by chance from the Gaussian of the codes of the brains."""
        codes, inputs = self.codes_of_brains, self._inputs
        if codes is not None and inputs is not None:
            seed = self.buttons.next_seed()
            code = draw_like_population(codes[~inputs.population.flagged], seed)
            self._go((inputs, code, f"by chance, Gaussian of the brains' codes, seed {seed}"))

    def list_brains(self) -> None:
        """Encode every brain in the background, for all panels."""
        self.workspace.brains.measure(self.job.run)

    # What is written

    def options(self) -> PathOptions:
        """What the section on show is generated from."""
        at = self._against
        brain = None if at is None or at.brain is None else at.population.ids[at.brain]
        return PathOptions(factors=list(map(float, self.sliders.codes)), against_brain=brain)

    def export(self, folder: Path) -> None:
        """Write the section on show to a folder, in the background."""
        self._write(folder, self.options())

    def write_movie(self, folder: Path) -> None:
        """Write the movie from A to B to a folder, in the background."""
        a, b = self.way.brains
        if self._inputs is not None and a is not None and b is not None:
            ids, steps = self._inputs.population.ids, self.way.steps.value()
            self._write(folder, PathOptions(from_brain=ids[a], to_brain=ids[b], steps=steps))

    def _write(self, folder: Path, options: PathOptions) -> None:
        inputs = self._inputs
        if inputs is not None and not self.job.running:
            self.job.run(
                f"Writing {folder.name}",
                lambda progress: _write(folder, inputs, options, progress),
                lambda _: notify(f"Wrote {folder}"),
            )

    def release(self) -> None:
        """Stop what runs and leave no callback behind; the layers stay."""
        self.way.stop()
        self.latest.close()
        self.encode.close()
        self.line.close()
        self.job.cancel()
        self.source.release()
        self.workspace.brains.table_changed.disconnect(self._brains_listed)
        self.workspace.factors.changed.disconnect(self._describe)
        self.workspace.atlas_changed.disconnect(self._describe)
        self.viewer.dims.events.point.disconnect(self._brain_changed)
        self._made.release()

    # What is shown

    @property
    def index(self) -> int:
        """Position of the brain on show."""
        inputs = present(self._inputs, "a brain to explore from")
        return shown_index(inputs.sections, self.viewer.dims.point)

    @property
    def codes(self) -> Latents:
        """``(L,)``, what the sliders say."""
        return self.sliders.codes

    @codes.setter
    def codes(self, codes: npt.ArrayLike) -> None:
        self.sliders.set_codes(codes)

    def refresh(self) -> None:
        """Ask for the section that the sliders say, instead of any asked for before."""
        if self._inputs is not None and self._against is not None:
            self.latest.request(self._against, self.sliders.codes, self.codes_of_brains)

    def _show(self, made: Generated) -> None:
        inputs = self._inputs
        if inputs is None or made.against is not self._against:
            return  # something else was chosen meanwhile
        if inputs.sections not in self.viewer.layers:
            return
        sections, bright = inputs.sections, made.against.bright
        look: dict[str, Any] = {"contrast_limits": (0, bright)}
        self._made.show("generated", made.section, sections, "generated", **look)
        if self.buttons.against.currentText() != NOTHING:
            name = f"change from {self.buttons.against.currentText()}"
            show_change(self._made, made.change, sections, name, FULL * bright)
        far = warning(made.far_out) if made.far_out else ""
        self._status.setText("<br>".join(each for each in (self._said, far, sign_legend()) if each))

    def _moved(self) -> None:
        self.buttons["Back"].setEnabled(self.sliders.can_go_back)
        if not self._going:
            self._said = ""
            self.way.stop()
        self.refresh()

    _going = False
    """Whether it is a button, not a hand, that moves the sliders."""

    def _go(self, to: tuple[Inputs, Latents, str], *, step: bool = True) -> None:
        inputs, code, said = to
        if inputs is not self._inputs:
            return
        self._going, self._said = True, said
        self.sliders.set_codes(code, step=step)
        self._going = False

    def _pick(self, end: int) -> None:
        if self._inputs is not None:
            self.way.pick(end, self.index, self._inputs.population.ids[self.index])
            self._enable()

    def _play(self) -> None:
        a, b = self.way.brains
        if self.way.playing:
            self.way.stop()
        elif self._inputs is not None and a is not None and b is not None:
            self.line.request(self._inputs, a, b, self.way.steps.value())

    def _run(self, line: tuple[Inputs, Latents]) -> None:
        inputs, codes = line
        if inputs is self._inputs:
            self.way.run(list(codes))

    def _frame(self, code: Latents, share: float) -> None:
        """Show the next frame, if the one before has been shown; the last in any case."""
        if self._inputs is None or not (self.latest.idle or share == 1):
            return
        said = f"{100 * share:.0f} % of the way from A to B"
        # All of it is one step of the way back.
        self._go((self._inputs, code, said), step=share == 0)
        if share == 1:
            self.sliders.settle()

    def _changed(self) -> None:
        """Begin anew with another model; what is of other brains is forgotten."""
        before, inputs = self._inputs, self.workspace.inputs(atlas=False)
        self._inputs = inputs
        if inputs is None:
            self._against, self._said = None, ""
            self._status.setText("")
            self.sliders.begin([], [])
            self._made.hide_all()
        elif before is None or before.model is not inputs.model:
            model = inputs.model
            names = factor_names(model.latent_dim, replicated_of(model.header))
            self.sliders.begin(names, population_mean(model))
            self._made.hide_all()
        if before is None or inputs is None or before.population is not inputs.population:
            for end in (0, 1):
                self.way.pick(end, None)
        self._describe()
        self._brains_listed()
        self._look_changed()

    def _describe(self) -> None:
        told = self.workspace.factors.descriptions
        self.sliders.describe([(f"{d.name}: {d.direction}", d.sentence) for d in told])

    def _brains_listed(self) -> None:
        table = self.workspace.brains.table
        codes = self.codes_of_brains = None if table is None else table.codes.to_numpy(np.float64)
        if self._inputs is not None and codes is not None:
            low, high = np.nanmin(codes, axis=0), np.nanmax(codes, axis=0)
            self.sliders.show_brains(codes, low, high)
        elif self._inputs is not None:
            model = self._inputs.model
            mean, reach = population_mean(model), 3 * code_spread(model)
            none = np.empty((0, model.latent_dim))
            self.sliders.show_brains(none, mean - reach, mean + reach)
        self._enable()
        self.refresh()

    def _brain_changed(self, event: Any = None) -> None:
        if self.buttons.against.currentText() == SHOWN:
            self._look_changed()

    def _look_changed(self, event: Any = None) -> None:
        inputs = self._inputs
        if self.buttons.against.currentText() == NOTHING:
            self._made.hide("change")
        if inputs is not None:
            brain = self.index if self.buttons.against.currentText() == SHOWN else None
            self._against = Against(inputs.model, inputs.population, brain)
        self.refresh()

    def _failed(self, message: str) -> None:
        """Show nothing of what cannot be used, and say why."""
        self._made.hide_all()
        self._status.setText(warning(message))

    def _enable(self) -> None:
        """What cannot work is off."""
        ready, busy = self._inputs is not None, self.job.running
        listed = ready and self.codes_of_brains is not None
        back = self.sliders.can_go_back
        self.buttons.enable(ready=ready, listed=listed, busy=busy, back=back)
        self.way.enable(ready=ready, busy=busy)


def _encode(inputs: Inputs, brain: int) -> tuple[Inputs, Latents, str]:
    code = brain_code(inputs.model, inputs.population, brain)
    return inputs, code, f"{inputs.population.ids[brain]}, as the model has it"


def _line(inputs: Inputs, a: int, b: int, steps: int) -> tuple[Inputs, Latents]:
    start, end = (brain_code(inputs.model, inputs.population, brain) for brain in (a, b))
    return inputs, interpolate(start, end, steps)


def _write(folder: Path, inputs: Inputs, options: PathOptions, progress: Progress) -> None:
    write_traversal(folder, inputs.model, inputs.population, options, progress=progress)
