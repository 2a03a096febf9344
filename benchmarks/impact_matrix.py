"""Time the impact matrix beside the encodes that it cannot do without.

    python benchmarks/impact_matrix.py [--model FILE] [--brains 16] [--threads 1]

Without --model, an untrained network of the paper's size is used: the cost is the same.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from napari_brainvae.checkpoint import load_checkpoint
from napari_brainvae.impact import ImpactOptions, bootstrap, impact_matrix
from napari_brainvae.model import Header
from napari_brainvae.preprocess import Preprocessing
from napari_brainvae.receptive_field import factor_shift
from napari_brainvae.vae import BetaVAE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--brains", type=int, default=16)
    parser.add_argument("--regions", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_checkpoint(options.model) if options.model else untrained()
    rng = np.random.default_rng(0)
    images = rng.uniform(0.2, 0.4, (options.brains, *model.shape)).astype(np.float32)
    columns = np.array_split(np.arange(model.shape[1]), options.regions)
    regions = {}
    for i, part in enumerate(columns):
        regions[f"region {i}"] = np.zeros(model.shape, bool)
        regions[f"region {i}"][:, part] = True

    model.encode(images[:4])
    encodes = 2 * options.regions * options.brains
    start = time.perf_counter()
    for _ in range(2 * options.regions):
        model.encode(images)
    bare = time.perf_counter() - start
    print(f"{model.shape[0]} x {model.shape[1]} px, {options.brains} brains, {encodes} encodes")
    print(f"encodes alone    {bare:8.2f} s   {bare / encodes * 1e3:6.1f} ms each")
    for mode in ("content", "fill"):
        start = time.perf_counter()
        impact = impact_matrix(model, images, regions, ImpactOptions(mode=mode))
        seconds = time.perf_counter() - start
        paper = seconds / options.brains * 832
        print(
            f"impact, {mode:8} {seconds:8.2f} s   {seconds / bare:6.2f} x; 832 brains {paper:.0f} s"
        )
    start = time.perf_counter()
    bootstrap(impact)
    print(f"1,000 resamples  {time.perf_counter() - start:8.2f} s")

    code = model.encode(images[:1])[0][0]
    start = time.perf_counter()
    for weight in np.linspace(-1, 1, 10):
        factor_shift(model, images[0], regions["region 1"], weight, unperturbed=code)
    print(f"one slider step  {(time.perf_counter() - start) * 100:8.1f} ms")


def untrained() -> BetaVAE:
    size = {"height": 320, "width": 448}
    return BetaVAE(Header(kind="vae", latent_dim=8, preprocessing=Preprocessing(**size), **size))


if __name__ == "__main__":
    main()
