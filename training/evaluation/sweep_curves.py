"""What a sweep comes to: curves over the number of factors L, and where they bend."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from napari_brainvae.reporting.section_axes import PAGE

VAE = "#d55e00"
MEASURES = {
    "cw_ssim": ("CW-SSIM steerable, over the tissue", True),
    "pca_frechet": ("PCA-Frechet distance", False),
}
"""Columns that are drawn (Fig. 2C, 2D), and whether higher is better."""

RULE = (
    "the L at which the curve stands furthest above the straight line from its first to its last "
    "point, each axis scaled to the curve's range; none if it stands nowhere above"
)
"""How an inflection point is chosen: the knee of Satopaa et al. (2011), without smoothing."""


def inflection(dims: npt.ArrayLike, quality: npt.ArrayLike) -> int | None:
    """Where a curve of quality over L bends from gain to plateau; see `RULE`.

    Parameters
    ----------
    dims
        ``(n,)`` increasing numbers of factors.
    quality
        ``(n,)``, higher is better.

    Returns
    -------
    int or None
        One of ``dims``, not the first nor the last; None for fewer than three points, a curve that
        does not rise above its chord, or values that are not finite.
    """
    x, y = np.asarray(dims, np.float64), np.asarray(quality, np.float64)
    if len(x) < 3 or not np.isfinite(y).all() or np.ptp(y) == 0:
        return None
    x, y = (x - x[0]) / (x[-1] - x[0]), (y - y[0]) / np.ptp(y)
    above = y - x * y[-1]
    best = int(above.argmax())
    return int(np.asarray(dims)[best]) if above[best] > 1e-9 else None


def inflections(table: pd.DataFrame) -> pd.DataFrame:
    """One row a curve: model, measure, the L at its inflection, and the value there."""
    rows = []
    for model, part in _curves(table).items():
        for column, (_, higher_is_better) in MEASURES.items():
            sign = 1 if higher_is_better else -1
            found = inflection(part["latent_dim"], sign * part[column].astype(float))
            at = part.loc[part["latent_dim"] == found, column]
            value = float(at.iloc[0]) if len(at) else None
            rows.append({"model": model, "measure": column, "latent_dim": found, "value": value})
    return pd.DataFrame(rows).astype({"latent_dim": "Int64"})


def _curves(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The cells of each model, by L: PCA, VAE, then every other beta."""
    ordered = table.sort_values("latent_dim")
    curves = {"PCA": ordered[ordered["kind"] == "pca"]}
    if "beta" in ordered:
        for beta, part in ordered[ordered["kind"] == "vae"].groupby("beta"):
            curves["VAE" if beta == 1 else f"beta {beta:g}"] = part
    return {name: part for name, part in curves.items() if len(part)}


def curves_figure(table: pd.DataFrame, turns: pd.DataFrame) -> Figure:
    """Quality over L for each beta, PCA and VAE beside (Fig. 2C, 2D); rings mark inflections."""
    curves = _curves(table)
    betas = [name for name in curves if name.startswith("beta")]
    shades = colormaps["viridis"](np.linspace(0, 0.9, max(1, len(betas))))
    colors = {"PCA": "black", "VAE": VAE, **dict(zip(betas, shades, strict=False))}
    figure = Figure(figsize=(PAGE, 3.2), layout="constrained")
    for axes, (column, (label, higher)) in zip(
        figure.subplots(1, 2), MEASURES.items(), strict=True
    ):
        for name, part in curves.items():
            style = "--" if name == "PCA" else "-"
            y = part[column].astype(float)
            color = colors[name]
            axes.plot(part["latent_dim"], y, style, marker=".", lw=1.2, color=color, label=name)
        marked = turns[(turns["measure"] == column) & turns["latent_dim"].notna()]
        for _, row in marked.iterrows():
            place = int(row["latent_dim"]), float(row["value"])
            axes.plot(*place, "o", ms=11, mfc="none", mec=colors[row["model"]])
        floor = table["frechet_floor"].astype(float).mean()
        if column == "pca_frechet" and np.isfinite(floor):
            axes.axhline(floor, color="0.6", lw=0.8, ls=":", label="two halves of the real")
        direction = "higher" if higher else "lower"
        axes.set_xlabel("latent factors L", fontsize=8)
        axes.set_ylabel(f"{label}\n({direction} is better)", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7, frameon=False, ncols=1 + len(curves) // 8)
    count, truth = table["held_out"].iloc[0], table["truth"].iloc[0]
    figure.suptitle(f"{count} held-out brains against the {truth}; rings: inflections", fontsize=9)
    return figure
