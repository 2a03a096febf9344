"""Time from sections that are read to the first model of a fit, and the memory that it takes.

    OMP_NUM_THREADS=2 python -m benchmarks.first_model --scratch DIR [--recipe R] [--steps N]

Synthetic sections, 1,723 of 320 x 448 px, are written to a Zarr there if there are none yet, and
`training.fit` runs in a process of its own until its first checkpoint, the linear start, is there;
then for ``--steps`` more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.scaling import write_population
from benchmarks.timing import HEIGHT, WIDTH, peak_memory, print_machine
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.run_state import MODEL

COUNT = 1723
CHILD = """
import sys, time
from pathlib import Path
from napari_brainvae.models.fit_options import FitOptions
from training.fitting import job
def noted(*arguments, read=job.make_job):
    result = read(*arguments)
    print(time.time(), flush=True)
    return result
job.make_job = noted
from training.fit import fit
options = FitOptions(population=Path(sys.argv[1]), out=Path(sys.argv[2]), recipe=sys.argv[3])
fit(options, progress=lambda done, total: print(done, flush=True))
"""


class Measured(NamedTuple):
    """Seconds of reading, from there to the first checkpoint; largest memory then and later, MB."""

    reading: float
    first: float
    memory: float
    memory_of_steps: float


def first_model(population: Path, out: Path, recipe: str, steps: int) -> Measured:
    """Fit until the first checkpoint, and some steps more."""
    began = time.time()
    command = [sys.executable, "-c", CHILD, str(population), str(out), recipe]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        read = float(process.stdout.readline())
        while not (out / MODEL).exists():
            if process.poll() is not None:
                raise RuntimeError("the fit ended before its first model")
            time.sleep(0.05)
        there, memory = (out / MODEL).stat().st_mtime, peak_memory(process.pid)
        done = 0
        while done < steps:
            done = int(process.stdout.readline())
        later = peak_memory(process.pid)
        process.kill()
    load_checkpoint(out / MODEL)  # it can be used
    return Measured(read - began, there - read, memory, later)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scratch", type=Path, required=True, help="folder of the sections")
    parser.add_argument("--recipe", choices=["paper", "fast", "displacing"], default="fast")
    parser.add_argument("--steps", type=int, default=0, help="after the first model")
    options = parser.parse_args()
    print_machine()
    population = options.scratch / f"{COUNT}.zarr"
    if not population.exists():
        write_population(population, COUNT, (HEIGHT, WIDTH))
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        found = first_model(population, Path(folder) / "run", options.recipe, options.steps)
    print(f"{COUNT} sections of {HEIGHT} x {WIDTH} px: read in {found.reading:.1f} s")
    print(f"first model {found.first:.1f} s after that; largest memory {found.memory:.0f} MiB")
    print(f"after {options.steps} steps: {found.memory_of_steps:.0f} MiB")


if __name__ == "__main__":
    main()
