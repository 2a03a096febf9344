"""What the colours of pictures mean, in words."""

from __future__ import annotations

from napari_brainvae.factors.field_colours import BRIGHTER, DARKER, Color, mixed_hues
from napari_brainvae.reporting import thumbnails

SHORT = ("c&gt;0", "c&lt;0", "large")
"""The parts of the range of c, as the table's columns call them."""


def sign_legend() -> str:
    """Legend of a signed change, whatever it is of."""
    brighter, darker = _swatch(BRIGHTER), _swatch(DARKER)
    return f"{brighter}&nbsp;brighter &nbsp; {darker}&nbsp;darker"


def residual_legend() -> str:
    """Legend of what a model leaves of a section."""
    brighter, darker = _swatch(thumbnails.BRIGHTER), _swatch(thumbnails.DARKER)
    return f"{brighter}&nbsp;brighter than the model has it, {darker}&nbsp;darker"


def change_legend(percent: float | None = None) -> str:
    """Legend of a signed change whose colour is full at so many percent of the mean brightness."""
    full = "" if percent is None else f"; full colour: {percent:.2g} % of the mean brightness"
    return f"Per SD: {sign_legend()}{full}"


def variance_legend(limit: float) -> str:
    """Legend of the paper's map for moves up to ``limit``, mixed colours included."""
    half = limit / 2
    names = (f"0 &lt; c ≤ {half:g}", f"−{half:g} ≤ c &lt; 0", f"|c| &gt; {half:g}")
    said = []
    for varies, color in mixed_hues():
        if sum(varies) == 1:
            text = names[varies.index(True)]
        elif all(varies):
            text = "all three"
        else:
            text = " + ".join(word for word, varying in zip(SHORT, varies, strict=True) if varying)
        said.append(f"<td>{_swatch(color, 'black')} {text} &nbsp;</td>")
    # The three that are pure on the left, the mixed ones on the right.
    rows = ("".join(said[i] for i in row) for row in ((0, 3), (1, 4), (2, 5), (6,)))
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"Each pixel varies for<table>{table}</table>"


def _swatch(color: Color, ground: str = "#555") -> str:
    """Give a square of a colour, on a ground on which all of them stand out in either theme."""
    rgb = tuple(round(255 * each) for each in color)
    return f"<span style='color:rgb{rgb}; background-color:{ground}'>&nbsp;■&nbsp;</span>"
