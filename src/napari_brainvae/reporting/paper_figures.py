"""The panels of the paper's Fig. 3 as matplotlib figures, for the windows and for the commands.

Every function returns a `Figure` of its own; none touches pyplot, so that any thread may draw that
holds `MATPLOTLIB`.
"""

from __future__ import annotations

import json
import re
import textwrap
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.factors.impact import Impact
from napari_brainvae.factors.perturbation import Direction
from napari_brainvae.factors.replication import EXPLAINED, MARK, factor_names
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.reporting.section_axes import PAGE
from napari_brainvae.statistics.brain_map import PALETTE

# What draws is imported where it draws: windows open without figures, and sooner.
if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIVERGENCES: dict[Direction, str] = {
    "forward": "KL(low || high)",
    "backward": "KL(high || low)",
    "symmetric": "symmetric KL",
}
SCORES = {
    "paper": "s = Tr A / Σ off-diagonal\n(paper): more is better,\nbelow 0 it says nothing",
    "trace_over_absolute": "Tr A / Σ |off-diagonal|:\nmore is better",
    "log_correlation": "the same of correlations\nof log(1 + impact):\nmore is better",
}
DPI = 300
"""Of what is written as pixels."""
LONGEST_LINE = 200
"""Characters of a line of text in a figure."""
LOW, HIGH = "#2b5c8a", "#d9820f"
MATPLOTLIB = threading.Lock()
"""Its text layout is not made for several threads: hold this while drawing."""


def impact_heatmap(
    impact: Impact, *, model: str = "", replicated: npt.ArrayLike | None = None
) -> Figure:
    """Draw the impact of each region on each factor (Fig. 3B): blue is low, yellow is high.

    Parameters
    ----------
    model
        Its name, for the title.
    replicated
        ``(L,)`` bool, which factors come again in other brains; None if nobody looked.
    """
    from matplotlib.colors import FuncNorm

    matrix = impact.matrix()
    regions, factors = matrix.shape
    figure = _figure(max(2.6 + 0.62 * factors, 4.6), 1.7 + 0.45 * regions)
    axes = figure.subplots()
    # Impacts span orders of magnitude; log(1 + x) shows the weak ones and keeps zero at zero.
    largest = max(float(matrix.max()), 1e-6)
    scale = FuncNorm((np.log1p, np.expm1), vmin=0, vmax=largest)
    image = axes.imshow(matrix, cmap="viridis", norm=scale, aspect="auto")
    size = _letters(factors)
    _name_ticks(axes, factor_names(factors, replicated), impact.regions)
    _tell_marks(figure, axes)
    for (row, column), value in np.ndenumerate(matrix):
        color = "white" if scale(value) < 0.6 else "black"
        axes.text(column, row, _short(value), ha="center", va="center", fontsize=size, color=color)
    bar = figure.colorbar(image)
    # Short and small: in a panel the bar is hardly longer than its label.
    name = DIVERGENCES[impact.options.direction]
    bar.set_label(f"{name}, nats (colours: log(1 + x))", fontsize=8)
    if largest > 3:
        ticks = [0, *(each for d in range(6) for each in (10**d, 3 * 10**d) if each < largest)]
        bar.set_ticks(ticks, labels=[f"{tick}" for tick in ticks])
    bar.ax.minorticks_off()
    axes.set_title(_titled("Impact", impact, model), fontsize=9)
    return figure


def impact_distributions(impact: Impact, region: str, factor: int, *, model: str = "") -> Figure:
    """Draw one cell of the matrix (Fig. 3C): a factor's codes at both weights, with Gaussians.

    Parameters
    ----------
    region
        Name.
    factor
        Index from 0.
    model
        Its name, for the title.
    """
    from scipy.stats import norm

    r = impact.regions.index(region)
    means, stds = (value[r, :, factor] for value in impact.gaussians)
    codes = impact.mean[r, :, :, factor]
    figure = _figure(4.6, 3.2)
    axes = figure.subplots()
    low = min(codes.min(), (means - 3.5 * stds).min())
    high = max(codes.max(), (means + 3.5 * stds).max())
    x, bins = np.linspace(low, high, 400), np.linspace(low, high, 60).tolist()
    weights = impact.options.low, impact.options.high
    for code, mean, std, weight, color in zip(
        codes, means, stds, weights, (LOW, HIGH), strict=True
    ):
        label = f"posterior means, weight {weight:+g}"
        axes.hist(code, bins, density=True, color=color, alpha=0.35, label=label)
        axes.plot(x, norm.pdf(x, mean, std), color=color, label="Gaussian, Var μ + E σ²")
    axes.set(xlabel=f"code of F{factor + 1}, SD of the prior", ylabel="density", yticks=[])
    figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    score = _short(impact.matrix()[r, factor])
    divergence = DIVERGENCES[impact.options.direction]
    what = f"{region} on F{factor + 1}: {divergence} = {score} nats"
    axes.set_title(f"{what}\n{_of(impact, model)}", fontsize=9)
    return figure


def factor_covariance(
    impact: Impact, *, model: str = "", replicated: npt.ArrayLike | None = None
) -> Figure:
    """Draw how alike factors are in what impacts them (Fig. 3D): covariance over regions.

    Parameters
    ----------
    model, replicated
        As in `impact_heatmap`.
    """
    from matplotlib.colors import AsinhNorm

    covariance = impact.disentanglement.covariance
    factors = len(covariance)
    cell = min(0.42, (PAGE - 2.4) / factors)
    figure = _figure(max(3.1 + cell * factors, 4.6), 1.9 + cell * factors)
    axes = figure.subplots()
    largest = np.abs(covariance).max()
    # One strong factor would leave nothing of the others to see on a linear scale.
    scale = AsinhNorm(largest / 50, vmin=-largest, vmax=largest)
    image = axes.imshow(covariance, cmap="RdBu_r", norm=scale)
    names = factor_names(factors, replicated)
    _name_ticks(axes, names, names)
    _tell_marks(figure, axes)
    bar = figure.colorbar(image, shrink=0.85)
    bar.set_label("covariance of impact over regions, nats²\n(colours: asinh)", fontsize=8)
    ticks = largest * np.array([-1, -0.1, 0, 0.1, 1])
    said = [np.format_float_positional(float(f"{tick:.2g}"), trim="-") for tick in ticks]
    bar.set_ticks(ticks.tolist(), labels=said)
    bar.ax.minorticks_off()
    score = f"{impact.disentanglement.trace_over_absolute:.2f}"
    title = f"Likeness of factors: Tr A / Σ |off-diagonal| = {score}"
    axes.set_title(f"{title}\n{_of(impact, model)}", fontsize=9)
    return figure


def association_heatmap(
    table: pd.DataFrame, *, model: str = "", replicated: npt.ArrayLike | None = None
) -> Figure:
    """Draw what `association.associate` found: in bold with a star where q is below 0.05.

    Parameters
    ----------
    model, replicated
        As in `impact_heatmap`.
    """
    covariates, factors = table["covariate"].unique(), table["factor"].unique()
    wide = table.pivot(index="covariate", columns="factor").loc[covariates]
    figure = _figure(max(2.6 + 0.5 * len(factors), 4.6), 1.6 + 0.4 * len(covariates))
    axes = figure.subplots()
    effects, certain = wide["effect"][factors].to_numpy(), wide["q"][factors].to_numpy() < 0.05
    image = axes.imshow(np.abs(effects), cmap="viridis", vmin=0, vmax=1, aspect="auto")
    size = min(7, _letters(len(factors)))
    tests = table.groupby("covariate")["test"].first()
    symbols = {"Spearman": "ρ", "Kruskal-Wallis": "ε²"}
    names = [f"{name} ({symbols[tests[name]]})" for name in covariates]
    _name_ticks(axes, factor_names(len(factors), replicated), names)
    _tell_marks(figure, axes)
    for (row, column), value in np.ndenumerate(effects):
        star = "*" * bool(certain[row, column])
        look: dict[str, Any] = {
            "color": "white" if abs(value) < 0.6 else "black",
            "ha": "center",
            "va": "center",
        }
        # Without the zero before the point, because a panel's cells are narrow.
        text = f"{value:.2f}".replace("0.", ".", 1)
        axes.text(column, row, text + star, fontsize=size, weight="bold" if star else None, **look)
    figure.colorbar(image, location="bottom").set_label("|ρ| or ε²", fontsize=8)
    title = f"{table['brains'].max()} brains{f', {model}' * bool(model)}\nbold*: q < 0.05"
    axes.set_title(title, fontsize=9)
    return figure


def disentanglement_bars(impacts: Mapping[str, Impact]) -> Figure:
    """Compare models by their disentanglement (Fig. 3E), with bootstrap intervals over brains.

    Parameters
    ----------
    impacts
        By the name of the model; measured with the same options.
    """
    first = next(iter(impacts.values()))
    figure = _figure(PAGE, 2.1 + 0.36 * len(impacts))
    panels = figure.subplots(1, len(SCORES), sharey=True)
    for axes, (score, title) in zip(panels, SCORES.items(), strict=True):
        values = np.array([getattr(i.disentanglement, score) for i in impacts.values()])
        ends = [i.intervals.scores[i.options.direction][score] for i in impacts.values()]
        # The paper's denominator can be near zero: an interval may reach anywhere, and is cut.
        edge = 2.5 * np.abs(values[np.isfinite(values)]).max(initial=0.1)
        axes.barh(range(len(values)), values.clip(-edge, edge), color=PALETTE)
        for row, (low, high) in enumerate(ends):
            axes.plot(np.clip([low, high], -edge, edge), [row, row], color="black")
            if low < -edge:
                axes.plot(-edge, row, "<", color="black")
            if high > edge:
                axes.plot(edge, row, ">", color="black")
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlabel(title, fontsize=7)
        axes.tick_params(labelsize=7)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    names = [textwrap.fill(name, 22) for name in impacts]
    panels[0].set_yticks(range(len(impacts)), names)
    panels[0].invert_yaxis()
    level = f"{first.options.confidence:.0%} intervals over brains"
    how = f"{_how(first)}, {first.mean.shape[2]} brains"
    figure.suptitle(f"Disentanglement: {how}; {level} (bootstrap)", fontsize=9)
    return figure


def save_figure(figure: Figure, stem: str | Path, about: Mapping[str, Any] | None = None) -> None:
    """Write ``stem.png`` and ``stem.svg``, each in one step; text stays text in the latter.

    Parameters
    ----------
    about
        What the figure was made from and how (fingerprint, options): written into both files as
        JSON, in the metadata field "Description".
    """
    from matplotlib import rc_context

    shorten_texts(figure)
    description = json.dumps(about or {}, sort_keys=True)
    for suffix, more in ((".png", {}), (".svg", {"Date": None})):
        path = Path(stem).with_name(Path(stem).name + suffix)
        metadata = {"Title": Path(stem).name, "Description": description, **more}
        # Text stays text, and equal figures give equal files.
        with (
            rc_context({"svg.fonttype": "none", "svg.hashsalt": "napari-brainvae"}),
            replacing(path) as beside,
        ):
            figure.savefig(beside, dpi=DPI, metadata=metadata)


def shorten_texts(figure: Figure) -> None:
    """Cut lines that no figure holds, such as a cell of a table of many thousand characters."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        whole = text.get_text()
        cut = re.sub(f"(?m)^(.{{{LONGEST_LINE}}}).+$", r"\1…", whole)
        if cut != whole:
            text.set_text(cut)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(min(width, PAGE), height), layout="constrained")


def _letters(columns: int) -> int:
    """Size of the numbers in cells, of which a page holds so many beside each other."""
    return 8 if columns <= 10 else 6


def _name_ticks(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    many: dict[str, Any] = {"fontsize": 6} if len(columns) > 10 else {}
    axes.set_xticks(range(len(columns)), columns, **many)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)


def _tell_marks(figure: Figure, axes: Axes) -> None:
    """Say what the mark behind a factor's name means, if one has it, and take back its colour."""
    marked = [t for t in (*axes.get_xticklabels(), *axes.get_yticklabels()) if MARK in t.get_text()]
    for text in marked:
        text.set_color("0.5")
    if marked:
        figure.supxlabel(EXPLAINED, fontsize=7, color="0.4")


def _titled(what: str, impact: Impact, model: str) -> str:
    return f"{what}: {_how(impact)}\n{_of(impact, model)}"


def _of(impact: Impact, model: str) -> str:
    return ", ".join([*([model] if model else []), f"{impact.mean.shape[2]} brains"])


def _how(impact: Impact) -> str:
    options = impact.options
    return f"{options.mode}, weights {options.low:+g} and {options.high:+g}"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
