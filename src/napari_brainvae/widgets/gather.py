"""The widget "Gather": a population made of registered brains, whatever program wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import napari.viewer
from pydantic import ValidationError
from qtpy.QtCore import Qt
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout

from napari_brainvae.gathering.options import GatherCommand
from napari_brainvae.gathering.preview import Preview, preview_gather
from napari_brainvae.gathering.run import Written, gather
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.places import check_places
from napari_brainvae.io.progress import Progress
from napari_brainvae.widgets.panels.folder_question import ask_folder
from napari_brainvae.widgets.panels.gather_choice import GatherChoice, in_words
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.panels.result_table import ResultTable
from napari_brainvae.widgets.panels.table_model import Column
from napari_brainvae.widgets.readers import PLUGIN
from napari_brainvae.widgets.workers import Latest, notify, warning

BRAINS = [
    Column("id", "brain", tooltip="As its file or folder is called."),
    Column("orientation", "lies", tooltip="Where its axes begin; turned to asl if it is not so."),
    Column("voxel_um", "µm", tooltip="Size of its voxels."),
    Column("problem", "left out because", tooltip="One bad file costs one brain."),
]
NOT_YET = "No brains yet: drop their folders or files here."


class GatherWidget(Panel):
    """List the brains in files and folders, and gather their sections in the background."""

    page, tab = "gather", "Gather"
    first = "To begin, drop folders or files of registered brains here."
    needs = ("sections",)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.setAcceptDrops(True)
        self.inputs: list[Path] = []
        self.preview: Preview | None = None
        self._of: GatherCommand | None = None
        self._inputs = _wrapped()
        self._folder, self._files = QPushButton("Add folder …"), QPushButton("Add files …")
        self._none = QPushButton("Clear")
        self._folder.setToolTip("Folder with registered brains, at any depth.")
        self._files.setToolTip("NIfTI, NRRD, MetaImage, TIFF, NumPy, populations.")
        self._none.setToolTip("Forget the brains; their files stay.")
        self.brains, self.found = ResultTable(BRAINS), _wrapped()
        self.brains.setMinimumHeight(120)
        self.choice = GatherChoice()
        self._gather, self._copy = QPushButton("Gather"), QPushButton("Copy command")
        self._gather.setToolTip(
            "<p>Write the population, in the background, and open it. What was stopped goes on.</p>"
        )
        self._copy.setToolTip("Copy the command that does the same, for a shell.")
        self.job, self.result = JobBar("what is done is kept, and Gather goes on"), _wrapped()
        self._arrange()
        self.looking = Latest(_looked, self._show, self._failed, parent=self)
        self._connect()
        self._changed()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self.body)
        row, buttons = QHBoxLayout(), QHBoxLayout()
        for button in (self._folder, self._files, self._none):
            row.addWidget(button)
        for button in (self._gather, self._copy):
            buttons.addWidget(button)
        layout.addLayout(row)
        layout.addWidget(self._inputs)
        layout.addWidget(self.brains, 1)
        layout.addWidget(self.found)
        layout.addWidget(self.choice)
        layout.addLayout(buttons)
        layout.addWidget(self.job)
        layout.addWidget(self.result)

    def _connect(self) -> None:
        self._folder.clicked.connect(
            lambda: ask_folder(self, "of registered brains", lambda folder: self.add([folder]))
        )
        self._files.clicked.connect(self._ask_files)
        self._none.clicked.connect(self.clear)
        self.choice.changed.connect(self._changed)
        self.workspace.model_changed.connect(self._model_changed)
        self.job.changed.connect(self._ran)
        self._gather.clicked.connect(self.gather)
        self._copy.clicked.connect(self.copy_command)
        self._model_changed()

    def add(self, paths: Sequence[Path]) -> None:
        """Look for brains in more files and folders."""
        self.inputs += [path for path in paths if path not in self.inputs]
        if self.inputs:
            self.choice.propose(self.inputs[0])
        self._changed()

    def clear(self, event: Any = None) -> None:
        """Forget all brains."""
        self.inputs = []
        self._changed()

    def options(self) -> GatherCommand:
        """Give what is chosen.

        Raises
        ------
        InputError
            If it cannot be.
        """
        try:
            return GatherCommand(inputs=self.inputs, **self.choice.values())
        except ValidationError as error:
            said = (each["msg"].removeprefix("Value error, ") for each in error.errors())
            raise InputError("; ".join(said)) from error

    def gather(self, event: Any = None) -> None:
        """Gather the sections, in the background, by what the command calls, too."""
        try:
            options = self.options()
        except InputError as error:
            self._failed(str(error))
            return
        self.result.setText("")
        self.job.run("Gathering", lambda progress: _gathered(options, progress), self._written)

    def copy_command(self, event: Any = None) -> None:
        """Copy the command line that does the same."""
        try:
            QGuiApplication.clipboard().setText(self.options().as_command())
        except InputError as error:
            self._failed(str(error))
        else:
            notify("The command is on the clipboard.")

    def release(self) -> None:
        """Stop what runs and leave no callback behind; the layers stay."""
        self.job.cancel()
        self.looking.close()
        self.choice.close_workers()
        self.workspace.model_changed.disconnect(self._model_changed)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Look for brains in what is dropped."""
        event.acceptProposedAction()
        self.add([Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()])

    def _changed(self) -> None:
        """Look again; what was found for other options is not shown any more."""
        names = ", ".join(f"{path.parent.name}/{path.name}" for path in self.inputs[:4])
        more = f" and {len(self.inputs) - 4} more" if len(self.inputs) > 4 else ""
        self._inputs.setText(escape(names + more) or NOT_YET)
        self._inputs.setToolTip("\n".join(map(str, self.inputs)))
        self.preview = None
        self.brains.show_table(None)
        self.found.setText("Looking …" if self.inputs else "")
        self._enable()
        if not self.inputs:
            self._of = None
            self.choice.show_preview(None)
            return
        try:
            self._of = self.options()
        except InputError as error:
            self._of = None
            self._failed(str(error))
            return
        self.looking.request(self._of)

    def _show(self, looked: tuple[GatherCommand, Preview]) -> None:
        options, preview = looked
        if options != self._of:
            return
        self.preview = preview
        table = preview.brains.reset_index()
        table["problem"] = [in_words(text) for text in table["problem"]]
        self.brains.show_table(table.assign(tooltip=table["source"] + "\n" + table["problem"]))
        out = int((table["problem"] != "").sum())
        said = f"{len(table)} brains found" + (f", {out} left out" if out else "")
        if preview.said:
            said += f"; sections of {preview.said}".replace(" um", " µm")
        problem = in_words(preview.problem)
        reason = next((text for text in table["problem"] if text), "")
        if reason and reason not in problem:
            said += f". Left out, for one: {reason}"
        if preview.done:
            said += f"; {preview.done} were gathered before: Gather goes on"
        wrong = f"<br>{warning(escape(problem))}" if problem else ""
        self.found.setText(escape(said) + "." + wrong)
        self.choice.show_preview(preview)

    def _failed(self, message: str) -> None:
        self.found.setText(warning(escape(in_words(message))))

    def _written(self, written: Written) -> None:
        """Say what came of it, and open it."""
        said = [*written.said, *map(warning, map(escape, written.left_out[:1]))]
        said += [escape(line) for line in written.left_out[1:]]
        self.result.setText(in_words("<br>".join(said)))
        for file in written.files:
            self.viewer.open(file, plugin=PLUGIN)
        self.workspace.say(f"Gathered: {', '.join(file.name for file in written.files)}.")

    def _model_changed(self) -> None:
        self.choice.offer_model(self.workspace.checkpoint)

    def _ran(self) -> None:
        """Look again after a job: what is done is there to go on with."""
        if self.job.running:
            self._enable()
        else:
            self._changed()

    def _enable(self) -> None:
        for button in (self._gather, self._copy):
            button.setEnabled(bool(self.inputs) and not self.job.running)
        self._none.setEnabled(bool(self.inputs) and not self.job.running)

    def _ask_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Registered brains")
        self.add([Path(name) for name in names])


def _looked(options: GatherCommand) -> tuple[GatherCommand, Preview]:
    return options, preview_gather(options)


def _gathered(options: GatherCommand, progress: Progress) -> Written:
    check_places(options)
    return gather(options, progress=progress)


def _wrapped() -> QLabel:
    label = QLabel(wordWrap=True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
