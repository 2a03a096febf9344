"""The map of brains on paper: one plane of it, or all pairs of factors as small multiples."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from napari_brainvae.denoising.brain_table import factors_of, with_covariates
from napari_brainvae.reporting.export import write_table
from napari_brainvae.reporting.paper_figures import MATPLOTLIB, save_figure
from napari_brainvae.reporting.provenance import Provenance
from napari_brainvae.reporting.section_axes import PAGE
from napari_brainvae.statistics.brain_map import (
    PALETTE,
    SHARE,
    Colouring,
    colour_brains,
    covariance_ellipse,
    hollow_and_crossed,
    shades_of_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAIRED = 12
"""Factors, at most, of which all pairs are drawn."""

UNIT = "SD of the prior"
"""Of codes."""

TITLES = {
    "deviation": "deviation, spreads",
    "squared_error": "squared error",
    "kl_divergence": "KL divergence, nats",
    "unusual": "outlier",
    "robust": "codes by robust inference",
}
"""What columns of the table of brains are called on axes."""


class MapOptions(BaseModel):
    """What a map of brains shows: names of columns, and whether groups are outlined."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    x: str
    y: str
    colour: str = ""
    ellipses: bool = True


def plane_figure(
    table: pd.DataFrame, options: MapOptions, *, selected: Collection[int] = (), model: str = ""
) -> Figure:
    """Draw the brains in one plane; those selected have a ring.

    Parameters
    ----------
    table
        N rows, from `brain_table` with the covariates.
    selected
        Positions of rows.
    model
        Its name, for the title.
    """
    figure = _figure(5.2, 5.0)
    axes = figure.subplots()
    colouring = colour_brains(table, options.colour)
    _draw_plane(axes, table, options.x, options.y, colouring, ellipses=options.ellipses)
    if selected:
        chosen = table.iloc[sorted(selected)]
        axes.plot(chosen[options.x], chosen[options.y], "o", ms=8, mfc="none", mec="black", mew=0.8)
    axes.set_xlabel(_axis(table, options.x))
    axes.set_ylabel(_axis(table, options.y))
    marked = f", {len(selected)} selected (ringed)" * bool(selected)
    axes.set_title(_titled(len(table), model) + marked, fontsize=9)
    _legend(figure, [axes], table, colouring, ellipses=options.ellipses)
    return figure


def pairs_figure(table: pd.DataFrame, by: str = "", *, model: str = "") -> Figure:
    """Draw the brains in the planes of all pairs of factors, of `PAIRED` factors at most.

    Parameters
    ----------
    table
        N rows, from `brain_table` with the covariates.
    by
        Column that colours them; empty for one colour.
    model
        Its name, for the title.
    """
    names = [str(name) for name in factors_of(table)][:PAIRED]
    size = max(len(names) - 1, 1)
    cell = min(1.25, (PAGE - 0.7) / size)
    figure = _figure(max(0.7 + cell * size, 4.6), 1.4 + cell * size)
    if len(names) < 2:  # one factor has no pair: it is drawn against its own order
        grid = np.array([[figure.subplots()]])
        pairs = [(names[0], names[0])]
    else:
        grid = figure.subplots(size, size, sharex="col", sharey="row", squeeze=False)
        pairs = [*combinations(names, 2)]
    colouring = colour_brains(table, by)
    for axes in grid[np.triu_indices(size, 1)]:
        axes.set_axis_off()
    for x, y in pairs:
        column, row = names.index(x), max(names.index(y) - 1, 0)
        axes = grid[row, column]
        _draw_plane(axes, table, x, y, colouring, ellipses=True, size=2.0)
        axes.tick_params(labelsize=6, length=2)
        axes.locator_params(nbins=3 if cell > 0.7 else 2, steps=[1, 2, 5, 10])
        axes.set_xlabel(x if row == size - 1 else "", fontsize=8)
        axes.set_ylabel(y if column == 0 else "", fontsize=8)
    figure.suptitle(f"{_titled(len(table), model)}; codes, {UNIT}", fontsize=9)
    _legend(figure, grid.ravel().tolist(), table, colouring, ellipses=True)
    return figure


def best_covariate(associations: pd.DataFrame) -> str:
    """Name the covariate that goes with a factor most certainly (q); empty if none was tested.

    Parameters
    ----------
    associations
        From `statistics.association.associate`.
    """
    if not len(associations):
        return ""
    return str(associations.sort_values("q", kind="stable")["covariate"].iloc[0])


def export_brain_pairs(
    folder: Path,
    brains: pd.DataFrame,
    covariates: pd.DataFrame,
    about: Provenance,
    by: str = "",
) -> None:
    """Write brains.png and brains.svg: all pairs of factors.

    Parameters
    ----------
    brains
        From `brain_table`, by the first model that ``about`` describes.
    covariates
        What is known of the same brains, in their order, with ``flagged``.
    by
        Covariate that colours them; empty for one colour.
    """
    table = with_covariates(brains, covariates)
    by = f"covariate_{by}" if by in brains else by
    draw = partial(pairs_figure, table, by, model=_model(about))
    with MATPLOTLIB:
        save_figure(draw(), folder / "brains", about)


def export_brain_map(
    folder: Path,
    table: pd.DataFrame,
    options: MapOptions,
    selected: Collection[int],
    about: Provenance,
) -> None:
    """Write brain_map.csv, .png and .svg, as shown, selected_brains.csv if any are, and all pairs.

    Parameters
    ----------
    table
        From `brain_table`, with the covariates.
    selected
        Positions of rows.
    about
        From `provenance`.
    """
    columns = dict.fromkeys([options.x, options.y, options.colour, "unusual", "flagged"])
    shown = table[[name for name in columns if name in table]].copy()
    shown["selected"] = np.isin(np.arange(len(table)), list(selected))
    shown = shown.reset_index()
    write_table(shown, folder / "brain_map.csv", about)
    if selected:
        write_table(shown[shown["selected"]], folder / "selected_brains.csv", about)
    model = _model(about)
    with MATPLOTLIB:
        plane = plane_figure(table, options, selected=selected, model=model)
        save_figure(plane, folder / "brain_map", about)
        save_figure(pairs_figure(table, options.colour, model=model), folder / "brains", about)


def _draw_plane(
    axes: Axes,
    table: pd.DataFrame,
    x: str,
    y: str,
    colouring: Colouring,
    *,
    ellipses: bool,
    size: float = 4.0,
) -> None:
    """Draw points, the flagged ones hollow and outliers crossed, and where groups lie."""
    from matplotlib.markers import MarkerStyle

    hollow, crossed = hollow_and_crossed(table)
    points = table[[x, y]].to_numpy(np.float64)
    colours = colouring.colours / 255
    plain, area = ~hollow & ~crossed, size**2
    x_of, y_of = points.T
    edges: Any = colours[hollow]
    axes.scatter(x_of[plain], y_of[plain], area, colours[plain], linewidths=0)
    # Thin enough that a ring has a hole and a cross has arms.
    line: dict[str, Any] = {"linewidths": 0.2 * size}
    axes.scatter(x_of[hollow], y_of[hollow], area, facecolors="none", edgecolors=edges, **line)
    cross = MarkerStyle("x")
    axes.scatter(x_of[crossed], y_of[crossed], 1.5 * area, colours[crossed], marker=cross, **line)
    if ellipses:
        for group in colouring.groups:
            ellipse = covariance_ellipse(points[group.members & ~hollow])
            if ellipse is not None:
                axes.plot(*ellipse.outline().T, color=group.colour, linewidth=0.25 * size)
                edge: dict[str, Any] = {"mec": "black", "mew": 0.1 * size}
                axes.plot(*ellipse.mean, "D", color=group.colour, ms=1.2 * size, **edge)


def _legend(
    figure: Figure,
    panels: list[Axes],
    table: pd.DataFrame,
    colouring: Colouring,
    *,
    ellipses: bool,
) -> None:
    """Say what colours, marks and lines mean, beneath."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.lines import Line2D

    hollow, crossed = hollow_and_crossed(table)
    dot: dict[str, Any] = {"linestyle": "", "markersize": 5}
    entries = [
        Line2D([], [], marker="o", color=g.colour, label=f"{g.name} ({g.members.sum()})", **dot)
        for g in colouring.groups
    ]
    colour = "0.4" if colouring.title else PALETTE[1]
    if hollow.any():
        label = f"flagged ({hollow.sum()})"
        entries.append(Line2D([], [], marker="o", mfc="none", mec=colour, label=label, **dot))
    if crossed.any():
        label = f"outlier ({crossed.sum()})"
        entries.append(Line2D([], [], marker="x", color=colour, label=label, **dot))
    if ellipses and colouring.groups:
        label = f"mean and {SHARE:.0%} of a normal distribution, flagged left out"
        entries.append(Line2D([], [], marker="D", color="0.4", linewidth=1, ms=4, label=label))
    if colouring.limits is not None:
        scale = ScalarMappable(
            Normalize(*colouring.limits), ListedColormap(shades_of_numbers() / 255)
        )
        bar = figure.colorbar(scale, ax=panels, location="right", shrink=0.7, aspect=30)
        bar.set_label(TITLES.get(colouring.title, colouring.title), fontsize=8)
    if entries:
        title = TITLES.get(colouring.title, colouring.title) if colouring.groups else None
        figure.legend(
            handles=entries,
            title=title,
            title_fontsize=8,
            loc="outside lower center",
            ncols=3 if figure.get_figwidth() > 6 else 2,
            fontsize=7,
            frameon=False,
        )


def _axis(table: pd.DataFrame, name: str) -> str:
    return f"{name}, {UNIT}" if name in factors_of(table) else TITLES.get(name, name)


def _titled(count: int, model: str) -> str:
    return f"{count} brains" + f", {model}" * bool(model)


def _model(about: Provenance) -> str:
    return str(next(iter(about.get("models", {})), ""))


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
