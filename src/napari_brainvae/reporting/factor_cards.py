"""One card a factor: what it does to a section, where, how much, and what speaks for it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images, Labels, Mask
from napari_brainvae.atlas.ontology import StructureTree
from napari_brainvae.data.tissue import brain_mask
from napari_brainvae.factors.cards import REACH, FactorCard
from napari_brainvae.factors.description import factor_table
from napari_brainvae.factors.field_colours import BRIGHTER, DARKER, change_limit, signed_overlay
from napari_brainvae.reporting.section_axes import (
    PAGE,
    draw_outlines,
    frame,
    mask_outlines,
    show,
    structure_outlines,
)

# What draws is imported where it draws: windows open without figures, and sooner.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARROW = "#8cf060"
"""Of displacement; lighter than what is brighter or darker, to be seen by all eyes."""

NAMED = "#f2d30c"
"""Outline of the structures that the sentence names."""

LEAST_DRAWN = 0.1
"""Share of the change below which displacement or brightness is only told, not drawn."""

_WIDE = 1.78  # a section, inches
_LEFTS = 0.06, 2.38, 4.7  # edges of the columns
_FACTS = 1.8  # height of what is written, at least
_ARROWS = 20  # across the longer side of a section


def factor_card(
    card: FactorCard,
    *,
    labels: Labels | None = None,
    tree: StructureTree | None = None,
    plane: int | None = None,
    about: str = "",
) -> Figure:
    """Draw a card: three sections, the signed change, displacement and brightness, and the facts.

    Parameters
    ----------
    labels, tree
        ``(H, W)`` structure ids under the section and what they mean, for outlines.
    plane
        Of the atlas.
    about
        Which model, of how many brains: a line beneath the facts.
    """
    figure, top, bottom = _panels(card.change.shape)
    lines = [] if labels is None or tree is None else structure_outlines(labels, tree)
    bright = float(np.percentile(card.sections, 99.8))
    texts = (f"-{REACH:g} SD", "mean", f"+{REACH:g} SD")
    for axes, section, text in zip(top, card.sections, texts, strict=True):
        show(axes, section, cmap="gray", vmin=0, vmax=bright)
        axes.set_title(text, fontsize=7, pad=3)
    _draw_change(bottom[0], card, bright)
    _draw_parts(bottom[1], card, bright)
    for axes in bottom[:2]:
        draw_outlines(axes, lines, "0.8", 0.3)
    if labels is not None and tree is not None and card.description.structures:
        inside = [part for key in card.description.structures for part in tree.descendants(key)]
        # Not over the change, which may be as thin as the line.
        draw_outlines(bottom[1], mask_outlines(np.isin(labels, inside)), NAMED, 0.8)
    for axes in (*top, *bottom[:2]):
        frame(axes, card.sections.shape[1:], card.parts.pixel_size_um, plane)
    _write_facts(bottom[2], card, about)
    _write_title(figure, card)
    return figure


def card_size(shape: tuple[int, ...]) -> tuple[float, float]:
    """Width and height, inches, of the card of a section ``(H, W)``."""
    tall = _WIDE * shape[0] / shape[1]
    return PAGE, tall + max(tall, _FACTS) + 0.95


def _panels(shape: tuple[int, ...]) -> tuple[Figure, list[Axes], list[Axes]]:
    """Lay out two rows of three panels; the last is at least as high as what is written there."""
    from matplotlib.figure import Figure

    wide, tall = _WIDE, _WIDE * shape[0] / shape[1]
    width, height = card_size(shape)
    figure = Figure(figsize=(width, height))
    beneath = max(tall, _FACTS)

    def panel(left: float, low: float, high: float) -> Axes:
        return figure.add_axes((left / width, low / height, wide / width, high / height))

    top = [panel(left, beneath + 0.4, tall) for left in _LEFTS]
    bottom = [panel(left, 0.08 + beneath - tall, tall) for left in _LEFTS[:2]]
    return figure, top, [*bottom, panel(_LEFTS[2], 0.08, beneath)]


def _over_grey(
    section: Images, bright: float, overlay: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Mix a section ``(H, W)`` and colours ``(H, W, 4)`` into one picture ``(H, W, 3)``."""
    grey = np.repeat(np.clip(section / bright, 0, 1)[..., None], 3, axis=-1)
    if overlay is None:
        return grey
    opacity = overlay[..., 3:]
    return np.asarray((1 - opacity) * grey + opacity * overlay[..., :3])


def _draw_change(axes: Axes, card: FactorCard, bright: float) -> None:
    limit = change_limit(card.change)
    show(axes, _over_grey(card.sections[1], 1.3 * bright, signed_overlay(card.change, limit)))
    axes.set_title("change per SD", fontsize=7, pad=3)
    _colour_bar(axes, 100 * limit / _tissue_level(card), "% of the mean brightness")


def _tissue_level(card: FactorCard) -> float:
    mean = card.sections[1]
    return float(mean[brain_mask(mean)].mean()) if np.ptp(mean) else 1.0


def _draw_parts(axes: Axes, card: FactorCard, bright: float) -> None:
    parts, mean = card.parts, card.sections[1]
    shown, overlay, tissue = [], None, brain_mask(mean)
    limit = max(abs(100 * parts.brightness_peak), 1e-6)
    if parts.brightness_share >= LEAST_DRAWN:
        overlay = signed_overlay(parts.brightness_percent, limit, tissue)
        shown.append("brightness")
        _colour_bar(axes, limit, "% brighter per SD")
    show(axes, _over_grey(mean, 1.3 * bright, overlay))
    if parts.displacement_share >= LEAST_DRAWN:
        _draw_arrows(axes, card, tissue)
        shown.append("displacement")
    axes.set_title(", ".join(shown) or "neither", fontsize=7, pad=3)


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
        edgecolor="black",
        linewidth=0.25,
    )
    peak = parts.displacement_peak_um
    size, unit = (parts.displacement_peak, "px") if peak is None else (peak, "µm")
    rounded = float(f"{size:.1g}")
    key = rounded * parts.displacement_peak / size if size else 0.0
    axes.quiverkey(
        arrows, 0.95, 1.05, key, f"{rounded:g} {unit}", labelpos="E", fontproperties={"size": 7}
    )


def _colour_bar(axes: Axes, limit: float, label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    colors = LinearSegmentedColormap.from_list("signed", [DARKER, (0.35, 0.35, 0.35), BRIGHTER])
    beside = axes.inset_axes((1.01, 0.15, 0.025, 0.7))
    bar = axes.figure.colorbar(ScalarMappable(Normalize(-limit, limit), colors), cax=beside)
    bar.set_label(label, fontsize=6, labelpad=1)
    bar.set_ticks([-limit, 0, limit], labels=[f"{-limit:+.2g}", "0", f"{limit:+.2g}"])
    bar.ax.tick_params(labelsize=6, length=2, pad=1)


def _write_facts(axes: Axes, card: FactorCard, about: str) -> None:
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
        axes.barh(0.965, share, left=start, height=0.06, color=color)
        start += share
    line = ", ".join(f"{100 * share:.0f} % {name}" for name, (share, _) in shares.items())
    axes.text(0, 0.88, line, fontsize=6, va="center")
    facts = [*_facts(card), *([about] if about else [])]
    text = "\n".join(_wrapped(fact) for fact in facts)
    axes.text(0, 0.82, text, fontsize=6.5, va="top", linespacing=1.25)


def _facts(card: FactorCard) -> list[str]:
    told = card.description
    far = f"{told.displacement_px:.2g}\u00a0px"
    if np.isfinite(told.displacement_um):
        far = f"{float(f'{told.displacement_um:.2g}'):g}\u00a0µm ({far})"
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
    return textwrap.fill(fact, 41, subsequent_indent="    ", break_on_hyphens=False)


def _write_title(figure: Figure, card: FactorCard) -> None:
    told = card.description
    inch = 1 / figure.get_figheight()
    doubtful = told.replicated is False
    color = "0.45" if doubtful else "black"
    text = textwrap.fill(told.sentence, 88, break_on_hyphens=False)
    figure.text(0.013, 1 - 0.2 * inch, text, fontsize=8, weight="bold", color=color, va="center")
    if doubtful:
        figure.patch.set(linewidth=3, edgecolor="#c43c3c", linestyle=(0, (4, 3)))


def card_parts(cards: Sequence[FactorCard], drawn: Iterable[Figure]) -> list[tuple[str, str, Any]]:
    """Give the parts of a report: the table of all factors, then a card each."""
    parts: list[tuple[str, str, Any]] = [
        (f"{card.description.factor}: {card.description.name}", "", figure)
        for card, figure in zip(cards, drawn, strict=True)
    ]
    table = factor_table([card.description for card in cards])
    text = "Per standard deviation of the factor; all columns are in factors.csv."
    known = [told.replicated for told in (card.description for card in cards)]
    if None not in known:
        text = f"{sum(map(bool, known))} of {len(known)} factors replicate in split halves. {text}"
    shown = (
        table[list(table.columns[:9])].round(2).rename(columns=lambda name: name.replace("_", " "))
    )
    return [("All factors", text, shown.set_index("factor").rename_axis(None)), *parts]


def draw_cards(
    cards: Sequence[FactorCard],
    labels: Labels | None = None,
    tree: StructureTree | None = None,
    plane: int | None = None,
    about: str = "",
) -> dict[str, Figure]:
    """Draw every card, by the name of its file: factor_F1 and so on."""
    return {
        f"factor_{card.description.factor}": factor_card(
            card, labels=labels, tree=tree, plane=plane, about=about
        )
        for card in cards
    }
