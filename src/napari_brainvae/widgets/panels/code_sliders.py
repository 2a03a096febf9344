"""A slider for each factor, with a tick for each brain, and the way back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QPointF, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QGridLayout,
    QLabel,
    QSizePolicy,
    QStyle,
    QStyleOptionSlider,
    QWidget,
)
from superqt import QDoubleSlider

from napari_brainvae.arrays import Latents

REST_MS = 400
"""How long nothing is moved before it counts as one step of the way back."""

MOST_STEPS = 200

MARGIN = 0.25
"""How much further than the outermost brains a slider goes, share of their range."""

LEAST_MARGIN = 0.5
"""The same in SD of the prior: brains hardly differ in a factor that is hardly used."""


class RugSlider(QDoubleSlider):
    """A slider with a tick where each brain is."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setMinimumWidth(120)
        self._brains: npt.NDArray[np.float64] = np.empty(0)

    def show_brains(self, codes: npt.NDArray[np.float64]) -> None:
        """Tick where ``(N,)`` brains are."""
        self._brains = codes[np.isfinite(codes)]
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Paint the ticks, and the slider over them."""
        option = QStyleOptionSlider()
        self.initStyleOption(option)
        slider = QStyle.ComplexControl.CC_Slider
        groove, handle = (
            self.style().subControlRect(slider, option, part, self)
            for part in (QStyle.SubControl.SC_SliderGroove, QStyle.SubControl.SC_SliderHandle)
        )
        painter = QPainter(self)
        color = QColor(self.palette().text().color())
        span = max(self.maximum() - self.minimum(), 1e-12)
        share = (self._brains - self.minimum()) / span
        left, width = groove.left() + handle.width() / 2, groove.width() - handle.width()
        # Where many brains lie, ticks are stronger; not more of them than pixels.
        columns, counts = np.unique(np.round(left + share * width), return_counts=True)
        for x, count in zip(columns, counts, strict=True):
            color.setAlpha(min(80 + 40 * int(count), 255))
            painter.setPen(color)
            painter.drawLine(QPointF(x, 1), QPointF(x, self.height() - 2))
        painter.end()
        super().paintEvent(event)


class CodeSliders(QWidget):
    """The codes of one generated brain, a slider each.

    Signals
    -------
    changed
        The codes are others.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(1, 1)
        self._names: list[QLabel] = []
        self._said: list[QLabel] = []
        self.sliders: list[RugSlider] = []
        self.numbers: list[QDoubleSpinBox] = []
        self._past: deque[Latents] = deque(maxlen=MOST_STEPS)
        self._at_rest = np.empty(0, np.float32)
        self._rest = QTimer(self, singleShot=True, interval=REST_MS)
        self._rest.timeout.connect(self.settle)

    @property
    def codes(self) -> Latents:
        """``(L,)``, what the sliders say."""
        return np.array([slider.value() for slider in self.sliders], np.float32)

    @property
    def can_go_back(self) -> bool:
        """Whether there is something to go back to."""
        return bool(self._past) or not np.array_equal(self._at_rest, self.codes)

    def begin(self, names: Sequence[str], codes: npt.ArrayLike) -> None:
        """Make a slider for each factor, at these codes ``(L,)``; there is no way back."""
        while self._grid.count():
            self._grid.takeAt(0).widget().deleteLater()
        self._names, self._said, self.sliders, self.numbers = [], [], [], []
        for row, name in enumerate(names):
            self._add(2 * row, name)
        self._past.clear()
        self._put(codes)
        self._at_rest = self.codes

    def describe(self, said: Sequence[tuple[str, str]]) -> None:
        """Say what each factor is in a few words, and in a sentence; or nothing of any."""
        for i, label in enumerate(self._said):
            words, sentence = said[i] if said else ("", "")
            label.setText(words)
            label.setVisible(bool(words))
            for each in (label, self._names[i]):
                each.setToolTip(f"<p>{sentence}</p>" if sentence else "")

    def show_brains(
        self, codes: npt.NDArray[np.float64], low: npt.ArrayLike, high: npt.ArrayLike
    ) -> None:
        """Tick the codes ``(N, L)`` of brains, and go a little further than from low to high."""
        ends = zip(np.asarray(low, float), np.asarray(high, float), strict=True)
        for i, (slider, (least, most)) in enumerate(zip(self.sliders, ends, strict=True)):
            margin = max(MARGIN * (most - least), LEAST_MARGIN)
            self._set_range(i, least - margin, most + margin)
            slider.show_brains(codes[:, i])

    def set_codes(self, codes: npt.ArrayLike, *, step: bool = True) -> None:
        """Move to codes ``(L,)``, as one step of the way back; or as a part of one, in a movie."""
        if step:
            self.settle()
        self._put(codes)
        if step:
            self.settle()
        self.changed.emit()

    def back(self) -> None:
        """Go to where all sliders were before the last step."""
        self.settle()
        if self._past:
            self._put(self._past.pop())
            self._at_rest = self.codes
            self.changed.emit()

    def _add(self, row: int, name: str) -> None:
        said, slider, number = QLabel(wordWrap=True), RugSlider(), QDoubleSpinBox()
        said.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        said.hide()
        number.setDecimals(2)
        number.setSingleStep(0.1)
        number.setKeyboardTracking(False)
        number.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        number.setMaximumWidth(8 * number.fontMetrics().averageCharWidth() + 12)
        tip = f"<p>{name}, in SD of the prior. A tick is a brain, once they are listed.</p>"
        slider.setToolTip(tip)
        number.setToolTip(tip)
        label = QLabel(name)
        self._grid.addWidget(said, row, 0, 1, 3)
        for column, widget in enumerate((label, slider, number)):
            self._grid.addWidget(widget, row + 1, column)
        self._names.append(label)
        self._said.append(said)
        self.sliders.append(slider)
        self.numbers.append(number)
        self._set_range(len(self.sliders) - 1, -3, 3)
        slider.valueChanged.connect(lambda value: self._moved(number, value))
        # The number is rounded: only what is typed moves the slider.
        number.valueChanged.connect(slider.setValue)

    def _moved(self, number: QDoubleSpinBox, value: float) -> None:
        _set_quietly(number, value)
        self._rest.start()
        self.changed.emit()

    def _put(self, codes: npt.ArrayLike) -> None:
        for i, value in enumerate(np.asarray(codes, np.float32)):
            slider = self.sliders[i]
            low, high = min(slider.minimum(), value), max(slider.maximum(), value)
            self._set_range(i, float(low), float(high))
            slider.blockSignals(True)
            slider.setValue(float(value))
            slider.blockSignals(False)
            _set_quietly(self.numbers[i], float(value))

    def _set_range(self, i: int, low: float, high: float) -> None:
        """Let a factor go from one code to another, and as far as it is now."""
        slider, number = self.sliders[i], self.numbers[i]
        low, high = min(low, slider.value()), max(high, slider.value())
        for each in (slider, number):
            each.blockSignals(True)
            each.setRange(low, high)
            each.blockSignals(False)

    def settle(self) -> None:
        """Count what was moved up to now as a step of the way back."""
        self._rest.stop()
        if not np.array_equal(self._at_rest, self.codes):
            self._past.append(self._at_rest)
            self._at_rest = self.codes


def _set_quietly(number: QDoubleSpinBox, value: float) -> None:
    number.blockSignals(True)
    number.setValue(value)
    number.blockSignals(False)
