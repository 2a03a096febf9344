"""Which latent factors go with what is known of the brains: posterior means against covariates."""

from __future__ import annotations

import numpy as np
import pandas as pd

FEWEST = 5
"""Brains, at least, in a group that counts; fewer are left out."""

COLUMNS = ["covariate", "test", "groups", "brains", "factor", "effect", "p", "q"]


def associate(factors: pd.DataFrame, covariates: pd.DataFrame) -> pd.DataFrame:
    """Hold each latent factor against each covariate. What goes together need not be a cause.

    Numbers are compared by Spearman's rank correlation; names and yes or no by the test of
    Kruskal and Wallis between groups. A covariate that is the same in all brains, or has no two
    groups of `FEWEST` brains, tells nothing and is left out, and so are brains in which it is
    missing.

    Parameters
    ----------
    factors
        ``(N, L)`` posterior means, indexed by id; columns ``F1`` to ``FL``. Brains without any,
        because they could not be used, are left out.
    covariates
        Table indexed by id that holds these N brains.

    Returns
    -------
    pandas.DataFrame
        A row a covariate and factor: ``effect`` is Spearman's rho in [-1, 1], or
        ``H / (n - 1)`` in [0, 1] for groups (epsilon squared; Tomczak and Tomczak 2014); ``p`` of
        the test; ``q``, adjusted over the whole table (Benjamini and Hochberg 1995).
    """
    from scipy.stats import false_discovery_control

    rows, factors = [], factors.dropna()
    for name, column in covariates.loc[factors.index].items():
        numeric = column.dtype.kind in "iuf"
        values = column.dropna() if numeric else _groups(column)
        if values.nunique() < 2 or len(values) < FEWEST:
            continue
        test, groups = ("Spearman", 0) if numeric else ("Kruskal-Wallis", values.nunique())
        for factor, codes in factors.loc[values.index].items():
            if codes.nunique() < 2:  # a collapsed factor goes with nothing
                effect, p = 0.0, 1.0
            else:
                effect, p = (_spearman if numeric else _kruskal)(codes, values)
            rows.append((str(name), test, groups, len(values), factor, effect, p, np.nan))
    table = pd.DataFrame(rows, columns=COLUMNS)
    if len(table):
        table["q"] = false_discovery_control(table["p"])
    return table


def _groups(column: pd.Series) -> pd.Series:
    """Names of those brains whose group is large enough."""
    names = column.dropna().astype(str)
    names = names[names != ""]
    return names[names.map(names.value_counts()) >= FEWEST]


def _spearman(codes: pd.Series, values: pd.Series) -> tuple[float, float]:
    from scipy.stats import spearmanr

    result = spearmanr(codes, values)
    return float(result.statistic), float(result.pvalue)


def _kruskal(codes: pd.Series, names: pd.Series) -> tuple[float, float]:
    from scipy.stats import kruskal

    result = kruskal(*(group.to_numpy() for _, group in codes.groupby(names)))
    return float(result.statistic) / (len(codes) - 1), float(result.pvalue)
