"""The paper's disentanglement (Fig. 3E) on planted brains, in the axes of the fit and rotated.

    python benchmarks/disentanglement.py --atlas ../shared/data/ccf

For each seed: a phantom population, a beta-VAE, a VAE (beta 1) and a PCA fitted to 80 % of it
without a rotation, and the impact of the planted regions on their factors, measured on the
others. Varimax turns the same models' codes, and so the same impacts, exactly. Printed are the
three scores with the 95 % bootstrap interval over brains, and what becomes of the paper's order.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.data.population import Population
from napari_brainvae.factors.impact import Impact, impact_matrix
from napari_brainvae.factors.perturbation import ImpactOptions
from napari_brainvae.models.base import Model
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.rotation import rotate_factors
from napari_brainvae.phantom.phantom import (
    BRIGHTNESS_FACTORS,
    Phantom,
    PhantomOptions,
    section_from_atlas,
    write_phantom,
)
from training.fit import fit
from training.pca import PCAOptions, fit_pca

PLANE = 293
SCORES = ("paper", "trace_over_absolute", "log_correlation")
BETAS = {"beta-VAE": 3.0, "VAE": 1.0}
AXES = ("as fitted", "varimax")


def main(options: argparse.Namespace) -> None:
    """Measure each seed, then print means, intervals and verdicts."""
    rows = [row for seed in range(options.seeds) for row in one_seed(options, seed)]
    table = pd.DataFrame(rows).set_index(["model", "axes", "seed"]).sort_index()
    print(f"{options.count} brains of {options.height} x {options.width} px, {options.seeds} seeds")
    print(table.round(2).to_string())
    print(f"\nmeans over seeds\n{table.groupby(['model', 'axes']).mean().round(2).to_string()}\n")
    for axes in AXES:
        for better, worse in combinations((*BETAS, "PCA"), 2):
            for score in SCORES:
                print(f"{axes:10} {better} > {worse} by {score}: ", end="")
                print(verdict(table, (better, axes), (worse, axes), score))
    for model in (*BETAS, "PCA"):
        for score in SCORES:
            print(f"{model}, varimax > as fitted by {score}: ", end="")
            print(verdict(table, (model, AXES[1]), (model, AXES[0]), score))


def one_seed(options: argparse.Namespace, seed: int) -> list[dict[str, object]]:
    """Scores of every model of one population."""
    size = {"height": options.height, "width": options.width}
    section = section_from_atlas(Atlas.open(options.atlas), PLANE, *size.values())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "brains.zarr"
        write_phantom(
            Phantom(section, PhantomOptions(count=options.count, seed=seed, **size)), path
        )
        population = Population.open(path)
        known = population.description
        laid = AtlasSection.lay(section.tree, known.plane, section.shape, known.pixel_size_um)
        regions = laid.regions(BRIGHTNESS_FACTORS)
        rows = []
        for name, model in fitted(path, folder, seed).items():
            held_out = set(model.header.training["held_out"])
            measured = [
                i
                for i, brain in enumerate(population.ids)
                if brain in held_out and not population.flagged[i]
            ]
            others = [i for i, brain in enumerate(population.ids) if brain not in held_out]
            images = population.prepared(model.header.preprocessing, others)
            impact = impact_matrix(model, population, regions, ImpactOptions(), sections=measured)
            turned = in_axes_of(rotate_factors(model, images), impact)
            for axes, each in zip(AXES, (impact, turned), strict=True):
                rows.append({"model": name, "axes": axes, "seed": seed, **scores(each)})
        print(f"seed {seed} done", flush=True)
    return rows


def fitted(path: Path, folder: Path, seed: int) -> dict[str, Model]:
    """Fit all models to the same brains, in the axes that the fit gives."""
    models: dict[str, Model] = {}
    quiet = io.StringIO()
    for name, beta in BETAS.items():
        plan = {"beta": beta, "rotation": "none", "seed": seed, "threads": 1}
        with contextlib.redirect_stderr(quiet), contextlib.redirect_stdout(quiet):
            fit(FitOptions(population=path, out=folder / name, **plan))
        models[name] = load_checkpoint(folder / name / "model.safetensors")
    fit_pca(PCAOptions(population=path, out=folder / "pca.safetensors", seed=seed))
    return models | {"PCA": load_checkpoint(folder / "pca.safetensors")}


def in_axes_of(model: Model, impact: Impact) -> Impact:
    """Give the impact that a rotation of the measured model has: its codes are these, turned."""
    assert model.rotation is not None
    mean = impact.mean @ model.rotation
    variance = impact.variance @ np.square(model.rotation)
    return replace(impact, mean=mean.astype(np.float32), variance=variance.astype(np.float32))


def scores(impact: Impact) -> dict[str, float]:
    """The three scores and the ends of their intervals."""
    ends = impact.intervals.scores[impact.options.direction]
    found = {}
    for score in SCORES:
        low, high = ends[score]
        found |= {score: getattr(impact.disentanglement, score)}
        found |= {f"{score}_low": low, f"{score}_high": high}
    return found


def verdict(
    table: pd.DataFrame, better: tuple[str, str], worse: tuple[str, str], score: str
) -> str:
    """In how many seeds the better one is ahead, and whether its interval clears the other's."""
    a, b = (table.loc[key] for key in (better, worse))
    ahead = (a[score] > b[score]).sum()
    clear = (a[f"{score}_low"] > b[f"{score}_high"]).sum()
    behind = (a[f"{score}_high"] < b[f"{score}_low"]).sum()
    return (
        f"ahead in {ahead} of {len(a)} seeds, intervals apart in {clear}, the other way in {behind}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--atlas", type=Path, required=True, help="atlas directory")
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--height", type=int, default=160)
    parser.add_argument("--width", type=int, default=224)
    parser.add_argument("--seeds", type=int, default=3)
    main(parser.parse_args())
