"""The widget "Fit": a model of the sections on show, fitted by a process of its own."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
)

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.reconstruction import reconstruct_section
from napari_brainvae.factors.suggestion import Suggestion, suggest_latent_dim
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.file_stamp import Stamp, file_stamp
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.run_state import run_state
from napari_brainvae.widgets.fit_run import fit_run_of
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers
from napari_brainvae.widgets.layers.section_layers import POPULATION, shown_index
from napari_brainvae.widgets.panels.fit_choice import FitChoice, checked
from napari_brainvae.widgets.panels.fit_progress import FitProgress
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.layer_choice import LayerChoice
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.readers import PLUGIN
from napari_brainvae.widgets.workers import Latest, notify, warning
from napari_brainvae.widgets.workspace import load_once

IN_MEMORY = "These sections are in no file: save them first, a fit reads a file."
OTHER_TABLE = (
    "What is known of the brains here is not in their file, which is what a fit reads: save them "
    "to fit without those flagged here."
)
FOLDERS = {
    "unfinished": "The folder holds an unfinished run: Resume goes on with its options.",
    "running": "A fit is running in this folder.",
    "complete": "The folder holds a finished run: give another.",
    "diverged": "The folder holds a run that diverged: give another, and a smaller beta.",
    "other": "The folder is not empty: give another.",
}


class FitWidget(Panel):
    """Asks for the options of a fit, runs it, and shows what it makes of the brain on show."""

    page, tab = "fit", "Fit"
    first = "To begin, drop brain sections on the canvas."
    needs = ("sections",)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.run = fit_run_of(viewer)
        self.layers = LayerChoice(viewer, "sections", "Brains to fit, (N, H, W).")
        self.brains, self.problem = _wrapped(), _wrapped()
        self.save = QPushButton("Save sections …")
        self.save.setToolTip("<p>Write them as a population (.zarr), which is then on show.</p>")
        self.choice = FitChoice()
        self.fit, self.resume, self.copy = (
            QPushButton(text) for text in ("Fit", "Resume", "Copy command")
        )
        self.fit.setToolTip("Fit a model in the background, as brainvae fit does.")
        self.resume.setToolTip("Go on with the unfinished run in the folder, with its options.")
        self.copy.setToolTip("<p>Copy the command that does the same, for a GPU elsewhere.</p>")
        self.job, self.progress = JobBar(), FitProgress(self.run)
        self.live = QCheckBox("Show its reconstruction meanwhile", checked=True)
        self.live.setToolTip("<p>Of the brain on show, by the newest saved model.</p>")
        self._arrange()
        self._made = PluginLayers(viewer, "Fit")
        self._asked: tuple[Any, ...] | None = None
        self._looked: tuple[int, int, bool] | None = None
        self.latest = Latest(_reconstructed, self._show, lambda _: None, parent=self)
        self.looking = Latest(_look, self._tell_brains, self._say, parent=self)
        self._connect()
        self._sections_changed()
        self._ran()

    def _arrange(self) -> None:
        layout, form, row = QVBoxLayout(self.body), QFormLayout(), QHBoxLayout()
        form.addRow("Sections", self.layers.native)
        layout.addLayout(form)
        for button in (self.fit, self.resume, self.copy):
            row.addWidget(button)
        for widget in (self.brains, self.save, self.choice, self.problem):
            layout.addWidget(widget)
        layout.addLayout(row)
        for widget in (self.job, self.progress, self.live):
            layout.addWidget(widget)
        layout.addStretch()

    def _connect(self) -> None:
        self.layers.changed.connect(self._sections_changed)
        self.layers.altered.connect(self._sections_changed)
        self.workspace.model_changed.connect(self._model_changed)
        self.workspace.marks.changed.connect(self._count_brains)
        self.choice.changed.connect(self._enable)
        self.choice.suggest.clicked.connect(self.suggest)
        self.job.changed.connect(self._enable)
        self.fit.clicked.connect(lambda: self.start(resume=False))
        self.resume.clicked.connect(lambda: self.start(resume=True))
        self.copy.clicked.connect(self.copy_command)
        self.save.clicked.connect(self._ask_save)
        self.live.toggled.connect(self.refresh)
        self.run.changed.connect(self._ran)
        self.viewer.dims.events.point.connect(self.refresh)

    @property
    def file(self) -> Path | None:
        """Where the sections on show were read from, if they are what is there."""
        layer, population = self.workspace.sections, self.workspace.population
        if layer is None or population is None:
            return None
        path = layer.source.path
        if path is None or layer.metadata.get(POPULATION) is not population:
            return None
        return Path(path) if Path(path).exists() else None

    def options(self, *, resume: bool = False) -> FitOptions:
        """Give what is chosen; of a run that is resumed, what it was begun with.

        Raises
        ------
        InputError
            If it cannot be.
        """
        if self.file is None:
            raise InputError(IN_MEMORY)
        options = self.choice.options(self.file.absolute())
        if not resume:
            return options
        begun = run_state(options.out).options or {}
        return checked(
            **begun | {"population": options.population, "out": options.out}, resume=True
        )

    def start(self, *, resume: bool) -> None:
        """Begin the fit, or go on with the one in the folder."""
        try:
            self.run.start(self.options(resume=resume))
        except (InputError, OSError) as error:
            self._say(str(error))

    def suggest(self, event: Any = None) -> None:
        """Count in the background the factors that come again."""
        population = self.workspace.population
        if population is not None:
            job = partial(_suggested, population, self.choice.plain.values())
            self.job.run(
                "Looking", job, self._suggested, lambda: self.workspace.population is population
            )

    def copy_command(self, event: Any = None) -> None:
        """Copy the command line that does the same."""
        try:
            QGuiApplication.clipboard().setText(self.options().as_command())
        except InputError as error:
            self._say(str(error))
        else:
            notify("The command is on the clipboard.")

    def save_sections(self, path: Path) -> None:
        """Write the sections on show as a population, and show that."""
        population = self.workspace.population
        if population is not None:
            self.job.run("Saving", lambda _: population.save(path), lambda _: self._saved(path))

    def refresh(self, event: Any = None) -> None:
        """Ask for what the newest saved model makes of the brain on show, while it is fitted."""
        layer, population, path = self.workspace.sections, self.workspace.population, self.run.model
        shown = self.live.isChecked() and self.run.running
        if not shown or layer is None or population is None or path is None:
            self._made.hide_all()
            self._asked = None
            return
        index = shown_index(layer, self.viewer.dims.point)
        wanted = (path, file_stamp([path]), population, index)
        if wanted != self._asked:
            self._asked = wanted
            self.latest.request(*wanted)

    def release(self) -> None:
        """Leave no callback behind; the fit goes on, and a reopened panel shows it again."""
        self.job.cancel()
        for worker in (self.latest, self.looking):
            worker.close()
        self.layers.release()
        self.workspace.model_changed.disconnect(self._model_changed)
        self.workspace.marks.changed.disconnect(self._count_brains)
        self.run.changed.disconnect(self._ran)
        self.viewer.dims.events.point.disconnect(self.refresh)
        self._made.release()

    def _sections_changed(self) -> None:
        """Say which brains a fit would see, and where it would be written."""
        self.brains.setText("")
        self._say("")
        self.choice.propose(self.file)
        self._asked = None
        self._count_brains()

    def _count_brains(self) -> None:
        """Look again at the file, and at the marks beside it: that is what a fit reads."""
        self._looked = None
        if self.file is not None:
            self.looking.request(self.file, self.workspace.population)
        self._enable()

    def _tell_brains(self, looked: tuple[int, int, bool]) -> None:
        self._looked = count, out, same = looked
        left = f": {out} marked or flagged are left out" if out else ""
        said = f"{count - out} of {count} brains{left}; a fifth is held out."
        self.brains.setText(said + ("" if same else f"<br>{warning(OTHER_TABLE)}"))
        self._enable()

    def _model_changed(self) -> None:
        """A run that somebody has opened is watched if it goes on."""
        path = self.workspace.checkpoint
        if path is not None and not self.run.running and self.run.follow(path.parent):
            self.choice.out.setText(str(path.parent))

    def _enable(self) -> None:
        """What cannot work is off, and the reason said."""
        there, running, busy = self.workspace.sections is not None, self.run.running, False
        folder = self.choice.folder
        kind = "new" if folder is None else run_state(folder).kind
        if kind == "running" and not running and folder is not None:
            self.run.follow(folder)
            running = True
        busy = self.job.running or running
        in_file = self.file is not None
        self.fit.setEnabled(in_file and kind == "new" and not busy)
        self.resume.setVisible(kind == "unfinished" and not running)
        self.resume.setEnabled(in_file and not busy)
        self.copy.setEnabled(in_file)
        self.choice.suggest.setEnabled(there and not self.job.running)
        same = self._looked is None or self._looked[2]
        self.save.setVisible(there and not (in_file and same))
        self.save.setEnabled(not self.job.running)
        if there and not in_file:
            self._say(IN_MEMORY)
        elif not running:
            self._say(FOLDERS.get(kind, ""))

    def _ran(self) -> None:
        """Show how far it is; what is done is the model of all panels."""
        self.progress.tell()
        self.live.setVisible(self.run.running)
        if self.run.running:
            self.problem.setText("")
        elif self.run.outcome == "done" and self.run.model is not None:
            if not self.run.taken:  # also if its first model, of the same file, was opened
                self.run.taken = True
                self.workspace.checkpoint = self.run.model
                self.workspace.say(f"Model: now “{self.workspace.model_name}”, just fitted.")
            self.choice.propose(self.file)
        self._enable()
        self.refresh()

    def _show(self, shown: tuple[Population, int, str, Any]) -> None:
        population, index, step, picture = shown
        layer = self.workspace.sections
        if layer is None or not self.run.running or self.workspace.population is not population:
            return
        limits = 0, max(float(np.percentile(picture, 99.8)), 1e-3)
        name = f"fit, {step}: {population.ids[index]}"
        self._made.show("fit", picture, layer, name, colormap="gray", contrast_limits=limits)

    def _suggested(self, found: Suggestion) -> None:
        if found.replicated[found.latent_dim]:
            self.choice.plain.set_values({"latent_dim": found.latent_dim})
        self._say(found.sentence)

    def _saved(self, path: Path) -> None:
        self.viewer.open(path, plugin=PLUGIN)

    def _say(self, message: str) -> None:
        self.problem.setText(escape(message))

    def _ask_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Population to write", "", "*.zarr")
        if name:
            self.save_sections(Path(name if name.endswith(".zarr") else f"{name}.zarr"))


def _look(file: Path, shown: Population) -> tuple[int, int, bool]:
    """How many brains are in a file, how many of them are left out, and whether so on show."""
    stored = Population.open(file)
    out = stored.flagged
    return len(stored), int(out.sum()), bool(np.array_equal(out, shown.flagged))


def _reconstructed(
    path: Path, stamp: Stamp, population: Population, index: int
) -> tuple[Population, int, str, Any]:
    _, model = load_once(path, stamp)
    step = model.header.training.get("step", 0)
    shown = reconstruct_section(model, population, index, robust=False)
    return population, index, f"step {step}" if step else "linear start", shown.reconstruction


def _suggested(population: Population, values: dict[str, Any], progress: Any) -> Suggestion:
    return suggest_latent_dim(
        population, smoothing=values["smoothing"], seed=values["seed"], progress=progress
    )


def _wrapped() -> QLabel:
    label = QLabel(wordWrap=True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
