"""What is asked before a fit: its options, by their schema, and where it is written."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout
from qtpy.QtWidgets import QWidget as Widget

from napari_brainvae.io.errors import InputError
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.run_state import run_state
from napari_brainvae.widgets.panels.option_controls import Controls

NAMES = ("recipe", "device", "latent_dim", "beta", "steps", "smoothing", "seed")


class FitChoice(Widget):
    """Controls for what a fit can be told.

    Signals
    -------
    changed
        Something else is chosen.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.plain = Controls(FitOptions, NAMES, columns=2)
        self.suggest = QPushButton("Suggest factors")
        self.suggest.setToolTip(
            "<p>Ask for as many latent factors as come again in split halves of the brains, of 1 "
            "to 12. It takes a minute or two for hundreds of brains, and can be cancelled.</p>"
        )
        self.out = QLineEdit(toolTip=f"<p>{FitOptions.model_fields['out'].description}</p>")
        self._place = QPushButton("…", toolTip="Choose the folder of the run.")
        self._place.setFixedWidth(28)
        self._proposed = ""
        layout, row = QVBoxLayout(self), QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.plain)
        layout.addWidget(self.suggest)
        for widget in (QLabel("Write to"), self.out, self._place):
            row.addWidget(widget)
        layout.addLayout(row)
        self.plain.changed.connect(self.changed)
        self.out.textChanged.connect(lambda _: self.changed.emit())
        self._place.clicked.connect(self._ask_place)

    @property
    def folder(self) -> Path | None:
        """Of the run."""
        text = self.out.text().strip()
        return Path(text).expanduser().absolute() if text else None

    def propose(self, population: Path | None) -> None:
        """Propose a folder beside the population, unless one was chosen.

        One that holds a run that goes on, or can go on, is proposed before a new one.
        """
        if population is None or self.out.text() not in ("", self._proposed):
            return
        for number in count(1):
            more = "" if number == 1 else f"-{number}"
            folder = population.absolute().with_name(f"{population.stem}_fit{more}")
            if run_state(folder).kind in ("new", "running", "unfinished"):
                break
        self._proposed = str(folder)
        self.out.setText(self._proposed)

    def options(self, population: Path) -> FitOptions:
        """Give what is chosen; what is as by default is not named.

        Raises
        ------
        InputError
            If it cannot be.
        """
        if self.folder is None:
            raise InputError("say where the fit is to be written")
        fields = FitOptions.model_fields
        values = {
            name: value
            for name, value in self.plain.values().items()
            if value != fields[name].get_default()
        }
        return checked(population=population, out=self.folder, **values)

    def _ask_place(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Folder of the run", self.out.text())
        if name:
            self.out.setText(name)


def checked(**values: Any) -> FitOptions:
    """Validate options.

    Raises
    ------
    InputError
        If they cannot be.
    """
    try:
        return FitOptions(**values)
    except ValidationError as error:
        said = (each["msg"].removeprefix("Value error, ") for each in error.errors())
        raise InputError("; ".join(said)) from error
