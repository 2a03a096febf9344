"""The atlases of BrainGlobe that are there, to choose from, and a button that fetches another."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QInputDialog, QPushButton, QSizePolicy, QWidget

from napari_brainvae.atlas.brainglobe import available_atlases
from napari_brainvae.atlas.fetch_brainglobe import INSTALL, fetch_brainglobe, known_atlases
from napari_brainvae.widgets.workers import Latest, notify

HOW = (
    "Fetching an atlas needs brainglobe-atlasapi. Install it where napari runs, then start napari "
    f"again:\n{INSTALL}"
)


class AtlasChoice(QWidget):
    """A list of atlases by name, and a button to fetch one.

    Signals
    -------
    chosen
        The folder of the atlas that was chosen, or fetched.
    """

    chosen = Signal(Path)

    def __init__(self) -> None:
        super().__init__()
        self.names = QComboBox()
        self.names.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.button = QPushButton("Fetch …", toolTip="Fetch another atlas of BrainGlobe.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.names, 1)
        layout.addWidget(self.button)
        self._there: dict[str, Path] = {}
        self.listing = Latest(available_atlases, self._list, parent=self)
        self.fetching = Latest(fetch_brainglobe, self._fetched, self._failed, parent=self)
        self.names.activated.connect(self._activated)
        self.button.clicked.connect(self._ask)
        self._list({})
        self.listing.request()

    def fetch(self, name: str) -> None:
        """Fetch an atlas in the background, then choose it."""
        self.button.setEnabled(False)
        self.button.setText(f"Fetching {name} …")
        self.fetching.request(name)

    def close_workers(self) -> None:
        """Show nothing any more."""
        self.listing.close()
        self.fetching.close()

    def _list(self, there: dict[str, Path]) -> None:
        self._there = there
        self.names.clear()
        self.names.addItem("choose one …" if there else "none is there")
        self.names.addItems(list(there))
        self.names.setEnabled(bool(there))
        self.names.setToolTip("Atlases of BrainGlobe that are on this computer.")

    def _activated(self, index: int) -> None:
        folder = self._there.get(self.names.itemText(index))
        if folder is not None:
            self.names.setToolTip(f"{self.names.itemText(index)}: {folder}")
            self.chosen.emit(folder)

    def _ask(self) -> None:
        names = [name for name in known_atlases() if name not in self._there]
        if not names:
            notify(HOW)
            return
        name, agreed = QInputDialog.getItem(self, "Fetch an atlas", "Its name:", names)
        if agreed and name.strip():
            self.fetch(name.strip())

    def _fetched(self, folder: Path) -> None:
        self._rest()
        self.chosen.emit(folder)

    def _failed(self, message: str) -> None:
        notify(message)
        self._rest()

    def _rest(self) -> None:
        self.button.setEnabled(True)
        self.button.setText("Fetch …")
        self.listing.request()
