"""How many factors there are: tables and figure of which factors come again in other brains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_brainvae.factors.stability import THRESHOLD, FactorStability
from napari_brainvae.reporting.section_axes import PAGE

# What draws is imported where it draws.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COMES_AGAIN, DOES_NOT = "#2b5c8a", "#8c8c8c"


def factor_rows(stabilities: Mapping[int, FactorStability]) -> pd.DataFrame:
    """One row a factor: medians over splits, and the range.

    Parameters
    ----------
    stabilities
        By the number of factors L.

    Returns
    -------
    pandas.DataFrame
        Columns ``latent_dim``, ``factor`` ("F1" ...), ``map_similarity``, ``code_correlation``,
        ``replicated`` (0 or 1), and lowest and highest values over splits.
    """
    tables = []
    for count, found in stabilities.items():
        maps, codes = found.map_similarity, found.code_correlation
        tables.append(
            pd.DataFrame(
                {
                    "latent_dim": count,
                    "factor": [f"F{i + 1}" for i in range(count)],
                    "map_similarity": found.similarity,
                    "code_correlation": np.median(codes, axis=0),
                    "replicated": found.replicated.astype(int),
                    "map_similarity_low": maps.min(axis=0),
                    "map_similarity_high": maps.max(axis=0),
                    "code_correlation_low": codes.min(axis=0),
                    "code_correlation_high": codes.max(axis=0),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def summary_rows(stabilities: Mapping[int, FactorStability]) -> pd.DataFrame:
    """One row a number of factors: how many come again, and how well the space does.

    Returns
    -------
    pandas.DataFrame
        Columns ``latent_dim``, ``replicated``, ``mean_similarity`` and ``worst_similarity`` (of the
        medians of its factors), ``subspace_overlap`` and ``held_out_variance`` (medians over
        splits).
    """
    return pd.DataFrame(
        [
            {
                "latent_dim": count,
                "replicated": int(found.replicated.sum()),
                "mean_similarity": found.similarity.mean(),
                "worst_similarity": found.similarity.min(),
                "subspace_overlap": float(np.median(found.subspace_overlap)),
                "held_out_variance": float(np.median(found.held_out_variance)),
            }
            for count, found in stabilities.items()
        ]
    )


def how_many(summary: pd.DataFrame) -> str:
    """Answer in a sentence: the most factors that come again at any L, and the least such L."""
    most = int(summary["replicated"].max())
    if most == 0:
        return "no factor comes again in other brains"
    at = int(summary.loc[summary["replicated"] == most, "latent_dim"].min())
    are = "factor comes" if most == 1 else "factors come"
    return f"{most} {are} again in other brains, of the {at} at L = {at}"


def stability_figure(
    stabilities: Mapping[int, FactorStability], *, brains: int | None = None
) -> Figure:
    """Draw over L how many factors come again, how alike each is, and what is left held out.

    Parameters
    ----------
    stabilities
        By the number of factors L.
    brains
        Of how many, which were halved.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    summary = summary_rows(stabilities)
    figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
    panels = figure.subplots(1, 3)
    _draw_counts(panels[0], summary)
    _draw_similarities(panels[1], stabilities, summary)
    _draw_space(panels[2], summary)
    for axes in panels:
        axes.set_xlabel("number of factors L")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.tick_params(labelsize=7)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_fontsize(8)
        axes.set_xlim(min(stabilities) - 0.6, max(stabilities) + 0.6)
        axes.spines[["top", "right"]].set_visible(False)
    sentence = how_many(summary)
    splits = len(next(iter(stabilities.values())).map_similarity)
    halved = f"{splits} splits" if brains is None else f"{brains} brains, {splits} times in halves"
    dotted = f"dotted: {THRESHOLD:g}, from which on a factor comes again"
    figure.suptitle(f"{sentence[0].upper()}{sentence[1:]}\n{halved}; {dotted}", fontsize=8)
    return figure


def _draw_counts(axes: Axes, summary: pd.DataFrame) -> None:
    from matplotlib.ticker import MaxNLocator

    dims, counts = summary["latent_dim"].to_numpy(), summary["replicated"].to_numpy()
    axes.bar(dims, dims, color="#ececec", edgecolor=DOES_NOT, width=0.8, label="all")
    axes.bar(dims, counts, color=COMES_AGAIN, width=0.8, label="come again")
    for dim, count in zip(dims, counts, strict=True):
        axes.text(dim, count, str(count), ha="center", va="bottom", fontsize=7)
    axes.set_ylabel("factors")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", fontsize=7, frameon=False)


def _draw_similarities(
    axes: Axes, stabilities: Mapping[int, FactorStability], summary: pd.DataFrame
) -> None:
    for label, which, color in (
        ("comes again", True, COMES_AGAIN),
        ("does not", False, DOES_NOT),
    ):
        points = [
            (count, similarity)
            for count, found in stabilities.items()
            for similarity in found.similarity[found.replicated == which]
        ]
        x, y = zip(*points, strict=True) if points else ((), ())
        axes.plot(x, y, "o", color=color, markersize=4.5, label=label)
    axes.axhline(THRESHOLD, color="black", linewidth=0.8, linestyle=":")
    for column, label, style in (
        ("mean_similarity", "mean", "-"),
        ("worst_similarity", "worst", ":"),
    ):
        axes.plot(summary["latent_dim"], summary[column], style, color="#d9820f", label=label)
    axes.set(ylim=(0, 1.03), ylabel="similarity of maps, median over splits")
    axes.legend(loc="lower left", fontsize=7)


def _draw_space(axes: Axes, summary: pd.DataFrame) -> None:
    for column, label, color, style in (
        ("held_out_variance", "variance left in held-out half", "#7a4fa3", "o-"),
        ("subspace_overlap", "overlap of both halves' spaces", "#3a8f5c", "s--"),
    ):
        axes.plot(summary["latent_dim"], summary[column], style, color=color, ms=4, label=label)
    axes.set(ylim=(0, 1.03), ylabel="share")
    axes.legend(loc="best", fontsize=7, frameon=False)
