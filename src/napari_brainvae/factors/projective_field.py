"""Move a latent factor and see which pixels answer (paper, sections 2.2 and 3.3, Fig. 3A).

A factor k is moved by c from a starting point, ``z0 + c v_k``, and every pixel's variance over c is
taken in three parts of the range ``[-limit, limit]``: small positive c in ``(0, limit / 2]``, small
negative c in ``[-limit / 2, 0)``, large ``|c| > limit / 2``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.factors.field_options import LIMIT, STEP
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.io.real_numbers import real_numbers
from napari_brainvae.models.base import Model

PARTS = ("small positive", "small negative", "large")
"""The three maps of a factor, in this order."""

HUES = {"cyan": (0, 1, 1), "magenta": (1, 0, 1), "yellow": (1, 1, 0)}
"""Red, green and blue of each part, as in Fig. 3A."""

BATCH = 16
_NOTHING = 1e-12  # variance below which a map is rounding error of a decoder in single precision


@dataclass(frozen=True, eq=False)
class Field:
    """The projective field of one factor at some accuracy.

    Attributes
    ----------
    maps
        ``(3, H, W)`` float32, variance of each pixel in the `PARTS` of the range.
    points
        Number of values of c that were decoded.
    error
        Largest change since the map before, as a share of each part's own maximum; infinite for the
        first. What is left to the dense map was 3 to 10 times smaller wherever it was measured.
    """

    maps: Images
    points: int
    error: float


def projective_field(
    model: Model,
    factors: int | Sequence[int] | None = None,
    *,
    z0: npt.ArrayLike | None = None,
    limit: float = LIMIT,
    step: float = STEP,
    tolerance: float = 1e-3,
    progress: Progress | None = None,
) -> Images:
    """Where in the section latent factors act.

    What is estimated, by `refine`, is the paper's dense map: each pixel's variance over those of
    the points ``-limit, -limit + step, ..., limit`` that lie in the part.

    Parameters
    ----------
    factors
        Index of a factor from 0, several of them, or None for all.
    z0
        ``(L,)`` where to start; by default the population's mean (see `population_mean`).
    limit, step
        Range and grid of c, in units of the latent space.
    tolerance
        Refine until two successive maps differ by less than this share of each part's maximum.
    progress
        Called with decoded sections and how many there will be, as far as is known.

    Returns
    -------
    numpy.ndarray
        ``(F, 3, H, W)`` float32; F is 1 for a single index.

    Raises
    ------
    InputError
        For a factor that does not exist, or options that make no sense.
    Stopped
        If ``progress`` asked to stop.

    Examples
    --------
    >>> from napari_brainvae.models.checkpoint import DEMO_MODEL, load_checkpoint
    >>> projective_field(load_checkpoint(DEMO_MODEL), 0).shape
    (1, 3, 160, 224)
    """
    chosen = chosen_factors(model, factors)
    maps = np.empty((len(chosen), len(PARTS), *model.shape), dtype=np.float32)
    decoded = most = 0
    for i, factor in enumerate(chosen):
        for field in refine(model, factor, z0=z0, limit=limit, step=step):
            most = max(most, field.points)
            report(progress, decoded + field.points, decoded + (len(chosen) - i) * most)
            if field.error < tolerance:
                break
        maps[i] = field.maps
        decoded += field.points
    report(progress, decoded, decoded)
    return maps


def refine(
    model: Model,
    factor: int,
    *,
    z0: npt.ArrayLike | None = None,
    limit: float = LIMIT,
    step: float = STEP,
) -> Iterator[Field]:
    """Yield the projective field of one factor ever more exactly, the first after 9 decodes.

    The means over c of a pixel and of its square are found by Simpson's rule in each quarter of the
    range, half as wide intervals each time, so that no point is decoded twice and no image is kept.
    Then the ends are weighted as in the dense grid, which has ``limit / 2`` in its part but not 0:
    without that, the limit of ever finer rules is 1e-3 of the maximum away from the dense map.

    Ends by itself when the points are nearly as close as the dense grid's.

    Raises
    ------
    InputError
        As `projective_field`.
    """
    if not (0 < limit < math.inf and 0 < step <= limit / 4):
        raise InputError(f"limit and a step of at most limit / 4 are needed, not {limit}, {step}")
    start = _start(model, z0)
    (factor,) = chosen_factors(model, factor)
    quarter = limit / 2
    centre = model.decode(start[None])[0]

    def moments(c: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sums over c of the change of each pixel and of its square, ``(2, H, W)``."""
        sums = np.zeros((2, *model.shape))
        for i in range(0, len(c), BATCH):
            change = traverse(model, factor, c[i : i + BATCH], z0=start) - centre
            sums[0] += change.sum(axis=0, dtype=np.float64)
            sums[1] += np.einsum("nhw,nhw->hw", change, change, dtype=np.float64)
        return sums

    ends = np.stack([moments(np.array([end])) for end in np.linspace(-limit, limit, 5)])
    trapezoid = (ends[1:] + ends[:-1]) / 2
    outward = np.array([-1, -1, 1, 1])[:, None, None, None]
    dense = outward * (ends[1:] - ends[:-1]) * (step / 2 / quarter)
    del ends
    intervals, before = 1, None
    while quarter / intervals > step:
        inner = (np.arange(intervals) + 0.5) / intervals
        middle = np.stack([moments(quarter * (i - 2 + inner)) for i in range(4)]) / intervals
        simpson = (trapezoid + 2 * middle) / 3
        trapezoid = (trapezoid + middle) / 2
        intervals *= 2
        maps = _variance(simpson + dense)
        yield Field(maps, 4 * intervals + 1, _change(maps, before))
        before = maps


def dense_projective_field(
    model: Model,
    factor: int,
    *,
    z0: npt.ArrayLike | None = None,
    limit: float = LIMIT,
    step: float = STEP,
) -> Images:
    """Compute the paper's map as it is defined: every point of the grid is decoded.

    The reference that `projective_field` is held against; 2,801 decodes a factor at the paper's
    range and step. Sums are streamed, so that it needs no more memory.

    Returns
    -------
    numpy.ndarray
        ``(3, H, W)`` float32.
    """
    start = _start(model, z0)
    count = round(limit / step)
    k = np.arange(-count, count + 1)
    parts = np.stack([(k > 0) & (2 * k <= count), (k < 0) & (2 * k >= -count), 2 * abs(k) > count])
    centre = model.decode(start[None])[0]
    sums = np.zeros((2, len(PARTS), *model.shape))
    for i in range(0, len(k), BATCH):
        change = traverse(model, factor, k[i : i + BATCH] * step, z0=start) - centre.astype(float)
        for power in (1, 2):
            weights = parts[:, i : i + BATCH].astype(float)
            sums[power - 1] += np.tensordot(weights, change**power, axes=1)
    mean, square = sums / parts.sum(axis=1)[None, :, None, None]
    return np.asarray(np.maximum(square - mean**2, 0), dtype=np.float32)


def traverse(
    model: Model, factor: int, c: npt.ArrayLike, *, z0: npt.ArrayLike | None = None
) -> Images:
    """Sections that the model draws as one factor moves.

    Parameters
    ----------
    c
        A number or ``(n,)``: how far from ``z0``, in units of the latent space.
    z0
        ``(L,)``, see `projective_field`.

    Returns
    -------
    numpy.ndarray
        ``(n, H, W)`` float32 in [0, 1].
    """
    (factor,) = chosen_factors(model, factor)
    moves = np.atleast_1d(np.asarray(c, dtype=np.float32))
    latents = np.repeat(_start(model, z0)[None], len(moves), axis=0)
    latents[:, factor] += moves
    return model.decode(latents)


def population_mean(model: Model) -> Latents:
    """Mean code ``(L,)`` of the population the model was fitted on, or the prior's if not known."""
    reference = model.header.reference
    mean = np.zeros(model.latent_dim) if reference is None else np.array(reference.code_mean)
    return np.asarray(mean, dtype=np.float32)


def compose_rgb(maps: npt.ArrayLike, scale: npt.ArrayLike | None = None) -> Images:
    """Draw three maps as one picture: cyan, magenta and yellow light on black, as in Fig. 3A.

    Where maps overlap the hues mix as inks do (cyan and magenta to blue, and so on; all three to
    white), and the brightest of the three channels keeps the brightness of the strongest map.

    Parameters
    ----------
    maps
        ``(3, H, W)`` variances.
    scale
        ``(3,)`` variances that are drawn in full colour; by default each map's maximum.

    Returns
    -------
    numpy.ndarray
        ``(H, W, 3)`` float32 in [0, 1].
    """
    array = np.asarray(maps, dtype=np.float64)
    if array.ndim != 3 or len(array) != len(PARTS):
        raise InputError(f"the maps of one factor have shape (3, H, W), not {array.shape}")
    full = array.max(axis=(1, 2)) if scale is None else np.asarray(scale, dtype=np.float64)
    strength = np.clip(array / np.maximum(full, _NOTHING)[:, None, None], 0, 1)
    light = np.tensordot(strength, np.array(list(HUES.values())), axes=(0, 0))
    brightest = light.max(axis=-1, keepdims=True)
    rgb = light / np.maximum(brightest, _NOTHING) * strength.max(axis=0)[..., None]
    return np.asarray(rgb, dtype=np.float32)


def field_by_region(
    maps: npt.ArrayLike,
    regions: Mapping[str, npt.NDArray[np.bool_]],
    factors: Sequence[int] | None = None,
    *,
    tissue: npt.NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    """How much of each factor's field lies in each region.

    Parameters
    ----------
    maps
        ``(F, 3, H, W)`` from `projective_field`.
    regions
        ``(H, W)`` masks by name; they may nest or leave parts uncovered.
    factors
        Indices of the F factors, from 0; all by default.
    tissue
        ``(H, W)``: count only these pixels, of the field and of the regions; all by default.

    Returns
    -------
    pandas.DataFrame
        Columns ``factor`` (from 1, as in the paper), ``part``, ``region``, ``share`` (of the summed
        variance; NaN for a field of nothing), ``area`` (of the pixels) and ``enrichment``, their
        ratio: above 1, the field prefers the region; ``left_out``, the share of the field that lies
        in none of the regions.

    Raises
    ------
    InputError
        If shapes do not fit or a region has no pixel.
    """
    array = np.asarray(maps, dtype=np.float64)
    if array.ndim != 4 or array.shape[1] != len(PARTS):
        raise InputError(f"the maps of factors have shape (F, 3, H, W), not {array.shape}")
    counted = np.ones(array.shape[2:], bool) if tissue is None else np.asarray(tissue, bool)
    whole = array[..., counted].sum(axis=-1)
    numbers = range(len(array)) if factors is None else factors
    nothing = whole <= _NOTHING * counted.sum()
    outside, rows = counted.copy(), []
    for name, mask in regions.items():
        if mask.shape != counted.shape:
            raise InputError(f"region {name!r} has shape {mask.shape}, the maps {counted.shape}")
        inside = np.asarray(mask, bool) & counted
        if not inside.any():
            raise InputError(f"region {name!r} has no pixel in the section")
        outside &= ~inside
        area = inside.sum() / counted.sum()
        shares = np.where(nothing, np.nan, array[..., inside].sum(axis=-1) / whole.clip(_NOTHING))
        rows += [
            (factor + 1, part, name, share, area, share / area)
            for factor, row in zip(numbers, shares, strict=True)
            for part, share in zip(PARTS, row, strict=True)
        ]
    columns = ["factor", "part", "region", "share", "area", "enrichment"]
    table = pd.DataFrame(rows, columns=columns)
    left = np.where(nothing, np.nan, array[..., outside].sum(axis=-1) / whole.clip(_NOTHING))
    table["left_out"] = np.tile(left.ravel(), len(regions))
    return table.sort_values("factor", kind="stable", ignore_index=True)


def _start(model: Model, z0: npt.ArrayLike | None) -> Latents:
    start = population_mean(model) if z0 is None else np.asarray(z0, dtype=np.float32)
    if start.shape != (model.latent_dim,) or not np.isfinite(start).all():
        raise InputError(f"z0 must be {model.latent_dim} finite numbers, one per factor")
    return start


def chosen_factors(model: Model, factors: int | Sequence[int] | None) -> list[int]:
    """Indices of the factors that were asked for; of all of them for None.

    Raises
    ------
    InputError
        If the model has no such factor.
    """
    if factors is None:
        return list(range(model.latent_dim))
    asked = np.atleast_1d(real_numbers(factors, "indices of factors"))
    chosen = [int(factor) for factor in asked.ravel()]
    if not np.array_equal(chosen, asked):
        raise InputError(f"an index of a factor is a whole number, not {factors!r}")
    for factor in chosen:
        if not 0 <= factor < model.latent_dim:
            raise InputError(
                f"no factor of index {factor}: the model has {model.latent_dim}, from 0"
            )
    return chosen


def _variance(means: npt.NDArray[np.float64]) -> Images:
    """Variance in each of the `PARTS` from the means ``(4, 2, H, W)`` in each quarter."""
    mean, square = np.stack([means[2], means[1], (means[0] + means[3]) / 2], axis=1)
    return np.asarray(np.maximum(square - mean**2, 0), dtype=np.float32)


def _change(maps: Images, before: Images | None) -> float:
    if before is None:
        return math.inf
    largest = np.maximum(maps.max(axis=(1, 2)), _NOTHING)
    return float((np.abs(maps - before).max(axis=(1, 2)) / largest).max())
