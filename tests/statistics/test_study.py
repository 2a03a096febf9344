"""A whole comparison, on brains whose differences were planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from napari_brainvae.atlas.ontology import StructureTree
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Stopped
from napari_brainvae.models.header import Reference
from napari_brainvae.models.measures import squared_error
from napari_brainvae.models.pca import PCA
from napari_brainvae.models.rotation import rotate_factors
from napari_brainvae.phantom.options import BRIGHTNESS_PER_SD, PhantomOptions
from napari_brainvae.phantom.phantom import FACTORS, Phantom, draw_section
from napari_brainvae.statistics.comparison_options import ComparisonOptions
from napari_brainvae.statistics.design import make_design
from napari_brainvae.statistics.difference import measure_difference, region_measures
from napari_brainvae.statistics.study import compare_population

SHAPE = (80, 112)
SMALL = {"brightness": 0.036, "thickness": 0.024, "ventricles_mm": 0.0054}
"""A third of the usual differences between brains."""
QUICK = {"permutations": 999, "pixel_permutations": 99}


@pytest.fixture(scope="module")
def section():
    return draw_section(*SHAPE)


@pytest.fixture(scope="module")
def masks(section):
    tree: StructureTree = section.tree
    found = {s.acronym: section.annotation == s.id for s in tree}
    found |= {name: tree.within(section.annotation, name) for name in ("HPF", "Isocortex")}
    return {name: mask for name, mask in found.items() if mask.sum() >= 10}


def brains_of(section, **options):
    phantom = Phantom(section, PhantomOptions(height=80, width=112, artifacts=0, **options))
    brains = [phantom.brain(i) for i in range(len(phantom))]
    covariates = pd.DataFrame(
        {"group": [b.group for b in brains], "sex": [b.sex for b in brains]},
    ).assign(day=["mon", "tue"] * (len(brains) // 2))
    population = Population(np.stack([b.image for b in brains]), covariates=covariates)
    return phantom, population, np.stack([b.factors for b in brains])


@pytest.fixture(scope="module")
def model(section):
    """Rotated PCA of 160 other brains, with usual differences: PCA spreads the factors evenly."""
    _, population, _ = brains_of(section, count=160, seed=100)
    preprocessing = Preprocessing(height=80, width=112)
    images = population.prepared(preprocessing, slice(None))
    fitted = PCA.fit(images, 6, preprocessing=preprocessing)
    mean, log_variance = fitted.encode(images)
    error = squared_error(images, fitted.decode(mean))
    fitted.header = fitted.header.model_copy(
        update={
            "pixel_size_um": section.pixel_size_um,
            "reference": Reference.measure(error, mean, log_variance),
        }
    )
    return rotate_factors(fitted, images)


@pytest.fixture(scope="module")
def planted(section, model, masks):
    """40 cases whose hippocampal formation is 10 % brighter and whose cortex is 30 um thicker."""
    phantom, population, truth = brains_of(section, count=80, seed=0, cases=0.5, **SMALL)
    study = compare_population(
        model,
        population,
        population.covariates,
        ComparisonOptions(by=["group"], adjust=["sex"], **QUICK),
        masks=masks,
        pixel_size_um=section.pixel_size_um,
        replicated=[False, *[True] * 5],
    )
    cases = (population.covariates["group"] == "case").to_numpy()
    realised = truth[cases].mean(axis=0) - truth[~cases].mean(axis=0)
    return phantom, study, truth, cases, realised


def test_the_factors_are_named(planted):
    """By what they go with inside the groups: brightness of HPF, and cortical thickness."""
    _, study, truth, cases, _ = planted
    effects = study.compared["group"].factors
    codes = study.brains.codes.to_numpy()
    inside = [
        np.where(cases[:, None], v - v[cases].mean(axis=0), v - v[~cases].mean(axis=0))
        for v in (codes, truth)
    ]
    along = np.abs(np.corrcoef(inside[0].T, inside[1].T)[:6, 6:])
    named = {FACTORS[i] for i in along[effects.found].argmax(axis=1)}
    assert named == {"HPF", "cortical thickness"}
    assert effects.design.contrast == "case minus control"


def test_the_region_the_direction_and_the_size_are_named_and_no_other_brightness(planted, masks):
    phantom, study, _, _, realised = planted
    table = study.region_table()
    bright = table[table["what"] == "brightness"].set_index("region")
    truth = {name: 100 * phantom.brightness(realised)[mask].mean() for name, mask in masks.items()}
    found = bright[bright["p_fwe"] <= 0.05]
    assert "HPF" in found.index
    # The planted brightness fades out over 80 um: what it reaches is brighter, too.
    assert [name for name in found.index if abs(truth[name]) < 0.5] == []
    assert bright.loc["HPF", "difference"] == pytest.approx(truth["HPF"], rel=0.25)


def test_the_thicker_cortex_is_named_in_um_and_what_is_named_did_change(planted, masks):
    phantom, study, _, _, realised = planted
    table = study.region_table()
    size = table[table["what"] == "size"].set_index("region")
    field = -phantom.displacement(realised)  # where tissue goes, not where it comes from
    growth = sum(np.gradient(field[axis], axis=axis) for axis in (0, 1))
    truth = pd.Series({name: 100 * growth[mask].mean() for name, mask in masks.items()})
    found = size[size["p_fwe"] <= 0.05]
    assert size.loc["Isocortex", "p_fwe"] <= 0.05
    assert size.loc["Isocortex", "difference"] > 0
    assert (np.sign(found["difference"]) == np.sign(truth[found.index])).all()
    assert (truth[found.index].abs() > 0.5).all()
    moved = study.compared["group"].difference.data_parts.displacement_peak_um
    assert moved == pytest.approx(np.hypot(*field).max() * phantom.section.pixel_size_um, rel=0.25)


def test_both_pictures_show_it_where_it_is(planted, masks):
    _, study, _, _, _ = planted
    difference = study.compared["group"].difference
    for first, second in (difference.model, difference.data):
        inside = (first - second)[masks["CA1"]].mean()
        assert inside > 4 * abs((first - second)[masks["TH"]].mean())
    found = difference.found
    assert found[masks["HPF"]].mean() > 0.3
    assert np.isnan(difference.t[0, 0])


def test_replicated_factors_come_first_and_the_others_are_marked(planted):
    table = planted[1].table()
    assert table["factor"].tolist() == ["F2", "F3", "F4", "F5", "F6", "F1"]
    assert table["replicated"].tolist() == [1, 1, 1, 1, 1, 0]


def test_deviations_list_the_odd_brain_first(planted):
    z = planted[1].deviations
    assert z["deviation"].is_monotonic_decreasing
    assert {"F1", "CA1 raw", "CA1 denoised"} <= set(z)
    assert z["F1"].std() == pytest.approx(1, abs=0.3)


def test_nothing_is_named_where_nothing_was_planted(section, model, masks):
    """Five families at 5 %: two false alarms in five have a chance of one in fifty."""
    alarms = 0
    for seed in range(5):
        _, population, _ = brains_of(section, count=24, seed=200 + seed)
        groups = population.covariates.assign(group=["a", "b"] * 12)
        study = compare_population(
            model, population, groups,
            ComparisonOptions(by=["group"], permutations=199, pixel_permutations=0),
        )  # fmt: skip
        alarms += study.compared["group"].factors.found.any()
    assert alarms <= 1


def test_a_dose_and_a_group_are_counted_together(section, model):
    _, population, truth = brains_of(section, count=40, seed=5)
    covariates = population.covariates.assign(dose=truth[:, FACTORS.index("HPF")])
    options = ComparisonOptions(by=["dose", "sex"], permutations=199, pixel_permutations=0)
    study = compare_population(model, population, covariates, options)
    table = study.table()
    assert table["by"].tolist() == ["dose"] * 6 + ["sex"] * 6
    assert table.query("by == 'dose'")["p_fwe"].min() == pytest.approx(1 / 200)
    assert study.region_table().empty


def test_a_batch_is_told_taken_out_and_harmonized(section, model):
    _, population, _ = brains_of(section, count=40, seed=6)
    images = population.images.copy()
    images[1::2, 40:] *= 1.5  # on Tuesdays the base was brighter
    shifted = Population(images, covariates=population.covariates)
    covariates = population.covariates.assign(drug=["a", "a", "b", "b"] * 10)
    options = {"by": ["drug"], "batch": ["day"], "permutations": 99, "pixel_permutations": 0}
    told = compare_population(model, shifted, covariates, ComparisonOptions(**options))
    worst = told.batches["before"].idxmax()
    assert told.batches.loc[worst, "before"] > 0.5
    assert told.batches.loc[worst, "p"] < 1e-6
    assert told.compared["drug"].design.adjusted == ("day",)
    done = compare_population(
        model, shifted, covariates, ComparisonOptions(**options, harmonize=True)
    )
    assert done.batches["after"].max() < 0.05
    confounded = covariates.assign(drug=covariates["day"])
    warned = compare_population(model, shifted, confounded, ComparisonOptions(**options))
    assert "drug and day cannot be told apart" in warned.warnings[0]
    assert warned.compared["drug"].design.adjusted == ()


def test_outliers_are_repaired_before_they_are_compared(section, model):
    _, population, _ = brains_of(section, count=12, seed=8)
    images = population.images.copy()
    images[3, 30:55, 60:100] = 0
    torn = Population(images, covariates=population.covariates)
    options = {"by": ["sex"], "permutations": 19, "pixel_permutations": 0}
    groups = population.covariates.assign(sex=["F", "M"] * 6)
    robust, plain, intact = (
        compare_population(model, p, groups, ComparisonOptions(**options, robust=r)).brains
        for p, r in ((torn, True), (torn, False), (population, True))
    )
    assert_array_equal(np.flatnonzero(robust.repaired), [3])
    assert not plain.repaired.any()
    error = [np.abs(b.codes.iloc[3] - intact.codes.iloc[3]).max() for b in (robust, plain)]
    assert error[0] < 0.5 * error[1]


def test_it_is_refused_before_anything_long(section, model):
    _, population, _ = brains_of(section, count=4, seed=9)

    def never(done, total):
        raise AssertionError("nothing long was to be done")

    with pytest.raises(InputError, match="nothing to compare"):
        compare_population(
            model, population, population.covariates, ComparisonOptions(by=["group"]),
            progress=never,
        )  # fmt: skip
    with pytest.raises(InputError, match="3 factors are said to replicate or not, of 6"):
        compare_population(
            model, population, population.covariates, ComparisonOptions(by=["day"]),
            replicated=[True] * 3,
        )  # fmt: skip


@pytest.mark.parametrize("when", [0, 300, 500, 900])
def test_it_stops_wherever_it_is(section, model, masks, when):
    _, population, _ = brains_of(section, count=8, seed=9)
    options = ComparisonOptions(by=["day"], permutations=19, pixel_permutations=19)
    one = {"HPF": masks["HPF"]}
    with pytest.raises(Stopped):
        compare_population(
            model, population, population.covariates, options, masks=one,
            progress=lambda done, _: done < when,
        )  # fmt: skip


def test_size_and_brightness_of_a_region_are_told_apart(section, masks):
    """Anatomy without noise: 8 % brighter here, cortex thicker there."""
    phantom = Phantom(section, PhantomOptions(count=1, height=80, width=112, artifacts=0))
    factors = np.zeros((4, len(FACTORS)))
    factors[1, FACTORS.index("HPF")] = 0.08 / BRIGHTNESS_PER_SD
    factors[2, FACTORS.index("cortical thickness")] = 0.4
    images = np.stack([phantom.anatomy(f).clip(0) for f in factors])
    chosen = {name: masks[name] for name in ("HPF", "Isocortex")}
    measures = region_measures(images, chosen)
    relative = measures - measures.iloc[0]
    truth = 100 * phantom.brightness(factors[1])[masks["HPF"]].mean()
    assert relative.loc[1, "HPF brightness"] == pytest.approx(truth, rel=0.1)
    # What leaks from one measure into the other: a tenth of brightness, a fifth of size, at most.
    assert abs(relative.loc[1, "HPF size"]) < truth / 10
    field = -phantom.displacement(factors[2])
    growth = 100 * sum(np.gradient(field[axis], axis=axis) for axis in (0, 1))
    grown = growth[masks["Isocortex"]].mean()
    assert relative.loc[2, "Isocortex size"] == pytest.approx(grown, rel=0.25)
    assert abs(relative.loc[2, "Isocortex brightness"]) < grown / 5


def test_a_mean_of_litters_weighs_litters_alike(section, model):
    _, population, _ = brains_of(section, count=12, seed=10)
    sections = population.prepared(model.header.preprocessing, slice(None))
    mice = pd.DataFrame(
        {"drug": ["a"] * 6 + ["b"] * 6, "cage": ["1"] * 4 + ["2"] * 2 + ["3"] * 3 + ["4"] * 3}
    )
    design = make_design(mice, "drug", blocks="cage")
    found = measure_difference(
        model, model.encode(sections)[0].astype(float), sections, design, permutations=0
    )
    litters = [sections[:4], sections[4:6]]
    expected = np.mean([each.mean(axis=0) for each in litters], axis=0)
    assert_allclose(found.data[0], expected, atol=1e-6)
    assert found.t is None
