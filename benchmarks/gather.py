"""Gather 40 whole volumes of 528 x 320 x 456 voxels, and print the peak memory and the time.

    python -m benchmarks.gather [--count 40] [--folder DIR]

One brain is written as each of four formats, and linked as often as it takes: 0.5 GB of disk. The
peak is that of the command alone, as the system counts it; the files come from the disk's cache.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import tifffile

from benchmarks.timing import print_machine
from napari_brainvae.data.population import Population

SHAPE = (528, 320, 456)
LIMIT_MB = 1000


def write_volumes(folder: Path) -> list[Path]:
    """The same brain "asr": brainreg's TIFF, TIFF with LZW, NIfTI with gzip, NRRD with gzip."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in SHAPE), indexing="ij")
    tissue = sum(axis**2 for axis in axes) < 0.8
    volume = (tissue * (300 + 200 * axes[2])).astype(np.uint16)
    volume += tissue * rng.integers(0, 16, SHAPE, dtype=np.uint16)
    del axes, tissue
    tifffile.imwrite(folder / "plain.tif", volume)
    tifffile.imwrite(folder / "lzw.tif", volume, compression="lzw")
    affine = np.array([[0, 0, -0.025, 0], [-0.025, 0, 0, 0], [0, -0.025, 0, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(volume, affine), folder / "nifti.nii.gz")
    steps = np.array([[0, 25, 0], [0, 0, -25], [25, 0, 0]])  # towards left, posterior, superior
    header = {"space": "LPS", "space directions": steps, "space units": ["microns"] * 3}
    nrrd.write(str(folder / "nrrd.nrrd"), volume, header, compression_level=1)
    return sorted(folder.iterdir())


def peak_mb(command: list[str]) -> tuple[float, float]:
    """Run a command; its peak memory in MB and its seconds."""
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        while child.poll() is None:
            status = Path(f"/proc/{child.pid}/status").read_text()
            if found := re.search(r"VmHWM:\s+(\d+) kB", status):
                peak = max(peak, int(found[1]))
            time.sleep(0.01)
    if child.returncode:
        raise SystemExit(f"the command ended with {child.returncode}")
    return peak / 1000, time.perf_counter() - start


def main() -> None:
    """Write, gather, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        (folder / "once").mkdir()
        (folder / "brains").mkdir()
        files = write_volumes(folder / "once")
        for k in range(options.count):
            file = files[k % len(files)]
            os.link(file, folder / "brains" / f"{k:03d}_{file.name}")
        out = folder / "out.zarr"
        flags = ["--plane", "286", "--orientation", "asr", "--voxel-um", "25", "--out", str(out)]
        command = [sys.executable, "-m", "training.gather", str(folder / "brains"), *flags]
        memory, seconds = peak_mb(command)
        sections = Population.open(out).sections()
        largest = float(np.abs(sections - sections[0]).max())
        print_machine()
        print(f"{len(sections)} volumes of {' x '.join(map(str, SHAPE))} voxels in 4 formats")
        print(f"peak memory {memory:.0f} MB (below {LIMIT_MB}: {memory < LIMIT_MB})")
        print(f"{seconds:.0f} s, {seconds / len(sections):.2f} s a brain")
        print(f"largest difference between their sections {largest:g}")


if __name__ == "__main__":
    main()
