"""What a person wrote into a population's covariates stays when it is written anew."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

log = logging.getLogger(__name__)


def with_hers(theirs: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Lay a person's table over ours, and say where they differ; see `merge_covariates`."""
    if edited := edited_columns(theirs, ours):
        log.info("what was written into %s is kept", ", ".join(edited))
    return merge_covariates(theirs, ours)


def edited_columns(theirs: pd.DataFrame, ours: pd.DataFrame) -> list[str]:
    """Names of the columns in which a person's table says something else of the same brains."""
    known = theirs.loc[theirs.index.intersection(ours.index)]

    def is_ours(name: Any) -> bool:
        if name not in ours:
            return False
        one, other = known[name].astype(object), ours.loc[known.index, name].astype(object)
        return bool(((one == other) | (one.isna() & other.isna())).all())

    return [str(name) for name in known if not is_ours(name)]


def merge_covariates(theirs: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Lay a person's table over ours, by id.

    Parameters
    ----------
    theirs, ours
        Tables indexed by id.

    Returns
    -------
    pandas.DataFrame
        The rows of ``ours``, the columns of both. Of the brains that ``theirs`` names its values
        count; of the others, a column that only ``theirs`` has is empty, or NaN if it is one of
        numbers or truth values.
    """
    known = theirs.loc[theirs.index.intersection(ours.index)]
    others = ours.drop(index=known.index)
    merged = ours.copy()
    for name, column in known.items():
        if others.empty:
            merged[name] = column
            continue
        nothing = np.nan if column.dtype.kind in "biuf" else ""
        rest = others[name] if name in others else pd.Series(nothing, index=others.index)
        parts = [column, rest]
        if all(part.dtype.kind in "biuf" for part in parts):
            kind = np.result_type(column.to_numpy(), rest.to_numpy())
            merged[name] = pd.concat([part.astype(kind) for part in parts])
        else:
            texts = [part.astype(object).where(part.notna(), "") for part in parts]
            merged[name] = pd.concat(texts).map(str)
    return merged
