"""A comparison on paper: forest plot, difference figure, tables, and a page in plain words."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.data.tissue import brain_mask
from napari_brainvae.denoising.reconstruction import ome_metadata
from napari_brainvae.factors.cards import FactorCard
from napari_brainvae.factors.field_colours import BRIGHTER, DARKER, change_limit, signed_overlay
from napari_brainvae.factors.shape_and_brightness import ShapeAndBrightness
from napari_brainvae.factors.signed_change import code_spread
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.models.base import Model
from napari_brainvae.reporting import paper_figures as figures
from napari_brainvae.reporting.comparison_words import summary
from napari_brainvae.reporting.export import file_name, write_table
from napari_brainvae.reporting.factor_cards import ARROW
from napari_brainvae.reporting.provenance import Provenance
from napari_brainvae.reporting.section_axes import PAGE, draw_outlines, frame, show
from napari_brainvae.statistics.beyond import BEYOND
from napari_brainvae.statistics.deviation import write_pcntoolkit
from napari_brainvae.statistics.permutation import ALPHA
from napari_brainvae.statistics.study import Compared, Study

# What draws is imported where it draws: windows open without figures, and sooner.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHANNELS = (
    "model, first",
    "model, second",
    "model, difference",
    "sections, first",
    "sections, second",
    "sections, difference",
    "relative brightness of the difference",
    "displacement in rows, px",
    "displacement in columns, px",
    "t of each pixel",
    "differs, corrected for all pixels",
)
"""Of a TIFF of the difference; displacement and brightness are those of the sections."""

OPPOSITE = {"brighter": "darker", "darker": "brighter", "larger": "smaller", "smaller": "larger"}
"""What a factor does where its code is lower; what is displaced is so either way."""

OUTLINED = "#cccccc99"
"""Colour of structures' outlines over a difference."""

_ARROWS = 20  # across the longer side of a section
_SURE, _FOLLOWS, _UNSURE = "#b03a1e", "#cd8b78", "0.45"


def comparison_table(study: Study, model: Model, cards: Sequence[FactorCard] = ()) -> pd.DataFrame:
    """Give compare.csv: `Study.table` with what the difference of a factor means in a section.

    Parameters
    ----------
    cards
        Of all factors; without them nothing is added.

    Returns
    -------
    pandas.DataFrame
        ``name`` of each factor and ``direction``, what happens there in the first group, or as the
        number grows, such as "brighter" or "larger"; ``brightness_percent`` and
        ``displacement_um``, what the difference of this factor alone does at most. The columns of
        `beyond.BEYOND` stand at the end.
    """
    table = study.table()
    own = {name: table.pop(name) for name in BEYOND}
    if not cards:
        return table.assign(**own)
    told = {card.description.factor: card.description for card in cards}
    spread = dict(zip(told, code_spread(model), strict=True))
    steps = table["difference"] / table["factor"].map(spread)
    table["name"] = [told[each].name for each in table["factor"]]
    ways = [str(told[each].direction) for each in table["factor"]]
    turned = [OPPOSITE.get(way, way) for way in ways]
    table["direction"] = np.where(table["difference"] < 0, turned, ways)
    percent = table["factor"].map({key: each.brightness_percent for key, each in told.items()})
    far = table["factor"].map({key: each.displacement_um for key, each in told.items()})
    table = table.assign(brightness_percent=percent * steps, displacement_um=far * steps.abs())
    return table.assign(**own)


def forest_plot(table: pd.DataFrame, name: str = "factor", *, model: str = "") -> Figure:
    """Draw effects with their intervals; sure ones in colour, unreplicated ones hollow.

    One that only goes with another is in that colour, paler, and says so.

    Parameters
    ----------
    table
        Rows of one covariate, from `comparison_table` or `Study.region_table`.
    name
        Column that names the rows.
    model
        What it is called.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE, 1.7 + 0.36 * len(table)), layout="constrained")
    axes = figure.subplots()
    smallest = float(table["smallest_effect"].iloc[0])
    edge = 1.1 * float(np.abs(table[["low", "high"]].to_numpy()).max())
    if smallest < edge:
        axes.axvspan(-smallest, smallest, color="0.93", zorder=0)
    axes.axvline(0, color="0.3", linewidth=0.8)
    for row, (_, each) in enumerate(table.iterrows()):
        sure = each["p_fwe"] <= ALPHA
        hollow = bool(pd.notna(each.get("replicated")) and not each["replicated"])
        follows = isinstance(each.get("goes_with"), str)
        color = (_FOLLOWS if follows else _SURE) if sure else _UNSURE
        axes.plot([each["low"], each["high"]], [row, row], color=color, linewidth=1.6)
        face = "white" if hollow else color
        axes.plot(each["effect"], row, "o", color=color, markerfacecolor=face, markersize=6)
        said = _p(each["p_fwe"]) + (f"; goes with {each['goes_with']}" if follows else "")
        axes.text(1.02, row, said, transform=axes.get_yaxis_transform(), va="center", fontsize=8,
                  color=color)  # fmt: skip
    axes.set_yticks(range(len(table)), [_label(each, name) for _, each in table.iterrows()])
    axes.set(xlim=(-edge, edge), ylim=(len(table) - 0.4, -0.6))
    axes.set_xlabel(f"{table['measure'].iloc[0]}, 95 % interval", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    over = f"corrected over {len(table)} {name}s"
    found = f"grey: below {smallest:.2g}, too small to be found with a chance of 80 %, {over}"
    none = "too few units for any effect to be found" if math.isinf(smallest) else found
    first = table.iloc[0]
    counts = [str(int(first[each])) for each in ("units_a", "units_b") if first[each] > 0]
    title = f"{first['by']}: {first['contrast']}, n = {' and '.join(counts)}"
    title += f", {model}" if model else ""
    # Lines of their own, which are wrapped where a panel is narrower than a page.
    marks = "hollow: not replicated; pale: only goes with another\nright: family-wise p"
    figure.suptitle(f"{title}\n{none}\n{marks}", fontsize=8, wrap=True)
    return figure


def _label(row: pd.Series, name: str) -> str:
    more = row.get("name", row.get("what", ""))
    text = f"{row[name]}: {more}" if isinstance(more, str) and more else str(row[name])
    return textwrap.fill(text, 40, max_lines=2, placeholder=" …")


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= 0.001 else f"p = {value:.0e}"


def difference_figure(
    compared: Compared,
    pixel_size_um: float | None = None,
    outlines: Sequence[Any] = (),
    plane: int | None = None,
    *,
    model: str = "",
) -> Figure:
    """Draw the difference: of the model, of the sections, its parts, and where pixels differ.

    Parameters
    ----------
    outlines
        Of structures, from `section_axes.structure_outlines`, to draw over it.
    plane
        Of the atlas.
    model
        What it is called.
    """
    from matplotlib.figure import Figure

    found = compared.difference
    decoded, data = (pair[0] - pair[1] for pair in (found.model, found.data))
    tall = (PAGE - 1.2) * data.shape[0] / data.shape[1]  # of both rows
    figure = Figure(figsize=(PAGE, tall + 1.1), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    for axes, pair, change, title in (
        (panels[0], found.model, decoded, "model: decoded adjusted means"),
        (panels[1], found.data, data, "sections: adjusted means"),
    ):
        mean = pair.mean(axis=0)
        level = float(mean[brain_mask(mean)].mean()) if np.ptp(mean) else 1.0
        limit = change_limit(change)
        _show_over(axes, mean, signed_overlay(change, limit))
        _bar(axes, 100 * limit / level, "% of the mean brightness")
        axes.set_title(title, fontsize=8)
    mean = found.data.mean(axis=0)
    _draw_parts(panels[2], mean, found.data_parts, brain_mask(mean), pixel_size_um)
    _draw_t(panels[3], mean, compared)
    for axes in panels:
        frame(axes, data.shape, pixel_size_um, plane)
        draw_outlines(axes, outlines, OUTLINED, 0.4)
    design = compared.design
    first, second = design.sizes
    count = f"{first} and {second}" if design.groups else f"{first}"
    out = f"; taken out: {', '.join(design.adjusted)}" if design.adjusted else ""
    of = f"; {model}" if model else ""
    title = f"{design.by}: {design.contrast}, n = {count}{out}{of}"
    figure.suptitle(textwrap.fill(title, 100), fontsize=8)
    return figure


def _show_over(axes: Axes, section: Images, overlay: npt.NDArray[Any] | None = None) -> None:
    """Show colours ``(H, W, 4)`` over a section, as one raster."""
    white = 1.3 * max(float(np.percentile(section, 99.8)), 1e-6)
    picture = np.repeat(np.clip(section / white, 0, 1)[..., None], 3, axis=-1)
    if overlay is not None:
        opacity = overlay[..., 3:]
        picture = (1 - opacity) * picture + opacity * overlay[..., :3]
    show(axes, np.clip(picture, 0, 1))


def _draw_parts(
    axes: Axes, mean: Images, parts: ShapeAndBrightness, tissue: Mask, pixel_size_um: float | None
) -> None:
    limit = max(100 * change_limit(np.where(tissue, parts.brightness, 0)), 1e-4)
    _show_over(axes, mean, signed_overlay(parts.brightness_percent, limit, tissue))
    _bar(axes, limit, "% brighter")
    height, width = tissue.shape
    step = max(2, round(max(height, width) / _ARROWS))
    rows, columns = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    u = parts.displacement[:, rows, columns]
    peak = max(parts.displacement_peak, 1e-9)
    here = tissue[rows, columns] & (np.hypot(*u) > 0.1 * peak)
    arrows = axes.quiver(columns[here], rows[here], u[1][here], u[0][here], angles="xy",
                         scale_units="xy", scale=peak / (1.4 * step), color=ARROW,
                         width=0.006, edgecolor="black", linewidth=0.25)  # fmt: skip
    size, unit = (peak, "px") if pixel_size_um is None else (peak * pixel_size_um, "µm")
    rounded = float(f"{size:.1g}")
    axes.quiverkey(arrows, 0.84, 1.04, peak * rounded / size, f"{rounded:g} {unit}",
                   labelpos="E", fontproperties={"size": 7})  # fmt: skip
    axes.set_title("brightness, displacement", fontsize=8, loc="left")


def _draw_t(axes: Axes, mean: Images, compared: Compared) -> None:
    found = compared.difference
    if found.t is None:
        _show_over(axes, mean)
        axes.set_title("map of pixels: not asked for", fontsize=8)
        return
    t = np.nan_to_num(found.t)
    limit = max(float(np.abs(t).max()), 1e-6)
    # What is not sure stays to be seen, faintly: a threshold is no border of nature.
    _show_over(axes, mean, signed_overlay(t, limit, np.where(found.found, 1.0, 0.35)))
    if found.found.any():
        axes.contour(found.found, [0.5], colors="white", linewidths=0.6)
    _bar(axes, limit, "t of each pixel")
    share = 100 * found.found.sum() / max(np.isfinite(found.t).sum(), 1)
    axes.set_title(f"white: |t| ≥ {found.threshold:.2f}, p < 0.05 over pixels; {share:.2g} %",
                   fontsize=7)  # fmt: skip


def _bar(axes: Axes, limit: float, label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    colors = LinearSegmentedColormap.from_list("signed", [DARKER, (0.35, 0.35, 0.35), BRIGHTER])
    bar = axes.figure.colorbar(
        ScalarMappable(Normalize(-limit, limit), colors), ax=axes, shrink=0.75, pad=0.02
    )
    bar.set_label(label, fontsize=7)
    bar.set_ticks([-limit, 0, limit], labels=[f"{-limit:+.2g}", "0", f"{limit:+.2g}"])
    bar.ax.tick_params(labelsize=7, length=2)


def export_comparison(
    folder: Path,
    study: Study,
    model: Model,
    about: Provenance,
    *,
    cards: Sequence[FactorCard] = (),
    pixel_size_um: float | None = None,
    outlines: Sequence[Any] = (),
) -> None:
    """Write all of a comparison: tables, figures, maps, and report.html, which shows them.

    Parameters
    ----------
    about
        From `provenance`; it describes the model.
    cards
        Of all factors, for their names.
    outlines
        As in `difference_figure`.
    """
    from napari_brainvae.reporting.html import write_report

    table, regions = comparison_table(study, model, cards), study.region_table()
    write_table(table, folder / "compare.csv", about)
    if len(regions):
        write_table(regions, folder / "compare_regions.csv", about)
    if len(study.batches):
        write_table(study.batches, folder / "batches.csv", about)
    write_table(study.deviations.reset_index(), folder / "deviations.csv", about)
    _export_for_pcntoolkit(folder, study)
    with figures.MATPLOTLIB:
        parts = _report_parts(folder, study, table, regions, about, pixel_size_um, outlines)
        write_report(folder / "report.html", f"Compared: {', '.join(study.compared)}", parts)
    for by, compared in study.compared.items():
        path = folder / f"difference_{file_name(by)}.ome.tif"
        write_difference(path, compared, about, pixel_size_um)


def _report_parts(
    folder: Path,
    study: Study,
    table: pd.DataFrame,
    regions: pd.DataFrame,
    about: Provenance,
    pixel_size_um: float | None,
    outlines: Sequence[Any],
) -> list[tuple[str, str, Any]]:
    """Draw and save the figures; give the parts of the report."""
    parts: list[tuple[str, str, Any]] = [
        (heading, text, None) for heading, text in summary(study, table).items()
    ]
    for by, compared in study.compared.items():
        rows, name = table[table["by"] == by], file_name(by)
        model = ", ".join(about.get("models", {}))
        forest = forest_plot(rows, model=model)
        picture = difference_figure(
            compared, pixel_size_um, outlines, about.get("plane"), model=model
        )
        figures.save_figure(forest, folder / f"effects_{name}", about)
        figures.save_figure(picture, folder / f"difference_{name}", about)
        parts.append((f"{by}: factors", "", forest))
        parts.append((f"{by}: the difference", "Orange is more in the first, blue less.", picture))
        columns = ["effect", "low", "high", "p", "p_fwe", "q", "difference", "replicated", *BEYOND]
        shown = rows.set_index("factor")[columns].round(4).dropna(axis=1, how="all")
        shown = shown.astype(object).where(shown.notna(), "")
        parts.append((f"{by}: numbers of the factors", "All columns are in compare.csv.", shown))
        if len(regions):
            mine = regions[regions["by"] == by].sort_values("p_fwe", kind="stable")
            columns = ["region", "what", "effect", "low", "high", "p", "p_fwe", "q", "difference",
                       "difference_low", "difference_high"]  # fmt: skip
            text = (
                "Brightness with displacement accounted for, and size, both in per cent; p_fwe is "
                "corrected for all rows. The first 30; all are in compare_regions.csv."
            )
            parts.append((f"{by}: regions", text, mine[columns].head(30).round(4)))
    if len(study.batches):
        text = "Share of each factor's variance that the batches explain beyond what is compared."
        parts.append(("Batches", text, study.batches.round(4)))
    text = "Root mean square z over the factors, predicted by other brains; 1 is as usual."
    parts.append(("Brains that deviate most", text, study.deviations.iloc[:15, :9].round(2)))
    return parts


def _export_for_pcntoolkit(folder: Path, study: Study) -> None:
    batches = list(study.options.batch)
    names = list(dict.fromkeys([*study.options.adjust, *batches]))
    known = study.covariates[names].set_axis(study.brains.codes.index, axis=0)
    values = pd.concat([study.brains.codes, study.brains.regions["denoised"]], axis=1)
    write_pcntoolkit(folder / "pcntoolkit.csv", values, known, batches)


def write_difference(
    path: Path, compared: Compared, about: Provenance, pixel_size_um: float | None
) -> None:
    """Write the maps of a difference as an OME-TIFF in micrometres, with channels `CHANNELS`."""
    found = compared.difference
    t = np.zeros(found.data.shape[1:]) if found.t is None else np.nan_to_num(found.t)
    maps: list[npt.NDArray[Any]] = []
    for pair in (found.model, found.data):
        maps += [*pair, pair[0] - pair[1]]
    maps += [found.data_parts.brightness, *found.data_parts.displacement, t, found.found]
    stack = np.stack(maps).astype(np.float32)
    name = f"{compared.design.by}, {compared.design.contrast}"
    text = f"Difference: {name}. {json.dumps(about, sort_keys=True)}"
    metadata = ome_metadata(pixel_size_um, text, "QCYX", what="comparison", names=[name])
    metadata["Channel"] = {"Name": CHANNELS}
    with replacing(path) as beside:
        tifffile.imwrite(beside, stack[None], ome=True, metadata=metadata)
