"""A report of a fitted run as one HTML file that opens from disk without a network."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from napari_brainvae.checkpoint import fingerprint
from napari_brainvae.files import write_text
from napari_brainvae.model import Model
from napari_brainvae.population import Population
from napari_brainvae.preprocess import Images

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em;
       color: #222; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
img { max-width: 100%; } table { border-collapse: collapse; }
td, th { padding: 0.2em 0.8em; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child { text-align: left; } code { background: #f3f3f3; padding: 0.1em 0.3em; }
pre { background: #f3f3f3; padding: 0.8em; } p.note { color: #555; }
"""
REACH = 2.0
"""How far the traversal moves each factor, in spreads over the population."""


def write_report(path: Path, title: str, parts: list[tuple[str, str, Any]]) -> None:
    """Write headed parts, each a text with a figure, a table, code, or nothing (None)."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for heading, text, content in parts:
        body.append(f"<h2>{html.escape(heading)}</h2><p>{html.escape(text)}</p>")
        if isinstance(content, Figure):
            body.append(_embedded(content, heading))
        elif isinstance(content, pd.DataFrame):
            body.append(content.to_html(border=0))
        elif content is not None:
            body.append(f"<pre>{html.escape(str(content))}</pre>")
    page = "\n".join(body)
    write_text(
        path,
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>{page}</body></html>",
    )


def _embedded(figure: Figure, heading: str) -> str:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, bbox_inches="tight")
    data = base64.b64encode(png.getvalue()).decode()
    return f'<img alt="{html.escape(heading)}" src="data:image/png;base64,{data}">'


def grid_of_images(
    images: list[list[Images]], rows: list[str], columns: list[str], **look: Any
) -> Figure:
    """Rows and columns of sections ``(H, W)``, labelled, all on one gray scale."""
    height, width = images[0][0].shape
    figure = Figure(
        figsize=(2.3 * len(columns) + 0.5, 2.3 * len(rows) * height / width + 0.5),
        layout="constrained",
    )
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for r, row in enumerate(images):
        for c, image in enumerate(row):
            ax = axes[r, c]
            ax.imshow(image, **({"cmap": "gray", "vmin": 0} | look))
            ax.set_xticks([])
            ax.set_yticks([])
            if r == 0:
                ax.set_title(columns[c], fontsize=9)
            if c == 0:
                ax.set_ylabel(rows[r], fontsize=9)
    return figure


def reconstruction_figure(
    model: Model, population: Population, index: list[int], rows: list[str], clean: Images | None
) -> Figure:
    """Section, reconstruction, residual and, if known, the clean truth of some brains."""
    sections = population.prepared(model.header.preprocessing, index)
    drawn = model.reconstruct(sections)
    columns = ["section", "reconstruction", *([] if clean is None else ["clean truth"])]
    images = [
        [sections[i], drawn[i], *([] if clean is None else [clean[i]])] for i in range(len(index))
    ]
    bright = float(np.percentile(sections, 99.8))
    return grid_of_images(images, rows, columns, vmax=bright)


def traversal_figure(model: Model) -> Figure:
    """What each factor does to the mean brain, from -2 to +2 spreads over the population."""
    reference = model.header.reference
    centre = np.array(reference.code_mean if reference else np.zeros(model.latent_dim))
    spread = np.array(reference.code_std if reference else np.ones(model.latent_dim))
    mean = model.decode(centre[None].astype(np.float32))[0]
    steps = np.array([-REACH, REACH])
    images = []
    for factor in range(model.latent_dim):
        latents = np.repeat(centre[None], len(steps), axis=0)
        latents[:, factor] += steps * spread[factor]
        images.append(list(model.decode(latents) - mean))
    # Factors side by side, low above high, as change against the mean brain.
    turned = [[row[step] for row in images] for step in range(len(steps))]
    limit = float(np.percentile(np.abs(images), 99.5))
    columns = [f"factor {i + 1}" for i in range(model.latent_dim)]
    rows = [f"{s:+g} SD" for s in steps]
    return grid_of_images(turned, rows, columns, cmap="RdBu_r", vmin=-limit, vmax=limit)


def history_figure(history: pd.DataFrame) -> Figure:
    """Reconstruction term and KL divergence per factor over the steps."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(history["step"], history["reconstruction"], color="black", lw=1)
    left.set(xlabel="step", ylabel="reconstruction term")
    factors = [c for c in history if c.startswith("kl_")]
    for column in factors:
        right.plot(history["step"], history[column], lw=1, label=column.removeprefix("kl_"))
    right.set(xlabel="step", ylabel="KL divergence, nats", ylim=(0, None))
    right.legend(title="factor", ncols=2 if len(factors) <= 10 else 4, fontsize=7, frameon=False)
    return figure


def signature(model: Model) -> str:
    """One line that ties a report to its checkpoint."""
    return f"Checkpoint {fingerprint(model)}; settings: {model.header.training.get('options')}"
