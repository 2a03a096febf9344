"""What the colours and marks of the map of brains mean."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QSizePolicy

from napari_brainvae.reporting.brain_map import TITLES
from napari_brainvae.statistics.brain_map import Colouring, shades_of_numbers
from napari_brainvae.widgets.panels.brain_planes import Look

SPACE = " &nbsp; "


class MapLegend(QLabel):
    """Names groups, with their colours; a click on one selects its brains.

    Signals
    -------
    chosen
        Positions of the brains of a group.
    """

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__(wordWrap=True, textFormat=Qt.TextFormat.RichText)
        self.setToolTip("<p>Click a group to select its brains.</p>")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._colouring: Colouring | None = None
        self._look: Look | None = None
        self.linkActivated.connect(self._choose)

    def tell(self, colouring: Colouring | None, look: Look | None) -> None:
        """Say what is shown; nothing without."""
        self._colouring, self._look = colouring, look
        self.setText("" if colouring is None or look is None else self._said(colouring, look))

    def _said(self, colouring: Colouring, look: Look) -> str:
        colour = self.palette().text().color().name()
        parts = [
            f"<a href='{number}' style='text-decoration: none; color: {colour}'>"
            f"<span style='color: {group.colour}'>■</span>&nbsp;{escape(group.name)}&nbsp;"
            f"({group.members.sum()})</a>"
            for number, group in enumerate(colouring.groups)
        ]
        if colouring.limits is not None:
            low, high = colouring.limits
            shades = shades_of_numbers()[::4].tolist()
            bar = "".join(f"<span style='color: rgb({r}, {g}, {b})'>█</span>" for r, g, b in shades)
            parts.append(f"{low:.4g} {bar} {high:.4g}")
        if parts:
            title = TITLES.get(colouring.title, colouring.title)
            parts[0] = f"<b>{escape(title)}</b>{SPACE}{parts[0]}"
        marks = (("○", "flagged", look.hollow), ("✕", "outlier", look.crossed))
        parts += [f"{mark}&nbsp;{what}&nbsp;({of.sum()})" for mark, what, of in marks if of.any()]
        return SPACE.join(parts)

    def _choose(self, number: str) -> None:
        if self._colouring is not None:
            self.chosen.emit(self._colouring.groups[int(number)].members.nonzero()[0])
