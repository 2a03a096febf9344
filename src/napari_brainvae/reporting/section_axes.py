"""What every section in a figure carries: left and right, plane, a length, and outlines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import skimage  # whose modules are imported when they are first used

from napari_brainvae.arrays import Labels
from napari_brainvae.atlas.ontology import StructureTree

# What draws is imported where it draws: windows open without figures, and sooner.
if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE = 7.1
"""Width of a page, inches (180 mm): no figure is printed smaller than it was drawn."""

PAGE_HEIGHT = 9.7
"""Of such a page, with a caption beneath."""

Outlines = list[npt.NDArray[np.float64]]
"""Lines, each ``(n, 2)``: column and row of its corners, pixels."""

LEAST_OUTLINED = 0.01
"""Share of the tissue that a structure must have to be outlined; smaller ones join their parent."""

_EVEN = 0.3  # pixels that an outline may be off, to have fewer corners


def show(axes: Axes, image: npt.NDArray[Any], **look: Any) -> None:
    """Show an image pixel by pixel, as one raster also where the rest are vectors."""
    axes.imshow(image, interpolation="none", **look)


def frame(
    axes: Axes,
    shape: tuple[int, int],
    pixel_size_um: float | None,
    plane: int | None = None,
    *,
    color: str = "white",
) -> None:
    """Mark left and right of the animal, the atlas's plane, and a length, as far as known.

    Columns run from the animal's left to its right.

    Parameters
    ----------
    shape
        ``(H, W)`` of the section that was shown.
    """
    height, width = shape
    axes.set_axis_off()
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    look: dict[str, Any] = {"color": color, "transform": axes.transAxes}
    axes.text(0.02, 0.97, "L", va="top", fontsize=8, **look)
    axes.text(0.98, 0.97, "R", va="top", ha="right", fontsize=8, **look)
    if plane is not None:
        axes.text(0.98, 0.03, f"plane {plane}", va="bottom", ha="right", fontsize=6, **look)
    if pixel_size_um is None:
        return
    length = round_length(0.2 * width * pixel_size_um)
    ends = [0.03 * width, 0.03 * width + length / pixel_size_um]
    axes.plot(ends, [0.95 * height] * 2, color=color, lw=1.5, solid_capstyle="butt")
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    axes.text(0.03, 0.065, text, va="bottom", fontsize=7, **look)


def round_length(about: float) -> float:
    """Give the 1, 2 or 5 times a power of ten that lies below ``about``."""
    power = 10.0 ** np.floor(np.log10(about))
    return float(max(step * power for step in (1, 2, 5) if step * power <= about))


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


def structure_outlines(labels: Labels, tree: StructureTree | None = None) -> Outlines:
    """Outlines of the structures in ``(H, W)`` ids; with their tree, of those that are readable."""
    shown = labels if tree is None else readable_labels(labels, tree)
    keys = [int(key) for key in np.unique(shown) if key]
    return [line for key in keys for line in mask_outlines(shown == key)]


def mask_outlines(mask: npt.NDArray[np.bool_]) -> Outlines:
    """Outlines of a mask ``(H, W)``, closed also at the rim of the section."""
    found = skimage.measure.find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    even = (skimage.measure.approximate_polygon(line, _EVEN) for line in found)
    return [line[:, ::-1] - 1 for line in even]


def draw_outlines(axes: Axes, lines: Iterable[Any], color: str, width: float) -> None:
    """Draw outlines as vectors."""
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(list(lines), colors=color, linewidths=width))
