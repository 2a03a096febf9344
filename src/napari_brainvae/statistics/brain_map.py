"""The map of brains: what can be drawn, which brains a line encloses, where groups lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from skimage import measure  # whose functions are imported when they are first used

from napari_brainvae.statistics.design import Floats, as_names, is_number, missing

SHARE = 0.95
"""Of a normal distribution that lies in its ellipse."""

PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#d55e00", "#0072b2", "#cc79a7", "#f0e442")
"""Of Okabe and Ito: told apart by all eyes, on dark and on light; black is for what is drawn on."""

OTHER = "#8c8c8c"
"""Of brains of which the covariate is not known, or whose group is not among the largest."""

NUMBERS, DARKEST, SHADES = "viridis", 0.12, 64
"""Colours of numbers, where they begin, to be seen on dark, and how many shades are told apart."""


@dataclass(frozen=True, eq=False)
class Group:
    """Brains of one colour.

    Attributes
    ----------
    name
        Value of the covariate.
    colour
        As ``#rrggbb``.
    members
        ``(N,)`` bool.
    """

    name: str
    colour: str
    members: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Colouring:
    """A colour for each brain, and what it says.

    Attributes
    ----------
    title
        Of the column; empty if all have the same.
    colours
        ``(N, 3)`` uint8.
    groups
        The largest groups first, then the others; none if it is a number.
    limits
        Of a number, its smallest and largest value; None if it is not.
    """

    title: str
    colours: npt.NDArray[np.uint8]
    groups: tuple[Group, ...] = ()
    limits: tuple[float, float] | None = None


def number_columns(table: pd.DataFrame) -> list[str]:
    """Names of columns that brains can be laid out by: numbers, of which more than one is known."""
    return [
        str(name)
        for name, column in table.items()
        if is_number(column) and column[~missing(column)].nunique() > 1
    ]


def colour_columns(table: pd.DataFrame) -> list[str]:
    """Names of columns that tell brains apart, and not each by a name of its own."""
    names = [
        str(name)
        for name, column in table.items()
        if not is_number(column) and 1 < column[~missing(column)].nunique() <= len(column) // 2
    ]
    return [*names, *number_columns(table)]


def colour_brains(table: pd.DataFrame, by: str = "") -> Colouring:
    """Give each brain the colour of its group, or of its number.

    Parameters
    ----------
    table
        N rows.
    by
        Name of a column; empty for one colour.
    """
    if not by:
        return Colouring("", np.tile(_rgb(PALETTE[1]), (len(table), 1)))
    unknown = missing(table[by])
    if is_number(table[by]):
        values = table[by].to_numpy(np.float64)
        low, high = float(values[~unknown].min()), float(values[~unknown].max())
        shares = np.where(unknown, low, values) - low
        shades = np.round(shares / ((high - low) or 1) * (SHADES - 1)).astype(int)
        colours = np.where(unknown[:, None], _rgb(OTHER), shades_of_numbers()[shades])
        return Colouring(by, colours.astype(np.uint8), limits=(low, high))
    said = {True: "yes", False: "no"}
    names = table[by].map(said) if table[by].dtype == bool else as_names(table[by])
    names = names.mask(unknown)
    largest = names.value_counts().index[: len(PALETTE)]
    shown = sorted(largest)
    groups = [
        Group(str(name), colour, (names == name).to_numpy())
        for name, colour in zip(shown, PALETTE, strict=False)
    ]
    others = {
        "others": ~unknown & ~names.isin(shown).to_numpy(),
        "not known": unknown,
    }
    groups += [Group(name, OTHER, members) for name, members in others.items() if members.any()]
    colours = np.empty((len(table), 3), np.uint8)
    for group in groups:
        colours[group.members] = _rgb(group.colour)
    return Colouring(by, colours, tuple(groups))


def hollow_and_crossed(table: pd.DataFrame) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which brains are flagged, ``(N,)``, and which are outliers, ``(N,)``, to be marked so."""
    nobody = pd.Series(False, table.index)
    flagged, unusual = table.get("flagged", nobody), table.get("unusual", nobody)
    return flagged.to_numpy(bool), unusual.to_numpy(bool)


def shades_of_numbers() -> npt.NDArray[np.uint8]:
    """Colours from the smallest to the largest number, ``(SHADES, 3)``."""
    from matplotlib import colormaps  # slow, so not before it is used

    shades = colormaps[NUMBERS](np.linspace(DARKEST, 1, SHADES))[:, :3]
    return np.round(255 * shades).astype(np.uint8)


def _rgb(colour: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)


def enclosed(points: npt.ArrayLike, line: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which points lie in a closed line, ``(N,)``; none of those that are not finite.

    Parameters
    ----------
    points
        ``(N, 2)``.
    line
        ``(K, 2)``; its end is joined to its beginning. Where it crosses itself, what it goes round
        twice is outside.

    Examples
    --------
    >>> enclosed([[1, 1], [3, 1], [float("nan"), 1]], [[0, 0], [2, 0], [2, 2], [0, 2]])
    array([ True, False, False])
    """
    places, corners = np.asarray(points, np.float64), np.asarray(line, np.float64)
    within = np.zeros(len(places), bool)
    if len(corners) < 3:
        return within
    # Most points are not even near it.
    near = ((places >= corners.min(axis=0)) & (places <= corners.max(axis=0))).all(axis=1)
    within[near] = measure.points_in_poly(places[near], corners)
    return within


def simplified(line: npt.ArrayLike, tolerance: float) -> Floats:
    """Leave out what a line ``(K, 2)`` does not need to stay within ``tolerance`` of itself."""
    return np.asarray(measure.approximate_polygon(np.asarray(line, np.float64), tolerance))


def nearest(points: npt.ArrayLike, at: tuple[float, float], within: float) -> int | None:
    """Give the index of the point ``(N, 2)`` nearest to a place, if any is within reach."""
    distance = ((np.asarray(points) - at) ** 2).sum(axis=1)
    distance[np.isnan(distance)] = np.inf
    index = int(distance.argmin()) if len(distance) else 0
    return index if len(distance) and distance[index] <= within**2 else None


@dataclass(frozen=True, eq=False)
class Ellipse:
    """Where a group lies, or a group in each of several planes.

    Attributes
    ----------
    mean
        ``(..., 2)``.
    covariance
        ``(..., 2, 2)``.
    """

    mean: Floats
    covariance: Floats

    def outline(self, share: float = SHARE, count: int = 64) -> Floats:
        """Line ``(..., count, 2)`` round that share of a normal distribution of this covariance."""
        variances, axes = np.linalg.eigh(self.covariance)
        # Two squared normal deviates together are exponential: their quantile has a closed form.
        radius = np.sqrt(-2 * np.log1p(-share) * variances.clip(0))
        angles = np.linspace(0, 2 * np.pi, count)
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        turned = (circle * radius[..., None, :]) @ np.swapaxes(axes, -1, -2)
        return np.asarray(self.mean[..., None, :] + turned)


def covariance_ellipse(points: npt.ArrayLike) -> Ellipse | None:
    """Give mean and covariance of the points ``(N, 2)`` that are finite; None of fewer than three.

    Examples
    --------
    >>> ellipse = covariance_ellipse([[0, 0], [2, 0], [0, 4], [2, 4]])
    >>> ellipse.mean.tolist(), ellipse.covariance.round(3).tolist()
    ([1.0, 2.0], [[1.333, 0.0], [0.0, 5.333]])
    """
    known, of_pairs = ellipses_of_pairs(points, [(0, 1)])
    return Ellipse(of_pairs.mean[0], of_pairs.covariance[0]) if known[0] else None


def ellipses_of_pairs(
    columns: npt.ArrayLike, pairs: npt.ArrayLike
) -> tuple[npt.NDArray[np.bool_], Ellipse]:
    """Say where a group lies in the planes of several pairs of its columns, all at once.

    Parameters
    ----------
    columns
        ``(N, C)``; of a pair those rows count of which both are finite.
    pairs
        ``(P, 2)``, indices of columns.

    Returns
    -------
    known
        ``(P,)``: three rows or more count. The ellipse of other pairs is of zeros.
    ellipse
        With a plane for each pair in front.
    """
    table = np.asarray(columns, np.float64)
    finite = np.isfinite(table)
    middle = np.where(finite, table, 0).sum(axis=0) / finite.sum(axis=0).clip(1)
    # Sums over the rows that a pair has in common are products of matrices; about the middle, so
    # that no digits are lost.
    away, counts = np.where(finite, table - middle, 0), finite.astype(np.float64)
    first, second = np.asarray(pairs, np.intp).T
    shared, sums, squares = counts.T @ counts, away.T @ counts, (away**2).T @ counts
    count = shared[first, second]
    known = np.asarray(count >= 3)
    count = np.where(known, count, 2)
    mean = np.stack([sums[first, second], sums[second, first]], axis=-1) / count[:, None]
    product = (away.T @ away)[first, second] - count * mean[:, 0] * mean[:, 1]
    square = np.stack([squares[first, second], squares[second, first]], axis=-1)
    square = square - count[:, None] * mean**2
    covariance = np.stack([square[:, 0], product, product, square[:, 1]], axis=-1)
    covariance = covariance / (count - 1)[:, None]
    mean = mean + np.stack([middle[first], middle[second]], axis=-1)
    covariance = np.where(known[:, None], covariance, 0).reshape(-1, 2, 2)
    return known, Ellipse(np.where(known[:, None], mean, 0), covariance)
