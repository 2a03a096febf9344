"""The panels of the paper's Fig. 3 as matplotlib figures, for the windows and for the commands.

Every function returns a `Figure` of its own; none touches pyplot, so that any thread may draw that
holds `MATPLOTLIB`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.factors.field_options import LIMIT
from napari_brainvae.factors.impact import Impact
from napari_brainvae.factors.perturbation import Direction
from napari_brainvae.factors.projective_field import HUES, compose_rgb
from napari_brainvae.io.atomic_files import replacing

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
    "paper": "s = Tr A / Σ off-diagonal\n(paper)",
    "trace_over_absolute": "Tr A / Σ |off-diagonal|",
    "log_correlation": "the same of correlations\nof log(1 + impact)",
}
LOW, HIGH = "#2b5c8a", "#d9820f"
MODELS = [f"C{i}" for i in range(10)]
MATPLOTLIB = threading.Lock()
"""Its text layout is not made for several threads: hold this while drawing."""
WEAKEST = 1e-3
"""A factor whose variance stays below this share of the strongest factor's is drawn black."""


def impact_heatmap(impact: Impact) -> Figure:
    """Draw the impact of each region on each factor (Fig. 3B): blue is low, yellow is high."""
    from matplotlib.colors import FuncNorm

    matrix = impact.matrix()
    regions, factors = matrix.shape
    figure = _figure(2.6 + 0.62 * factors, 1.5 + 0.45 * regions)
    axes = figure.subplots()
    # Impacts span orders of magnitude; log(1 + x) shows the weak ones and keeps zero at zero.
    largest = max(float(matrix.max()), 1e-6)
    scale = FuncNorm((np.log1p, np.expm1), vmin=0, vmax=largest)
    image = axes.imshow(matrix, cmap="viridis", norm=scale, aspect="auto")
    _name_ticks(axes, _factor_names(factors), impact.regions)
    for (row, column), value in np.ndenumerate(matrix):
        color = "white" if scale(value) < 0.6 else "black"
        axes.text(column, row, _short(value), ha="center", va="center", fontsize=8, color=color)
    bar = figure.colorbar(image)
    # Short and small: in a panel the bar is hardly longer than its label.
    bar.set_label(f"{DIVERGENCES[impact.options.direction]}, nats", fontsize=8)
    if largest > 3:
        ticks = [0, *(each for d in range(6) for each in (10**d, 3 * 10**d) if each < largest)]
        bar.set_ticks(ticks, labels=[f"{tick}" for tick in ticks])
    bar.ax.minorticks_off()
    axes.set_title(f"Impact, {_how(impact)}", fontsize=9)
    return figure


def impact_distributions(impact: Impact, region: str, factor: int) -> Figure:
    """Draw one cell of the matrix (Fig. 3C): a factor's codes at both weights, with Gaussians.

    Parameters
    ----------
    region
        Name.
    factor
        Index from 0.
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
    axes.set(xlabel=f"F{factor + 1}", ylabel="density", yticks=[])
    figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    score = _short(impact.matrix()[r, factor])
    divergence = DIVERGENCES[impact.options.direction]
    axes.set_title(f"{region} on F{factor + 1}: {divergence} = {score} nats", fontsize=9)
    return figure


def factor_covariance(impact: Impact) -> Figure:
    """Draw how alike factors are in what impacts them (Fig. 3D): covariance over regions."""
    from matplotlib.colors import AsinhNorm

    covariance = impact.disentanglement.covariance
    factors = len(covariance)
    figure = _figure(2.4 + 0.42 * factors, 1.6 + 0.42 * factors)
    axes = figure.subplots()
    largest = np.abs(covariance).max()
    # One strong factor would leave nothing of the others to see on a linear scale.
    scale = AsinhNorm(largest / 50, vmin=-largest, vmax=largest)
    image = axes.imshow(covariance, cmap="RdBu_r", norm=scale)
    _name_ticks(axes, _factor_names(factors), _factor_names(factors))
    bar = figure.colorbar(image, label="covariance of impact over regions (nats²)", shrink=0.85)
    ticks = largest * np.array([-1, -0.1, 0, 0.1, 1])
    names = [np.format_float_positional(float(f"{tick:.2g}"), trim="-") for tick in ticks]
    bar.set_ticks(ticks.tolist(), labels=names)
    bar.ax.minorticks_off()
    axes.set_title(f"s = {impact.disentanglement.paper:.2f}   ({_how(impact)})", fontsize=9)
    return figure


def association_heatmap(table: pd.DataFrame) -> Figure:
    """Draw what `association.associate` found: in bold with a star where q is below 0.05."""
    covariates, factors = table["covariate"].unique(), table["factor"].unique()
    wide = table.pivot(index="covariate", columns="factor").loc[covariates]
    figure = _figure(2.6 + 0.5 * len(factors), 1.6 + 0.4 * len(covariates))
    axes = figure.subplots()
    effects, certain = wide["effect"][factors].to_numpy(), wide["q"][factors].to_numpy() < 0.05
    image = axes.imshow(np.abs(effects), cmap="viridis", vmin=0, vmax=1, aspect="auto")
    tests = table.groupby("covariate")["test"].first()
    symbols = {"Spearman": "ρ", "Kruskal-Wallis": "ε²"}
    _name_ticks(axes, list(factors), [f"{name} ({symbols[tests[name]]})" for name in covariates])
    for (row, column), value in np.ndenumerate(effects):
        star = "*" * bool(certain[row, column])
        look: dict[str, Any] = {
            "color": "white" if abs(value) < 0.6 else "black",
            "ha": "center",
            "va": "center",
        }
        # Without the zero before the point, because a panel's cells are narrow.
        text = f"{value:.2f}".replace("0.", ".", 1)
        axes.text(column, row, text + star, fontsize=7, weight="bold" if star else None, **look)
    figure.colorbar(image, location="bottom").set_label("|ρ| or ε²", fontsize=8)
    title = f"{table['brains'].max()} brains; bold*: q < 0.05"
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
    figure = _figure(3.2 * len(SCORES), 1.8 + 0.36 * len(impacts))
    panels = figure.subplots(1, len(SCORES), sharey=True)
    for axes, (score, title) in zip(panels, SCORES.items(), strict=True):
        values = np.array([getattr(i.disentanglement, score) for i in impacts.values()])
        ends = [i.intervals.scores[i.options.direction][score] for i in impacts.values()]
        # The paper's denominator can be near zero: an interval may reach anywhere, and is cut.
        edge = 2.5 * np.abs(values[np.isfinite(values)]).max(initial=0.1)
        axes.barh(range(len(values)), values.clip(-edge, edge), color=MODELS, alpha=0.8)
        for row, (low, high) in enumerate(ends):
            axes.plot(np.clip([low, high], -edge, edge), [row, row], color="black")
            if low < -edge:
                axes.plot(-edge, row, "<", color="black")
            if high > edge:
                axes.plot(edge, row, ">", color="black")
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlabel(title, fontsize=8)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_yticks(range(len(impacts)), list(impacts))
    panels[0].invert_yaxis()
    level = f"{first.options.confidence:.0%} intervals over brains"
    figure.suptitle(f"Disentanglement, {_how(first)}; {level}", fontsize=9)
    return figure


def projective_fields(
    maps: npt.NDArray[Any],
    *,
    factors: Sequence[int] | None = None,
    outlines: npt.NDArray[np.bool_] | None = None,
    limit: float = LIMIT,
) -> Figure:
    """Draw where each factor acts (Fig. 3A), each in its own brightness, with the legend.

    Parameters
    ----------
    maps
        ``(F, 3, H, W)`` from `factors.projective_field`.
    factors
        Indices of the F factors, from 0.
    outlines
        ``(H, W)``, borders of structures to draw over the fields.
    limit
        Range of c that the maps were made with.
    """
    from matplotlib.patches import Patch

    numbers = list(range(len(maps)) if factors is None else factors)
    columns = min(4, len(maps))
    rows = -(-len(maps) // columns)
    height, width = maps.shape[2:]
    across = 3 if columns > 2 else 1  # entries of the legend side by side
    size = 2.6 * columns, (2.6 * height / width + 0.3) * rows + 0.2 + 0.6 / across
    figure = _figure(*size)
    peak = maps.max(axis=(2, 3))
    full = np.maximum(peak, WEAKEST * peak.max(axis=0))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, factor, field, scale in zip(panels, numbers, maps, full, strict=False):
        rgb = compose_rgb(field, scale)
        if outlines is not None:
            rgb[outlines] = 0.55 * rgb[outlines] + 0.25
        axes.imshow(rgb)
        deviation = np.sqrt(field[:2].max())
        axes.set_title(f"F{factor + 1}   (SD up to {deviation:.2g})", fontsize=8)
    for axes in panels:
        axes.set_axis_off()
    parts = (f"0 < c ≤ {limit / 2:g}", f"-{limit / 2:g} ≤ c < 0", f"|c| > {limit / 2:g}")
    handles = [
        Patch(facecolor=hue, edgecolor="0.5", label=f"variance for {part}")
        for hue, part in zip(HUES.values(), parts, strict=True)
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=across, fontsize=8, frameon=False
    )
    return figure


def save_figure(figure: Figure, stem: str | Path, about: Mapping[str, Any] | None = None) -> None:
    """Write ``stem.png`` and ``stem.svg``, each in one step.

    Parameters
    ----------
    about
        What the figure was made from and how (fingerprint, options): written into both files as
        JSON, in the metadata field "Description".
    """
    from matplotlib import rc_context

    description = json.dumps(about or {}, sort_keys=True)
    for suffix, more in ((".png", {}), (".svg", {"Date": None})):
        path = Path(stem).with_name(Path(stem).name + suffix)
        metadata = {"Title": Path(stem).name, "Description": description, **more}
        # Text stays text, and equal figures give equal files.
        with (
            rc_context({"svg.fonttype": "none", "svg.hashsalt": "napari-brainvae"}),
            replacing(path) as beside,
        ):
            figure.savefig(beside, dpi=200, metadata=metadata)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _factor_names(count: int) -> list[str]:
    return [f"F{i + 1}" for i in range(count)]


def _name_ticks(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)


def _how(impact: Impact) -> str:
    options = impact.options
    brains = impact.mean.shape[2]
    return f"{options.mode}, weights {options.low:+g} and {options.high:+g}, {brains} brains"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
