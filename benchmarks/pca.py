"""Exact PCA by the Gram matrix beside scikit-learn's full SVD: time, memory, eigenvalues.

    python benchmarks/pca.py --sections 1723 --height 320 --width 448

Each method runs in a process of its own, so that its peak memory is its own; the data, which both
need, are made in place and counted in both. Needs scikit-learn, which the package itself does not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import time
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from napari_brainvae.models.pca import principal_components

COMPONENTS = 100
FACTORS = 150
BLOCK = 8192


def main(options: argparse.Namespace) -> None:
    shape = (options.sections, options.height, options.width)
    size = np.prod(shape) * 4 / 1e9
    print(
        f"{platform.machine()}, {shape[0]} x {shape[1] * shape[2]} float32, {size:.2f} GB of data"
    )
    found = {}
    for name in ("gram", "svd"):
        found[name] = seconds, cpu, peak, _ = apart(name, shape)
        print(
            f"{name:5s} {seconds:8.1f} s, {cpu:.1f} s of CPU, peak {peak:.2f} GB "
            f"({peak - size:.2f} GB beside the data)",
            flush=True,
        )
    gram, svd = (found[name] for name in ("gram", "svd"))
    error = np.abs(gram[3] / svd[3] - 1)
    print(f"Gram matrix is {svd[0] / gram[0]:.1f} times faster, by CPU time {svd[1] / gram[1]:.1f}")
    print(
        f"eigenvalues 1 to {COMPONENTS}: largest relative difference {error.max():.1e}; "
        f"the last is {gram[3][-1]:.6g} and {svd[3][-1]:.6g}"
    )


def apart(
    name: str, shape: tuple[int, int, int]
) -> tuple[float, float, float, NDArray[np.float64]]:
    """Run one method in a fresh process: seconds, CPU seconds, peak GB, eigenvalues."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=measure, args=(name, shape, theirs))
    process.start()
    theirs.close()
    try:
        seconds, cpu, peak, values = ours.recv()
    except EOFError as error:
        raise SystemExit(f"{name}: the process died, probably for want of memory") from error
    process.join()
    return seconds, cpu, peak, values


def measure(name: str, shape: tuple[int, int, int], answer: Connection) -> None:
    images = sections(shape)
    if name == "gram":
        began, cpu_began = time.perf_counter(), time.process_time()
        values = principal_components(images, COMPONENTS)[2]
    else:
        try:
            from sklearn.decomposition import PCA
        except ImportError as error:
            raise SystemExit("this benchmark compares with scikit-learn: install it") from error
        flat = images.reshape(len(images), -1)
        began, cpu_began = time.perf_counter(), time.process_time()
        values = PCA(COMPONENTS, svd_solver="full", copy=False).fit(flat).explained_variance_
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    # Kilobytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    answer.send((seconds, cpu, peak, np.asarray(values, np.float64)))


def sections(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Draw sections with a spectrum that falls like that of brains, in place."""
    rng = np.random.default_rng(0)
    pixels = shape[1] * shape[2]
    images = np.empty((shape[0], pixels), dtype=np.float32)
    spread = 0.1 / np.arange(1, FACTORS + 1)
    scores = (rng.standard_normal((shape[0], FACTORS)) * spread).astype(np.float32)
    for start in range(0, pixels, BLOCK):
        part = images[:, start : start + BLOCK]
        patterns = rng.standard_normal((FACTORS, part.shape[1]), dtype=np.float32)
        part[...] = 0.5 + scores @ patterns
        part += 0.02 * rng.standard_normal(part.shape, dtype=np.float32)
    return images.reshape(shape)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", type=int, default=1723)
    parser.add_argument("--height", type=int, default=320)
    parser.add_argument("--width", type=int, default=448)
    main(parser.parse_args())
