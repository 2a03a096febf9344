"""Who is compared with whom, and what is taken out: from a table of covariates to a linear model.

A comparison is the linear model ``y = mean + effect x tested + confounds + noise`` for every value
y that was measured of the brains, such as the code of a factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.io.errors import InputError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

FEWEST = 2
"""Brains, at least, in a group: one has no spread."""

_HUGE = 1e100
_RANK = 1e-8  # of a column's length: less that others leave of it is rounding


@dataclass(frozen=True, eq=False)
class Design:
    """A comparison of n units: brains, or blocks of them that were all treated alike.

    Attributes
    ----------
    by
        Name of the covariate.
    groups
        Names of A and B, where two groups are compared; None for a number.
    tested
        ``(n,)``: 1 in A and 0 in B, or the number in its standard deviations about its mean.
    confounds
        ``(n, K)`` columns that are taken out, linearly independent, each with mean 0.
    blocks
        ``(n,)``, within which units may be exchanged; all 0 without blocks.
    brains
        ``(m,)`` positions of the brains that are compared, among all.
    unit
        ``(m,)``, which unit each brain belongs to.
    adjusted
        Names of the covariates that are taken out.
    notes
        What a reader must know: who was left out and why, what blocks mean here.
    """

    by: str
    groups: tuple[str, str] | None
    tested: Floats
    confounds: Floats
    blocks: Indices
    brains: Indices
    unit: Indices
    adjusted: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def units(self) -> int:
        """Number of units n."""
        return len(self.tested)

    @property
    def degrees_of_freedom(self) -> int:
        """Of the residual: units, less the columns of the model and a mean of each block."""
        return int(self.units - self.blocks.max() - self.confounds.shape[1] - 2)

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of units in A and B; all and 0 for a number."""
        if self.groups is None:
            return self.units, 0
        count = int(self.tested.sum())
        return count, self.units - count

    @property
    def contrast(self) -> str:
        """What a difference is, in words."""
        if self.groups is None:
            return f"per standard deviation of {self.by}"
        return f"{self.groups[0]} minus {self.groups[1]}"

    def of_units(self, values: npt.ArrayLike) -> npt.NDArray[Any]:
        """Average what was measured of the m brains ``(m, ...)`` over each unit, ``(n, ...)``."""
        array = np.asarray(values)
        if len(self.brains) == self.units:
            return array
        total = np.zeros((self.units, *array.shape[1:]), array.dtype)
        np.add.at(total, self.unit, array)
        counts = np.bincount(self.unit).astype(array.dtype)
        return np.asarray(total / counts.reshape(-1, *[1] * (array.ndim - 1)))


def make_design(
    covariates: pd.DataFrame,
    by: str,
    *,
    groups: Sequence[str] = (),
    adjust: Sequence[str] = (),
    blocks: str | None = None,
    usable: npt.ArrayLike | None = None,
) -> Design:
    """Read a comparison from a table with a row a brain.

    Where the tested covariate varies within blocks (littermates of both genotypes), brains are
    compared within their block. Where it does not (whole cages were treated), the block is the
    unit: brains of one are averaged, as they are not independent.

    Parameters
    ----------
    covariates
        ``N`` rows. Brains in which a column that is needed is missing are left out.
    by
        Column that is tested: a number, or names of groups. A column of two different values is
        one of groups, the larger number, or the first name, being A.
    groups
        Two values of that column, A and B: their difference is A minus B.
    adjust
        Columns that are taken out: numbers, or names, each but one of which is a column of the
        model.
    blocks
        Column that names litters, cages or batches.
    usable
        ``(N,)`` bool, brains that were measured; all by default.

    Raises
    ------
    InputError
        If a column is not there, there are no two groups, the confounds say all that the tested
        column says, or fewer brains are left than the model has columns.
    """
    taken_out = _named(covariates, by, adjust, blocks)
    keep = np.ones(len(covariates), bool) if usable is None else np.array(usable, bool)
    tested, pair, chosen = _tested(covariates[by], groups, keep)
    brains, notes = _of_known(covariates[list(taken_out)], chosen)
    if lost := int((keep & missing(covariates[by])).sum()):
        notes = (_lost(lost, by), *notes)
    _check_groups(by, pair, tested[brains])
    design = Design(
        by=by,
        groups=pair,
        tested=tested[brains],
        confounds=model_columns(covariates[list(adjust)].iloc[brains]),
        blocks=np.zeros(len(brains), np.intp),
        brains=brains,
        unit=np.arange(len(brains)),
        adjusted=tuple(adjust),
        notes=notes,
    )
    if blocks:
        design = _with_blocks(design, blocks, covariates[blocks].iloc[brains])
    return _checked(design)


def _named(
    covariates: pd.DataFrame, by: str, adjust: Sequence[str], blocks: str | None
) -> tuple[str, ...]:
    """Names of what is taken out, all of which are there, and none of which is compared."""
    taken_out = (*adjust, *([blocks] if blocks else []))
    for name in (by, *taken_out):
        _check_column(covariates, name)
    if by in taken_out:
        raise InputError(f"{by} is what is compared: it cannot be taken out as well")
    return taken_out


def _of_known(
    table: pd.DataFrame, chosen: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    """Positions of the chosen brains of which all columns are known; how many others there are."""
    notes = []
    for name in table:
        known = ~missing(table[name])
        if lost := int((chosen & ~known).sum()):
            notes.append(_lost(lost, str(name)))
        chosen = chosen & known
    return np.flatnonzero(chosen), tuple(notes)


def _lost(count: int, name: str) -> str:
    return f"{count} brain{'s' * (count > 1)} left out, of which {name} is not known"


def missing(column: pd.Series) -> npt.NDArray[np.bool_]:
    """Where nothing is known: NaN, None, infinite, or empty text, ``(N,)`` bool."""
    if column.dtype.kind in "iufb":
        return np.asarray(~np.isfinite(column.to_numpy(np.float64)))
    return np.asarray(column.isna() | (column.astype(str).str.strip() == ""))


def is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers, and not names or yes and no."""
    return column.dtype.kind in "iuf"


def as_names(column: pd.Series) -> pd.Series:
    """Values as text: whole numbers without ``.0``, which a missing value brings about."""
    if column.dtype.kind == "f":
        return column.map(lambda value: f"{value:g}")
    return column.astype(str).str.strip()


def dummies(column: pd.Series) -> Floats:
    """One column 0 or 1 for each value of a column of names but the first, ``(N, levels - 1)``."""
    names = as_names(column).to_numpy()
    return np.stack([names == each for each in np.unique(names)[1:]], axis=-1).astype(float)


def _check_column(covariates: pd.DataFrame, name: str) -> None:
    if name not in covariates:
        known = ", ".join(map(str, covariates.columns)) or "none"
        raise InputError(f"there is no covariate {name!r}: those of these brains are {known}")
    if missing(covariates[name]).all():
        raise InputError(f"the covariate {name!r} is empty in all brains")


def _tested(
    column: pd.Series, groups: Sequence[str], keep: npt.NDArray[np.bool_]
) -> tuple[Floats, tuple[str, str] | None, npt.NDArray[np.bool_]]:
    """Values to test ``(N,)``, the names of two groups, and who is compared ``(N,)``."""
    known = ~missing(column) & keep
    values = column[known]
    if not groups and is_number(column) and values.nunique() > 2:
        return column.to_numpy(np.float64), None, known
    names = as_names(column)
    if not groups:
        groups = _two_groups(str(column.name), values)
    if len(groups) != 2 or groups[0] == groups[1]:
        raise InputError(f"two groups are compared, A,B, not {','.join(groups) or 'none'}")
    for group in groups:
        if not (names[known] == group).any():
            there = ", ".join(_some(names[known].unique().tolist()))
            raise InputError(f"no brain is {group!r} in {column.name}: there are {there}")
    chosen = known & names.isin(list(groups)).to_numpy()
    in_first = np.array(names == groups[0], np.float64)
    return in_first, (groups[0], groups[1]), chosen


def _two_groups(name: str, values: pd.Series) -> list[str]:
    levels = values.drop_duplicates()
    if levels.dtype.kind in "biuf":
        levels = levels.sort_values(ascending=False)
    else:
        levels = levels.astype(str).str.strip().drop_duplicates().sort_values()
    found = as_names(levels).tolist()
    if len(found) < 2:
        of = found[0] if found else "nothing"
        raise InputError(f"all brains are {of!r} in {name}: there is nothing to compare")
    if len(found) > 2:
        raise InputError(
            f"{name} has {len(found)} different values ({', '.join(_some(found))}): name the two "
            "groups to compare, A,B"
        )
    return found


def _some(names: Sequence[Any]) -> list[str]:
    return [*map(repr, map(str, names[:6])), *(["..."] if len(names) > 6 else [])]


def _check_groups(by: str, groups: tuple[str, str] | None, tested: Floats) -> None:
    if groups is None:
        if len(tested) < 3 or np.ptp(tested) == 0:
            raise InputError(f"{by} is the same in all brains that are left: nothing to compare")
        return
    for name, count in zip(groups, (int(tested.sum()), int((1 - tested).sum())), strict=True):
        if count < FEWEST:
            raise InputError(
                f"{count or 'no'} brain of {by} {name!r} is left: a group needs {FEWEST} at least"
            )


def model_columns(table: pd.DataFrame) -> Floats:
    """Columns of the model for covariates that are taken out, ``(n, K)``."""
    parts = [
        _bounded(column.to_numpy(np.float64))[:, None] if is_number(column) else dummies(column)
        for _, column in table.items()
        if column.nunique() > 1
    ]
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(table), 0))


def _bounded(column: Floats) -> Floats:
    """Scale a column whose squares no number holds to 1; the unit that it is told in is free."""
    largest = float(np.abs(column).max(initial=0))
    return column if 1 / _HUGE < largest < _HUGE or largest == 0 else column / largest


def _with_blocks(design: Design, name: str, column: pd.Series) -> Design:
    """Compare within blocks, or, where no block holds a difference, the blocks themselves."""
    codes, blocks = np.unique(as_names(column).to_numpy(), return_inverse=True)
    means = np.bincount(blocks, design.tested) / np.bincount(blocks)
    if not np.allclose(design.tested, means[blocks]):
        note = f"brains are compared within their {name}"
        return _replaced(design, note, blocks=blocks, adjusted=(*design.adjusted, name))
    if len(codes) == design.units:
        return design
    averaged = _replaced(
        design,
        f"the unit is the {name}, of which there are {len(codes)}: no {name} holds a difference "
        f"in {design.by}, so its brains were averaged",
        tested=means,
        confounds=np.zeros((len(codes), 0)),
        blocks=np.zeros(len(codes), np.intp),
        unit=blocks,
    )
    _check_groups(design.by, design.groups, averaged.tested)
    return _replaced(averaged, None, confounds=averaged.of_units(design.confounds))


def _replaced(design: Design, note: str | None, **changes: Any) -> Design:
    from dataclasses import replace

    return replace(design, notes=(*design.notes, *([note] if note else [])), **changes)


def _checked(design: Design) -> Design:
    """Scale the columns, drop those that others say already, and see that something is left."""
    tested = design.tested
    if design.groups is None:
        tested = _bounded(tested)
        tested = (tested - tested.mean()) / tested.std()
    confounds = _independent(within(design.confounds, design.blocks))
    design = _replaced(design, None, tested=tested, confounds=confounds)
    out = ", ".join(design.adjusted)
    if design.degrees_of_freedom < 1:
        raise InputError(
            f"{design.units} brains are too few to take out {out or 'the mean'}: that takes "
            f"{design.units - design.degrees_of_freedom} numbers; adjust for less"
        )
    inside = within(tested[:, None], design.blocks)
    left = inside - confounds @ np.linalg.lstsq(confounds, inside, rcond=None)[0]
    if np.linalg.norm(left) < 1e-6 * np.linalg.norm(tested - tested.mean()):
        raise InputError(
            f"{out} says all that {design.by} says: with it taken out there is nothing to compare"
            if len(design.adjusted) == 1
            else f"{out} together say all that {design.by} says: with them taken out there is "
            "nothing to compare"
        )
    return design


def with_taken_out(design: Design, columns: Floats) -> Design:
    """Take further columns ``(n, K)`` of the units out, such as the code of another factor."""
    more = np.hstack([design.confounds, columns])
    return _replaced(design, None, confounds=_independent(within(more, design.blocks)))


def within(values: npt.NDArray[Any], blocks: Indices) -> npt.NDArray[Any]:
    """Take the mean of its block from each row of ``values (n, K)``."""
    if not blocks.any():
        return np.asarray(values - values.mean(axis=0))
    sums = np.zeros((int(blocks.max()) + 1, values.shape[1]), values.dtype)
    np.add.at(sums, blocks, values)
    means = sums / np.bincount(blocks).astype(values.dtype)[:, None]
    return np.asarray(values - means[blocks])


def _independent(columns: Floats) -> Floats:
    """Scale columns to unit spread, and leave out those that the ones before them say already."""
    kept = np.zeros((len(columns), 0))
    chosen = []
    for column in columns.T:
        size = float(np.linalg.norm(column))
        rest = column - kept @ (kept.T @ column)
        rest = rest - kept @ (kept.T @ rest)
        if np.linalg.norm(rest) > _RANK * max(size, 1e-300) and size > 0:
            kept = np.column_stack([kept, rest / np.linalg.norm(rest)])
            chosen.append(np.asarray(column / size * np.sqrt(len(column))))
    return np.stack(chosen, axis=1) if chosen else np.zeros((len(columns), 0))
