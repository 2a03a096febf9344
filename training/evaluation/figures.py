"""What was measured, as figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from napari_brainvae.arrays import Images
from napari_brainvae.denoising.reconstruction import denoise_sections
from napari_brainvae.factors.replication import factor_names, replicated_of
from napari_brainvae.factors.signed_change import sections_at
from napari_brainvae.models.base import Model
from napari_brainvae.models.header import Header
from napari_brainvae.models.measures import squared_error
from napari_brainvae.reporting.section_axes import draw_outlines, frame, mask_outlines, show
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

ARTIFACT = "#ffb000"
"""Outline of what a model calls artifact."""

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
    **look: Any,
) -> Figure:
    """Rows and columns of sections ``(H, W)``, labelled, all on one gray scale.

    With a model's header, each says its left and right, its plane and a length.
    """
    height, width = images[0][0].shape
    figure = Figure(
        figsize=(2.3 * len(columns) + 0.5, 2.3 * len(rows) * height / width + 0.5),
        layout="constrained",
    )
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for r, row in enumerate(images):
        for c, image in enumerate(row):
            ax = axes[r, c]
            show(ax, image, **({"cmap": "gray", "vmin": 0} | look))
            if header is not None:
                color = "white" if look.get("cmap", "gray") == "gray" else "black"
                frame(ax, (height, width), header.pixel_size_um, header.plane, color=color)
            # Not without axes: they carry the labels.
            ax.set_axis_on()
            ax.spines[:].set_visible(False)
            ax.set(xticks=[], yticks=[])
            if r == 0:
                ax.set_title(_literal(columns[c]), fontsize=9)
            if c == 0:
                ax.set_ylabel(rows[r], fontsize=9)
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
    artifacts = {}
    for name, model in comparison.models.items():
        seen = denoise_sections(model, held.sections[shown])
        artifacts[len(columns)] = seen.artifact
        columns.append((name, seen.reconstructions))
    if held.clean is not None:
        columns.append(("clean truth", held.clean[shown]))
    images = [[of_column[i] for _, of_column in columns] for i in range(len(shown))]
    bright = float(np.percentile(held.sections, 99.8))
    figure = grid_of_images(
        images,
        [str(kinds[i]) for i in shown],
        [name for name, _ in columns],
        header=baseline.header.model_copy(update=comparison.place),
        vmax=bright,
    )
    for column, masks in artifacts.items():
        for row, mask in enumerate(masks):
            axes = figure.axes[row * len(columns) + column]
            draw_outlines(axes, mask_outlines(mask), ARTIFACT, 0.8)
    return figure


def intervals_figure(
    table: pd.DataFrame, label: str, colors: dict[str, str], zero: bool = False
) -> Figure:
    """One panel a metric, one row a class, one point with its 95 % interval a model."""
    metrics = [m for m in HIGHER_IS_BETTER if m in set(table["metric"])]
    models = [str(m) for m in table["model"].unique()]
    columns = 3
    rows = -(-len(metrics) // columns)
    counts = [table.loc[table["metric"] == m, "class"].nunique() for m in metrics]
    height = 0.7 + max(counts) * (0.16 * len(models) + 0.15)
    figure = Figure(figsize=(12, rows * height + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, metric in zip(panels, metrics, strict=False):
        part = table[table["metric"] == metric]
        kinds = list(part["class"].unique())
        unit, times = (1e4, ", x 1e-4") if metric in SQUARED_ERRORS else (1.0, "")
        for m, model in enumerate(models):
            mine = part[part["model"] == model]
            y = [kinds.index(k) + 0.8 * ((m + 0.5) / len(models) - 0.5) for k in mine["class"]]
            low, high, value = (unit * mine[c] for c in ("low", "high", "value"))
            axes.hlines(y, low, high, color=colors[model], lw=1.5)
            axes.plot(value, y, "o", color=colors[model], ms=4)
        if zero:
            axes.axvline(0, color="black", lw=0.8)
        axes.set_yticks(range(len(kinds)), [k.replace(", ", ",\n") for k in kinds], fontsize=7)
        axes.set_ylim(len(kinds) - 0.5, -0.5)
        axes.tick_params(axis="x", labelsize=7)
        direction = "higher is better" if HIGHER_IS_BETTER[metric] else "lower is better"
        axes.set_title(f"{metric}{times}\n({direction})", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    handles = [Line2D([], [], marker="o", color=colors[m], label=_literal(m)) for m in models]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    figure.suptitle(label, fontsize=10)
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
    axes.set(xlabel="factor, by its KL divergence", ylabel="nats", ylim=(0, None))
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
    colors = {name: f"C{i}" for i, name in enumerate(comparison.models)}
    intervals = "95 % intervals over brains"
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
    look = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    figure = grid_of_images(turned, rows, columns, header=model.header, **look)
    figure.supxlabel(f"change of brightness, linear: blue -{limit:.2g}, red +{limit:.2g} of 1")
    return figure


def history_figure(history: pd.DataFrame) -> Figure:
    """Reconstruction term and KL divergence per factor over the steps, as running means.

    A row of the history is one batch, and batches differ more than the model changes.
    """
    figure = Figure(figsize=(9, 3), layout="constrained")
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
