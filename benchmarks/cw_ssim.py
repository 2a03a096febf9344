"""Time CW-SSIM, with both transforms, beside scikit-image's SSIM on the same pairs.

    python benchmarks/cw_ssim.py --pairs 1000 --threads 1

The pairs are cut into blocks. Every measure takes every block, one measure after the other and in
turned order, so that a machine that slows down slows all of them; medians over blocks are printed.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from napari_brainvae.metrics.cw_ssim import cw_ssim

Measure = Callable[[NDArray[np.float32], NDArray[np.float32]], object]


def ssim(a: NDArray[np.float32], b: NDArray[np.float32]) -> object:
    return [structural_similarity(x, y, data_range=1.0) for x, y in zip(a, b, strict=True)]


MEASURES: dict[str, Measure] = {
    "skimage SSIM": ssim,
    "CW-SSIM steerable": lambda a, b: cw_ssim(a, b, transform="steerable"),
    "CW-SSIM dtcwt": lambda a, b: cw_ssim(a, b, transform="dtcwt"),
}


def pairs(
    count: int, height: int, width: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smooth random images and noisy copies of them, (count, height, width), about [0, 1]."""
    noise = rng.standard_normal((2, count, height, width), dtype=np.float32)
    a = 0.5 + gaussian_filter(noise[0], (0, 3, 3))
    return a, a + 0.05 * noise[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--block", type=int, default=20, help="pairs timed at a time")
    parser.add_argument("--height", type=int, default=320)
    parser.add_argument("--width", type=int, default=448)
    parser.add_argument("--threads", type=int, default=1, help="of torch; scikit-image uses one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(options.seed)

    warm_up = pairs(1, options.height, options.width, rng)
    for measure in MEASURES.values():
        measure(*warm_up)

    blocks = max(1, options.pairs // options.block)
    seconds: dict[str, list[float]] = {name: [] for name in MEASURES}
    for turn in range(blocks):
        a, b = pairs(options.block, options.height, options.width, rng)
        for name in np.roll(list(MEASURES), turn):
            start = time.perf_counter()
            MEASURES[name](a, b)
            seconds[name].append(time.perf_counter() - start)

    print(f"{platform.platform()}, {platform.processor() or platform.machine()}")
    names = ("torch", "numpy", "scipy", "scikit-image", "pytorch-wavelets")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{n} {version(n)}" for n in names))
    print(
        f"{blocks * options.block} pairs of {options.height} x {options.width} float32 in "
        f"{blocks} blocks, torch with {options.threads} thread(s)\n"
    )
    print(f"{'':20}{'ms/pair':>10}{'quartiles':>18}{'x skimage SSIM':>16}{'1,000 pairs':>13}")
    base = np.array(seconds["skimage SSIM"])
    for name, times in seconds.items():
        low, median, high = np.percentile(times, [25, 50, 75]) / options.block * 1e3
        ratio = np.median(np.array(times) / base)
        quartiles = f"{low:.2f} - {high:.2f}"
        print(f"{name:20}{median:10.2f}{quartiles:>18}{ratio:16.2f}{median:11.1f} s")


if __name__ == "__main__":
    main()
