"""Which factor of one model is which of another's: by the codes of all brains, and by the fields.

Both ways are told, since they can part: two factors that act in one place may rank the brains
otherwise, and two that go together in these brains may act elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.arrays import Images
from napari_brainvae.factors.refit_stability import cosines
from napari_brainvae.factors.stability import best_pairs
from napari_brainvae.io.errors import InputError

LEAST = 0.5
"""Correlation below which factors are not said to be the same, though they are the best pair."""


@dataclass(frozen=True, eq=False)
class ModelMatch:
    """The factors of models A and B, held against each other.

    Attributes
    ----------
    correlations
        ``(L, M)``, of the codes of all brains that both models can use, with their sign.
    cosines
        ``(L, M)``, of the fields, with their sign; NaN where models draw sections of other sizes.
    """

    correlations: npt.NDArray[np.float64]
    cosines: npt.NDArray[np.float64]

    def table(self) -> pd.DataFrame:
        """A row a pair, the most alike first, then what is left over of either model.

        Returns
        -------
        pandas.DataFrame
            ``factor_a``, ``factor_b`` ("F1" ..., empty where there is no partner), ``correlation``
            of their codes and ``cosine`` of their fields (NaN without partner), ``by_fields``
            (partner of A's factor by the fields; empty if unknown), ``said``.
        """
        pairs = list(zip(*best_pairs(np.abs(self.correlations)), strict=True))
        pairs.sort(key=lambda pair: -abs(self.correlations[pair]))
        by_fields = self._by_fields()
        rows = [
            (f"F{a + 1}", f"F{b + 1}", self.correlations[a, b], self.cosines[a, b],
             by_fields.get(a, ""), _said(self.correlations[a, b], by_fields.get(a), b))
            for a, b in pairs
        ]  # fmt: skip
        nan = float("nan")
        matched_a, matched_b = ({pair[side] for pair in pairs} for side in (0, 1))
        for a in range(len(self.correlations)):
            if a not in matched_a:
                best = self._closest(self.correlations[a])
                rows.append((f"F{a + 1}", "", nan, nan, by_fields.get(a, ""), f"only in A{best}"))
        for b in range(self.correlations.shape[1]):
            if b not in matched_b:
                best = self._closest(self.correlations[:, b])
                rows.append(("", f"F{b + 1}", nan, nan, "", f"only in B{best}"))
        columns = ["factor_a", "factor_b", "correlation", "cosine", "by_fields", "said"]
        return pd.DataFrame(rows, columns=columns)

    def _by_fields(self) -> dict[int, str]:
        if np.isnan(self.cosines).any():
            return {}
        pairs = zip(*best_pairs(np.abs(self.cosines)), strict=True)
        return {int(a): f"F{b + 1}" for a, b in pairs}

    @staticmethod
    def _closest(correlations: npt.NDArray[np.float64]) -> str:
        """What a factor without partner is most like."""
        best = int(np.abs(correlations).argmax())
        return f", most like F{best + 1} ({correlations[best]:+.2f})"


def match_factors(
    codes: npt.ArrayLike,
    others: npt.ArrayLike,
    fields: Images | None = None,
    other_fields: Images | None = None,
) -> ModelMatch:
    """Hold the factors of two models against each other.

    Parameters
    ----------
    codes, others
        ``(N, L)`` and ``(N, M)`` posterior means of the same brains; a brain that either lacks,
        NaN, is left out.
    fields, other_fields
        ``(L, H, W)`` and ``(M, H', W')``, see `stability.fields_among`.

    Raises
    ------
    InputError
        If the codes are not of the same brains, or of fewer than three.

    Examples
    --------
    >>> codes = np.array([[0, 1], [1, 3], [2, -1], [3, 0]])
    >>> match_factors(codes, -codes[:, ::-1]).table()[["factor_a", "factor_b", "correlation"]]
      factor_a factor_b  correlation
    0       F1       F2         -1.0
    1       F2       F1         -1.0
    """
    a, b = (np.asarray(each, np.float64) for each in (codes, others))
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise InputError(f"codes of shapes {a.shape} and {b.shape} are not of the same brains")
    both = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    if both.sum() < 3:
        raise InputError(f"{both.sum()} brains can be used by both models: three are needed")
    a, b = (each[both] - each[both].mean(axis=0) for each in (a, b))
    unknown = np.full((a.shape[1], b.shape[1]), np.nan)
    same = fields is not None and other_fields is not None
    if same and fields.shape[1:] == other_fields.shape[1:]:  # type: ignore[union-attr]
        unknown = cosines(fields, other_fields)  # type: ignore[arg-type]
    return ModelMatch(cosines(a.T, b.T), unknown)


def _said(correlation: float, by_fields: str | None, partner: int) -> str:
    """What there is to say of a pair."""
    notes = []
    if abs(correlation) < LEAST:
        notes.append("hardly alike")
    elif correlation < 0:
        notes.append("turned round")
    if by_fields is not None and by_fields != f"F{partner + 1}":
        notes.append(f"by its field {by_fields}")
    return ", ".join(notes)
