"""How far each brain lies from what its covariates predict: normative deviation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy  # whose modules are imported when they are first used

from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.io.errors import InputError
from napari_brainvae.statistics.design import Floats, as_names, is_number, missing, model_columns

FOLDS = 10


def deviations(
    values: pd.DataFrame, covariates: pd.DataFrame, folds: int = FOLDS, seed: int = 0
) -> pd.DataFrame:
    """Give z of every value of every brain, predicted from its covariates by the other brains.

    The brains are divided in folds; those of one are predicted by a linear model of all others. z
    is the standard normal deviate that is as rare as the prediction's error is under Student's t,
    with the uncertainty of the prediction in it: standard normal where the model holds.

    Parameters
    ----------
    values
        ``(N, T)``, indexed by id.
    covariates
        A row for each of these brains; columns that predict. May have none: then it is the mean.
    folds
        Number of folds; as many as brains at most.

    Returns
    -------
    pandas.DataFrame
        ``(N, T)`` z; NaN for a brain of which a value or a covariate is not known.

    Raises
    ------
    InputError
        If the brains are fewer than the model needs.
    """
    known = np.isfinite(values.to_numpy(np.float64)).all(axis=1)
    for _, column in covariates.items():
        known &= ~missing(column)
    chosen = np.flatnonzero(known)
    columns = np.hstack([np.ones((len(chosen), 1)), model_columns(covariates.iloc[chosen])])
    y = values.to_numpy(np.float64)[chosen]
    count = len(chosen)
    if count - -(-count // folds) <= columns.shape[1]:
        folds = count  # as many brains as can be are asked
    folds = min(folds, count)
    if count - 1 <= columns.shape[1]:
        raise InputError(
            f"{len(chosen)} brains are too few to predict them from "
            f"{', '.join(covariates.columns) or 'their mean'}: adjust for less"
        )
    fold = np.random.default_rng(seed).permutation(len(chosen)) % folds
    z = np.empty_like(y)
    for each in range(folds):
        new = fold == each
        z[new] = _predicted(columns[~new], y[~new], columns[new], y[new])
    table = pd.DataFrame(np.nan, values.index, values.columns)
    table.iloc[chosen] = z
    return table


def _predicted(known: Floats, values: Floats, new: Floats, found: Floats) -> Floats:
    """Return z ``(m, T)`` of new values, by a linear model of those known."""
    inverse = np.linalg.pinv(known)
    coefficients = inverse @ values
    dof = len(known) - np.linalg.matrix_rank(known)
    spread = np.sqrt(np.square(values - known @ coefficients).sum(axis=0) / dof)
    uncertain = np.sqrt(1 + np.square(new @ inverse).sum(axis=1))
    error = found - new @ coefficients
    t = error / np.maximum(uncertain[:, None] * spread, 1e-300)
    rare = np.maximum(scipy.stats.t.sf(np.abs(t), dof), 1e-300)
    return np.asarray(np.sign(t) * scipy.stats.norm.isf(rare) * (spread > 0))


def overall(z: pd.DataFrame) -> pd.Series:
    """Root mean square of a brain's z, ``(N,)``: about 1 for a brain like the others."""
    return pd.Series(np.sqrt(np.square(z.to_numpy(np.float64)).mean(axis=1)), z.index)


def write_pcntoolkit(
    path: str | Path,
    values: pd.DataFrame,
    covariates: pd.DataFrame,
    batches: Sequence[str] = (),
) -> None:
    """Write a table that PCNtoolkit reads, with its call in a text file beside it.

    Parameters
    ----------
    path
        A ``.csv``: subject_ids, covariates (numbers; of names one column 0 or 1 for each but the
        first), batch effects, and the values as response variables.
    values
        ``(N, T)``, indexed by id; brains of which anything is missing are left out.
    covariates
        A row for each of these brains, with the batch columns among them.
    batches
        Columns that PCNtoolkit calls batch effects.
    """
    known = np.isfinite(values.to_numpy(np.float64)).all(axis=1)
    for _, column in covariates.items():
        known &= ~missing(column)
    values, covariates = values[known], covariates[known]
    table = pd.DataFrame({"subject_ids": values.index.to_numpy()})
    predictors = []
    for name in [str(c) for c in covariates if c not in batches]:
        column = covariates[name]
        levels = [] if is_number(column) else sorted(as_names(column).unique())[1:]
        if is_number(column):
            table[name] = column.to_numpy(np.float64)
            predictors.append(name)
        for level in levels:
            table[f"{name}_{level}"] = (as_names(column) == level).to_numpy(np.float64)
            predictors.append(f"{name}_{level}")
    for name in batches:
        table[name] = as_names(covariates[name]).to_numpy()
    responses = [f"{name}" for name in values.columns]
    table = pd.concat([table, values.reset_index(drop=True)], axis=1)
    call = (
        "import pandas\nfrom pcntoolkit import NormData\n\n"
        f"data = NormData.from_dataframe(\n    name={Path(path).stem!r},\n"
        f"    dataframe=pandas.read_csv({Path(path).name!r}, dtype={{'subject_ids': str}}),\n"
        f"    covariates={predictors!r},\n    batch_effects={list(batches)!r},\n"
        f"    response_vars={responses!r},\n    subject_ids='subject_ids',\n)\n"
    )
    with replacing(path) as beside:
        table.to_csv(beside, index=False)
    with replacing(Path(path).with_suffix(".py")) as beside:
        beside.write_text(call, encoding="utf-8")
