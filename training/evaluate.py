"""``python -m training.evaluate``: which model is better, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from training.cli import main

if TYPE_CHECKING:
    import pandas as pd

    from napari_brainvae.model import Model
    from napari_brainvae.population import Population
    from training.measures import HeldOut, Measured

MEAN_SECTION = "mean section"
FLOOR = "two halves of the real sections"
BASELINE_BRAINS = 2048
"""Brains, at most, that the baselines are fitted to: what memory holds."""
FAMILIES = ("beta-VAE", "VAE", "PCA")
"""Best first, by the paper's claim (section 3.2)."""


class EvaluateOptions(BaseModel):
    """Compare models on the brains that none of them was fitted on.

    Beside the models stand the mean section and a PCA with as many factors, both fitted on the
    brains that no model was kept from. Where a population knows its truth (a phantom), the
    reconstructions are also held against the clean sections, by class of artifact. Writes
    metrics.csv, differences.csv (to that PCA, paired), claims.csv (the paper's order of models),
    figures as PNG and SVG, and report.html, which holds all of it.
    """

    population: CliPositionalArg[Path] = Field(description="The population the models know.")
    model: list[Path] = Field(min_length=1, description="Checkpoint; give it several times.")
    out: Path = Field(description="Folder for the results; new or empty.")
    brains: int = Field(
        512,
        ge=2,
        description="Held-out brains, at most, that are measured: chosen by the seed from more.",
    )
    resamples: int = Field(
        1000, ge=10, description="Bootstrap resamples of the brains for the 95 % intervals."
    )
    dtcwt_sections: int = Field(
        64, ge=0, description="Brains, at most, for the slow one of the CW-SSIM transforms."
    )
    seed: int = Field(0, ge=0, description="Of the choice of brains and of the resampling.")


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
    metrics, differences, claims
        Tables in long form; see `compare`.
    """

    models: dict[str, Model]
    baseline: str
    held: HeldOut
    held_out: int
    metrics: pd.DataFrame
    differences: pd.DataFrame
    claims: pd.DataFrame


def evaluate(options: EvaluateOptions) -> Comparison:
    """Run `training.evaluate` with these options.

    Raises
    ------
    ValueError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.checkpoint import fingerprint, load_checkpoint
    from napari_brainvae.figures import save_figure
    from training.report import evaluation_figures, evaluation_parts, write_report

    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise FileExistsError(f"{options.out} is not an empty folder: give another")
    names = [_name(path) for path in options.model]
    if len(set(names)) < len(names):
        raise ValueError(f"models of the same name: {', '.join(names)}; rename a run folder")
    models = {n: load_checkpoint(path) for n, path in zip(names, options.model, strict=True)}
    comparison = compare(options, models)
    options.out.mkdir(parents=True, exist_ok=True)
    write_tables(comparison, options.out)
    about = {
        "options": options.model_dump(mode="json"),
        "models": {name: fingerprint(model) for name, model in models.items()},
    }
    figures = evaluation_figures(comparison)
    for name, figure in figures.items():
        save_figure(figure, options.out / name, about)
    write_report(
        options.out / "report.html",
        "Which model is better, and by how much",
        evaluation_parts(comparison, figures),
    )
    print(summary(comparison))
    return comparison


def compare(options: EvaluateOptions, models: dict[str, Model]) -> Comparison:
    """Measure models and their baselines on the held-out brains.

    Returns
    -------
    Comparison
        Its tables have the columns model, metric, class, value, low, high, count; differences have
        ``against`` and claims ``claim``, ``worse`` and ``verdict`` as well. Low and high are 95 %
        intervals over brains.

    Raises
    ------
    ValueError
        If there is no brain that no model was fitted on, or a model is for another size.
    """
    import numpy as np

    from napari_brainvae.population import Population
    from training.measures import HeldOut, measure_model

    population = Population.open(options.population)
    held_out = held_out_sections(population, list(models.values()))
    ours = list(models)
    models = baselines(population, list(models.values()), held_out) | models
    order = np.random.default_rng(options.seed).permutation(held_out)
    chosen = sorted(order[: options.brains].tolist())
    baseline = next(name for name in models if name != MEAN_SECTION)
    measured = {}
    for name, model in models.items():
        held = HeldOut.read(options.population, population, model.header.preprocessing, chosen)
        measured[name] = measure_model(
            model,
            held,
            resamples=options.resamples,
            seed=options.seed,
            dtcwt_sections=options.dtcwt_sections,
        )
    preprocessing = models[ours[0]].header.preprocessing
    held = HeldOut.read(options.population, population, preprocessing, chosen)
    return Comparison(
        models,
        baseline,
        held,
        len(held_out),
        metrics_table(measured, held, options.seed),
        differences_table(measured, baseline),
        claims_table(measured, models),
    )


def _name(path: Path) -> str:
    """Name a model by its file, or by its run folder where files are all called 'model'."""
    return path.resolve().parent.name if path.stem == "model" else path.stem


def held_out_sections(population: Population, models: list[Model]) -> list[int]:
    """Positions of the brains that no model was fitted on.

    Raises
    ------
    ValueError
        If there are none.
    """
    unseen = set(population.ids)
    for model in models:
        unseen &= set(model.header.training.get("held_out", population.ids))
    if not unseen:
        raise ValueError("the models have no held-out brain in common")
    return [i for i, brain in enumerate(population.ids) if brain in unseen]


def baselines(population: Population, models: list[Model], held_out: list[int]) -> dict[str, Model]:
    """Mean section, and PCA with as many factors as each model, fitted on the other brains.

    On `BASELINE_BRAINS` of them, evenly spread, where there are more.
    """
    import numpy as np

    from napari_brainvae.pca import PCA
    from training.sections import evenly

    preprocessing = models[0].header.preprocessing
    seen = sorted(set(range(len(population))) - set(held_out))
    if len(seen) < 2:
        raise ValueError("every brain is held out: there is none to fit the baselines to")
    sections = population.prepared(preprocessing, evenly(seen, BASELINE_BRAINS))
    counts = dict.fromkeys(model.latent_dim for model in models)
    fitted = {f"PCA-{n}": PCA.fit(sections, n, preprocessing=preprocessing) for n in counts}
    pca = next(iter(fitted.values()))
    mean = PCA(pca.header, pca.mean, 0 * pca.components, np.ones_like(pca.eigenvalues))
    return {MEAN_SECTION: mean, **fitted}


def metrics_table(measured: dict[str, list[Measured]], held: HeldOut, seed: int) -> pd.DataFrame:
    """One row a model, metric and class; and the floor of the PCA-Frechet distance."""
    import pandas as pd

    from napari_brainvae.metrics import split_half_floor
    from training.measures import AS_IT_IS, CLEAN, FEWEST, FRECHET

    rows = [{"model": name, **_row(m)} for name, all_of_it in measured.items() for m in all_of_it]
    if len(held.sections) >= FEWEST:
        real = {AS_IT_IS: held.sections, CLEAN: held.clean}
        for kind, sections in real.items():
            if sections is not None:
                floor = split_half_floor(sections, seed=seed)
                place = {"model": FLOOR, "metric": FRECHET, "class": kind}
                rows.append({**place, "value": floor, "count": len(sections)})
    return pd.DataFrame(rows)


def differences_table(measured: dict[str, list[Measured]], baseline: str) -> pd.DataFrame:
    """Each model less the baseline, brain by brain."""
    import pandas as pd

    of_baseline = {(m.metric, m.kind): m for m in measured[baseline]}
    rows = [
        {"model": name, "against": baseline, **_row(m - of_baseline[m.metric, m.kind])}
        for name, all_of_it in measured.items()
        for m in all_of_it
        if name != baseline and (m.metric, m.kind) in of_baseline
    ]
    return pd.DataFrame(rows)


def claims_table(measured: dict[str, list[Measured]], models: dict[str, Model]) -> pd.DataFrame:
    """The paper's claim, beta-VAE better than VAE better than PCA, at equal L, pair by pair.

    The verdict on a metric and class is 'confirmed' or 'refuted' if the whole interval of the
    paired difference says so, else 'undecided'.
    """
    import pandas as pd

    from training.measures import HIGHER_IS_BETTER

    rows = []
    for better, worse in combinations(FAMILIES, 2):
        pairs = [
            (a, b)
            for a in models
            for b in models
            if (family(a, models[a]), family(b, models[b])) == (better, worse)
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


def family(name: str, model: Model) -> str | None:
    """What the paper would call a model; None for the mean section and published checkpoints."""
    if model.header.kind == "pca":
        return None if name == MEAN_SECTION else "PCA"
    beta = model.header.training.get("options", {}).get("beta")
    if beta is None or beta < 1:
        return None
    return "VAE" if beta == 1 else "beta-VAE"


def _verdict(row: dict[str, Any], higher_is_better: bool) -> str:
    low, high = (row["low"], row["high"]) if higher_is_better else (-row["high"], -row["low"])
    return "confirmed" if low > 0 else "refuted" if high < 0 else "undecided"  # also without one


def _row(measured: Measured) -> dict[str, Any]:
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
    """Write metrics.csv, differences.csv and claims.csv, each in one step."""
    from napari_brainvae.files import replacing

    for name in ("metrics", "differences", "claims"):
        with replacing(out / f"{name}.csv") as beside:
            getattr(comparison, name).to_csv(beside, index=False)


def summary(comparison: Comparison) -> str:
    """The squared errors, and what became of the paper's claim, in a few lines."""
    from training.measures import ERROR

    errors = comparison.metrics[comparison.metrics["metric"] == ERROR]
    lines = [
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
    import math

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


if __name__ == "__main__":
    main(EvaluateOptions, evaluate, program="python -m training.evaluate")
