"""How soon recipe fast reaches what recipe paper has after 10,000 steps, over seeds.

    python benchmarks/time_to_quality.py --atlas ../shared/data/ccf --runs runs --out results.csv

For each seed: a phantom population on the atlas's template, fitted by both recipes and asked on the
same held-out brains. Squared error and objective are summed over pixels and scaled to the paper's
320 x 448 px, where its beta was chosen. Recipe paper does not scale its loss to the size of a
section, so it is given beta x (pixels / 143,360): that is the same objective times a constant,
which Adam does not see. Beside them stands PCA, which recipe fast starts from; its objective is
left out, because its posterior is not meant for this beta.

A (seed, recipe) whose row is in the file already is not done again, an interrupted fit goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.denoising import interval
from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.population import Population
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.metrics.cw_ssim import cw_ssim
from napari_brainvae.metrics.latent_use import active_units
from napari_brainvae.models.base import Model
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.measures import kl_divergence, squared_error
from napari_brainvae.models.objective import FULL_SIZE
from napari_brainvae.phantom.phantom import (
    Phantom,
    PhantomOptions,
    section_from_atlas,
    write_phantom,
)
from training.evaluation.held_out_brains import held_out_sections
from training.evaluation.held_out_metrics import HeldOut, tissue_weights
from training.fit import fit
from training.pca import PCAOptions, fit_pca

BETA = 3.0
PLANE = 293
RECIPES = ("fast", "paper", "PCA")
LOWER_IS_BETTER = {"objective": True, "clean error": True, "clean CW-SSIM": False}
DRAWS = 16
"""Posterior samples, of one fixed noise for all models, over which the objective is averaged."""


def main(options: argparse.Namespace) -> None:
    table = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame()
    for seed in options.seeds:
        for recipe in RECIPES:
            if not table.empty and (table[["seed", "recipe"]] == [seed, recipe]).all(axis=1).any():
                continue
            row = one_run(options, seed, recipe)
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
            with replacing(options.out) as beside:
                table.to_csv(beside, index=False)
            print(f"seed {seed}, {recipe}: done", flush=True)
    size = f"{options.count} brains of {options.height} x {options.width} px"
    print(f"{platform.machine()}, {size}, {options.threads} thread(s)")
    print(table.round(4).to_string(index=False))
    print(summary(table))


def one_run(options: argparse.Namespace, seed: int, recipe: str) -> dict[str, object]:
    """Fit one recipe to one population, or go on fitting it, and measure what came of it."""
    path = population_of(options, seed)
    run = options.runs / f"{seed}-{recipe}"
    row = {"seed": seed, "recipe": recipe}
    if recipe == "PCA":
        file = run.with_suffix(".safetensors")
        fit_pca(
            PCAOptions(population=path, out=file, seed=seed, include_flagged=True, overwrite=True)
        )
        unfit = {"steps": 0, "objective": np.nan, "KL": np.nan}
        return row | quality(load_checkpoint(file), path) | unfit
    train(options, seed, recipe, path, run)
    return row | cost(run) | quality(load_checkpoint(run / "model.safetensors"), path)


def train(options: argparse.Namespace, seed: int, recipe: str, path: Path, run: Path) -> None:
    """Fit a recipe into a run folder, from where an interrupted fit stands."""
    if run.exists() and not (run / "record.json").exists():
        shutil.rmtree(run)  # killed before its first step
    size = options.height * options.width / FULL_SIZE
    with contextlib.redirect_stdout(io.StringIO()):
        fit(
            FitOptions(
                population=path,
                out=run,
                recipe=recipe,
                beta=BETA * size if recipe == "paper" else BETA,
                steps=options.fast_steps if recipe == "fast" else options.paper_steps,
                seed=seed,
                include_flagged=True,
                threads=options.threads,
                resume=run.exists(),
            )
        )


def population_of(options: argparse.Namespace, seed: int) -> Path:
    """Write the population of a seed, unless an earlier call has."""
    path = options.runs / f"{seed}.zarr"
    if not path.exists():
        shape = {"height": options.height, "width": options.width}
        section = section_from_atlas(Atlas.open(options.atlas), PLANE, *shape.values())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_phantom(
            Phantom(section, PhantomOptions(count=options.count, seed=seed, **shape)), path
        )
    return path


def cost(run: Path) -> dict[str, object]:
    """Steps of a run, its seconds over all its sittings, and where it was best held out.

    The best held-out error, of those measured every 250 steps, tells whether the last step is a
    fair one to take a recipe by.
    """
    history = pd.read_csv(run / "history.csv")
    options = load_checkpoint(run / "model.safetensors").header.training["options"]
    images = options["batch_size"] * history["step"].diff().fillna(history["step"])
    best = history.loc[history["held_out_error"].idxmin()]
    return {
        "steps": int(history["step"].iloc[-1]),
        "seconds": float((images / history["images_per_second"]).sum()),
        "best step": int(best["step"]),
        "best held-out error": FULL_SIZE * best["held_out_error"],
    }


def quality(model: Model, path: Path) -> dict[str, object]:
    """What a model makes of its held-out brains, at the scale of 320 x 448 px."""
    population = Population.open(path)
    held = HeldOut.read(
        path, population, model.header.preprocessing, held_out_sections(population, [model])
    )
    assert held.clean is not None
    mean, log_variance = model.encode(held.sections)
    noise = np.random.default_rng(0).standard_normal((DRAWS, *mean.shape), dtype=np.float32)
    sampled = [
        squared_error(held.sections, model.decode(mean + np.exp(log_variance / 2) * draw)).mean()
        for draw in noise
    ]
    kl = kl_divergence(mean, log_variance).sum(axis=1).mean()
    drawn = model.decode(mean)
    similarity = cw_ssim(held.clean, drawn, weights=tissue_weights(held.sections))
    return {
        "objective": FULL_SIZE * np.mean(sampled) + BETA * kl,
        "KL": kl,
        "held-out error": FULL_SIZE * squared_error(held.sections, drawn).mean(),
        "clean error": FULL_SIZE * squared_error(held.clean, drawn).mean(),
        "clean CW-SSIM": np.mean(similarity),
        "active factors": int(active_units(mean)),
    }


def summary(table: pd.DataFrame) -> str:
    """Fast against paper, seed by seed and over seeds with a 95 % t interval."""
    fitted = table[table["recipe"] != "PCA"]
    wide = fitted.pivot(index="seed", columns="recipe").dropna()
    lines = []
    for measure, lower in LOWER_IS_BETTER.items():
        ahead = wide[measure, "paper"] - wide[measure, "fast"]
        ahead = (ahead if lower else -ahead).to_numpy()
        line = f"{measure}: reached by fast in {(ahead >= 0).sum()} of {len(ahead)} seeds"
        if len(ahead) > 1:
            mean, half = interval(ahead)
            line += f"; ahead by {mean:.4g} ± {half:.2g}"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--atlas", type=Path, required=True, help="atlas directory")
    parser.add_argument("--runs", type=Path, required=True, help="folder for populations and runs")
    parser.add_argument("--out", type=Path, required=True, help="table to write, .csv")
    parser.add_argument("--count", type=int, default=512, help="brains, a fifth of them held out")
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--fast-steps", type=int, help="recipe fast's own by default")
    parser.add_argument("--paper-steps", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    main(parser.parse_args())
