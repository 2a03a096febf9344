"""What fit, evaluate and interpret cost as populations, latent factors and sections grow.

    python -m benchmarks.scaling --out scaling.csv --figure scaling

Each command runs in a process of its own, on synthetic sections in a Zarr file; its seconds and
its largest memory are noted. Sections may take 50 MB in the fit, so that all but the smallest
population are read as they are needed. Rows that are in the table already are not made again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks.timing import peak_memory, print_machine
from napari_brainvae.atlas.regions import Region
from napari_brainvae.data.population_files import Description, creating
from napari_brainvae.io.atomic_files import replacing

SMALL = (64, 80)
AXES = {
    "sections": [(n, 8, SMALL) for n in (512, 2048, 8192, 32_768, 100_000)],
    "latent factors": [(128, n, (160, 224)) for n in (2, 8, 32, 96)],
    "pixels": [(64, 8, size) for size in (SMALL, (160, 224), (320, 448), (640, 896))],
}
STEPS = 32
LIMIT_GB = 0.05


def write_population(path: Path, count: int, shape: tuple[int, int]) -> None:
    """Sections ``(count, H, W)`` uint8 that differ from each other in 16 smooth ways, and noise."""
    rng = np.random.default_rng(0)
    width = shape[1] / 16
    smooth = gaussian_filter(rng.standard_normal((17, *shape)), (0, width, width))
    smooth /= np.abs(smooth).max(axis=(1, 2), keepdims=True)
    ids = [f"{i:06d}" for i in range(count)]
    with creating(path, ids, shape, np.uint8, Description(pixel_size_um=25, plane=0)) as group:
        for start in range(0, count, 256):
            scores = rng.normal(0, 0.15, (min(256, count - start), 16))
            drawn = 0.6 + 0.3 * smooth[0] + np.tensordot(scores, smooth[1:], axes=1)
            drawn += rng.normal(0, 0.02, drawn.shape)
            group["images"][start : start + 256] = np.clip(100 * drawn, 1, 255).astype(np.uint8)


def commands(folder: Path, factors: int, shape: tuple[int, int]) -> Iterator[tuple[str, list[str]]]:
    """The commands that are measured, by name, in their order."""
    population, model = str(folder / "population.zarr"), str(folder / "run" / "model.safetensors")
    region = folder / "region.json"
    corners = np.array([[0.3, 0.3], [0.3, 0.5], [0.6, 0.5], [0.6, 0.3]]) * shape
    Region.from_polygons("box", [corners], shape, 25.0).save(region)
    fit = f"--steps {STEPS} --resident-gb {LIMIT_GB} --threads 1 --latent-dim {factors}".split()
    yield "fit", ["training.fit", population, "--out", str(folder / "run"), *fit]
    common = [population, "--model", model, "--resamples", "100"]
    evaluate = ["--out", str(folder / "evaluation"), "--dtcwt-sections", "8"]
    yield "evaluate", ["training.evaluate", *common, *evaluate]
    interpret = ["--out", str(folder / "fields"), "--region-file", str(region)]
    yield "interpret", ["training.interpret", *common, *interpret]


def measure(arguments: list[str]) -> tuple[float, float]:
    """Seconds and largest memory, MB, of a Python module run in a process of its own."""
    start = time.perf_counter()
    memory = 0.0
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        while process.poll() is None:
            # What `getrusage` says of a child counts the memory of this process, too.
            memory = max(memory, peak_memory(process.pid))
            time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: run it by hand to see why")
    return time.perf_counter() - start, memory


def missing(table: pd.DataFrame, options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    """Measure what is not in the table yet, point by point."""
    for axis, points in AXES.items():
        for count, factors, shape in points:
            value = {"sections": count, "latent factors": factors}.get(axis, shape[0] * shape[1])
            if value > options.largest and axis == "sections":
                continue
            if ((table["axis"] == axis) & (table["value"] == value)).any():
                continue
            with tempfile.TemporaryDirectory() as folder:
                write_population(Path(folder) / "population.zarr", count, shape)
                rows = []
                for name, arguments in commands(Path(folder), factors, shape):
                    seconds, memory = measure(arguments)
                    rows.append((axis, value, name, seconds, memory))
                    print(f"{axis} {value}: {name} {seconds:.1f} s, {memory:.0f} MB", flush=True)
            yield pd.DataFrame(rows, columns=["axis", "value", "command", "seconds", "memory_mb"])


def draw(table: pd.DataFrame) -> Figure:
    """Seconds, on logarithmic scales, and memory along each axis."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels: NDArray[np.object_] = figure.subplots(2, len(AXES), sharex="col", sharey="row")
    for column, axis in enumerate(AXES):
        for name, rows in table[table["axis"] == axis].groupby("command", sort=False):
            panels[0, column].loglog(rows["value"], rows["seconds"], "o-", label=name)
            panels[1, column].semilogx(rows["value"], rows["memory_mb"], "o-", label=name)
        panels[1, column].set_xlabel(axis + (" of a section" if axis == "pixels" else ""))
        for panel in panels[:, column]:
            panel.grid(alpha=0.3, which="both")
    panels[0, 0].set_ylabel("seconds")
    panels[1, 0].set_ylabel("largest memory, MB")
    panels[1, 0].set_ylim(bottom=0)
    panels[0, 0].legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="table to write, .csv")
    parser.add_argument("--figure", type=Path, help="picture to write, without its ending")
    parser.add_argument("--largest", type=int, default=100_000, help="population")
    options = parser.parse_args()
    print_machine()
    columns = ["axis", "value", "command", "seconds", "memory_mb"]
    table = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame(columns=columns)
    for rows in missing(table, options):
        table = pd.concat([table, rows], ignore_index=True) if len(table) else rows
        with replacing(options.out) as beside:
            table.to_csv(beside, index=False)
    print(table.pivot(index=["axis", "value"], columns="command").round(1).to_string())
    if options.figure:
        figure = draw(table)
        figure.savefig(options.figure.with_suffix(".png"), dpi=110)
        figure.savefig(options.figure.with_suffix(".svg"))


if __name__ == "__main__":
    main()
