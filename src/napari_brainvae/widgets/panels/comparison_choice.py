"""What is compared, and what is taken out: chosen from the covariates of the brains on show."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
from pydantic import ValidationError
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QWidget,
)

from napari_brainvae.io.errors import InputError
from napari_brainvae.statistics.comparison_options import ComparisonOptions
from napari_brainvae.statistics.design import as_names, is_number, missing
from napari_brainvae.widgets.panels.option_controls import Controls

MOST_GROUPS = 50
"""Values of a covariate, at most, to choose two groups from: more are no groups."""

NONE = "–"
PLAIN = (
    *("permutations", "pixel_permutations", "robust", "harmonize"),
    *("include_flagged", "seed"),
)


class ComparisonChoice(QWidget):
    """Asks for a covariate, two groups of it, and what is taken out.

    Signals
    -------
    changed
        Something else was chosen.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._covariates = pd.DataFrame()
        self.by, self.first, self.second = QComboBox(), QComboBox(), QComboBox()
        self.blocks, self.batch, self.adjust = QComboBox(), QListWidget(), QListWidget()
        for names, lines in ((self.adjust, 3), (self.batch, 2)):
            names.setMaximumHeight(lines * self.fontMetrics().height() + 12)
        self.regions = QLineEdit(placeholderText="all that the section shows")
        self.plain = Controls(ComparisonOptions, PLAIN)
        groups = QHBoxLayout()
        for combo in (self.first, self.second):
            groups.addWidget(combo, 1)
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for text, field, widget in (
            ("Compare by", "by", self.by),
            ("First, second", "groups", groups),
            ("Take out", "adjust", self.adjust),
            ("Litter, cage", "blocks", self.blocks),
            ("Batch", "batch", self.batch),
            ("Regions", "regions", self.regions),
        ):
            layout.addRow(text, widget)
            tooltip = f"<p>{ComparisonOptions.model_fields[field].description}</p>"
            asked = (self.first, self.second) if widget is groups else (widget,)
            for each in (layout.labelForField(widget), *asked):
                each.setToolTip(tooltip)
        layout.addRow(self.plain)
        self.by.currentTextChanged.connect(self._fill_groups)
        for combo in (self.first, self.second, self.blocks):
            combo.currentTextChanged.connect(self.changed)
            _shrink(combo)
        _shrink(self.by)
        for names in (self.adjust, self.batch):
            names.itemChanged.connect(self.changed)
        self.regions.editingFinished.connect(self.changed)
        self.plain.changed.connect(self.changed)

    @property
    def possible(self) -> bool:
        """Whether there is anything to compare by."""
        return bool(self.by.count())

    def fill(self, covariates: pd.DataFrame) -> None:
        """Offer the columns of other brains; what was chosen stays where it is offered again."""
        if covariates.equals(self._covariates):
            return
        self._covariates = covariates
        names = [str(n) for n in covariates if n != "flagged" and not missing(covariates[n]).all()]
        for offered in (self.adjust, self.batch):
            taken = set(_checked(offered))
            with QSignalBlocker(offered):
                offered.clear()
                for name in names:
                    item = QListWidgetItem(name, offered)
                    checked = Qt.CheckState.Checked if name in taken else Qt.CheckState.Unchecked
                    item.setCheckState(checked)
        varying = [n for n in names if covariates[n][~missing(covariates[n])].nunique() > 1]
        for combo, choices in (
            (self.by, varying),
            (self.blocks, [NONE, *names]),
        ):
            _offer(combo, choices)
        self._fill_groups()

    def options(self) -> ComparisonOptions:
        """Give what is chosen.

        Raises
        ------
        InputError
            If it does not fit together.
        """
        by = self.by.currentText()
        chosen = {
            "by": [by],
            "groups": self._groups(),
            "adjust": [name for name in _checked(self.adjust) if name != by],
            "blocks": None if self.blocks.currentText() == NONE else self.blocks.currentText(),
            "batch": [name for name in _checked(self.batch) if name != by],
            "regions": [name for name in re.split(r"[,;\s]+", self.regions.text()) if name],
        }
        try:
            return ComparisonOptions(**chosen, **self.plain.values())
        except ValidationError as error:
            said = (each["msg"].removeprefix("Value error, ") for each in error.errors())
            raise InputError("; ".join(said)) from error

    def _groups(self) -> list[str]:
        if not self.first.isEnabled():
            return []
        return [self.first.currentText(), self.second.currentText()]

    def _fill_groups(self) -> None:
        """Offer the groups of the covariate; a number, such as a dose, has none."""
        name, names = self.by.currentText(), list[str]()
        if name in self._covariates:
            column = self._covariates[name]
            values = column[~missing(column)]
            if not is_number(column) or values.nunique() == 2:
                names = sorted(as_names(values).unique().tolist())[:MOST_GROUPS]
        for offered in (self.adjust, self.batch):
            for row in range(offered.count()):
                offered.item(row).setHidden(offered.item(row).text() == name)
        for combo, choices in ((self.first, names), (self.second, names[1:] + names[:1])):
            _offer(combo, choices, keep=False)
            combo.setEnabled(len(names) > 1)
        self.changed.emit()


def _checked(names: QListWidget) -> list[str]:
    items = [names.item(i) for i in range(names.count())]
    return [item.text() for item in items if item.checkState() == Qt.CheckState.Checked]


def _offer(combo: QComboBox, choices: Sequence[str], *, keep: bool = True) -> None:
    before = combo.currentText()
    with QSignalBlocker(combo):
        combo.clear()
        combo.addItems(list(choices))
        if keep and before in choices:
            combo.setCurrentText(before)


def _shrink(combo: QComboBox) -> None:
    combo.setMinimumContentsLength(6)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
