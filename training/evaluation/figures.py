"""What was measured, as figures."""

from __future__ import annotations

import math
import textwrap
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.denoising.reconstruction import denoise_sections
from napari_brainvae.factors.replication import factor_names, replicated_of
from napari_brainvae.factors.signed_change import sections_at
from napari_brainvae.models.base import Model
from napari_brainvae.models.header import Header
from napari_brainvae.models.measures import squared_error
from napari_brainvae.reporting.section_axes import (
    PAGE,
    PAGE_HEIGHT,
    draw_outlines,
    frame,
    mask_outlines,
    show,
)
from napari_brainvae.statistics.brain_map import PALETTE
from training.evaluation.comparison import (
    FLOOR,
    MEAN_SECTION,
    Comparison,
    brains,
)
from training.evaluation.held_out_metrics import (
    HIGHER_IS_BETTER,
    SQUARED_ERRORS,
    artifact_classes,
)

MARKERS = "osD^vP"
"""Of models, which colours alone do not tell apart for all eyes."""

ARTIFACT = "#ffb000"
"""Outline of what a model calls artifact."""

MOST_ACROSS = 6
"""Sections beside each other on a page."""

REACH = 2.0
"""How far the traversal moves each factor, in spreads over the population."""


def _literal(name: str) -> str:
    """A model's name as a label: Matplotlib reads formulas in $ and hides what begins with _."""
    name = name.replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


def grid_of_images(
    images: list[list[Images]],
    rows: list[str],
    columns: list[str],
    *,
    header: Header | None = None,
    marked: list[list[Mask | None]] | None = None,
    **look: Any,
) -> Figure:
    """Rows and columns of sections ``(H, W)``, labelled, all on one gray scale, on one page.

    With a model's header, each says its left and right, its plane and a length. A single row is
    wrapped, and of many columns each becomes a row. Masks that are ``marked`` are outlined.
    """
    masks = marked or [[None] * len(columns) for _ in rows]
    if 1 < len(rows) < len(columns) and len(columns) > MOST_ACROSS:
        images, masks = ([list(row) for row in zip(*each, strict=True)] for each in (images, masks))
        rows, columns = columns, rows
    across = min(4, len(columns)) if len(rows) == 1 else len(columns)
    down = math.ceil(len(rows) * len(columns) / across)
    height, width = images[0][0].shape
    tall = (PAGE_HEIGHT - 0.6) / down - 0.15
    wide = min(2.3, (PAGE - 0.5) / across, tall * width / height)
    size = max(wide * across + 0.5, 3), down * (wide * height / width + 0.15) + 0.6
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for ax in panels[len(rows) * len(columns) :]:
        ax.set_axis_off()
    for i, ax in enumerate(panels[: len(rows) * len(columns)]):
        r, c = divmod(i, len(columns))
        show(ax, images[r][c], **({"cmap": "gray", "vmin": 0} | look))
        if header is not None:
            color = "white" if look.get("cmap", "gray") == "gray" else "black"
            frame(ax, (height, width), header.pixel_size_um, header.plane, color=color)
        # Not without axes: they carry the labels.
        ax.set_axis_on()
        ax.spines[:].set_visible(False)
        ax.set(xticks=[], yticks=[])
        if r == 0:
            ax.set_title(_literal(textwrap.fill(columns[c], 16)), fontsize=7)
        if c == 0:
            ax.set_ylabel(_literal(textwrap.fill(rows[r], 16)), fontsize=7)
        if (mask := masks[r][c]) is not None:
            draw_outlines(ax, mask_outlines(mask), ARTIFACT, 0.8)
    return figure


def denoising_figure(comparison: Comparison) -> Figure:
    """One held-out brain per class of artifact through every model (Fig. 2B).

    A brain of median error under the baseline stands for its class, so that none is picked.
    """
    held = comparison.held
    artifact = held.artifact
    kinds = ["section"] * len(held.sections) if artifact is None else artifact
    baseline = comparison.models[comparison.baseline]
    error = squared_error(held.sections, baseline.reconstruct(held.sections))
    shown = []
    for kind in ["section"] if artifact is None else artifact_classes(artifact):
        members = np.flatnonzero([k == kind for k in kinds])
        shown.append(int(members[np.argsort(error[members])[len(members) // 2]]))
    # Pairs: a model may be called 'section'.
    columns = [("section", held.sections[shown])]
    marked: list[list[Mask | None]] = [[None] for _ in shown]
    for name, model in comparison.models.items():
        seen = denoise_sections(model, held.sections[shown])
        marked = [[*row, mask] for row, mask in zip(marked, seen.artifact, strict=True)]
        columns.append((name, seen.reconstructions))
    if held.clean is not None:
        columns.append(("clean truth", held.clean[shown]))
        marked = [[*row, None] for row in marked]
    images = [[of_column[i] for _, of_column in columns] for i in range(len(shown))]
    bright = float(np.percentile(held.sections, 99.8))
    figure = grid_of_images(
        images,
        [str(kinds[i]) for i in shown],
        [name for name, _ in columns],
        header=baseline.header.model_copy(update=comparison.place),
        marked=marked,
        vmax=bright,
    )
    said = (
        f"{brains(comparison)}, of each class that of median error under {comparison.baseline}; "
        "outlined: what a model calls artifact and leaves out"
    )
    figure.supxlabel(textwrap.fill(said, int(16 * figure.get_figwidth())), fontsize=7)
    return figure


def intervals_figure(
    table: pd.DataFrame, label: str, colors: dict[str, str], zero: bool = False
) -> Figure:
    """One panel a metric, one row a class, one point with its 95 % interval a model."""
    metrics = [m for m in HIGHER_IS_BETTER if m in set(table["metric"])]
    models = [str(m) for m in table["model"].unique()]
    columns = 3
    rows = -(-len(metrics) // columns)
    kinds = list(table.loc[table["metric"].isin(metrics), "class"].unique())
    height = 0.6 + len(kinds) * (0.11 * len(models) + 0.12)
    size = PAGE, min(rows * height + 0.6, PAGE_HEIGHT)
    figure = Figure(figsize=size, layout="constrained")
    marks = dict(zip(colors, cycle(MARKERS), strict=False))
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, metric in zip(panels, metrics, strict=False):
        part = table[table["metric"] == metric]
        unit, times = (1e4, ", x 1e-4") if metric in SQUARED_ERRORS else (1.0, "")
        for m, model in enumerate(models):
            mine = part[part["model"] == model]
            y = [kinds.index(k) + 0.8 * ((m + 0.5) / len(models) - 0.5) for k in mine["class"]]
            low, high, value = (unit * mine[c] for c in ("low", "high", "value"))
            axes.hlines(y, low, high, color=colors[model], lw=1.2)
            axes.plot(value, y, marks[model], color=colors[model], ms=3.5)
        if zero:
            axes.axvline(0, color="black", lw=0.8)
        axes.set_yticks(range(len(kinds)), [k.replace(", ", ",\n") for k in kinds], fontsize=7)
        axes.set_ylim(len(kinds) - 0.5, -0.5)
        axes.tick_params(axis="x", labelsize=6)
        axes.locator_params(axis="x", nbins=4)
        direction = "higher is better" if HIGHER_IS_BETTER[metric] else "lower is better"
        axes.set_title(f"{metric}{times}\n({direction})", fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    handles = [Line2D([], [], marker=marks[m], color=colors[m], label=_literal(m)) for m in models]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    figure.suptitle(label, fontsize=9)
    return figure


def latent_figure(metrics: pd.DataFrame, colors: dict[str, str]) -> Figure | None:
    """KL divergence per factor of each model, sorted; None without a VAE."""
    kl = metrics[metrics["metric"].str.startswith("KL F")]
    if kl.empty:
        return None
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for model, rows in kl.groupby("model", sort=False):
        ordered = rows["value"].sort_values(ascending=False).to_numpy()
        axes.plot(
            range(1, len(ordered) + 1),
            ordered,
            "o-",
            color=colors[str(model)],
            label=_literal(str(model)),
        )
    axes.set(xlabel="factor, by its KL divergence", ylabel="KL divergence, nats", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    return figure


def evaluation_figures(comparison: Comparison) -> dict[str, Figure]:
    """The figures of a comparison by file name."""
    metrics = comparison.metrics
    # The mean section is a floor, not a rival: it would set the scale of every axis.
    judged = metrics[~metrics["model"].isin([MEAN_SECTION, FLOOR])]
    differences = comparison.differences
    rivals = differences[differences["model"] != MEAN_SECTION]
    colors = dict(zip(comparison.models, cycle(PALETTE), strict=False))
    known = judged["low"].notna().any()
    intervals = "95 % intervals over brains" if known else "too few for intervals"
    figures = {
        "denoising": denoising_figure(comparison),
        "metrics": intervals_figure(judged, f"{brains(comparison)}, {intervals}", colors),
        "differences": intervals_figure(
            rivals,
            f"{brains(comparison)}: paired difference to {comparison.baseline}, {intervals}",
            colors,
            zero=True,
        ),
    }
    latent = latent_figure(metrics, colors)
    return figures if latent is None else {**figures, "latent": latent}


def traversal_figure(model: Model) -> Figure:
    """What each factor does to the mean brain, from -2 to +2 spreads over the population."""
    steps = [-REACH, REACH]
    images = []
    for factor in range(model.latent_dim):
        low, mean, high = sections_at(model, factor, [-REACH, 0, REACH])
        images.append([low - mean, high - mean])
    # Factors side by side, low above high, as change against the mean brain.
    turned = [[row[step] for row in images] for step in range(len(steps))]
    limit = float(np.percentile(np.abs(images), 99.5))
    columns = factor_names(model.latent_dim, replicated_of(model.header))
    rows = [f"{s:+g} SD" for s in steps]
    look: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    figure = grid_of_images(turned, rows, columns, header=model.header, **look)
    said = f"change of brightness, linear: blue -{limit:.2g}, red +{limit:.2g} of 1"
    figure.supxlabel(textwrap.fill(said, int(13 * figure.get_figwidth())), fontsize=8)
    return figure


def history_figure(history: pd.DataFrame) -> Figure:
    """Reconstruction term and KL divergence per factor over the steps, as running means.

    A row of the history is one batch, and batches differ more than the model changes.
    """
    figure = Figure(figsize=(PAGE, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    window = max(1, len(history) // 8)
    mean = history.rolling(window, center=True, min_periods=1).mean()
    step = history["step"]
    left.plot(step, history["reconstruction"], color="0.75", lw=0.8, label="a batch")
    label = f"mean of {window} batches"
    left.plot(step, mean["reconstruction"], color="black", lw=1.5, label=label)
    left.set(xlabel="step", ylabel="reconstruction term", ylim=(0, None))
    left.legend(fontsize=7, frameon=False)
    factors = [str(c) for c in history if str(c).startswith("kl_")]
    for column in factors:
        right.plot(step, mean[column], lw=1, label=f"F{column.removeprefix('kl_')}")
    right.set(xlabel="step", ylabel="KL divergence, nats", ylim=(0, None))
    right.legend(title="factor", ncols=2 if len(factors) <= 10 else 4, fontsize=7, frameon=False)
    return figure
