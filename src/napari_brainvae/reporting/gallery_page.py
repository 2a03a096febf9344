"""A page of thumbnails with names, measures and marks, as a figure and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.reporting.paper_figures import save_figure
from napari_brainvae.reporting.provenance import Provenance
from napari_brainvae.reporting.section_axes import PAGE, frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 5
LINES = {"accept": "solid", "exclude": "solid", "unsure": "dashed"}
FRAMES = {"accept": "#2b8a3e", "exclude": "#c92a2a", "unsure": "#b7791f"}
LEGEND = "Orange: brighter than the model has it; blue: darker."


def gallery_page(
    pictures: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str],
    marks: Sequence[str],
    *,
    note: str = "",
    pixel_size_um: float | None = None,
    plane: int | None = None,
) -> Figure:
    """Draw thumbnails ``(h, w, 3)`` in rows, each with its caption and its mark.

    Parameters
    ----------
    note
        Below all of them.
    pixel_size_um, plane
        Side of a thumbnail's pixel, and of which plane the sections are, as far as known.
    """
    from matplotlib.figure import Figure

    across = min(COLUMNS, max(len(pictures), 1))
    rows = math.ceil(len(pictures) / across)
    high, wide = pictures[0].shape[:2] if pictures else (1, 1)
    each = PAGE / COLUMNS
    figure = Figure(figsize=(each * across, (each * high / wide + 0.42) * rows + 0.3))
    figure.set_layout_engine("constrained")
    grid = np.atleast_1d(figure.subplots(rows or 1, across)).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, picture, caption, mark in zip(grid, pictures, captions, marks, strict=False):
        axes.imshow(picture, interpolation="nearest")
        frame(axes, picture.shape[:2], pixel_size_um, plane)
        said = f"{caption}, {mark}" if mark else caption
        axes.set_title(said, fontsize=6, pad=3, fontweight="bold" if mark else None)
        if mark:
            axes.set_axis_on()
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set(color=FRAMES[mark], linewidth=2, linestyle=LINES[mark])
    figure.supxlabel(note, fontsize=7)
    return figure


def export_gallery(
    folder: Path,
    pictures: Sequence[npt.NDArray[np.uint8]],
    table: pd.DataFrame,
    about: Provenance,
    *,
    pixel_size_um: float | None = None,
    plane: int | None = None,
) -> None:
    """Write gallery.png, gallery.svg and gallery.csv.

    Parameters
    ----------
    table
        A row a picture: id, caption, mark, and what was measured.
    pixel_size_um, plane
        As in `gallery_page`.
    """
    captions, marks = (table[name].tolist() for name in ("caption", "mark"))
    models = ", ".join(about.get("models", {}))
    count = f"{len(table)} brain{'s' * (len(table) != 1)}"
    note = f"{count}; {models}. {LEGEND}" if models else f"{count}."
    where: dict[str, Any] = {"pixel_size_um": pixel_size_um, "plane": plane}
    save_figure(gallery_page(pictures, captions, marks, note=note, **where), folder / "gallery",
                about)  # fmt: skip
    with replacing(folder / "gallery.csv") as beside:
        table.drop(columns="caption").to_csv(beside, index=False)
