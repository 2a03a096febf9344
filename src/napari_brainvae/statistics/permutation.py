"""How often chance alone would give such a difference: permutations of a linear model.

The residuals of the model without the tested column are exchanged between units of one block
(Freedman and Lane 1983; Winkler et al. 2014), and the largest statistic over all values of a unit
says how often any of them would be as large. Of as many values as are held at once (factors and
regions, not pixels), those that are significant are left out of the largest for the next (the
step-down max-t of Westfall and Young 1993): as rarely wrong, and never with less power.

The numbers are those of `nilearn.mass_univariate.permuted_ols`, against which they are tested; that
knows no blocks, does not enumerate, does not step down, gives no p of one value alone, does not
stop when asked, and takes several times the memory of the sections.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.statistics.design import Design, within

Floats = npt.NDArray[np.float64]

ALPHA = 0.05
"""Rate of false positives over the family of what is tested together."""

_BLOCK = 8_000_000  # numbers held at a time

Shares = Iterator[tuple[slice, npt.NDArray[Any]]]
"""Some of the orders, and what each of them has."""
SharesOf = Callable[[npt.NDArray[Any], Floats], Shares]
"""Of a residual and regressors."""


@dataclass(frozen=True, eq=False)
class Permuted:
    """What T values have to say of one tested covariate.

    Attributes
    ----------
    t
        ``(T,)`` statistic of the linear model.
    p
        ``(T,)`` of each value alone, two-sided.
    p_fwe
        ``(T,)``, that the largest of all T, or of those that do not stand out more than this one,
        would be as large by chance.
    critical
        Size of t from which on ``p_fwe`` is at most `ALPHA`, whatever the other values are;
        infinite if there are too few orders for that.
    orders
        Number of orders that were tried, the one observed included.
    exact
        Whether these were all there are.
    """

    t: Floats
    p: Floats
    p_fwe: Floats
    critical: float
    orders: int
    exact: bool


def permutation_test(
    values: npt.ArrayLike,
    design: Design,
    permutations: int = 10_000,
    seed: int = 0,
    *,
    crossed: Crossed | None = None,
    progress: Progress | None = None,
) -> Permuted:
    """Test every column of ``values`` for the tested covariate of a design.

    Parameters
    ----------
    values
        ``(n, T)`` of the design's units, finite. float32 is computed in float32.
    permutations
        Number of random orders. If no more orders than this exist, all of them are tried once, and
        p is exact.
    seed
        Of the random orders.
    crossed
        What is to be known of those orders, if it is at hand; of values and a design within it.

    Raises
    ------
    InputError
        If the values are not finite, or not of as many units as the design has.
    Stopped
        If ``progress`` asked to stop.
    """
    array = np.asarray(values)
    array = array if array.dtype == np.float32 else array.astype(np.float64)
    if array.ndim != 2 or len(array) != design.units or not np.isfinite(array).all():
        raise InputError(f"values (n, T) of {design.units} units, all finite, are tested")
    shares: SharesOf
    if crossed is None:
        orders, exact = _orders(design, permutations, seed)
        tried, shares = len(orders), partial(_shares, orders=orders)
    else:
        tried, exact, shares = len(crossed.products), False, crossed.shares
    counted = _count(array, design, tried, shares, progress)
    observed = 0 if exact else 1  # among all orders it is already
    total, dof = tried + observed, design.degrees_of_freedom
    return Permuted(
        t=counted.sign * _t(counted.share, dof),
        p=(counted.alone + observed) / total,
        p_fwe=(counted.any + observed) / total,
        critical=_critical(np.sort(counted.largest), total, dof),
        orders=total,
        exact=exact,
    )


@dataclass(frozen=True, eq=False)
class Crossed:
    """What random orders make of some columns: enough for any test of the ones given the others.

    Attributes
    ----------
    basis
        ``(n, M)`` orthonormal columns that span them.
    products
        ``(P, M, M)`` of the basis in another order with the basis.
    """

    basis: Floats
    products: Floats

    @classmethod
    def of(
        cls,
        values: npt.ArrayLike,
        design: Design,
        permutations: int,
        seed: int,
        *,
        progress: Progress | None = None,
    ) -> Crossed:
        """Draw orders for the columns of a design and for values ``(n, T)`` of its units.

        Raises
        ------
        Stopped
            If ``progress`` asked to stop.
        """
        columns = np.column_stack([design.tested, design.confounds, np.asarray(values, np.float64)])
        basis = np.linalg.qr(within(columns, design.blocks))[0]
        orders = random_orders(design, permutations, seed)
        products = np.empty((permutations, basis.shape[1], basis.shape[1]))
        for rows, drawn in _drawn(basis, basis, orders):
            report(progress, rows.start, permutations)
            products[rows] = drawn
        return cls(basis, products)

    def shares(self, residual: Floats, regressors: Floats) -> Shares:
        """Yield what `_shares` does of columns within the basis, all orders at once."""
        left, right = (self.basis.T @ each for each in (regressors, residual))
        yield slice(0, len(self.products)), _share(left.T @ self.products @ right)


class _Counted(NamedTuple):
    """What all orders had of T values."""

    share: Floats
    """``(T,)`` of the residual's square that the tested column explains."""
    sign: Floats
    alone: Floats
    """``(T,)``, how many orders have as large a share of this value."""
    any: Floats
    """``(T,)``, how many have one of any value that is not significant before this one is."""
    largest: Floats
    """``(P,)`` share of all values in an order."""


def _count(
    array: npt.NDArray[Any],
    design: Design,
    tried: int,
    shares: SharesOf,
    progress: Progress | None,
) -> _Counted:
    regressors, confounds = _orthogonal(design)
    tolerance = 1e-6 if array.dtype == np.float32 else 1e-12
    share = np.empty(array.shape[1])
    sign, alone, largest = np.empty_like(share), np.zeros_like(share), np.zeros(tried)
    step = max(1, _BLOCK // len(array))
    starts = range(0, array.shape[1], step)
    stepped = np.zeros_like(share)
    for i, start in enumerate(starts):
        part = slice(start, start + step)
        residual = _residual(array[:, part], confounds, design)
        drawn = regressors.T @ residual
        share[part], sign[part] = _share(drawn[None])[0], np.sign(drawn[0])
        rising = np.argsort(share[part], kind="stable")
        for rows, permuted in shares(residual, regressors):
            report(progress, i * tried + rows.start, len(starts) * tried)
            alone[part] += (permuted >= share[part] - tolerance).sum(axis=0)
            largest[rows] = np.maximum(largest[rows], permuted.max(axis=1))
            if len(starts) == 1:
                so_far = np.maximum.accumulate(permuted[:, rising], axis=1)
                stepped[rising] += (so_far >= share[rising] - tolerance).sum(axis=0)
    report(progress, 1, 1)
    if len(starts) == 1:  # no value is more significant than one with a larger share
        falling = np.argsort(share, kind="stable")[::-1]
        stepped[falling] = np.maximum.accumulate(stepped[falling])
    else:
        as_large = tried - np.searchsorted(np.sort(largest), share - tolerance)
        stepped = as_large.astype(np.float64)
    return _Counted(share, sign, alone, stepped, largest)


def random_orders(design: Design, permutations: int, seed: int) -> npt.NDArray[np.intp]:
    """Draw random orders of the units ``(P, n)`` that keep each in its block."""
    rng = np.random.default_rng(seed)
    orders = np.tile(np.arange(design.units), (permutations, 1))
    if not design.blocks.any():
        return rng.permuted(orders, axis=1, out=orders)  # in place: it takes a fifth of the time
    for block in np.unique(design.blocks):
        inside = np.flatnonzero(design.blocks == block)
        orders[:, inside] = rng.permuted(orders[:, inside], axis=1)
    return orders


def _orders(design: Design, permutations: int, seed: int) -> tuple[npt.NDArray[np.intp], bool]:
    """Orders of the units ``(P, n)`` that keep each in its block; whether these are all."""
    rows = np.column_stack([design.tested, design.confounds])
    # Units that are alike in all columns give the same whichever comes first.
    kinds = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
    blocks = [np.flatnonzero(design.blocks == block) for block in np.unique(design.blocks)]
    if math.prod(_arrangements(kinds[block]) for block in blocks) <= permutations:
        orders = np.arange(design.units)[None]
        for block in blocks:
            inside = np.array([block[order] for order in _enumerated(kinds[block])])
            orders = np.repeat(orders, len(inside), axis=0)
            orders[:, block] = np.tile(inside, (len(orders) // len(inside), 1))
        return orders, True
    return random_orders(design, permutations, seed), False


def _arrangements(kinds: npt.NDArray[Any]) -> int:
    counts = np.unique(kinds, return_counts=True)[1].tolist()
    return math.factorial(len(kinds)) // math.prod(map(math.factorial, counts))


def _enumerated(kinds: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.intp]]:
    """All orders that differ in what kind stands where (Narayana Pandita's next permutation)."""
    by_kind = np.argsort(kinds, kind="stable")
    current = kinds[by_kind].copy()
    while True:
        order = np.empty(len(kinds), np.intp)
        order[np.argsort(current, kind="stable")] = by_kind
        yield order
        rising = np.flatnonzero(current[:-1] < current[1:])
        if not len(rising):
            return
        pivot = rising[-1]
        larger = np.flatnonzero(current > current[pivot])[-1]
        current[[pivot, larger]] = current[[larger, pivot]]
        current[pivot + 1 :] = current[pivot + 1 :][::-1].copy()


def _orthogonal(design: Design) -> tuple[Floats, Floats]:
    """What the tested column says beyond the confounds, then the confounds, ``(n, 1 + K)``.

    Orthonormal, and each with mean 0 in every block, as it then is in any order.
    """
    confounds = np.linalg.qr(within(design.confounds, design.blocks))[0]
    tested = within(design.tested[:, None], design.blocks)
    tested = tested - confounds @ (confounds.T @ tested)
    return np.hstack([tested / np.linalg.norm(tested), confounds]), confounds


def _residual(values: npt.NDArray[Any], confounds: Floats, design: Design) -> npt.NDArray[Any]:
    """What confounds and blocks leave of values ``(n, T)``, of length 1; 0 of what is constant."""
    inside = within(values.astype(np.float64), design.blocks)
    left = inside - confounds @ (confounds.T @ inside)
    size = np.linalg.norm(left, axis=0)
    constant = size <= 1e-7 * np.maximum(np.abs(values).max(axis=0, initial=0), 1e-300)
    left = np.where(constant, 0.0, left / np.where(constant, 1.0, size))
    return left.astype(values.dtype)


def _shares(residual: npt.NDArray[Any], regressors: Floats, orders: npt.NDArray[np.intp]) -> Shares:
    """Yield some of the orders, and the share ``(p, T)`` that is explained in each."""
    for rows, drawn in _drawn(residual, regressors, orders):
        yield rows, _share(drawn)


def _drawn(residual: npt.NDArray[Any], regressors: Floats, orders: npt.NDArray[np.intp]) -> Shares:
    """Yield some of the orders, and what each regressor draws in them, ``(p, 1 + K, T)``."""
    columns = np.ascontiguousarray(regressors.T, residual.dtype)
    step = max(1, _BLOCK // (len(columns) * max(residual.shape)))
    for start in range(0, len(orders), step):
        rows = slice(start, min(start + step, len(orders)))
        moved = columns[:, orders[rows]]  # the model in another order is the residual in another
        drawn = moved.reshape(-1, len(residual)) @ residual
        yield rows, drawn.reshape(len(columns), -1, residual.shape[1]).swapaxes(0, 1)


def _share(drawn: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Squared partial correlation ``(p, T)`` from what each regressor draws ``(p, 1 + K, T)``."""
    explained = np.square(drawn[:, 0])
    left = 1 - np.square(drawn[:, 1:]).sum(axis=1)
    tiny = 1e3 * np.finfo(drawn.dtype).eps
    return np.asarray(np.where(left > tiny, explained / np.maximum(left, tiny), 0).clip(0, 1))


def _t(share: Any, dof: int) -> Any:
    return np.sqrt(share * dof / np.maximum(1 - share, 1e-16))


def _critical(ranked: Floats, total: int, dof: int) -> float:
    """Size of t from which on at most `ALPHA` of all orders have a larger one."""
    allowed = math.floor(ALPHA * total) - (total - len(ranked))
    return float(_t(ranked[len(ranked) - allowed], dof)) if allowed > 0 else math.inf
