"""One card a factor: what it does to a section, where, how much, and what speaks for it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Labels, Mask
from napari_brainvae.atlas.ontology import StructureTree
from napari_brainvae.atlas.regions import edges
from napari_brainvae.data.tissue import brain_mask
from napari_brainvae.factors.cards import REACH, FactorCard
from napari_brainvae.factors.field_colours import BRIGHTER, DARKER, change_limit, signed_overlay

# What draws is imported where it draws: windows open without figures, and sooner.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARROW = "#4fbf26"

NAMED = "#f2d30c"
"""Outline of the structures that the sentence names."""

LEAST_DRAWN = 0.1
"""Share of the change below which displacement or brightness is only told, not drawn."""

LEAST_OUTLINED = 0.01
"""Share of the tissue that a structure must have to be outlined; smaller ones join their parent."""

_WIDE = 3.3  # a section, inches
_ARROWS = 20  # across the longer side of a section


def factor_card(
    card: FactorCard, *, labels: Labels | None = None, tree: StructureTree | None = None
) -> Figure:
    """Draw a card: three sections, the signed change, displacement and brightness, and the facts.

    Parameters
    ----------
    labels, tree
        ``(H, W)`` structure ids under the section and what they mean, for outlines.
    """
    figure, top, bottom = _panels(card.change.shape)
    lines = None if labels is None or tree is None else edges(readable_labels(labels, tree))
    bright = float(np.percentile(card.sections, 99.8))
    texts = (f"-{REACH:g} SD", "mean", f"+{REACH:g} SD")
    for axes, section, text in zip(top, card.sections, texts, strict=True):
        axes.imshow(section, cmap="gray", vmin=0, vmax=bright)
        axes.set_title(text, fontsize=9)
    _draw_change(bottom[0], card, bright)
    _draw_parts(bottom[1], card, bright)
    for axes in bottom[:2]:
        _draw_lines(axes, lines, "0.8", 0.3)
    if labels is not None and tree is not None and card.description.structures:
        inside = [part for key in card.description.structures for part in tree.descendants(key)]
        # Not over the change, which may be as thin as the line.
        _draw_lines(bottom[1], edges(np.isin(labels, inside)), NAMED, 0.8)
    for axes in (*top, *bottom[:2]):
        _frame(axes, card)
    _write_facts(bottom[2], card)
    _write_title(figure, card)
    return figure


def card_size(shape: tuple[int, ...]) -> tuple[float, float]:
    """Width and height, inches, of the card of a section ``(H, W)``."""
    return 11.4, 2 * _WIDE * shape[0] / shape[1] + 1.35


def _panels(shape: tuple[int, ...]) -> tuple[Figure, list[Axes], list[Axes]]:
    """Lay out two rows of three panels, all of one size, whatever is written beside them."""
    from matplotlib.figure import Figure

    wide, tall = _WIDE, _WIDE * shape[0] / shape[1]
    width, height = card_size(shape)
    figure = Figure(figsize=(width, height))
    rows = [
        [
            figure.add_axes((left / width, low / height, wide / width, tall / height))
            for left in (0.15, 4.05, 7.95)
        ]
        for low in (tall + 0.5, 0.12)
    ]
    return figure, rows[0], rows[1]


def readable_labels(labels: Labels, tree: StructureTree) -> Labels:
    """Join structures too small to be outlined, such as the cortex's layers, with their parents.

    Returns
    -------
    numpy.ndarray
        ``(H, W)`` uint32; an ancestor's id where a structure has less than `LEAST_OUTLINED` of the
        tissue.
    """
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    area: dict[int, int] = {}
    for key, count in zip(ids.tolist(), counts.tolist(), strict=True):
        for ancestor in tree.structure(key).path:
            area[ancestor] = area.get(ancestor, 0) + count
    least = LEAST_OUTLINED * counts.sum()
    joined = np.zeros_like(labels)
    for key in ids.tolist():
        path = tree.structure(key).path
        joined[labels == key] = next((a for a in reversed(path) if area[a] >= least), key)
    return joined


def _draw_lines(
    axes: Axes, lines: npt.NDArray[np.float64] | None, color: str, width: float
) -> None:
    from matplotlib.collections import LineCollection

    if lines is not None:
        # As pixels: a vector file of every border would be larger than all else.
        axes.add_collection(
            LineCollection(list(lines[..., ::-1]), colors=color, linewidths=width, rasterized=True)
        )


def _draw_change(axes: Axes, card: FactorCard, bright: float) -> None:
    limit = change_limit(card.change)
    axes.imshow(card.sections[1], cmap="gray", vmin=0, vmax=1.3 * bright)
    axes.imshow(signed_overlay(card.change, limit))
    axes.set_title("change per SD", fontsize=9)
    _colour_bar(axes, 100 * limit / _tissue_level(card), "% of the mean brightness")


def _tissue_level(card: FactorCard) -> float:
    mean = card.sections[1]
    return float(mean[brain_mask(mean)].mean()) if np.ptp(mean) else 1.0


def _draw_parts(axes: Axes, card: FactorCard, bright: float) -> None:
    parts, mean = card.parts, card.sections[1]
    axes.imshow(mean, cmap="gray", vmin=0, vmax=1.3 * bright)
    drawn = []
    tissue = brain_mask(mean)
    limit = max(abs(100 * parts.brightness_peak), 1e-6)
    if parts.brightness_share >= LEAST_DRAWN:
        axes.imshow(signed_overlay(parts.brightness_percent, limit, tissue))
        drawn.append("brightness")
        _colour_bar(axes, limit, "% brighter per SD")
    if parts.displacement_share >= LEAST_DRAWN:
        _draw_arrows(axes, card, tissue)
        drawn.append("displacement")
    axes.set_title(", ".join(drawn) or "neither", fontsize=9)


def _draw_arrows(axes: Axes, card: FactorCard, tissue: Mask) -> None:
    parts, (height, width) = card.parts, card.change.shape
    step = max(2, round(max(height, width) / _ARROWS))
    rows, columns = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    u = parts.displacement[:, rows, columns]
    far = np.hypot(*u)
    shown = tissue[rows, columns] & (far > 0.1 * parts.displacement_peak)
    # The largest is a little longer than the grid's step.
    scale = max(parts.displacement_peak, 1e-9) / (1.4 * step)
    arrows = axes.quiver(
        columns[shown],
        rows[shown],
        u[1][shown],
        u[0][shown],
        angles="xy",
        scale_units="xy",
        scale=scale,
        color=ARROW,
        width=0.006,
        headwidth=3.5,
        headlength=4,
    )
    peak = parts.displacement_peak_um
    size, unit = (parts.displacement_peak, "px") if peak is None else (peak, "um")
    rounded = float(f"{size:.1g}")
    key = rounded * parts.displacement_peak / size if size else 0.0
    axes.quiverkey(
        arrows, 0.86, 1.04, key, f"{rounded:g} {unit}", labelpos="E", fontproperties={"size": 8}
    )


def _colour_bar(axes: Axes, limit: float, label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    colors = LinearSegmentedColormap.from_list("signed", [DARKER, (0.35, 0.35, 0.35), BRIGHTER])
    beside = axes.inset_axes((1.01, 0.15, 0.025, 0.7))
    bar = axes.figure.colorbar(ScalarMappable(Normalize(-limit, limit), colors), cax=beside)
    bar.set_label(label, fontsize=7)
    bar.set_ticks([-limit, 0, limit], labels=[f"{-limit:+.2g}", "0", f"{limit:+.2g}"])
    bar.ax.tick_params(labelsize=7, length=2)


def _frame(axes: Axes, card: FactorCard) -> None:
    """Mark left and right of the animal, and a length."""
    height, width = card.change.shape
    axes.set_axis_off()
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    look: dict[str, Any] = {"color": "white", "fontsize": 8, "transform": axes.transAxes}
    axes.text(0.02, 0.97, "L", va="top", **look)
    axes.text(0.98, 0.97, "R", va="top", ha="right", **look)
    size = card.parts.pixel_size_um
    if size is None:
        return
    length = _round_length(0.2 * width * size)
    axes.plot(
        [0.03 * width, 0.03 * width + length / size], [0.95 * height] * 2, color="white", lw=1.5
    )
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} um"
    axes.text(0.03, 0.065, text, va="bottom", **look | {"fontsize": 7})


def _round_length(about: float) -> float:
    """Give the 1, 2 or 5 times a power of ten that lies below ``about``."""
    power = 10.0 ** np.floor(np.log10(about))
    return float(max(step * power for step in (1, 2, 5) if step * power <= about))


def _write_facts(axes: Axes, card: FactorCard) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    told = card.description
    shares = {
        "displacement": (told.displacement_share, ARROW),
        "brightness": (told.brightness_share, BRIGHTER),
        "neither": (told.residual_share, "0.7"),
    }
    start = 0.0
    for share, color in shares.values():
        axes.barh(0.93, share, left=start, height=0.06, color=color)
        start += share
    line = ", ".join(f"{100 * share:.0f} % {name}" for name, (share, _) in shares.items())
    axes.text(0, 0.86, line, fontsize=8, va="center")
    text = "\n".join(_wrapped(fact) for fact in _facts(card))
    axes.text(0, 0.79, text, fontsize=8, va="top", linespacing=1.5)


def _facts(card: FactorCard) -> list[str]:
    told = card.description
    far = f"{told.displacement_px:.2g}\u00a0px"
    if np.isfinite(told.displacement_um):
        far = f"{told.displacement_um:.2g}\u00a0um ({far})"
    tone = "brighter" if told.brightness_percent > 0 else "darker"
    facts = [f"up to {far} displaced, {abs(told.brightness_percent):.2g}\u00a0% {tone} per SD"]
    if np.isfinite(told.kl):
        facts.append(f"KL divergence {told.kl:.2f} nats")
    if told.replicated is not None:
        facts.append(f"similarity of its map in halves of the brains {told.similarity:.2f}")
    if told.lowest:
        facts.append(f"lowest in {', '.join(told.lowest)}")
        facts.append(f"highest in {', '.join(told.highest)}")
    if told.covariates:
        facts.append(f"goes with {', '.join(told.covariates)}")
    return facts


def _wrapped(fact: str) -> str:
    return textwrap.fill(fact, 52, subsequent_indent="    ", break_on_hyphens=False)


def _write_title(figure: Figure, card: FactorCard) -> None:
    told = card.description
    inch = 1 / figure.get_figheight()
    doubtful = told.replicated is False
    color = "0.45" if doubtful else "black"
    text = textwrap.fill(told.sentence, 105, break_on_hyphens=False)
    figure.text(0.013, 1 - 0.3 * inch, text, fontsize=11, weight="bold", color=color, va="center")
    if doubtful:
        figure.patch.set(linewidth=5, edgecolor="#c43c3c", linestyle=(0, (4, 3)))


def draw_cards(
    cards: Sequence[FactorCard], labels: Labels | None = None, tree: StructureTree | None = None
) -> dict[str, Figure]:
    """Draw every card, by the name of its file: factor_F1 and so on."""
    return {
        f"factor_{card.description.factor}": factor_card(card, labels=labels, tree=tree)
        for card in cards
    }
