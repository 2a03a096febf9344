"""Which model finds the clean section under an artifact: the paper's Fig. 2B, on known truth.

    python benchmarks/denoising.py --out drawn.csv
    python benchmarks/denoising.py --out real.csv --atlas ../shared/data/ccf --figure panel

For each seed: a phantom population to fit (a fifth of the brains with an artifact, as usual), and
other brains to test on, a quarter of each class. Three models are fitted by recipe fast: beta-VAE,
VAE (beta 1) and a beta-VAE with artifact augmentation. Beside them stand PCA with as many factors
and the trimmed PCA that recipe fast starts from. Each is asked plainly and by robust inference, and
its reconstruction is held against the clean truth, by class of artifact; so is the section itself,
and so are what each model makes of the clean truth, and the best that as many factors can do: a
PCA that was fitted to the clean truth, and is given it.
Means and claims are over seeds. A seed whose rows are in the file already is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import stats

from napari_brainvae.arrays import Images
from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.artifacts import ARTIFACTS
from napari_brainvae.data.population import Population
from napari_brainvae.denoising.robust_inference import robust_inference
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.models.base import Model
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.measures import squared_error
from napari_brainvae.models.pca import PCA, trimmed_components
from napari_brainvae.phantom.phantom import (
    Phantom,
    PhantomOptions,
    TemplateSection,
    draw_section,
    section_from_atlas,
    write_phantom,
)
from napari_brainvae.reporting.paper_figures import save_figure
from training.evaluation.comparison import FAMILIES, know_the_usual
from training.evaluation.figures import grid_of_images
from training.evaluation.held_out_metrics import (
    CLEAN,
    ERROR,
    HIGHER_IS_BETTER,
    SQUARED_ERRORS,
    STEERABLE,
    HeldOut,
    image_metrics,
    image_values,
)
from training.fit import fit

TEST_BRAINS = 160
PLANE = 293
FITTED = {"beta-VAE": {}, "VAE": {"beta": 1.0}, "augmented": {"augment": 0.6}}
TRIMMED = "trimmed PCA"
ROBUST = ", robust"
"""Follows the name of a model that is asked by robust inference."""
GIVEN = ", given the truth"
"""Follows the name of a model that is given the clean section."""
BEST = "best of as many factors"
INPUT, TRUTH = "section", "clean truth"
SHOWN = (INPUT, TRUTH, *reversed(FAMILIES), FAMILIES[0] + ROBUST)
COLUMNS = ["setting", "seed", "model", "metric", "class", "value"]

Drawn = dict[str, Images]
"""Reconstructions ``(N, H, W)``, by model and way of asking."""


def main(options: argparse.Namespace) -> None:
    setting = (
        f"{options.atlas.name if options.atlas else 'drawn'}, {options.count} brains of "
        f"{options.height} x {options.width} px, {options.steps or 'recipe'} steps"
    )
    table = read_table(options.out, setting)
    done = set(table["seed"])
    size = options.height, options.width
    section = (
        section_from_atlas(Atlas.open(options.atlas), PLANE, *size)
        if options.atlas
        else draw_section(*size)
    )
    for seed in range(options.seeds):
        for_figure = options.figure is not None and seed == 0
        if seed in done and not for_figure:
            continue
        held, drawn = one_seed(options, section, seed)
        if for_figure:
            save_figure(panel(held, drawn), options.figure, {"setting": setting, "seed": seed})
        if seed not in done:
            rows = measured(held, drawn).assign(setting=setting, seed=seed)[COLUMNS]
            table = pd.concat([table, rows], ignore_index=True) if len(table) else rows
            with replacing(options.out) as beside:
                table.to_csv(beside, index=False)
        print(f"seed {seed} done", flush=True)
    print(f"{setting}; {table['seed'].nunique()} seeds, {TEST_BRAINS} test brains each\n")
    print(f"{ERROR}, ratio to PCA\n{against_pca(table).to_string()}\n")
    for metric in table["metric"].unique():
        print(f"{metric}\n{means(table, metric).to_string()}\n")
    print(claims(table).to_string())


def read_table(path: Path, setting: str) -> pd.DataFrame:
    """What earlier runs left, if it can stand in one table with this run.

    Raises
    ------
    ValueError
        If it cannot.
    """
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    table = pd.read_csv(path)
    if list(table) != COLUMNS:
        raise ValueError(f"{path} is no table of this version: give another --out")
    others = set(table["setting"]) - {setting}
    if others:
        raise ValueError(f"{path} holds other runs ({min(others)}): give another --out")
    return table


def one_seed(
    options: argparse.Namespace, section: TemplateSection, seed: int
) -> tuple[HeldOut, Drawn]:
    """Fit all models to one population, and draw the brains of another by each of them."""
    size = {"height": options.height, "width": options.width}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        to_fit = PhantomOptions(count=options.count, seed=seed, **size)
        write_phantom(Phantom(section, to_fit), folder / "fit.zarr")
        test = PhantomOptions(count=TEST_BRAINS, seed=1000 + seed, artifacts=0.75, **size)
        write_phantom(Phantom(section, test), folder / "test.zarr")
        models = fitted(options, folder, seed)
        preprocessing = models["PCA"].header.preprocessing
        population = Population.open(folder / "test.zarr")
        everyone = list(range(TEST_BRAINS))
        held = HeldOut.read(folder / "test.zarr", population, preprocessing, everyone)
        fit_to = list(range(options.count))
        path = folder / "fit.zarr"
        known = HeldOut.read(path, Population.open(path), preprocessing, fit_to)
    assert held.clean is not None and known.clean is not None
    best = PCA.fit(known.clean, models["PCA"].latent_dim, preprocessing=preprocessing)
    drawn = {INPUT: held.sections, BEST: best.reconstruct(held.clean)}
    for name, model in models.items():
        drawn[name] = model.reconstruct(held.sections)
        drawn[name + ROBUST] = robust_inference(model, held.sections).reconstruction
        drawn[name + GIVEN] = model.reconstruct(held.clean)
    return held, drawn


def fitted(options: argparse.Namespace, folder: Path, seed: int) -> dict[str, Model]:
    """The models of `FITTED` and the two kinds of PCA, on all brains of ``folder/fit.zarr``."""
    models: dict[str, Model] = {}
    for name, special in FITTED.items():
        run = FitOptions(
            population=folder / "fit.zarr",
            out=folder / name,
            held_out=0,
            include_flagged=True,
            seed=seed,
            threads=options.threads,
            steps=options.steps,
            **special,
        )
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            fit(run)
        models[name] = load_checkpoint(folder / name / "model.safetensors")
    header = models["beta-VAE"].header
    sections = Population.open(folder / "fit.zarr").prepared(header.preprocessing, slice(None))
    pca = PCA.fit(sections, header.latent_dim, preprocessing=header.preprocessing)
    trimmed = PCA(pca.header, *trimmed_components(sections, header.latent_dim))
    for model in (pca, trimmed):
        know_the_usual(model, sections)
    return {"PCA": pca, TRIMMED: trimmed, **models}


def measured(held: HeldOut, drawn: Drawn) -> pd.DataFrame:
    """Mean over brains of every measure against the clean truth, by class of artifact."""
    truth = f"{CLEAN}, "
    rows = [
        (model, metric, kind.removeprefix(truth), np.nanmean(values))
        for model, images in drawn.items()
        for (metric, kind), values in image_values(held, images, 0, len(images)).items()
        if kind.startswith(truth)
    ]
    return pd.DataFrame(rows, columns=["model", "metric", "class", "value"])


def panel(held: HeldOut, drawn: Drawn) -> Figure:
    """Draw a brain of each class by every model, as in the paper's Fig. 2B.

    It is the brain of median error under PCA, so that none is picked.
    """
    assert held.clean is not None and held.artifact is not None
    error = squared_error(held.clean, drawn["PCA"])
    members = [np.flatnonzero(held.artifact == kind) for kind in ARTIFACTS]
    brains = [int(m[np.argsort(error[m])[len(m) // 2]]) for m in members]
    columns = {name: held.clean if name == TRUTH else drawn[name] for name in SHOWN}
    images = [[column[i] for column in columns.values()] for i in brains]
    bright = float(np.percentile(held.clean, 99.8))
    figure = grid_of_images(images, list(ARTIFACTS), list(SHOWN), vmax=bright)
    no_dtcwt = np.array([], dtype=np.intp)
    for c, (name, column) in enumerate(columns.items()):
        quality = image_metrics(held.clean, column, no_dtcwt)
        for r, i in enumerate(brains):
            text = f"{quality[STEERABLE][i]:.3f}  |  {1e4 * quality[ERROR][i]:.1f}"
            axes = figure.axes[r * len(SHOWN) + c]
            axes.set_xlabel("" if name == TRUTH else text, fontsize=7, labelpad=2)
    below = f"{STEERABLE}  |  squared error x 1e-4, both against the clean truth"
    figure.supxlabel(f"below each: {below}", fontsize=8)
    width, height = figure.get_size_inches()
    figure.set_size_inches(0.6 * width, 0.6 * height + 0.8)
    return figure


def wide_table(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Seeds x (class, model); squared errors x 1e-4."""
    rows = table[table["metric"] == metric]
    wide = rows.pivot(index="seed", columns=["class", "model"], values="value").sort_index(axis=1)
    return wide * (1e4 if metric in SQUARED_ERRORS else 1)


def means(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean over seeds with half its 95 % interval, models x classes; squared errors x 1e-4."""
    digits = 2 if metric in (*SQUARED_ERRORS, "PSNR, dB") else 4
    wide = wide_table(table, metric)
    kinds = [kind for kind in ARTIFACTS if kind in wide]
    rows = {
        model: {kind: readable(wide[kind, model], digits) for kind in kinds}
        for model in table["model"].unique()
    }
    return pd.DataFrame(rows).T


def against_pca(table: pd.DataFrame) -> pd.DataFrame:
    """Squared error as a multiple of plain PCA's on the same brains."""
    wide = wide_table(table, ERROR)
    rows = {
        model: {kind: readable(wide[kind, model] / wide[kind, "PCA"]) for kind in ARTIFACTS}
        for model in table["model"].unique()
    }
    return pd.DataFrame(rows).T


def claims(table: pd.DataFrame) -> pd.DataFrame:
    """What becomes of the paper's order of models, by pair, way of asking, metric and class.

    A fourth pair tells what the network adds to the trimming that it starts from.
    """
    pairs = [*combinations(FAMILIES, 2), (FAMILIES[0], TRIMMED)]
    pairs = [(better + how, worse + how) for how in ("", ROBUST) for better, worse in pairs]
    metrics = [metric for metric in HIGHER_IS_BETTER if metric in set(table["metric"])]
    rows = {}
    for better, worse in pairs:
        for metric in metrics:
            wide = wide_table(table, metric)
            rows[f"{better} > {worse}", metric] = {
                kind: verdict(wide[kind, better] - wide[kind, worse], HIGHER_IS_BETTER[metric])
                for kind in ARTIFACTS
                if kind in wide
            }
    return pd.DataFrame(rows).T.fillna("")


def verdict(differences: ArrayLike, higher_is_better: bool) -> str:
    """What paired differences (better less worse, one a seed) say of a claim.

    "confirmed" or "refuted" if the whole 95 % interval of the mean says so, else "undecided".
    """
    mean, half = interval(differences)
    if not abs(mean) > half:
        return "undecided"
    return "confirmed" if (mean > 0) == higher_is_better else "refuted"


def interval(values: ArrayLike) -> tuple[float, float]:
    """Mean, and half of its 95 % t interval: NaN for a single value."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return float(values.mean()), np.nan
    reach = stats.t.ppf(0.975, len(values) - 1)
    return float(values.mean()), float(reach * stats.sem(values))


def readable(values: ArrayLike, digits: int = 2) -> str:
    mean, half = interval(values)
    return f"{mean:.{digits}f}" + ("" if np.isnan(half) else f" ± {half:.{digits}f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="table to write, .csv")
    parser.add_argument("--figure", type=Path, help="write this panel of seed 0, as .png and .svg")
    parser.add_argument("--atlas", type=Path, help="atlas directory: use its template")
    parser.add_argument("--count", type=int, default=256, help="brains to fit")
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="of training; recipe fast's by default")
    parser.add_argument("--threads", type=int, default=1)
    main(parser.parse_args())
