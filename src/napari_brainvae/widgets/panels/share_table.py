"""The table of a field's share in each region."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_brainvae.factors.field_refinement import Shares
from napari_brainvae.factors.projective_field import HUES, PARTS
from napari_brainvae.widgets.panels.structure_tree import swatch
from napari_brainvae.widgets.panels.table_model import Column, TableModel

PERCENT = "{:.1f}"
CHOSEN, EVERY = "chosen regions", "every structure"

MEASURED = 80
"""Most rows whose heights are measured."""

STRUCTURE = Column("structure", "structure", tooltip="Click a row to outline its structure.")
AREA = Column("area", "area", PERCENT, tooltip="Percent of the section's tissue.")

CHANGE = [
    STRUCTURE,
    Column("share", "share", PERCENT, tooltip="Percent of the summed change, whatever its sign."),
    Column(
        "mean",
        "change",
        "{:+.1f}",
        tooltip="Mean change per SD, percent of the tissue's brightness.",
    ),
    AREA,
]


class ShareTable(QWidget):
    """Percent of one factor's field, and of the tissue's area, by region; and what is not listed.

    Signals
    -------
    chosen
        Name of the region whose row was clicked.
    """

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._columns = {True: CHANGE, False: _variance()}
        self.shares = TableModel(CHANGE, tooltip="tip", parent=self)
        self.view = QTableView()
        self.view.setToolTip("Click a row to outline its structure, a title to sort by it.")
        self.view.setModel(self.shares)
        self.view.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.view.setWordWrap(True)
        self.view.verticalHeader().hide()
        header = self.view.horizontalHeader()
        header.setSortIndicator(-1, Qt.SortOrder.DescendingOrder)
        self.view.setSortingEnabled(True)
        self.view.setMinimumHeight(120)
        self.which = QComboBox(toolTip="Regions that are listed.")
        self.which.addItems([CHOSEN, EVERY])
        self.rest = QLabel(wordWrap=True)
        self.rest.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        head = QHBoxLayout()
        head.addWidget(QLabel("Share of the field in"))
        head.addWidget(self.which, 1)
        layout.addLayout(head)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.rest)
        self.view.clicked.connect(self._clicked)
        self._lay_out()

    @property
    def every(self) -> bool:
        """Whether every structure is to be listed, and not the chosen regions."""
        return bool(self.which.currentText() == EVERY)

    def fill(self, shares: Shares | None, *, signed: bool = True) -> None:
        """Show the shares of one factor's change or variance, in the order chosen; or nothing."""
        columns = self._columns[signed]
        others = columns != self.shares.columns
        listed = None
        if shares is not None:
            names = shares.listed["structure"]
            listed = shares.listed.assign(structure=names.index + ": " + names, tip=names)
        self.shares.show_table(listed, columns)
        header = self.view.horizontalHeader()
        if others:
            header.setSortIndicator(-1, Qt.SortOrder.DescendingOrder)
            self._lay_out()
        self.shares.sort(header.sortIndicatorSection(), header.sortIndicatorOrder())
        self._fit_rows()
        self.rest.setText("" if shares is None else _rest(shares, columns))

    def _lay_out(self) -> None:
        """Give the numbers what they need, and the names the rest, but never less than a word."""
        header, metrics = self.view.horizontalHeader(), self.view.fontMetrics()
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        for i, column in enumerate(self.shares.columns[1:], start=1):
            title = metrics.horizontalAdvance(column.title) + (22 if column.icon else 0)
            header.resizeSection(i, max(title, metrics.horizontalAdvance("-100.0")) + 12)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def resizeEvent(self, event: Any) -> None:
        """Give the names as many lines as they need in this width."""
        super().resizeEvent(event)
        self._fit_rows()

    def _fit_rows(self) -> None:
        """Show names whole; hundreds of them, whose measuring would take long, in three lines."""
        if self.shares.rowCount() <= MEASURED:
            self.view.resizeRowsToContents()
        else:
            rows = self.view.verticalHeader()
            rows.setDefaultSectionSize(3 * self.view.fontMetrics().lineSpacing() + 4)

    def _clicked(self, index: QModelIndex) -> None:
        self.chosen.emit(str(self.shares.headerData(index.row(), Qt.Orientation.Vertical)))


def _variance() -> list[Column]:
    """Columns of a variance, with the colours of its parts; icons need a running application."""
    parts = [
        Column(
            part,
            title,
            PERCENT,
            tooltip=f"Percent of the variance for {part} moves.",
            icon=swatch((255 * r, 255 * g, 255 * b)),
        )
        for part, title, (r, g, b) in zip(
            PARTS, ("c>0", "c<0", "large"), HUES.values(), strict=True
        )
    ]
    return [STRUCTURE, *parts, AREA]


def _rest(shares: Shares, columns: list[Column]) -> str:
    """Say what the listed regions leave out."""
    if shares.rest is None:
        return "These are all of the section's tissue."
    *numbers, area = (
        f"{column.title} {column.form.format(shares.rest[column.name])} %" for column in columns[1:]
    )
    return f"Elsewhere, in the other tissue: {', '.join(numbers)} ({area})."
