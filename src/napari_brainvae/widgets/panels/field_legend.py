"""What the colours of a factor's pictures mean, in words."""

from __future__ import annotations

from napari_brainvae.factors.field_colours import BRIGHTER, DARKER, Color, mixed_hues


def change_legend(percent: float | None = None) -> str:
    """Legend of a signed change whose colour is full at so many percent of the mean brightness."""
    brighter, darker = _swatch(BRIGHTER, "#555"), _swatch(DARKER, "#555")
    full = "" if percent is None else f"; full colour: {percent:.2g} % of the mean brightness"
    return f"Per SD: {brighter} brighter &nbsp; {darker} darker{full}"


def variance_legend(limit: float) -> str:
    """Legend of the paper's map for moves up to ``limit``, mixed colours included."""
    half = limit / 2
    parts = (f"0 &lt; c ≤ {half:g}", f"−{half:g} ≤ c &lt; 0", f"|c| &gt; {half:g}")
    said = []
    for varies, color in mixed_hues():
        ranges = [part for part, varying in zip(parts, varies, strict=True) if varying]
        text = "all three" if len(ranges) == len(parts) else " and ".join(ranges)
        said.append(f"{_swatch(color, 'black')} {text}")
    return "Each pixel varies with c in<br>" + "<br>".join(
        " &nbsp; ".join(said[i:j]) for i, j in ((0, 3), (3, 5), (5, 7))
    )


def _swatch(color: Color, ground: str) -> str:
    rgb = tuple(round(255 * each) for each in color)
    return f"<span style='color:rgb{rgb}; background-color:{ground}'>&nbsp;■&nbsp;</span>"
