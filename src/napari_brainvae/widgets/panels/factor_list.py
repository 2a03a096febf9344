"""The list of a model's factors in the widget "Factors", a sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListView, QListWidget, QListWidgetItem

from napari_brainvae.factors.description import FactorDescription
from napari_brainvae.factors.replication import factor_names, replicated_of
from napari_brainvae.models.base import Model


class FactorList(QListWidget):
    """What is said of each factor, in whole sentences; those that do not replicate are in italics.

    Signals
    -------
    chosen
        Index of the factor that was clicked, from 0.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__(wordWrap=True)
        self.setToolTip("Click a factor to show what it does.")
        self.setTextElideMode(Qt.TextElideMode.ElideNone)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        # No spacing: Qt takes it off the width when it paints, not when it counts the lines.
        self.currentRowChanged.connect(self._emit)

    def fill(self, described: Sequence[FactorDescription]) -> None:
        """Say other sentences, none of them chosen."""
        self.clear()
        for each in described:
            item = QListWidgetItem(each.sentence)
            if each.replicated is False:  # None: nobody looked
                font = item.font()
                font.setItalic(True)
                item.setFont(font)
                item.setToolTip("<p>It did not come again in other brains.</p>")
            self.addItem(item)

    def _emit(self, row: int) -> None:
        if row >= 0:
            self.chosen.emit(row)


def factor_choices(model: Model) -> list[str]:
    """Name every factor, with its KL divergence and the mark of those that do not replicate."""
    names = factor_names(model.latent_dim, replicated_of(model.header))
    reference = model.header.reference
    if reference is None:
        return names
    each = zip(names, reference.kl_per_factor, strict=True)
    return [f"{name} (KL {kl:.2f} nats)" for name, kl in each]
