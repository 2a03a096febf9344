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
CONSTANT = "constant"


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
    """Write a table that PCNtoolkit 1 reads, with its call in a program beside it.

    Parameters
    ----------
    path
        A ``.csv``: subject_ids, covariates (numbers; of names one column 0 or 1 for each but the
        first; without any a constant, as PCNtoolkit needs one), batch effects, and the values as
        response variables. A covariate with the name of a value is called ``covariate_NAME``.
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
    taken = {"subject_ids", *map(str, values.columns)}
    new = {name: f"covariate_{name}" for name in map(str, covariates) if name in taken}
    covariates = covariates.rename(columns=str).rename(columns=new)
    batches = [new.get(name, name) for name in batches]
    table = pd.DataFrame({"subject_ids": values.index.to_numpy()})
    predictors = []
    for each in [str(name) for name in covariates if name not in batches]:
        for label, numbers in _numbers(each, covariates[each]).items():
            table[label] = numbers
            predictors.append(label)
    note = ""
    if not predictors:
        table[CONSTANT], predictors = 1.0, [CONSTANT]
        note = (
            "# PCNtoolkit reads no table without a covariate, and none was to be taken out: it is\n"
            "# the mean that predicts. Fit with inscaler='none', or add covariates.\n"
        )
    for name in batches:
        table[name] = as_names(covariates[name]).to_numpy()
    responses = [f"{name}" for name in values.columns]
    table = pd.concat([table, values.reset_index(drop=True)], axis=1)
    dtype = ", ".join(f"{name!r}: str" for name in ("subject_ids", *batches))
    call = (
        f"import pandas\nfrom pcntoolkit import NormData\n\n{note}"
        f"data = NormData.from_dataframe(\n    name={Path(path).stem!r},\n"
        f"    dataframe=pandas.read_csv({Path(path).name!r}, dtype={{{dtype}}}),\n"
        f"    covariates={predictors!r},\n    batch_effects={list(batches)!r},\n"
        f"    response_vars={responses!r},\n    subject_ids='subject_ids',\n)\n"
    )
    with replacing(path) as beside:
        table.to_csv(beside, index=False)
    with replacing(Path(path).with_suffix(".py")) as beside:
        beside.write_text(call, encoding="utf-8")


def _numbers(name: str, column: pd.Series) -> dict[str, Floats]:
    """Columns of a covariate by name: itself, or 0 and 1 for each name but the first."""
    if is_number(column):
        return {name: column.to_numpy(np.float64)}
    names = as_names(column)
    levels = sorted(names.unique())[1:]
    return {f"{name}_{level}": (names == level).to_numpy(np.float64) for level in levels}
