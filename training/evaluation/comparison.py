"""Models held against the same brains, and the tables that come of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_brainvae.arrays import Images
from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from napari_brainvae.metrics.image_quality import split_half_floor
from napari_brainvae.models.base import Model
from napari_brainvae.models.header import Reference, check_comparable
from napari_brainvae.models.measures import squared_error
from napari_brainvae.models.pca import PCA
from napari_brainvae.models.residual_spread import residual_spread
from training.evaluation.held_out_brains import Unseen, notes, positions, unseen_brains
from training.evaluation.held_out_metrics import (
    AS_IT_IS,
    CLEAN,
    ERROR,
    FEWEST,
    FRECHET,
    HIGHER_IS_BETTER,
    HeldOut,
    Measurement,
    measure_model,
)
from training.evaluation.options import EvaluateOptions
from training.fitting.sections import evenly

MEAN_SECTION = "mean section"


FLOOR = "two halves of the real sections"


BASELINE_BRAINS = 2048
"""Brains, at most, that the baselines are fitted to: what memory holds."""


FAMILIES = ("beta-VAE", "VAE", "PCA")
"""Best first, by the paper's claim (section 3.2)."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models held against the same brains.

    Attributes
    ----------
    models
        By name: baselines first.
    baseline
        Name of the one that differences are taken to.
    held
        The brains, as the first model sees them.
    held_out
        How many held-out brains there are.
    notes
        What has to be said of how brains are known to be new to a model.
    metrics, differences, claims
        Tables in long form; see `compare`.
    place
        ``pixel_size_um`` and ``plane`` of the sections, as far as known.
    """

    models: dict[str, Model]
    baseline: str
    held: HeldOut
    held_out: int
    notes: list[str]
    metrics: pd.DataFrame
    differences: pd.DataFrame
    claims: pd.DataFrame
    place: dict[str, Any]


def compare(options: EvaluateOptions, models: dict[str, Model]) -> Comparison:
    """Measure models and their baselines on the held-out brains, which are read once.

    A model whose name a baseline has is renamed.

    Returns
    -------
    Comparison
        Its tables have the columns model, metric, class, value, low, high, count; differences have
        ``against`` and claims ``claim``, ``worse`` and ``verdict`` as well. Low and high are 95 %
        intervals over brains.

    Raises
    ------
    InputError
        If there is no brain that no model was fitted on, or models are for other sections.
    """
    check_comparable({name: model.header for name, model in models.items()})
    models = apart_from_baselines(models)
    population = Population.open(options.population)
    unseen = unseen_brains(population, models)
    held_out, said = _brains_to_measure(population, unseen, options.seed)
    preprocessing = next(iter(models.values())).header.preprocessing
    models = baselines(population, list(models.values()), held_out) | models
    order = np.random.default_rng(options.seed).permutation(held_out)
    chosen = sorted(order[: options.brains].tolist())
    held = HeldOut.read(options.population, population, preprocessing, chosen)
    measured = {
        name: measure_model(
            model,
            held,
            resamples=options.resamples,
            seed=options.seed,
            dtcwt_sections=options.dtcwt_sections,
        )
        for name, model in models.items()
    }
    for name, brains_of_it in unseen.items():
        count = len(brains_of_it.ids)
        measured[name].append(Measurement.plain(brains_of_it.known, AS_IT_IS, count))
    baseline = next(name for name in models if name != MEAN_SECTION)
    return Comparison(
        models,
        baseline,
        held,
        len(held_out),
        said,
        metrics_table(measured, held, options.seed),
        differences_table(measured, baseline),
        claims_table(measured, models),
        population.description.model_dump(include={"pixel_size_um", "plane"}),
    )


def _brains_to_measure(
    population: Population, unseen: Mapping[str, Unseen], seed: int
) -> tuple[list[int], list[str]]:
    """Positions of the brains that no model knows, and what has to be said of them."""
    held_out, said = positions(population, unseen.values()), notes(unseen)
    if len(population) - len(held_out) < 2:
        half = np.random.default_rng(seed).permutation(held_out)[len(held_out) // 2 :]
        held_out = sorted(half.tolist())
        said.append("no brain is known to be in a fit: half of them fit the baselines instead")
    return held_out, said


def apart_from_baselines(models: dict[str, Model]) -> dict[str, Model]:
    """The models, those that have the name of a baseline or of the floor under another one."""
    taken = {MEAN_SECTION, FLOOR, *(_pca_name(model.latent_dim) for model in models.values())}
    renamed = {}
    for name, model in models.items():
        new = name
        while new in taken or (new != name and new in models):
            new += " (given)"
        renamed[new] = model
    return renamed


def _pca_name(latent_dim: int) -> str:
    return f"PCA-{latent_dim}"


def baselines(population: Population, models: list[Model], held_out: list[int]) -> dict[str, Model]:
    """Mean section, and PCA with as many factors as each model, fitted on the other brains.

    On `BASELINE_BRAINS` of them, evenly spread, where there are more; without those that are
    marked as excluded, nor flagged ones if the models were fitted without.
    """
    preprocessing = models[0].header.preprocessing
    others = sorted(set(range(len(population))) - set(held_out))
    if len(others) < 2:
        raise InputError("every brain is held out: there is none to fit the baselines to")
    chosen = evenly(others, BASELINE_BRAINS)
    told = [model.header.training.get("options") for model in models]
    without = all(isinstance(each, dict) and each.get("include_flagged") is False for each in told)
    intact = ~population.left_out(include_flagged=not without)[chosen]
    if intact.sum() < 2:
        raise InputError(
            "all brains but those held out are flagged or marked as excluded: none fits the "
            "baselines"
        )
    sections = population.prepared(preprocessing, [chosen[i] for i in np.flatnonzero(intact)])
    counts = dict.fromkeys(model.latent_dim for model in models)
    fitted = {_pca_name(n): PCA.fit(sections, n, preprocessing=preprocessing) for n in counts}
    for model in fitted.values():
        know_the_usual(model, sections)
    pca = next(iter(fitted.values()))
    mean = PCA(
        pca.header.model_copy(update={"reference": None}),
        pca.mean,
        0 * pca.components,
        np.ones_like(pca.eigenvalues),
    )
    return {MEAN_SECTION: mean, **fitted}


def know_the_usual(model: Model, sections: Images) -> None:
    """Note how the sections it was fitted on look through a baseline, as ``fit`` does."""
    mean, log_variance = model.encode(sections)
    decoded = model.decode(mean)
    error, spread = squared_error(sections, decoded), residual_spread(sections, decoded)
    reference = Reference.measure(error, mean, log_variance, spread)
    model.header = model.header.model_copy(update={"reference": reference})


def metrics_table(measured: dict[str, list[Measurement]], held: HeldOut, seed: int) -> pd.DataFrame:
    """One row a model, metric and class; and the floor of the PCA-Frechet distance."""
    rows = [{"model": name, **_row(m)} for name, all_of_it in measured.items() for m in all_of_it]
    if len(held.sections) >= FEWEST:
        real = {AS_IT_IS: held.sections, CLEAN: held.clean}
        for kind, sections in real.items():
            if sections is not None:
                floor = split_half_floor(sections, seed=seed)
                place = {"model": FLOOR, "metric": FRECHET, "class": kind}
                rows.append({**place, "value": floor, "count": len(sections)})
    return pd.DataFrame(rows)


def differences_table(measured: dict[str, list[Measurement]], baseline: str) -> pd.DataFrame:
    """Each model less the baseline, brain by brain."""
    of_baseline = {(m.metric, m.kind): m for m in measured[baseline]}
    rows = [
        {"model": name, "against": baseline, **_row(m - of_baseline[m.metric, m.kind])}
        for name, all_of_it in measured.items()
        for m in all_of_it
        if name != baseline and (m.metric, m.kind) in of_baseline
    ]
    return pd.DataFrame(rows)


def claims_table(measured: dict[str, list[Measurement]], models: dict[str, Model]) -> pd.DataFrame:
    """The paper's claim, beta-VAE better than VAE better than PCA, at equal L, pair by pair.

    The verdict on a metric and class is 'confirmed' or 'refuted' if the whole interval of the
    paired difference says so, else 'undecided'.
    """
    rows = []
    for better, worse in combinations(FAMILIES, 2):
        pairs = [
            (a, b)
            for a in models
            for b in models
            if (models[a].family, models[b].family) == (better, worse)
            and models[a].latent_dim == models[b].latent_dim
        ]
        for a, b in pairs:
            of_b = {(m.metric, m.kind): m for m in measured[b]}
            for m in measured[a]:
                if m.metric in HIGHER_IS_BETTER:
                    row = _row(m - of_b[m.metric, m.kind])
                    rows.append(
                        {
                            "claim": f"{better} > {worse}",
                            "model": a,
                            "worse": b,
                            **row,
                            "verdict": _verdict(row, HIGHER_IS_BETTER[m.metric]),
                        }
                    )
    columns = ["claim", "model", "worse", "metric", "class", "value", "low", "high", "count"]
    return pd.DataFrame(rows, columns=[*columns, "verdict"])


def _verdict(row: dict[str, Any], higher_is_better: bool) -> str:
    low, high = (row["low"], row["high"]) if higher_is_better else (-row["high"], -row["low"])
    return "confirmed" if low > 0 else "refuted" if high < 0 else "undecided"  # also without one


def _row(measured: Measurement) -> dict[str, Any]:
    low, high = measured.interval()
    return {
        "metric": measured.metric,
        "class": measured.kind,
        "value": measured.value,
        "low": low,
        "high": high,
        "count": measured.count,
    }


def write_tables(comparison: Comparison, out: Path) -> None:
    """Write metrics.csv, differences.csv and claims.csv."""
    for name in ("metrics", "differences", "claims"):
        getattr(comparison, name).to_csv(out / f"{name}.csv", index=False)


def summary(comparison: Comparison) -> str:
    """The squared errors, and what became of the paper's claim, in a few lines."""
    errors = comparison.metrics[comparison.metrics["metric"] == ERROR]
    lines = [
        *(f"note: {note}" for note in comparison.notes),
        f"{brains(comparison)}; squared error per pixel, x 1e-4, 95 % interval:",
        readable(errors, 1e4).to_string(),
        *claims_summary(comparison.claims),
    ]
    return "\n".join(lines)


def brains(comparison: Comparison) -> str:
    """How many brains were measured."""
    count, total = len(comparison.held.sections), comparison.held_out
    return f"{count} held-out brains" + (f" of {total}" if count < total else "")


def claims_summary(claims: pd.DataFrame) -> list[str]:
    """What became of each part of the paper's claim, one line each."""
    lines = []
    for better, worse in combinations(FAMILIES, 2):
        claim = f"{better} > {worse}"
        for (a, b), rows in claims[claims["claim"] == claim].groupby(["model", "worse"]):
            counts = rows["verdict"].value_counts()
            found = ", ".join(
                f"{verdict} by {counts.get(verdict, 0)}"
                for verdict in ("confirmed", "refuted", "undecided")
            )
            lines.append(f"{claim} ({a} against {b}): {found} of {len(rows)} comparisons")
        if not (claims["claim"] == claim).any():
            lines.append(f"{claim}: not tested, no two such models with equal L were given")
    return lines


def readable(table: pd.DataFrame, unit: float = 1.0) -> pd.DataFrame:
    """Models x classes of one metric, each cell a value with its interval, times ``unit``."""

    def cell(value: float, low: float, high: float) -> str:
        shown = f"{unit * value:.4g}"
        return shown if math.isnan(low) else f"{shown} [{unit * low:.4g}, {unit * high:.4g}]"

    cells = table.assign(
        cell=[cell(v, a, b) for v, a, b in table[["value", "low", "high"]].to_numpy()]
    )
    wide = cells.pivot(index="model", columns="class", values="cell").fillna("")
    return wide.loc[table["model"].unique(), table["class"].unique()].rename_axis(
        index=None, columns=None
    )
