"""Two models side by side on paper: tables, and the heat map of their factors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.data.population import Population
from napari_brainvae.factors.model_match import ModelMatch
from napari_brainvae.factors.replication import EXPLAINED, MARK, factor_names, replicated_of
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.models.base import Model
from napari_brainvae.reporting.export import results_folder
from napari_brainvae.reporting.paper_figures import MATPLOTLIB, save_figure
from napari_brainvae.reporting.provenance import provenance
from napari_brainvae.reporting.section_axes import PAGE, PAGE_HEIGHT
from napari_brainvae.statistics.two_models import TwoModels

# What draws is imported where it draws.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAIR = ("black", 2.2), ("white", 0.9)
"""Lines of the frame around factors that go together: one within the other, seen on any colour."""


def write_match(
    folder: Path,
    found: TwoModels,
    a: Model,
    b: Model,
    population: Population,
    *,
    overwrite: bool = False,
) -> None:
    """Write match.csv, changed_brains.csv, match.png, match.svg and record.json.

    Raises
    ------
    InputError
        If the folder holds results of something else.
    """
    about = provenance(
        {},
        population,
        {"A": a, "B": b},
        measured=found.positions,
        incomparable=found.incomparable,
    )
    with results_folder(folder, about, overwrite=overwrite) as beside:
        _write(found.match.table(), beside / "match.csv")
        _write(found.brains.drop(columns="position"), beside / "changed_brains.csv")
        with MATPLOTLIB:
            save_figure(
                match_heatmap(found.match, a, b, count=len(found.positions)),
                beside / "match",
                about,
            )


def _write(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as beside:
        table.to_csv(beside, index=False)


def match_heatmap(
    match: ModelMatch,
    a: Model,
    b: Model,
    *,
    parts: Sequence[str] = ("codes", "fields"),
    count: int | None = None,
) -> Figure:
    """Draw how each factor of A (rows) goes with each of B (columns); pairs are framed.

    Parameters
    ----------
    parts
        What is drawn, beside each other: correlations of the "codes", cosines of the "fields", as
        far as these are known.
    count
        Of how many brains the codes are.
    """
    from matplotlib.figure import Figure

    matrices = {
        "codes": (match.correlations, "correlation of codes"),
        "fields": (match.cosines, "cosine of fields"),
    }
    shown = [matrices[part] for part in parts if np.isfinite(matrices[part][0]).all()]
    rows, columns = match.correlations.shape
    # Beneath each other where a page is too narrow for both.
    down, across = (len(shown), 1) if columns > 10 else (1, len(shown))
    cell = min(0.4, (PAGE_HEIGHT - 1.5 - 0.7 * down) / (rows * down))
    size = min(PAGE, (1.6 + 0.45 * columns) * across), 1.3 + (0.7 + cell * rows) * down
    figure = Figure(figsize=size, layout="constrained")
    names = [factor_names(model.latent_dim, replicated_of(model.header)) for model in (a, b)]
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, (matrix, title) in zip(panels, shown, strict=True):
        _draw(axes, matrix, names)
        axes.set_title(title, fontsize=9)
    of = "" if count is None else f"; {count} brains"
    figure.suptitle(f"A: {a.summary}\nB: {b.summary}{of}", fontsize=9)
    image = axes.images[0]
    bar = figure.colorbar(image, ax=figure.axes, location="bottom", shrink=0.7, aspect=30)
    said = "framed: the best pairs of all"
    bar.set_label(f"{said}; {EXPLAINED}" if MARK in str(names) else said, fontsize=8)
    bar.set_ticks([-1, -0.5, 0, 0.5, 1])
    bar.ax.tick_params(labelsize=7)
    return figure


def _draw(axes: Axes, matrix: npt.NDArray[np.float64], names: list[list[str]]) -> None:
    from matplotlib.patches import Rectangle

    from napari_brainvae.factors.stability import best_pairs

    axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="none")
    for names_of, put in zip(names, (axes.set_yticks, axes.set_xticks), strict=True):
        put(range(len(names_of)), names_of, fontsize=8 if len(names_of) <= 10 else 6)
    axes.tick_params(length=0)
    axes.set_ylabel("factors of A", fontsize=8)
    axes.set_xlabel("factors of B", fontsize=8)
    for (row, column), value in np.ndenumerate(matrix):
        text = f"{value:+.2f}".replace("0.", ".", 1)
        color = "white" if abs(value) > 0.6 else "black"
        axes.text(column, row, text, fontsize=6, color=color, ha="center", va="center")
    for row, column in zip(*best_pairs(np.abs(matrix)), strict=True):
        corner = (column - 0.46, row - 0.46)
        for color, width in PAIR:
            frame = Rectangle(corner, 0.92, 0.92, fill=False, edgecolor=color, linewidth=width)
            axes.add_patch(frame)
