"""Hold a model's receptive and projective fields against what was planted in a phantom.

    python -m training.phantom P.zarr --count 512 --height 160 --width 224
    python -m training.fit P.zarr --out RUN
    python benchmarks/planted_truth.py P.zarr RUN/model.safetensors [MORE.safetensors ...]

Each active latent factor stands for the planted factor that its codes correlate with best. If that
is the brightness of a region, this region should come first in the factor's column of the impact
matrix, and the factor's field should lie in it. Factors of shape have a structure but no region
whose content they scale: for them only the field is looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import zarr

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.data.population import Population
from napari_brainvae.factors.impact import ImpactOptions, impact_matrix, usable_sections
from napari_brainvae.factors.projective_field import field_by_region, projective_field
from napari_brainvae.models.base import Model
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.phantom.phantom import BRIGHTNESS_FACTORS, FACTORS, SHAPE_FACTORS

ACTIVE = 0.01
MODES = ("content", "fill")


def truth_table(model: Model, population: Population, truth: np.ndarray, atlas: Atlas):
    """One row per active factor: what it stands for, which region comes first, where it acts."""
    description = population.description
    section = AtlasSection.lay(atlas, description.plane, model.shape, description.pixel_size_um)
    brightness = section.regions(BRIGHTNESS_FACTORS)
    planted = {**brightness, **section.regions(tuple(SHAPE_FACTORS.values()))}
    tissue = section.tissue
    sections = usable_sections(population)
    codes, _ = model.encode(population.prepared(model.header.preprocessing, sections))
    active = np.flatnonzero(codes.var(axis=0) > ACTIVE)
    with np.errstate(invalid="ignore"):  # of factors that were not planted
        correlation = np.abs(np.corrcoef(codes[:, active].T, truth[sections].T))
    correlation = np.nan_to_num(correlation[: len(active), len(active) :])
    impacts = {
        mode: impact_matrix(model, population, brightness, ImpactOptions(mode=mode)).matrix()
        for mode in MODES
    }
    maps = projective_field(model, active)
    rows = []
    for row, factor in enumerate(active):
        name = FACTORS[int(correlation[row].argmax())]
        region = SHAPE_FACTORS.get(name, name)
        field = field_by_region(maps[[row]], {region: planted[region]}, tissue=tissue)
        small = field[field["part"] != "large"]["share"].mean()
        first = {mode: BRIGHTNESS_FACTORS[impacts[mode][:, factor].argmax()] for mode in MODES}
        area = field["area"].iloc[0]
        rows.append([f"F{factor + 1}", name, correlation[row].max(), *first.values(), small, area])
    columns = ["factor", "planted", "|r|", "content", "fill", "field", "area"]
    return pd.DataFrame(rows, columns=columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("population", type=Path, help="of training.phantom, with its atlas beside")
    parser.add_argument("model", type=Path, nargs="+")
    options = parser.parse_args()
    population = Population.open(options.population)
    truth = zarr.open_group(options.population, mode="r")["truth/factors"][:]
    atlas = Atlas.open(options.population.with_suffix(".atlas"))
    for path in options.model:
        model = load_checkpoint(path)
        table = truth_table(model, population, truth, atlas)
        print(f"\n{path}: {len(table)} of {model.latent_dim} factors active")
        print(table.to_string(index=False, float_format="{:.2f}".format))
        bright = table[table["planted"].isin(BRIGHTNESS_FACTORS)]
        for mode in MODES:
            hits = (bright[mode] == bright["planted"]).sum()
            print(f"planted region first, {mode}: {hits} of {len(bright)}")
        share, area = bright["field"].mean(), bright["area"].mean()
        print(f"field in its planted region: {share:.2f} of the field, {area:.2f} of the brain")


if __name__ == "__main__":
    main()
