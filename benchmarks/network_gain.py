"""What the network adds to the linear path of recipe fast, on brains that neither has seen.

    python benchmarks/network_gain.py --atlas ATLAS_FOLDER [--oasis oasis.npz] [--count 500]

Populations: phantoms on the real template with small (25 um, 6 % of thickness) and with large
(100 um, 20 %) displacements, and real people if given. For each it prints by how many per cent the
network lowers the squared error of held-out sections, that against their clean truth (intact and
corrupted ones), and 1 - CW-SSIM, with 95 % t intervals of the paired differences over brains; and
how many factors come again in halves, of the linear path and of the network.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import zarr
from scipy import stats

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.population import Population
from napari_brainvae.factors.stability import SplitHalves
from napari_brainvae.metrics.cw_ssim import cw_ssim
from napari_brainvae.models.base import Model
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.measures import squared_error
from napari_brainvae.phantom.phantom import (
    Phantom,
    PhantomOptions,
    section_from_atlas,
    write_phantom,
)
from training.fit import fit
from training.fitting.job import make_job
from training.fitting.reading import split
from training.fitting.replication import SMOOTHING
from training.fitting.start import start

PHANTOMS = {
    "small displacements": {"misalignment_um": 25.0, "thickness": 0.06},
    "large displacements": {"misalignment_um": 100.0, "thickness": 0.2},
}


def lowered(before: np.ndarray, after: np.ndarray) -> str:
    """By how many per cent of its mean a measure is lower, with a 95 % interval over brains."""
    gain = 100 * (before - after) / before.mean()
    half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    return f"{gain.mean():+.2f} % [{gain.mean() - half:+.2f}, {gain.mean() + half:+.2f}]"


def measures(model: Model, sections: np.ndarray, clean: np.ndarray | None) -> dict[str, np.ndarray]:
    decoded = model.decode(model.encode(sections)[0])
    found = {"held-out error": squared_error(sections, decoded)}
    truth = sections if clean is None else clean
    if clean is not None:
        found["error against clean truth"] = squared_error(clean, decoded)
    found["1 - CW-SSIM"] = 1 - np.asarray(cw_ssim(truth, decoded))
    return found


def one(name: str, path: Path, folder: Path) -> None:
    population = Population.open(path)
    options = FitOptions(population=path, out=folder / name.replace(" ", "-"), include_flagged=True)
    linear = start(make_job(options, population))
    fit(options, progress=lambda *_: None)
    model = load_checkpoint(options.out / "model.safetensors")
    fit_for = model.header.preprocessing
    held_out = split(population, options.held_out, options.seed)[1]
    sections = population.prepared(fit_for, held_out)
    clean = artifact = None
    if path.suffix == ".zarr":
        truth = zarr.open_group(path, mode="r")["truth"]
        clean = fit_for.apply(np.stack([truth["clean"][i] for i in held_out]))
        artifact = np.array([str(truth["artifact"][i]) for i in held_out]) != "none"
    before, after = (measures(each, sections, clean) for each in (linear, model))
    print(f"{name}: {len(population)} brains, {len(held_out)} held out")
    for measure in before:
        print(f"  {measure} lower by {lowered(before[measure], after[measure])}")
    if artifact is not None and artifact.sum() > 1:
        each = (values["error against clean truth"][artifact] for values in (before, after))
        print(f"  ... of those with an artifact by {lowered(*each)}")
    usable = [i for i in range(len(population)) if not population.flagged[i]]
    images = population.prepared(fit_for, usable)
    halves = SplitHalves(images, 5, 0, model.header.training[SMOOTHING])
    counts = [int(halves.measure_model(m, images).replicated.sum()) for m in (linear, model)]
    print(f"  come again: {counts[0]} factors of the linear path, {counts[1]} with the network")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atlas", type=Path, required=True, help="with a template of plane 293")
    parser.add_argument("--oasis", type=Path, help="population file of real people")
    parser.add_argument("--count", type=int, default=500, help="phantom brains")
    parser.add_argument("--height", type=int, default=160)
    parser.add_argument("--width", type=int, default=224)
    options = parser.parse_args()
    section = section_from_atlas(Atlas.open(options.atlas), 293, options.height, options.width)
    size = {"height": options.height, "width": options.width, "plane": 293}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if options.oasis is not None:
            one("real people", options.oasis, folder)
        for name, more in PHANTOMS.items():
            path = folder / f"{name}.zarr"
            phantom = PhantomOptions(count=options.count, seed=0, brightness=0.18, **size, **more)
            write_phantom(Phantom(section, phantom), path)
            one(name, path, folder)


if __name__ == "__main__":
    main()
