"""Factors that displace tissue (recipe displacing) against linear ones and recipe fast, at equal L.

    python benchmarks/displacing_decoder.py --atlas ATLAS_FOLDER [--artifacts]
    python benchmarks/displacing_decoder.py --oasis oasis.npz

Phantoms on the real template, 80 x 112 px (100 um), regions of 18 % brightness, with small and with
large displacements; 300 brains are fitted. Without artifacts 100 other brains are reconstructed,
against trimmed principal components and those of smoothed sections (the amount by
cross-validation); with artifacts 300 others, by kind, as they are encoded and as they are denoised
(robust inference of outliers), against recipe fast. Printed are mean squared errors against the
clean sections, x 1e-4, and by how many per cent of its mean the error is lower, with the 95 % t
interval of the paired differences over brains.

Of real people five fifths are held out in turn, and the error is that of the sections as they are.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import zarr
from network_gain import lowered

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.population import Population
from napari_brainvae.denoising.reconstruction import denoise_sections
from napari_brainvae.models.base import Model
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.measures import squared_error
from napari_brainvae.models.smooth_components import choose_smoothing, smooth_components
from napari_brainvae.phantom.phantom import (
    Phantom,
    PhantomOptions,
    section_from_atlas,
    write_phantom,
)
from training.fit import fit

SHAPE, FITTED, FOLDS = (80, 112), 300, 5
SIZES = {"small": (25.0, 0.06), "large": (100.0, 0.2)}
"""Misalignment, um, and share of the cortex's thickness."""


def fitted(path: Path, folder: Path, recipe: str, count: int, members: list[int]) -> Model:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        run = FitOptions(
            population=path, out=Path(place) / "run", recipe=recipe, latent_dim=count, threads=1
        )
        fit(run, progress=lambda *_: None, members=members, halves=False)
        return load_checkpoint(run.out / "model.safetensors")


def linear(images: np.ndarray, members: list[int], others: list[int], count: int, sigma: float):
    """Reconstructions of the others by components of the members."""
    mean, components, _ = smooth_components(images[members], count, sigma)
    rows = components.reshape(count, -1)
    scores = (images[others] - mean).reshape(len(others), -1) @ rows.T
    return np.clip(mean + (scores @ rows).reshape(-1, *mean.shape), 0, 1)


def write(atlas: Atlas, folder: Path, size: str, seed: int, *, artifacts: bool) -> Path:
    misalignment, thickness = SIZES[size]
    options = PhantomOptions(
        count=FITTED + (300 if artifacts else 100), seed=seed, height=SHAPE[0], width=SHAPE[1],
        plane=293, brightness=0.18, thickness=thickness, misalignment_um=misalignment,
        **({} if artifacts else {"artifacts": 0}),
    )  # fmt: skip
    path = folder / f"{size}-{seed}-{artifacts}.zarr"
    write_phantom(Phantom(section_from_atlas(atlas, 293, *SHAPE), options), path)
    return path


def without_artifacts(path: Path, folder: Path, count: int) -> str:
    population = Population.open(path)
    members, others = list(range(FITTED)), list(range(FITTED, len(population)))
    model = fitted(path, folder, "displacing", count, members)
    prepared = model.header.preprocessing
    images = population.prepared(prepared, slice(None))
    clean = prepared.apply(zarr.open_group(path, mode="r")["truth"]["clean"][:])[others]
    error = 1e4 * squared_error(clean, model.reconstruct(images[others]))
    said = [f"displacing {error.mean():.2f}"]
    sigma, _ = choose_smoothing(images[members], count)
    for name, amount in (("linear", 0.0), (f"smoothed {sigma:g} px", sigma)):
        before = 1e4 * squared_error(clean, linear(images, members, others, count, amount))
        said.append(f"{name} {before.mean():.2f}, lower by {lowered(before, error)}")
    return "; ".join(said)


def with_artifacts(path: Path, folder: Path, count: int) -> str:
    population = Population.open(path)
    members, others = list(range(FITTED)), list(range(FITTED, len(population)))
    truth = zarr.open_group(path, mode="r")["truth"]
    kinds = np.array(truth["artifact"][:].tolist())[others]
    errors = {}
    for recipe in ("fast", "displacing"):
        model = fitted(path, folder, recipe, count, members)
        prepared = model.header.preprocessing
        sections = population.prepared(prepared, others)
        clean = prepared.apply(truth["clean"][:])[others]
        errors["encoded", recipe] = 1e4 * squared_error(clean, model.reconstruct(sections))
        denoised = denoise_sections(model, sections).reconstructions
        errors["denoised", recipe] = 1e4 * squared_error(clean, denoised)
    rows = []
    for how in ("encoded", "denoised"):
        for kind in ("none", "leakage", "missing", "grid"):
            before, after = (errors[how, r][kinds == kind] for r in ("fast", "displacing"))
            both = f"fast {before.mean():.2f}, displacing {after.mean():.2f}"
            rows.append(
                f"  {how}, {kind} ({len(after)}): {both}, lower by {lowered(before, after)}"
            )
    return "\n".join(["", *rows])


def real_people(path: Path, folder: Path, count: int) -> str:
    population = Population.open(path)
    fold = np.random.default_rng(0).permutation(len(population)) % FOLDS
    errors: dict[str, list[np.ndarray]] = {"fast": [], "displacing": [], "linear": []}
    for held_out in range(FOLDS):
        members = np.flatnonzero(fold != held_out).tolist()
        others = np.flatnonzero(fold == held_out).tolist()
        for recipe in ("fast", "displacing"):
            model = fitted(path, folder, recipe, count, members)
            sections = population.prepared(model.header.preprocessing, slice(None))
            error = squared_error(sections[others], model.reconstruct(sections[others]))
            errors[recipe].append(1e4 * error)
        sigma, _ = choose_smoothing(sections[members], count)
        decoded = linear(sections, members, others, count, sigma)
        errors["linear"].append(1e4 * squared_error(sections[others], decoded))
    each = {name: np.concatenate(parts) for name, parts in errors.items()}
    said = [f"displacing {each['displacing'].mean():.2f}"]
    for name, title in (("linear", "smoothed"), ("fast", "fast")):
        gain = lowered(each[name], each["displacing"])
        said.append(f"{title} {each[name].mean():.2f}, lower by {gain}")
    return "; ".join(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atlas", type=Path, help="with a template of plane 293")
    parser.add_argument("--oasis", type=Path, help="sections of real people")
    parser.add_argument("--artifacts", action="store_true", help="phantoms with artifacts")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--latent-dims", type=int, nargs="+", default=[8, 12])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for count in options.latent_dims if options.oasis else ():
            print(
                f"real people, L = {count}: {real_people(options.oasis, folder, count)}", flush=True
            )
        for size in options.sizes if options.atlas else ():
            for seed in options.seeds:
                atlas = Atlas.open(options.atlas)
                path = write(atlas, folder, size, seed, artifacts=options.artifacts)
                measure = with_artifacts if options.artifacts else without_artifacts
                for count in options.latent_dims:
                    said = measure(path, folder, count)
                    print(f"{size}, seed {seed}, L = {count}: {said}", flush=True)


if __name__ == "__main__":
    main()
