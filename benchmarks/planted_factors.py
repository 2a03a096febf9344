"""What rotation is to do: one factor for each planted one, in its region, that comes again.

    python benchmarks/planted_factors.py --atlas ATLAS_FOLDER [--recipe displacing]

Six factors are planted on the real template: 18 % brightness of five regions, 6 % cortical
thickness (about 1.5 px). The recipe is fitted at L = 8, recipe fast rotated and not. For each it
prints the table of `planted_truth`, the error against the clean sections of held-out brains,
rotated over unrotated, and how many factors come again at L = 6, 8 and 12.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import zarr
from planted_truth import truth_table

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.population import Population
from napari_brainvae.factors.impact import usable_sections
from napari_brainvae.factors.stability import SplitHalves
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.phantom.phantom import (
    Phantom,
    PhantomOptions,
    section_from_atlas,
    write_phantom,
)
from training.fit import fit
from training.fitting.options import FitOptions
from training.fitting.reading import split

PLANTED = "SSp,RSP,HPF,STR,TH,cortical thickness"
POPULATIONS = ((512, 0, 160, 224), (512, 1, 160, 224), (512, 2, 160, 224), (320, 7, 128, 180))
"""Brains, seed, rows, columns."""


def clean_error(model, population: Population, truth: zarr.Group, held_out: list[int]) -> float:
    """Mean squared error of plain reconstructions against clean sections."""
    fit_for = model.header.preprocessing
    codes, _ = model.encode(population.prepared(fit_for, held_out))
    clean = fit_for.apply(truth["clean"][:][held_out])
    return float(np.square(model.decode(codes) - clean).mean())


def one(folder: Path, atlas: Atlas, which: tuple[int, int, int, int], recipe: str) -> None:
    count, seed, height, width = which
    options = PhantomOptions(
        count=count, seed=seed, height=height, width=width, plane=293,
        planted=PLANTED, brightness=0.18, thickness=0.06,
    )  # fmt: skip
    path = folder / f"{seed}.zarr"
    write_phantom(Phantom(section_from_atlas(atlas, 293, height, width), options), path)
    population = Population.open(path)
    truth = zarr.open_group(path, mode="r")["truth"]
    errors = {}
    for rotation in ("varimax", "none") if recipe == "fast" else ("varimax",):
        out = folder / f"{seed}-{rotation}"
        run = FitOptions(population=path, out=out, recipe=recipe, rotation=rotation)
        fit(run, progress=lambda *_: None)
        model = load_checkpoint(run.out / "model.safetensors")
        held_out = split(population, run.held_out, run.seed)[1]
        errors[rotation] = clean_error(model, population, truth, held_out)
        if rotation == "varimax":
            table = truth_table(model, population, truth["factors"][:], atlas)
            best = table.sort_values("|r|").drop_duplicates("planted", keep="last")
            print(best.to_string(index=False, float_format="{:.3f}".format))
            sections = population.prepared(model.header.preprocessing, usable_sections(population))
    print(f"{count} brains, seed {seed}: error x 1e-4 {1e4 * errors['varimax']:.2f}", flush=True)
    if recipe != "fast":
        return
    halves = SplitHalves(sections, 10, seed)
    counts = [int(halves.measure(n).replicated.sum()) for n in (6, 8, 12)]
    print(
        f"{count} brains, seed {seed}, {height} x {width} px: error rotated / not "
        f"{errors['varimax'] / errors['none']:.4f}; come again at L = 6, 8, 12: {counts}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atlas", type=Path, required=True, help="with a template of plane 293")
    parser.add_argument("--recipe", choices=("fast", "displacing"), default="fast")
    parser.add_argument("--only", type=int, help="one of the populations, from 0")
    options = parser.parse_args()
    chosen = POPULATIONS if options.only is None else [POPULATIONS[options.only]]
    with tempfile.TemporaryDirectory() as folder:
        for which in chosen:
            one(Path(folder), Atlas.open(options.atlas), which, options.recipe)


if __name__ == "__main__":
    main()
