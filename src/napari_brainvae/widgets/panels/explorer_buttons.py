"""The buttons of the widget "Explore factors": where the sliders can go, all in one place."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox, QGridLayout, QGroupBox, QLabel, QPushButton, QSpinBox

MEAN, SHOWN, NOTHING = "the mean section", "the brain on show", "nothing"

TIPS = {
    "Mean": "Move all sliders to the mean code of the brains that the model was fitted on.",
    "Brain on show": "Move the sliders to the posterior mean of the brain on show.",
    "Back": "Take the last move of the sliders back.",
    "Nearest brain": "Show the real brain whose posterior mean is nearest to the sliders "
    "(Euclidean distance, in SD of the prior).",
    "Prior": "Move to a brain by chance from the prior, N(0, I).",
    "Population": "Move to a brain by chance from the Gaussian that has mean and covariance of the "
    "codes of the brains that are not flagged.",
    "List brains": "Encode every brain: for the ticks, the sliders' range, the nearest brain, and "
    "brains by chance that are like these.",
    "Export …": "Write the section on show (PNG, SVG, OME-TIFF) and its codes (CSV).",
}
NEED_BRAINS = ("Nearest brain", "Population")
"""Off before the brains are listed."""


class ExplorerButtons(dict[str, QPushButton]):
    """Buttons by what is written on them, and what else decides where sliders go.

    Attributes
    ----------
    against
        What the change is from.
    seed
        Of the next brain by chance.
    """

    def __init__(self) -> None:
        super().__init__(
            {name: QPushButton(name, toolTip=f"<p>{tip}</p>") for name, tip in TIPS.items()}
        )
        self.against = QComboBox()
        self.against.addItems([MEAN, SHOWN, NOTHING])
        self.against.setToolTip(
            "<p>Show how the generated section differs from the mean section, or from the brain on "
            "show as the model draws it: what the model leaves out is no slider's doing.</p>"
        )
        self.seed = QSpinBox(minimum=0, maximum=2**31 - 1)
        self.seed.setToolTip("<p>Seed of the next brain by chance; the same gives the same.</p>")

    def above(self) -> QGridLayout:
        """Lay out those above the sliders."""
        grid = QGridLayout()
        grid.addWidget(QLabel("Change from"), 0, 0)
        grid.addWidget(self.against, 0, 1, 1, 2)
        for i, name in enumerate(("Mean", "Brain on show", "Back")):
            grid.addWidget(self[name], 1, i)
        return grid

    def below(self) -> QGridLayout:
        """Lay out those below them."""
        grid = QGridLayout()
        for i, name in enumerate(("List brains", "Nearest brain", "Export …")):
            grid.addWidget(self[name], 0, i)
        return grid

    def chance(self) -> QGroupBox:
        """Lay out those that move to a brain by chance."""
        box, row = QGroupBox("A brain by chance"), QGridLayout()
        each = self["Prior"], self["Population"], QLabel("seed"), self.seed
        for i, widget in enumerate(each):
            row.addWidget(widget, 0, i)
        box.setLayout(row)
        return box

    def next_seed(self) -> int:
        """Take a seed; the next is another."""
        seed = int(self.seed.value())
        self.seed.setValue((seed + 1) % self.seed.maximum())
        return seed

    def enable(self, *, ready: bool, listed: bool, busy: bool, back: bool) -> None:
        """What cannot work is off."""
        for name, button in self.items():
            button.setEnabled(ready and (listed or name not in NEED_BRAINS))
        self["List brains"].setEnabled(ready and not listed and not busy)
        self["Export …"].setEnabled(ready and not busy)
        self["Back"].setEnabled(ready and back)
