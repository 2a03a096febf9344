"""Accuracy, time and memory of the projective field at full size, against the paper's dense map.

    python benchmarks/projective_field.py [--model FILE] [--factors 2] [--threads 1]

Without --model, a small phantom of 320 x 448 px is fitted for a few steps first. The dense map
decodes 2,801 sections a factor; its time is the unit that the others are given in.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from napari_brainvae.checkpoint import load_checkpoint
from napari_brainvae.projection import dense_projective_field, projective_field, refine


def fit_one(folder: Path) -> Path:
    from napari_brainvae.phantom import Phantom, PhantomOptions, draw_section, write_phantom
    from training.fit import FitOptions, fit

    options = PhantomOptions(count=40, seed=0)
    phantom = Phantom(draw_section(options.height, options.width), options)
    write_phantom(phantom, folder / "phantom.zarr")
    fit(FitOptions(population=folder / "phantom.zarr", out=folder / "run", steps=20, batch_size=8))
    return folder / "run" / "model.safetensors"


def peak_memory() -> float:
    """Most memory this process has had, MB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def memory_of_all_factors(path: Path) -> None:
    model = load_checkpoint(path)
    model.decode(np.zeros((1, model.latent_dim)))
    before = peak_memory()
    start = time.perf_counter()
    projective_field(model)
    seconds = time.perf_counter() - start
    print(
        f"all {model.latent_dim} factors to 1e-3: {seconds:.1f} s, "
        f"{peak_memory() - before:.0f} MB above a single decode"
    )


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
    parser.add_argument("--factors", type=int, default=2, help="compared with the dense map")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true", help="measure memory and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        memory_of_all_factors(options.model)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or fit_one(Path(folder))
        compare(path, options.factors)
        again = [sys.executable, __file__, "--memory", "--model", path]
        subprocess.run([*again, "--threads", str(options.threads)], check=True)


if __name__ == "__main__":
    main()
