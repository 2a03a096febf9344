"""A slider about 0, with a button that goes back there."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget
from superqt import QLabeledDoubleSlider


class ZeroSlider(QWidget):
    """A labelled number, moved by a slider.

    Signals
    -------
    valueChanged
        The number.
    """

    valueChanged = Signal(float)

    def __init__(self, label: str, tooltip: str, back: str) -> None:
        super().__init__()
        self._slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self._slider.setToolTip(tooltip)
        self._slider.setDecimals(2)
        self.zero = QPushButton("0", toolTip=back)
        self.zero.setFixedWidth(28)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel(label))
        row.addWidget(self._slider)
        row.addWidget(self.zero)
        self._slider.valueChanged.connect(self.valueChanged)
        self.zero.clicked.connect(lambda: self.setValue(0))

    def value(self) -> float:
        """Give the number."""
        return float(self._slider.value())

    def setValue(self, value: float) -> None:
        """Move to a number."""
        self._slider.setValue(value)

    def setRange(self, low: float, high: float) -> None:
        """Let the number go from one to the other."""
        self._slider.setRange(low, high)

    def minimum(self) -> float:
        """Give the least it can be."""
        return float(self._slider.minimum())

    def maximum(self) -> float:
        """Give the most it can be."""
        return float(self._slider.maximum())
