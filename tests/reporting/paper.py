"""What a journal asks of a figure, whatever it shows."""

from __future__ import annotations

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

WIDEST, HIGHEST = 7.1, 9.7
"""Inches: 180 mm, a page's two columns, and its height with a caption beneath."""

SMALLEST = 6
"""Points, as printed."""


def assert_fit_for_paper(figure: Figure) -> None:
    """At its own size it fits a page, and each text can be read, is whole and stands alone."""
    size = figure.get_figwidth(), figure.get_figheight()
    assert size[0] <= WIDEST + 1e-6 and size[1] <= HIGHEST + 1e-6, size
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = _texts(figure)
    boxes = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in texts]
    whole = figure.bbox.padded(1)
    small = {t.get_text(): t.get_fontsize() for t in texts if t.get_fontsize() < SMALLEST}
    cut = [said for said, box in boxes if whole.count_contains(box.corners()) != 4]
    over = [
        (one, other)
        for (one, a), (other, b) in combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1.5
    ]
    over += [
        (text.get_text(), "a section")
        for text, (_, box) in zip(texts, boxes, strict=True)
        for axes in figure.axes
        if axes.images and text.axes is not axes and box.overlaps(axes.bbox.padded(-1))
    ]
    assert (small, cut, over) == ({}, [], []), (small, cut, over)


def _texts(figure: Figure) -> list[Text]:
    """Give what is drawn: neither of axes without a frame, nor of ticks out of sight."""
    unseen: set[Text] = set()
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            hidden = [t for t in ticks if not axes.axison or not low <= t.get_loc() <= high]
            unseen |= {label for tick in hidden for label in (tick.label1, tick.label2)}
            if not axes.axison:
                unseen.add(axis.label)
    every = figure.findobj(Text)
    return [t for t in every if t.get_visible() and t.get_text().strip() and t not in unseen]
