"""Accuracy, time and memory of the projective field at full size, against the paper's dense map.

    python benchmarks/projective_field.py [--model FILE] [--factors 1] [--turns 5] [--threads 1]

Without --model, a small phantom of 320 x 448 px is fitted for a few steps first. The dense map
decodes 2,801 sections a factor. All factors are timed beside single decodes by the authors' network
as it is, of which a sample is timed and scaled; then --factors of them are held against the map.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import (
    PlainModel,
    Times,
    fresh_model,
    in_turns,
    peak_memory,
    print_machine,
    print_times,
)
from napari_brainvae.factors.projective_field import (
    dense_projective_field,
    projective_field,
    refine,
)
from napari_brainvae.models.checkpoint import load_checkpoint

DENSE, SAMPLE = 2801, 50


def fit_one(folder: Path) -> Path:
    from napari_brainvae.models.fit_options import FitOptions
    from napari_brainvae.phantom.phantom import Phantom, PhantomOptions, draw_section, write_phantom
    from training.fit import fit

    options = PhantomOptions(count=40, seed=0)
    phantom = Phantom(draw_section(options.height, options.width), options)
    write_phantom(phantom, folder / "phantom.zarr")
    fit(FitOptions(population=folder / "phantom.zarr", out=folder / "run", steps=20, batch_size=8))
    return folder / "run" / "model.safetensors"


def memory_of_all_factors(path: Path) -> None:
    model = load_checkpoint(path)
    model.decode(np.zeros((1, model.latent_dim)))
    before = peak_memory()
    projective_field(model)
    print(
        f"memory of all {model.latent_dim} factors: {peak_memory() - before:.0f} MB above a single "
        f"decode, {peak_memory():.0f} MB in all"
    )


def beside_single_decodes(path: Path, turns: int) -> None:
    model, plain = load_checkpoint(path), PlainModel(fresh_model())
    decodes = DENSE * model.latent_dim
    latents = np.random.default_rng(0).standard_normal((SAMPLE, plain.latent_dim))
    single, ours = f"{decodes} single decodes", f"all {model.latent_dim} factors to 1e-3"
    times = in_turns(
        {
            single: lambda _: [plain.decode(each[None]) for each in latents],
            ours: lambda _: projective_field(model),
        },
        turns,
        warm_up=1,
    )
    times[single] = Times(*(np.array(times[single]) * decodes / SAMPLE))
    print(f"single decodes scaled from {SAMPLE} a turn")
    print_times(times, [(ours, single)])


def compare(path: Path, factors: int) -> None:
    model = load_checkpoint(path)
    print(f"{model.latent_dim} factors, {model.shape[0]} x {model.shape[1]} px")
    print(f"{'':10}{'decodes':>9}{'seconds':>9}{'of dense':>10}{'change':>10}{'true error':>12}")
    for factor in range(min(factors, model.latent_dim)):
        start = time.perf_counter()
        dense = dense_projective_field(model, factor)
        unit = time.perf_counter() - start
        print(f"F{factor + 1} dense  {2801:9}{unit:9.1f}{1:10.3f}{'':>10}{0:12.1e}")
        start = time.perf_counter()
        for field in refine(model, factor):
            seconds = time.perf_counter() - start
            error = np.abs(field.maps - dense).max((1, 2)) / dense.max((1, 2))
            print(
                f"{'':10}{field.points:9}{seconds:9.2f}{seconds / unit:10.3f}"
                f"{field.error:10.1e}{error.max():12.1e}"
            )
            if field.error < 1e-3:
                break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--factors", type=int, default=1, help="compared with the dense map")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true", help="measure memory and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        memory_of_all_factors(options.model)
        return
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or fit_one(Path(folder))
        beside_single_decodes(path, options.turns)
        compare(path, options.factors)
        again = [sys.executable, __file__, "--memory", "--model", path]
        subprocess.run([*again, "--threads", str(options.threads)], check=True)


if __name__ == "__main__":
    main()
