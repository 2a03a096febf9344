"""A report as one HTML file that opens from disk without a network."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from napari_brainvae.io.atomic_files import write_text
from napari_brainvae.reporting.paper_figures import shorten_texts

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em;
       color: #222; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
img { max-width: 100%; } .wide { overflow-x: auto; } table { border-collapse: collapse; }
td, th { padding: 0.2em 0.8em; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child { text-align: left; } code { background: #f3f3f3; padding: 0.1em 0.3em; }
pre { background: #f3f3f3; padding: 0.8em; }
"""


Part = tuple[str, str, Any]
"""Heading, text, and a figure, a table, code or nothing (None)."""


def write_report(path: Path, title: str, parts: list[Part]) -> None:
    """Write the parts of a report, one below the other."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for heading, text, content in parts:
        body.append(f"<h2>{html.escape(heading)}</h2><p>{html.escape(text)}</p>")
        if isinstance(content, Figure):
            body.append(_embedded(content, heading))
        elif isinstance(content, pd.DataFrame):
            body.append(f'<div class="wide">{content.to_html(border=0)}</div>')
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
    shorten_texts(figure)
    figure.savefig(png, format="png", dpi=150, bbox_inches="tight")
    data = base64.b64encode(png.getvalue()).decode()
    return f'<img alt="{html.escape(heading)}" src="data:image/png;base64,{data}">'
