"""Which of the factors that differ do so of their own, and which only go with another that does.

Factors are not as independent as their prior: one may take part in what another is about, and
differs between groups because that one does. So the factor with the largest effect leads; of the
others the one that stands out most is named of its own if it still differs with those before it
taken out, and so on, until none does. Each step is a permutation test with a family-wise p over
those that are left.

Codes alone cannot tell all: where a leading factor all but tells the groups apart, little is left
to see beyond it, and a factor of something else that also differs would be lost. So a factor that
acts in another place than all that were named is named as well; the rest go with one that was.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.io.progress import Progress, part_of, report
from napari_brainvae.statistics.comparison import Effects
from napari_brainvae.statistics.design import Design, with_taken_out, within
from napari_brainvae.statistics.permutation import ALPHA, Crossed, permutation_test

SAME_PLACE = 0.5
"""Overlap, by `factors.signed_change.overlap_of_place`, from which on two act in one place."""

BEYOND = ("p_beyond", "goes_with", "r_with")
"""Columns of `beyond`."""

_NOTHING_LEFT = 1e-6  # of the tested column's length: what is left of it is rounding


def beyond(
    values: pd.DataFrame,
    effects: Effects,
    overlap: npt.NDArray[np.float64] | None = None,
    *,
    permutations: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Tell factors that differ of their own from those that go with another.

    Parameters
    ----------
    values
        ``(N, T)``, those that `comparison.compare` was given.
    effects
        What it gave.
    overlap
        ``(T, T)``, how far they act in the same place; by default nothing is known of that.
    permutations, seed, progress
        As in `permutation_test`.

    Returns
    -------
    pandas.DataFrame
        A row a value, in their order. ``p_beyond`` of each that was found but the leading one:
        family-wise p with those named before it taken out. ``goes_with``: the one that it goes
        with, most by place if that is known, if it is not named of its own, else nothing;
        ``r_with``: its partial correlation with that one, within the groups.

    Raises
    ------
    Stopped
        If ``progress`` asked to stop.
    """
    design, names = effects.design, list(effects.names)
    codes = design.of_units(values.to_numpy(np.float64)[design.brains])
    together = _correlated(codes, design)
    place = np.abs(together) if overlap is None else overlap
    p = np.full(len(names), np.nan)
    found = [int(i) for i in np.argsort(-np.abs(effects.test.t)) if effects.found[i]]
    leaders, left, crossed = found[:1], found[1:], None
    if left:
        told = part_of(progress, 0, 900)
        crossed = Crossed.of(codes, design, permutations, seed, progress=told)
    while left:
        report(progress, 1000 - 100 * len(left) // len(names), 1000)
        inner = with_taken_out(design, codes[:, leaders])
        if inner.degrees_of_freedom < 1:
            break  # those left cannot be asked
        p[left], first = _asked(codes[:, left], inner, permutations, seed, crossed)
        if p[left[first]] > ALPHA:
            apart = [i for i in left if (place[i, leaders] < SAME_PLACE).all()]
            if overlap is None or not apart:
                break
            first = left.index(apart[0])
        leaders.append(left.pop(first))
    table = pd.DataFrame({"p_beyond": p, "goes_with": None, "r_with": np.nan})
    for i in left:
        if p[i] > ALPHA:
            leader = max(leaders, key=lambda j: place[i, j])
            table.loc[i, "goes_with"], table.loc[i, "r_with"] = names[leader], together[i, leader]
    return table


def _asked(
    codes: npt.NDArray[np.float64],
    inner: Design,
    permutations: int,
    seed: int,
    crossed: Crossed | None,
) -> tuple[npt.NDArray[np.float64], int]:
    """Family-wise p of codes ``(N, K)`` with leaders taken out, and which stands out most."""
    if _is_said(inner):
        return np.ones(codes.shape[1]), 0
    test = permutation_test(codes, inner, permutations, seed, crossed=crossed)
    return test.p_fwe, int(np.argmax(np.abs(test.t)))


def _is_said(design: Design) -> bool:
    """Whether what is taken out says all that the tested column says."""
    tested = within(design.tested[:, None], design.blocks)
    confounds = within(design.confounds, design.blocks)
    rest = tested - confounds @ np.linalg.lstsq(confounds, tested, rcond=None)[0]
    return bool(np.linalg.norm(rest) < _NOTHING_LEFT * np.linalg.norm(tested))


def _correlated(codes: npt.NDArray[np.float64], design: Design) -> npt.NDArray[np.float64]:
    """Correlations ``(T, T)`` of what the tested column and confounds leave of the codes."""
    columns = within(np.column_stack([design.tested, design.confounds]), design.blocks)
    inside = within(codes, design.blocks)
    rest = inside - columns @ np.linalg.lstsq(columns, inside, rcond=None)[0]
    size = np.linalg.norm(rest, axis=0)
    rest = rest / np.where(size > 1e-9 * np.linalg.norm(inside, axis=0), size, np.inf)
    return np.asarray(rest.T @ rest)
