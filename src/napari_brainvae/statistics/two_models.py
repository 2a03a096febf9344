"""Two models of the same brains: which factors are the same, and which brains look otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.brain_table import brain_table, factors_of
from napari_brainvae.factors.impact import usable_sections
from napari_brainvae.factors.model_match import ModelMatch, match_factors
from napari_brainvae.factors.stability import fields_among
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model
from napari_brainvae.models.header import Header, check_comparable


@dataclass(frozen=True, eq=False)
class TwoModels:
    """Models A and B on one population.

    Attributes
    ----------
    match
        Of their factors, by the brains that are not flagged.
    brains
        What `changed_brains` says, those that changed most first, with ``position`` in the stack,
        ``fitted`` (which of the two was fitted on it: "A, B", "A", "B", "none"; empty if either
        checkpoint does not say) and ``flagged``.
    incomparable
        Why errors of the two are in other units; empty if they are not.
    positions
        Of the brains that count for ``match``.
    """

    match: ModelMatch
    brains: pd.DataFrame
    incomparable: str
    positions: list[int]


def compare_models(
    a: Model,
    b: Model,
    population: Population,
    *,
    measured: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> TwoModels:
    """Hold two models against each other, by all brains of a population.

    Parameters
    ----------
    measured
        What `brain_table` says by model A, if that is known already.

    Raises
    ------
    InputError
        If the sections do not fit either model, or fewer than three can be used.
    Stopped
        If ``progress`` asked to stop.
    """
    count, tables = len(population), []
    for done, model in enumerate((a, b)):
        if done == 0 and measured is not None:
            tables.append(measured)
            continue

        def told(n: int, _: int, done: int = done) -> None:
            report(progress, done * count + n, 2 * count)

        tables.append(brain_table(model, population, progress=told))
    positions = usable_sections(population)
    codes = [factors_of(table).iloc[positions].to_numpy() for table in tables]
    report(progress, 2 * count, 2 * count)
    fields = [
        fields_among(model, each[np.isfinite(each).all(axis=1)].astype(np.float32))
        for model, each in zip((a, b), codes, strict=True)
    ]
    match = match_factors(*codes, *fields)
    why = incomparable(a, b)
    brains = changed_brains(*tables, errors=not why)
    brains.insert(1, "fitted", _fitted(a.header, b.header, population))
    brains.insert(2, "flagged", population.flagged)
    return TwoModels(match, _sorted(brains), why, positions)


def incomparable(a: Model, b: Model) -> str:
    """Say why sections and errors of two models cannot be held against each other, or nothing."""
    if a.shape != b.shape:
        sizes = (f"{height} x {width} px" for height, width in (a.shape, b.shape))
        return f"A draws sections of {' and B of '.join(sizes)}: only their codes are compared"
    try:
        check_comparable({"A": a.header, "B": b.header})
    except InputError as error:
        return f"{error}; here only their codes are compared"
    return ""


def changed_brains(a: pd.DataFrame, b: pd.DataFrame, *, errors: bool = True) -> pd.DataFrame:
    """How a brain looks through either model.

    Parameters
    ----------
    a, b
        From `brain_table`, of the same brains.
    errors
        Whether the errors of the two are in the same units.

    Returns
    -------
    pandas.DataFrame
        In the order given: ``id``; ``deviation_a``, ``deviation_b`` and ``deviation_change`` (B
        less A, spreads, NaN where a checkpoint has no reference), ``outlier_a``, ``outlier_b``;
        ``error_a``, ``error_b``, ``error_change`` (B less A, share of A).
    """
    nothing = pd.Series(np.nan, a.index)
    table = pd.DataFrame({"id": a.index.astype(str)})
    for name, each in (("a", a), ("b", b)):
        table[f"deviation_{name}"] = each.get("deviation", nothing).to_numpy()
    table["deviation_change"] = table["deviation_b"] - table["deviation_a"]
    for name, each in (("a", a), ("b", b)):
        table[f"outlier_{name}"] = each.get("unusual", nothing == 0).to_numpy()
        table[f"error_{name}"] = each["squared_error"].to_numpy()
    change = table["error_b"] / table["error_a"].where(table["error_a"] > 0) - 1
    table["error_change"] = change if errors else np.nan
    return table


def fitted_on(header: Header, population: Population) -> npt.NDArray[np.bool_] | None:
    """Which brains ``(N,)`` a model was fitted on, as its checkpoint says; None if it does not."""
    data = header.training.get("data")
    if not isinstance(data, dict):
        return None
    if isinstance(named := data.get("measured"), list):
        return np.isin(population.ids, [str(each) for each in named])
    if data.get("fingerprint") != population.fingerprint():
        return None  # of other brains, which may be called the same
    return ~np.isin(population.ids, header.training.get("held_out") or [])


def _fitted(a: Header, b: Header, population: Population) -> list[str]:
    by_a, by_b = fitted_on(a, population), fitted_on(b, population)
    if by_a is None or by_b is None:
        return [""] * len(population)
    words = {(True, True): "A, B", (True, False): "A", (False, True): "B", (False, False): "none"}
    return [words[bool(x), bool(y)] for x, y in zip(by_a, by_b, strict=True)]


def _sorted(brains: pd.DataFrame) -> pd.DataFrame:
    """Those that changed most come first, by how unusual they are if both models know that."""
    known = brains["deviation_change"].notna().any()
    by = "deviation_change" if known else "error_change"
    order = brains[by].abs().sort_values(ascending=False, kind="stable", na_position="last").index
    table = brains.loc[order]
    table.insert(0, "position", order)
    return table.reset_index(drop=True)
