"""The table of a field's share in each region."""

from __future__ import annotations

from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtWidgets import QHeaderView, QLabel, QSizePolicy, QTableView, QVBoxLayout, QWidget

from napari_brainvae.factors.field_refinement import Shares
from napari_brainvae.factors.projective_field import HUES, PARTS
from napari_brainvae.widgets.panels.structure_tree import swatch
from napari_brainvae.widgets.panels.table_model import Column, TableModel

PERCENT = "{:.1f} %"
STRUCTURE = Column("structure", "structure", tooltip="Click a row to outline its structure.")
AREA = Column("area", "area", PERCENT, tooltip="Of the section's tissue.")

CHANGE = [
    STRUCTURE,
    Column("share", "share", PERCENT, tooltip="Of the summed change, whatever its sign."),
    Column(
        "mean", "change", "{:+.1f} %", tooltip="Mean change per SD, of the tissue's brightness."
    ),
    AREA,
]
VARIANCE = [
    STRUCTURE,
    *(
        Column(
            part,
            title,
            PERCENT,
            tooltip=f"Of the variance for {part} moves.",
            icon=swatch((255 * r, 255 * g, 255 * b)),
        )
        for part, title, (r, g, b) in zip(
            PARTS, ("c>0", "c<0", "large"), HUES.values(), strict=True
        )
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
        self.shares = TableModel(CHANGE, tooltip="tip", parent=self)
        self.view = QTableView()
        self.view.setModel(self.shares)
        self.view.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.view.setWordWrap(True)
        self.view.verticalHeader().hide()
        self.view.verticalHeader().setDefaultSectionSize(
            2 * self.view.fontMetrics().lineSpacing() + 4
        )
        header = self.view.horizontalHeader()
        header.setSortIndicator(-1, Qt.SortOrder.DescendingOrder)
        self.view.setSortingEnabled(True)
        self.view.setMinimumHeight(120)
        self.rest = QLabel(wordWrap=True)
        self.rest.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.rest)
        self.view.clicked.connect(self._clicked)
        self._lay_out()

    def fill(self, shares: Shares | None, columns: list[Column] = CHANGE) -> None:
        """Show the shares of one factor, in the order chosen; nothing without."""
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
        self.rest.setText("" if shares is None else _rest(shares, columns))

    def _lay_out(self) -> None:
        """Give the names what the numbers leave."""
        header = self.view.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def _clicked(self, index: QModelIndex) -> None:
        self.chosen.emit(str(self.shares.headerData(index.row(), Qt.Orientation.Vertical)))


def _rest(shares: Shares, columns: list[Column]) -> str:
    """Say what the listed regions leave out."""
    if shares.rest is None:
        return "These are all of the section's tissue."
    *numbers, area = (
        f"{column.title} {column.form.format(shares.rest[column.name])}" for column in columns[1:]
    )
    return f"Elsewhere, in the other tissue: {', '.join(numbers)} ({area})."
