"""How much two groups differ, or what goes with a dose: effects, intervals, honest p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy  # whose modules are imported when they are first used

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress
from napari_brainvae.statistics.design import Design, Floats, within
from napari_brainvae.statistics.permutation import ALPHA, Permuted, permutation_test

CONFIDENCE = 0.95
POWER = 0.8
"""Chance to find the effect that is called the smallest one that can be found."""

COHENS_D, PARTIAL_R = "Cohen's d", "partial r"

COLUMNS = ("effect", "low", "high", "p", "p_fwe", "q")
"""Of every table of effects, after the name of what is compared."""


@dataclass(frozen=True, eq=False)
class Effects:
    """What T values of the brains have to say of one tested covariate.

    Attributes
    ----------
    names
        The T values.
    design
        What was compared.
    effect, low, high
        ``(T,)`` Cohen's d between groups, or partial correlation with a number, and its 95 %
        interval.
    difference, difference_low, difference_high
        ``(T,)`` in the values' own unit, A minus B or per SD of the number, adjusted, with its
        95 % interval.
    mean
        ``(T,)`` of all units.
    spread
        ``(T,)`` standard deviation of what the model does not explain.
    test
        Permutations.
    smallest
        Size of effect that this many units would find with a chance of `POWER`, corrected for all
        T; infinite if none would be.
    """

    names: tuple[str, ...]
    design: Design
    effect: Floats
    low: Floats
    high: Floats
    difference: Floats
    difference_low: Floats
    difference_high: Floats
    mean: Floats
    spread: Floats
    test: Permuted
    smallest: float

    @property
    def measure(self) -> str:
        """What an effect is."""
        return PARTIAL_R if self.design.groups is None else COHENS_D

    @property
    def smallest_alone(self) -> float:
        """Size of effect found with that chance of a value that was named beforehand, by its p."""
        dof = self.design.degrees_of_freedom
        return _smallest(float(scipy.stats.t.ppf(1 - ALPHA / 2, dof)), self.design)

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """``(T,)``, whether the family-wise p is at most `ALPHA`."""
        return np.asarray(self.test.p_fwe <= ALPHA)

    def table(self, what: str = "factor") -> pd.DataFrame:
        """Give a row a value: ``what`` names it, then `COLUMNS`, the difference, and sizes.

        ``q`` is that of this covariate alone: `with_q` is for several.
        """
        first, second = self.design.sizes
        table = pd.DataFrame({what: self.names})
        table["effect"], table["low"], table["high"] = self.effect, self.low, self.high
        table["p"], table["p_fwe"] = self.test.p, self.test.p_fwe
        table["q"] = scipy.stats.false_discovery_control(self.test.p)
        table["by"], table["contrast"] = self.design.by, self.design.contrast
        table["measure"], table["t"] = self.measure, self.test.t
        table["difference"], table["difference_low"] = self.difference, self.difference_low
        table["difference_high"], table["mean"] = self.difference_high, self.mean
        table["units_a"], table["units_b"] = first, second
        table["smallest_effect"] = self.smallest
        return table


def compare(
    values: pd.DataFrame,
    design: Design,
    *,
    permutations: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Effects:
    """Compare what was measured of all brains, as a design says.

    Parameters
    ----------
    values
        ``(N, T)``, such as the codes; a column for each value, a row for every brain that the
        design was made from.
    permutations, seed, progress
        As in `permutation_test`.

    Raises
    ------
    InputError
        If a value of a brain that is compared is not finite.
    Stopped
        If ``progress`` asked to stop.

    Examples
    --------
    >>> from napari_brainvae.statistics.design import make_design
    >>> mice = pd.DataFrame({"sex": ["F", "M"] * 20, "age": range(40)})
    >>> rng = np.random.default_rng(0)
    >>> codes = pd.DataFrame(rng.normal(size=(40, 2)), columns=["F1", "F2"])
    >>> codes["F2"] += 2.0 * (mice["sex"] == "F")
    >>> effects = compare(codes, make_design(mice, "sex", adjust=["age"]), permutations=999)
    >>> effects.design.contrast, effects.found.tolist()
    ('F minus M', [False, True])
    """
    measured = design.of_units(values.to_numpy(np.float64)[design.brains])
    if not np.isfinite(measured).all():
        raise InputError("brains that are compared must have been measured: some values are NaN")
    test = permutation_test(measured, design, permutations, seed, progress=progress)
    difference, error, spread = least_squares(measured, design)
    dof = design.degrees_of_freedom
    reach = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, dof) * error
    effect, low, high = _sizes(test.t, design)
    return Effects(
        names=tuple(map(str, values.columns)),
        design=design,
        effect=effect,
        low=low,
        high=high,
        difference=difference,
        difference_low=difference - reach,
        difference_high=difference + reach,
        mean=measured.mean(axis=0),
        spread=spread,
        test=test,
        smallest=_smallest(test.critical, design),
    )


def with_q(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join tables of effects; ``q`` is adjusted over all (Benjamini and Hochberg 1995)."""
    table = pd.concat(tables, ignore_index=True)
    table["q"] = scipy.stats.false_discovery_control(table["p"])
    return table


def least_squares(values: npt.NDArray[Any], design: Design) -> tuple[Floats, Floats, Floats]:
    """Difference that goes with the tested column, its standard error, and the residual spread.

    Parameters
    ----------
    values
        ``(n, T)`` of the units.

    Returns
    -------
    difference, error, spread
        ``(T,)`` each.
    """
    inverse, columns = _pseudo_inverse(design)
    inside = within(values, design.blocks)
    coefficients = inverse @ inside
    residual = inside - columns @ coefficients
    variance = np.square(residual).sum(axis=0) / design.degrees_of_freedom
    return coefficients[0], np.sqrt(variance) * _precision(design), np.sqrt(variance)


def adjusted_weights(design: Design) -> tuple[Floats, Floats]:
    """Weights ``(n,)`` of the units in the adjusted mean of A and in that of B.

    Their difference is that of the linear model; confounds are held at their mean. Of a number the
    means are those half a standard deviation above and below its own.
    """
    inverse, _ = _pseudo_inverse(design)
    slope = within(inverse[0][:, None], design.blocks)[:, 0]
    level = design.tested.mean()
    high, low = (1.0, 0.0) if design.groups is not None else (level + 0.5, level - 0.5)
    equal = np.full(design.units, 1 / design.units)
    return equal + (high - level) * slope, equal + (low - level) * slope


def _pseudo_inverse(design: Design) -> tuple[Floats, Floats]:
    columns = within(np.column_stack([design.tested, design.confounds]), design.blocks)
    return np.linalg.pinv(columns), columns


def _precision(design: Design) -> float:
    """Standard error of the tested coefficient, of noise of unit spread."""
    return float(np.linalg.norm(_pseudo_inverse(design)[0][0]))


def _sizes(t: Floats, design: Design) -> tuple[Floats, Floats, Floats]:
    """Effect and its interval ``(T,)`` each.

    Of Cohen's d from the noncentral t distribution (Steiger and Fouladi 1997), of a partial
    correlation by Fisher's z.
    """
    dof = design.degrees_of_freedom
    if design.groups is not None:
        ends = np.array([_noncentral(each, dof) for each in t]).reshape(-1, 2)
        return tuple(_precision(design) * each for each in (t, ends[:, 0], ends[:, 1]))  # type: ignore[return-value]
    r = t / np.sqrt(t**2 + dof)
    # n - 3 - K: a degree of freedom less than t has, and one for what z itself takes.
    reach = scipy.stats.norm.ppf((1 + CONFIDENCE) / 2) / math.sqrt(max(dof - 1, 1))
    z = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    return r, np.tanh(z - reach), np.tanh(z + reach)


def _noncentral(t: float, dof: int) -> tuple[float, float]:
    """Interval of the noncentrality that ``t`` comes from."""
    width = 8 * math.sqrt(1 + t**2 / (2 * dof)) + 1
    if abs(t) > 1e3:  # as good as noiseless; the normal approximation is then the better one
        return t - width / 4, t + width / 4
    ends = [
        scipy.optimize.brentq(
            lambda shift, tail=tail: _below(t, dof, shift) - tail, t - width, t + width
        )
        for tail in ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2)
    ]
    return float(ends[0]), float(ends[1])


def _below(t: float, dof: int, shift: float) -> float:
    """Noncentral t distribution; far out, where scipy gives NaN, it is 0 or 1."""
    below = float(scipy.stats.nct.cdf(t, dof, shift))
    return below if math.isfinite(below) else float(shift < t)


def _smallest(critical: float, design: Design) -> float:
    """Effect that is found with a chance of `POWER`, if t must exceed ``critical``."""
    if not math.isfinite(critical):
        return math.inf
    dof = design.degrees_of_freedom

    # The other tail has no part in a chance as high as this.
    shift = scipy.optimize.brentq(
        lambda shift: 1 - _below(critical, dof, shift) - POWER,
        0,
        critical + 8 * math.sqrt(1 + critical**2 / (2 * dof)),
    )
    if design.groups is not None:
        return float(_precision(design) * shift)
    return float(shift) / math.sqrt(shift**2 + dof)
