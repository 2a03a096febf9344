"""From brain A to brain B: which they are, played with the sliders, or written as a movie."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QSizePolicy, QSpinBox, QWidget

from napari_brainvae.arrays import Latents
from napari_brainvae.factors.path_options import MOST_STEPS
from napari_brainvae.reporting.traversal import FRAME_MS


class WayBetween(QWidget):
    """Choose two brains and go from one to the other.

    Signals
    -------
    picked
        Brain A (0) or B (1) is to be the one on show.
    play, write
        The movie is to be played, or written.
    at
        Codes of the next frame ``(L,)``, and how far it is on the way, from 0 to 1.
    """

    picked, play, write = Signal(int), Signal(), Signal()
    at = Signal(object, float)

    def __init__(self) -> None:
        super().__init__()
        self.brains: list[int | None] = [None, None]
        self._set = [QPushButton(f"Set {name}") for name in "AB"]
        self._names = [QLabel("–") for _ in "AB"]
        for i, (button, label) in enumerate(zip(self._set, self._names, strict=True)):
            button.setToolTip(f"Let the brain on show be {'AB'[i]}.")
            button.clicked.connect(lambda _=False, i=i: self.picked.emit(i))
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.steps = QSpinBox(minimum=2, maximum=MOST_STEPS, value=30)
        self.steps.setToolTip("Frames of the movie, ends included.")
        self._play = QPushButton("Play A → B")
        self._play.setToolTip(
            "<p>Go from the posterior mean of A to that of B, evenly on the straight line between "
            "their codes.</p>"
        )
        self._write = QPushButton("Write movie …")
        self._write.setToolTip(
            "<p>Write the movie (GIF, frames as PNG, OME-TIFF, codes as CSV) with the change from "
            "A beside it.</p>"
        )
        self._play.clicked.connect(lambda _=False: self.play.emit())
        self._write.clicked.connect(lambda _=False: self.write.emit())
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for i in range(2):
            grid.addWidget(self._set[i], i, 0)
            grid.addWidget(self._names[i], i, 1, 1, 3)
        grid.addWidget(self._play, 2, 0, 1, 2)
        grid.addWidget(self.steps, 2, 2)
        grid.addWidget(self._write, 2, 3)
        grid.setColumnStretch(1, 1)
        self._frames: list[Latents] = []
        self._next = 0
        self._timer = QTimer(self, interval=FRAME_MS)
        self._timer.timeout.connect(self._step)

    @property
    def playing(self) -> bool:
        """Whether the movie runs."""
        return bool(self._timer.isActive())

    def pick(self, end: int, brain: int | None, name: str = "–") -> None:
        """Let a brain, by its position, be A (0) or B (1)."""
        self.stop()
        self.brains[end] = brain
        self._names[end].setText(name)
        self._names[end].setToolTip(name)

    def enable(self, *, ready: bool, busy: bool) -> None:
        """What cannot work is off."""
        both = ready and None not in self.brains
        for button in self._set:
            button.setEnabled(ready)
        self._play.setEnabled(both)
        self._write.setEnabled(both and not busy)

    def run(self, frames: list[Latents]) -> None:
        """Go through codes ``(L,)``, one each time the one before has been shown."""
        self._frames, self._next = frames, 0
        self._timer.start()
        self._play.setText("Stop")

    def stop(self) -> None:
        """Stay where it is."""
        self._timer.stop()
        self._play.setText("Play A → B")

    def _step(self, event: Any = None) -> None:
        frame, last = self._next, len(self._frames) - 1
        self._next += 1
        if frame >= last:
            self.stop()
        self.at.emit(self._frames[frame], frame / last)
