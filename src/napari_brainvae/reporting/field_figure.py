"""Where every factor acts, as the paper shows it: projective fields with their legend (Fig. 3A)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.factors.field_options import LIMIT
from napari_brainvae.factors.projective_field import HUES, compose_rgb
from napari_brainvae.factors.replication import EXPLAINED, MARK, factor_names
from napari_brainvae.reporting.section_axes import (
    PAGE,
    PAGE_HEIGHT,
    Outlines,
    draw_outlines,
    frame,
    show,
)

# What draws is imported where it draws: windows open without figures, and sooner.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEAKEST = 1e-3
"""A factor whose variance stays below this share of the strongest factor's is drawn black."""

LINEAR = (
    "variance of a pixel as the factor moves by c; brightness linear, full at each map's most, of "
    "which the square root is given (SD; sections go from 0 to 1)"
)
MIXED = "mixed as inks: cyan + magenta = blue, cyan + yellow = green, magenta + yellow = red"


def projective_fields(
    maps: npt.NDArray[Any],
    *,
    factors: Sequence[int] | None = None,
    outlines: Outlines | None = None,
    limit: float = LIMIT,
    pixel_size_um: float | None = None,
    plane: int | None = None,
    model: str = "",
    replicated: npt.ArrayLike | None = None,
) -> Figure:
    """Draw where each factor acts (Fig. 3A), each in its own brightness, with the legend.

    Parameters
    ----------
    maps
        ``(F, 3, H, W)`` from `factors.projective_field`.
    factors
        Indices of the F factors, from 0.
    outlines
        Of structures, from `section_axes.structure_outlines`, to draw over the fields.
    limit
        Range of c that the maps were made with.
    pixel_size_um, plane
        What is known of the section.
    model, replicated
        As in `paper_figures.impact_heatmap`; of all L factors.
    """
    from matplotlib.figure import Figure

    numbers = list(range(len(maps)) if factors is None else factors)
    columns, rows, wide, tall = _tiling(len(maps), maps.shape[2] / maps.shape[3])
    across = 3 if columns > 2 else 1  # entries of the legend side by side
    peak = maps.max(axis=(2, 3))
    full = np.maximum(peak, WEAKEST * peak.max(axis=0))
    names = factor_names(max(numbers) + 1, None if replicated is None else replicated)
    lines = [", ".join(["Projective fields", *([model] if model else [])]), LINEAR, MIXED]
    lines += [EXPLAINED] * any(MARK in name for name in names)
    text = "\n".join(textwrap.fill(line, int(16 * max(wide, 2.6))) for line in lines)
    beside = 0.14 * text.count("\n") + 0.4 + 0.6 / across
    figure = Figure(figsize=(max(wide, 2.6), tall + beside), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, factor, field, scale in zip(panels, numbers, maps, full, strict=False):
        show(axes, compose_rgb(field, scale))
        draw_outlines(axes, outlines or [], "0.55", 0.25)
        deviation = np.sqrt(field[:2].max())
        axes.set_title(f"{names[factor]}   SD ≤ {deviation:.2g}", fontsize=8)
        frame(axes, maps.shape[2:], pixel_size_um, plane)
    for axes in panels[len(maps) :]:
        axes.set_axis_off()
    _legend(figure, limit, across)
    figure.suptitle(text, fontsize=7)
    return figure


def _tiling(count: int, aspect: float) -> tuple[int, int, float, float]:
    """Columns and rows of sections, and the inches that they take; all of them on one page."""
    columns = min(4, count)
    while True:
        rows = -(-count // columns)
        each = min(2.6, PAGE / columns)
        tall = rows * (each * aspect + 0.3)
        if tall <= PAGE_HEIGHT - 1.3 or columns == count:
            return columns, rows, each * columns, tall
        columns += 1


def _legend(figure: Figure, limit: float, across: int) -> None:
    from matplotlib.patches import Patch

    parts = (f"0 < c ≤ {limit / 2:g}", f"-{limit / 2:g} ≤ c < 0", f"|c| > {limit / 2:g}")
    handles = [
        Patch(facecolor=hue, edgecolor="0.5", label=f"variance for {part}")
        for hue, part in zip(HUES.values(), parts, strict=True)
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=across, fontsize=8, frameon=False
    )
