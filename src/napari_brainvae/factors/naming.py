"""Which structures of an atlas a map is about: as few, as coarse ones as hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Labels
from napari_brainvae.atlas.ontology import StructureTree
from napari_brainvae.io.errors import InputError

WORTH = 0.1
"""What a structure must hold of a map beyond its share of the area, to be worth a name."""

ONE_SIDED = 0.8
"""Share of a map on one side from which on it counts as being there."""

Side = Literal["both", "left", "right"]


@dataclass(frozen=True)
class Place:
    """Where a map lies.

    Attributes
    ----------
    structures
        Ids; none where the map is spread over the section, or there is no atlas.
    name
        For a sentence: "left hippocampal formation", "whole section", "20 to 40 % of the height,
        10 to 35 % of the width from either side".
    side
        Of the animal.
    enrichment
        Share of the map that the structures hold, less their share of the area and `WORTH` for each
        of them; 0 without any.
    """

    structures: tuple[int, ...]
    name: str
    side: Side
    enrichment: float


def name_place(
    weights: npt.ArrayLike, labels: Labels | None = None, tree: StructureTree | None = None
) -> Place:
    """Name the structures in which a map is enriched.

    Of all sets of structures that do not overlap, the one is taken whose share of the map exceeds
    its share of the tissue's area by most, less `WORTH` a structure: that asks for few structures,
    for the coarsest that holds the map, and for finer ones where it lies in a part of that. It is
    found exactly, from the leaves of the ontology to its root.

    Parameters
    ----------
    weights
        ``(H, W)``, not negative; such as the square of a signed change.
    labels
        ``(H, W)`` structure ids under the section. Without them the place is said in per cent of
        height and width.
    tree
        What the ids mean.

    Raises
    ------
    InputError
        If shapes do not fit, the weights are negative or not finite, or no label is a structure.
    """
    array = np.asarray(weights, np.float64)
    if array.ndim != 2 or not np.isfinite(array).all() or array.min(initial=0) < 0:
        raise InputError("a map to be named is (H, W), finite and not negative")
    if labels is None or tree is None:
        return Place((), _in_per_cent(array), _side(array), 0.0)
    if labels.shape != array.shape:
        raise InputError(f"the labels are {labels.shape}, the map is {array.shape}")
    holdings = _holdings(array, labels, tree)
    roots = [key for key in holdings if tree.structure(key).parent not in holdings]
    found = [_most_enriched(root, holdings, tree) for root in roots]
    chosen = [key for _, keys in found for key in keys]
    if not chosen:
        return Place((), "whole section", "both", 0.0)
    inside = np.isin(labels, [part for key in chosen for part in tree.descendants(key)])
    side = _side(np.where(inside, array, 0))
    # The structure that holds most is named first.
    chosen.sort(key=lambda key: -holdings[key][0])
    names = [_plain(tree.structure(key).name) for key in chosen]
    name = " and ".join([", ".join(names[:-1]), names[-1]] if names[:-1] else names)
    enrichment = sum(worth for worth, _ in found)
    return Place(tuple(chosen), name if side == "both" else f"{side} {name}", side, enrichment)


Holdings = dict[int, tuple[float, float]]


def _holdings(weights: npt.NDArray[Any], labels: Labels, tree: StructureTree) -> Holdings:
    """Share of the map, and of the area, that each structure and its parts have, by id."""
    ids, where = np.unique(labels, return_inverse=True)
    held = np.bincount(where.ravel(), weights.ravel())
    area = np.bincount(where.ravel()).astype(float)
    tissue = ids > 0
    if not tissue.any():
        raise InputError("the labels show no structure: all of them are 0")
    whole, all_area = max(held[tissue].sum(), 1e-300), area[tissue].sum()
    holdings: Holdings = {}
    for key, mine, pixels in zip(ids[tissue], held[tissue], area[tissue], strict=True):
        for ancestor in tree.structure(int(key)).path:
            share, of_area = holdings.get(ancestor, (0.0, 0.0))
            holdings[ancestor] = share + mine / whole, of_area + pixels / all_area
    return holdings


def _most_enriched(key: int, holdings: Holdings, tree: StructureTree) -> tuple[float, list[int]]:
    """Best set of structures within one, after what it is worth."""
    parts = [_most_enriched(c, holdings, tree) for c in tree.children(key) if c in holdings]
    worth, chosen = sum(part[0] for part in parts), [each for part in parts for each in part[1]]
    share, area = holdings[key]
    alone = share - area - WORTH
    # A hair in favour of the coarser: a structure's only part in this plane is all of it.
    return (alone, [key]) if alone > max(worth - 1e-9, 0) else (worth, chosen)


def _side(weights: npt.NDArray[Any]) -> Side:
    columns = np.arange(weights.shape[1])
    left = weights[:, 2 * columns + 1 <= weights.shape[1]].sum() / max(weights.sum(), 1e-300)
    return "left" if left > ONE_SIDED else "right" if left < 1 - ONE_SIDED else "both"


def _in_per_cent(weights: npt.NDArray[Any]) -> str:
    """Where the middle 80 % of a map lie; columns from the outside where both sides have it."""
    side = _side(weights)
    rows, columns = weights.sum(axis=1), weights.sum(axis=0)
    if side == "both":
        columns = columns + columns[::-1]
        columns = columns[: (len(columns) + 1) // 2]
    low, high = _middle(rows, len(rows))
    left, right = _middle(columns, weights.shape[1])
    width = "of the width" if side != "both" else "of the width from either side"
    return f"{low:.0f} to {high:.0f} % of the height, {left:.0f} to {right:.0f} % {width}"


def _middle(weights: npt.NDArray[Any], size: int) -> tuple[float, float]:
    below = np.concatenate([[0.0], np.cumsum(weights) / max(weights.sum(), 1e-300)])
    first, last = np.interp([0.1, 0.9], below, np.arange(len(below)))
    return 100 * float(first) / size, 100 * float(last) / size


def _plain(name: str) -> str:
    """Write a name as within a sentence: small, if it is not an abbreviation or a person's."""
    first, *_ = name.split(" ")
    return name[0].lower() + name[1:] if first[1:].islower() else name
