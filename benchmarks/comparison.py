"""What a comparison claims: false positives, power, time and memory.

python -m benchmarks.comparison                     errors and power, time on factors
python -m benchmarks.comparison --time              time on factors alone
python -m benchmarks.comparison --pixels            the map of pixels, 1,723 x 320 x 448
python -m benchmarks.comparison --phantom 20        populations with planted cases, and brains
                                                    beside them that are alike in all else
python -m benchmarks.comparison --phantom 20 --chance    brains drawn by chance
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest, nct, t

from napari_brainvae.data.population import Population
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.phantom.options import (
    BRIGHTNESS_PER_SD,
    CASE_REGION,
    THICKNESS_PER_SD,
    VENTRICLE_MM_PER_SD,
    PhantomOptions,
)
from napari_brainvae.phantom.phantom import FACTORS, Phantom, draw_section, write_phantom
from napari_brainvae.statistics.beyond import beyond
from napari_brainvae.statistics.comparison import compare
from napari_brainvae.statistics.comparison_options import ComparisonOptions
from napari_brainvae.statistics.design import make_design
from napari_brainvae.statistics.permutation import permutation_test
from napari_brainvae.statistics.study import FEWEST_PIXELS, compare_population
from tests.statistics.populations import simulate
from training.fit import fit

PARTIAL_R = 0.3


def rate(name, found, count):
    interval = binomtest(int(found), count).proportion_ci()
    print(f"{name:<62}{found / count:6.3f} [{interval.low:.3f}, {interval.high:.3f}]")


def errors_and_power(count, brains, orders):
    print(
        f"{count} populations of {brains} brains, 8 factors, {orders} orders; a confound that goes"
    )
    print("with the group (r = 0.5) drives two factors; 95 % binomial intervals\n")
    rng = np.random.default_rng(0)
    found = dict.fromkeys(("null", "plain", "alone", "family", "two", "all", "one step"), 0)
    for seed in range(count):
        codes, mice = simulate(rng, brains)
        design = make_design(mice, "group", adjust=["age"])
        found["null"] += permutation_test(codes, design, orders, seed).p_fwe.min() <= 0.05
        plain = make_design(mice, "group")
        found["plain"] += permutation_test(codes, plain, orders, seed).p_fwe.min() <= 0.05
        codes, mice = simulate(rng, brains, partial_r=PARTIAL_R)
        design = make_design(mice, "group", adjust=["age"])
        test = permutation_test(codes, design, orders, seed)
        found["alone"] += test.p[-1] <= 0.05
        found["family"] += test.p_fwe[-1] <= 0.05
        codes, mice = simulate(rng, brains, partial_r=PARTIAL_R, effects=2)
        test = permutation_test(codes, make_design(mice, "group", adjust=["age"]), orders, seed)
        found["two"] += test.p_fwe[-2:].min() <= 0.05
        codes, mice = simulate(rng, brains, partial_r=PARTIAL_R, effects=codes.shape[1])
        test = permutation_test(codes, make_design(mice, "group", adjust=["age"]), orders, seed)
        found["all"] += (test.p_fwe <= 0.05).mean()
        found["one step"] += (np.abs(test.t) >= test.critical).mean()
    rate("no effect, confound taken out: any family-wise p <= 0.05", found["null"], count)
    rate("no effect, confound left in: any family-wise p <= 0.05", found["plain"], count)
    rate(f"partial r = {PARTIAL_R}: p of that factor alone <= 0.05", found["alone"], count)
    rate(
        f"partial r = {PARTIAL_R}: its family-wise p over 8 factors <= 0.05", found["family"], count
    )
    rate(f"two factors at r = {PARTIAL_R}: any of the two found so", found["two"], count)
    print(
        f"\n{bound(brains, 1):.3f} is what a t test of one factor chosen beforehand has of power;"
    )
    print(f"{bound(brains):.3f} is what a Sidak-corrected t test of one of 8 factors has of power;")
    print(
        f"with all 8 at r = {PARTIAL_R}, of these are found {found['all'] / count:.3f}, and in one"
    )
    print(f"step, without leaving out those found before, {found['one step'] / count:.3f}")


def bound(brains, factors=8, confounds=1):
    """Power of a t test of one effect, at the level that holds the family's at 5 %."""
    dof = brains - 2 - confounds
    least = t.ppf(1 - (1 - 0.95 ** (1 / factors)) / 2, dof)
    apart = PARTIAL_R / np.sqrt(1 - PARTIAL_R**2) * np.sqrt(dof)
    return nct.sf(least, dof, apart) + nct.cdf(-least, dof, apart)


def time_of_factors():
    rng = np.random.default_rng(0)
    codes, mice = simulate(rng, 1723)
    mice["sex"] = rng.choice(["F", "M"], len(mice))
    design = make_design(mice, "group", adjust=["age", "sex"])
    for differ in (0, 8):
        codes.iloc[:, :differ] += (np.arange(1, differ + 1) * 0.3 * design.tested[:, None]).copy()
        start = time.perf_counter()
        effects = compare(codes, design, permutations=10_000)
        table = beyond(codes, effects, permutations=10_000)
        seconds = time.perf_counter() - start
        asked = table["p_beyond"].notna().sum()
        print(
            f"\n1,723 brains x 8 factors x 10,000 orders, two confounds, {effects.found.sum()} "
            f"factors differ, {asked} asked whether of their own: {seconds:.1f} s"
        )


def time_of_pixels(orders):
    rng = np.random.default_rng(0)
    _, mice = simulate(rng, 1723)
    design = make_design(mice, "group", adjust=["age"])
    pixels = rng.random((1723, 320 * 448), dtype=np.float32)
    start = time.perf_counter()
    permutation_test(pixels, design, orders)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"1,723 x 320 x 448 px x {orders} orders, one confound: {seconds:.0f} s, {peak:.1f} GB")


def planted(count, spread, pairs, height=80, width=112):
    """Populations whose cases differ in one region and in the cortex's thickness."""
    print(f"{count} phantoms of 40 cases and 40 controls, {height} x {width} px, spread {spread},")
    print(f"{'alike in all else' if pairs else 'drawn by chance'}\n")
    section, folder = draw_section(height, width), Path(tempfile.mkdtemp())
    base = {"height": height, "width": width, "artifacts": 0}
    write_phantom(Phantom(section, PhantomOptions(count=240, seed=100, **base)), folder / "r.zarr")
    fit(FitOptions(population=folder / "r.zarr", out=folder / "run", latent_dim=6, batch_size=16))
    model = load_checkpoint(folder / "run" / "model.safetensors")
    masks = {s.acronym: section.annotation == s.id for s in section.tree}
    masks |= {
        name: section.tree.within(section.annotation, name) for name in (CASE_REGION, "Isocortex")
    }
    masks = {name: mask for name, mask in masks.items() if mask.sum() >= FEWEST_PIXELS}
    usual = {"brightness": BRIGHTNESS_PER_SD, "thickness": THICKNESS_PER_SD}
    usual["ventricles_mm"] = VENTRICLE_MM_PER_SD
    sizes = {name: spread * size for name, size in usual.items()}
    rows = []
    for seed in range(count):
        options = PhantomOptions(count=80, seed=seed, cases=0.5, pairs=pairs, **sizes, **base)
        rows.append(of_one(Phantom(section, options), model, masks, folder / f"{seed}.zarr"))
    table = pd.DataFrame(rows)
    print(table.round(2).to_string())
    within = (table["HPF %"] / table["true %"] - 1).abs() <= 0.25
    print(f"\nHPF named {table['HPF named'].sum()}, its size within 25 % {within.sum()}")
    within = (table["cortex %"] / table["true cortex %"] - 1).abs() <= 0.25
    print(f"Isocortex named {table['cortex named'].sum()}, its size within 25 % {within.sum()}")
    within = (table["um"] / table["true um"] - 1).abs() <= 0.25
    print(f"largest displacement within 25 % {within.sum()}")
    print(f"another region named {(table['others'] != '').sum()}")
    print(f"both factors named of their own {table['both'].sum()}, another {table['wrong'].sum()}")


def of_one(phantom, model, masks, path):
    write_phantom(phantom, path)
    population = Population.open(path)
    study = compare_population(
        model, population, population.covariates,
        ComparisonOptions(by=["group"], permutations=2000, pixel_permutations=0),
        masks=masks, pixel_size_um=phantom.section.pixel_size_um,
    )  # fmt: skip
    truth = np.stack([phantom.brain(i).factors for i in range(len(phantom))])
    cases = (population.covariates["group"] == "case").to_numpy()
    realised = truth[cases].mean(axis=0) - truth[~cases].mean(axis=0)
    left = truth - np.where(cases[:, None], truth[cases].mean(axis=0), truth[~cases].mean(axis=0))
    codes = study.brains.codes.to_numpy()
    inside = codes - np.where(cases[:, None], codes[cases].mean(axis=0), codes[~cases].mean(axis=0))
    along = np.corrcoef(inside.T, left.T)[: codes.shape[1], codes.shape[1] :]
    about = np.array(FACTORS)[np.abs(along).argmax(axis=1)]
    compared = study.compared["group"]
    own = compared.factors.found & compared.beyond["goes_with"].isna().to_numpy()
    follows = compared.factors.found & ~own
    wanted = {CASE_REGION, "cortical thickness"}
    regions = study.region_table().query("p_fwe <= 0.05")
    bright = regions[regions["what"] == "brightness"].set_index("region")
    planted_brightness = phantom.brightness(realised)
    truly = {name: abs(planted_brightness[mask].mean()) > 0.005 for name, mask in masks.items()}
    full = study.region_table().query("what == 'brightness'").set_index("region")
    field = -phantom.displacement(realised)  # where tissue goes, not where it comes from
    grown = 100 * sum(np.gradient(field[axis], axis=axis) for axis in (0, 1))
    size = study.region_table().query("what == 'size'").set_index("region")
    moved = np.hypot(*field).max() * phantom.section.pixel_size_um
    return {
        "of their own": ", ".join(about[own]),
        "follow": ", ".join(about[follows]),
        "both": wanted <= set(about[own]),
        "wrong": not set(about[own]) <= wanted,
        "HPF named": CASE_REGION in bright.index,
        "others": ", ".join(name for name in bright.index if not truly[name]),
        "HPF %": full.loc[CASE_REGION, "difference"],
        "true %": 100 * planted_brightness[masks[CASE_REGION]].mean(),
        "cortex named": "Isocortex" in set(regions.query("what == 'size'")["region"]),
        "cortex %": size.loc["Isocortex", "difference"],
        "true cortex %": grown[masks["Isocortex"]].mean(),
        "um": compared.difference.data_parts.displacement_peak_um,
        "true um": moved,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--populations", type=int, default=1000)
    parser.add_argument("--brains", type=int, default=100)
    parser.add_argument("--orders", type=int, default=999)
    parser.add_argument("--pixels", action="store_true")
    parser.add_argument("--phantom", type=int, default=0)
    parser.add_argument("--spread", type=float, default=0.3)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--chance", action="store_true")
    options = parser.parse_args()
    if options.pixels:
        time_of_pixels(1000)
    elif options.time:
        time_of_factors()
    elif options.phantom:
        planted(options.phantom, options.spread, not options.chance)
    else:
        errors_and_power(options.populations, options.brains, options.orders)
        time_of_factors()


if __name__ == "__main__":
    main()
