"""The impact matrix: closed forms on a known encoder, bootstrap coverage, memory, refusals."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from napari_brainvae.data.population import Population
from napari_brainvae.factors.impact import (
    Impact,
    ImpactOptions,
    bootstrap,
    impact_matrix,
    usable_sections,
)
from napari_brainvae.factors.perturbation import DIRECTIONS
from napari_brainvae.io.progress import Stopped
from napari_brainvae.metrics.disentanglement import disentanglement_score, gaussian_kl
from tests.linear_model import LinearModel

SHAPE = (64, 80)
LEFT, RIGHT, TOP = (np.zeros(SHAPE, bool) for _ in range(3))
LEFT[20:40, 5:30], RIGHT[20:40, 50:75], TOP[2:10, 20:60] = True, True, True
REGIONS = {"left": LEFT, "right": RIGHT, "top": TOP}


def brains(rng, count=40):
    """Sections ``t + a_i u``: one way of varying, so that every moment is known."""
    template = rng.uniform(0.2, 0.3, SHAPE)
    pattern = rng.uniform(0, 0.02, SHAPE)
    amount = rng.uniform(-1, 1, count)
    images = template + amount[:, None, None] * pattern
    return images.astype(np.float32), template, pattern, amount


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (-0.5, 0.25), (0, 1)])
def test_content_on_a_linear_encoder_is_its_closed_form(rng, low, high):
    images, template, pattern, amount = brains(rng)
    encoder = rng.standard_normal((4, *SHAPE)) / 30
    variance = 0.05
    model = LinearModel(encoder, variance=variance)
    result = impact_matrix(model, images, REGIONS, ImpactOptions(low=low, high=high))

    def gaussian(weight, mask):
        """A code is ``alpha + a beta``."""
        scaled = encoder * (1 + weight * mask)
        alpha, beta = ((scaled * part).sum((1, 2)) for part in (template, pattern))
        return alpha + amount.mean() * beta, np.sqrt(amount.var() * beta**2 + variance)

    forward = [gaussian_kl(*gaussian(low, m), *gaussian(high, m)) for m in REGIONS.values()]
    backward = [gaussian_kl(*gaussian(high, m), *gaussian(low, m)) for m in REGIONS.values()]
    assert result.regions == list(REGIONS)
    assert_allclose(result.matrix("forward"), forward, rtol=1e-4)
    assert_allclose(result.matrix("backward"), backward, rtol=1e-4)
    assert_allclose(result.matrix("symmetric"), np.add(forward, backward), rtol=1e-4)
    assert_array_equal(result.matrix(), result.matrix("symmetric"))
    assert float(result.disentanglement) == float(disentanglement_score(result.matrix("symmetric")))


def test_fill_on_a_linear_encoder_is_its_closed_form(rng):
    """Tissue of one brightness: the fill is weight x that, so only the size of the step counts."""
    tissue = np.zeros(SHAPE)
    tissue[1:60, 2:78] = 1
    levels = rng.uniform(0.2, 0.4, 30)
    images = (levels[:, None, None] * tissue).astype(np.float32)
    encoder = rng.standard_normal((3, *SHAPE)) / 30
    model = LinearModel(encoder, variance=0.02)
    result = impact_matrix(model, images, REGIONS, ImpactOptions(mode="fill", high=0.5))
    for row, mask in zip(result.matrix("forward"), REGIONS.values(), strict=True):
        outside = (encoder * tissue * ~mask).sum((1, 2))
        inside = (encoder * mask).sum((1, 2))
        low, high = (
            (levels.mean() * (outside + w * inside), levels.var() * (outside + w * inside) ** 2)
            for w in (0, 0.5)
        )
        expected = gaussian_kl(low[0], np.sqrt(low[1] + 0.02), high[0], np.sqrt(high[1] + 0.02))
        assert_allclose(row, expected, rtol=1e-4)


def test_only_regions_in_the_receptive_field_have_an_impact(rng):
    images, *_ = brains(rng)
    encoder = np.stack([LEFT, RIGHT, 0 * LEFT]) / 100
    matrix = impact_matrix(LinearModel(encoder), images, REGIONS).matrix()
    assert_array_equal(matrix > 0, [[True, False, False], [False, True, False], [False] * 3])


def test_a_collapsed_factor_has_no_impact_however_its_mean_trembles(rng):
    """Posterior means that vary by 1e-4 around two ends: divergence of the means alone is 2."""
    mean = rng.standard_normal((1, 2, 200, 1)).astype(np.float32) * 1e-4
    mean[:, 1] += 2e-4
    impact = Impact(["x"], ImpactOptions(), mean, np.ones_like(mean), np.arange(200))
    assert impact.matrix()[0, 0] < 1e-6


def test_batches_and_order_do_not_matter(rng, monkeypatch):
    images, *_ = brains(rng, 21)
    model = LinearModel(rng.standard_normal((2, *SHAPE)) / 30)
    whole = impact_matrix(model, images, REGIONS)
    monkeypatch.setattr("napari_brainvae.factors.impact.BATCH", 4)
    assert_allclose(impact_matrix(model, images, REGIONS).mean, whole.mean, rtol=1e-5)
    some = impact_matrix(model, images, REGIONS, sections=[20, 3, 7])
    assert_allclose(some.mean, whole.mean[:, :, [20, 3, 7]], rtol=1e-5)


def test_a_population_is_prepared_and_its_flagged_sections_left_out(rng):
    images, *_ = brains(rng, 12)
    flagged = np.arange(12) % 3 == 0
    population = Population(500 * images, covariates=pd.DataFrame({"flagged": flagged}))
    model = LinearModel(rng.standard_normal((2, *SHAPE)) / 30)
    assert usable_sections(population) == np.flatnonzero(~flagged).tolist()
    assert usable_sections(population, include_flagged=True) == list(range(12))
    result = impact_matrix(model, population, REGIONS)
    assert_array_equal(result.sections, np.flatnonzero(~flagged))
    prepared = model.header.preprocessing.apply(images)
    assert_allclose(result.mean, impact_matrix(model, prepared[~flagged], REGIONS).mean, atol=1e-4)
    everything = impact_matrix(model, population, REGIONS, ImpactOptions(include_flagged=True))
    assert everything.mean.shape == (3, 2, 12, 2)
    population.covariates["flagged"] = True
    with pytest.raises(ValueError, match="all 12 sections are flagged"):
        impact_matrix(model, population, REGIONS)


def test_bootstrap_intervals_cover_the_truth(rng):
    """200 populations of 60 brains whose true impact is known: 95 % intervals hold it 95 times."""
    low, high, variance = (0.0, 1.0), (1.5, 0.7), 0.1
    true_low, true_high = ((m, np.sqrt(s**2 + variance)) for m, s in (low, high))
    truth = float(gaussian_kl(*true_low, *true_high))
    options = ImpactOptions(resamples=300)
    held = 0
    for seed in range(200):
        brain = np.random.default_rng(seed).standard_normal((2, 60))
        mean = np.stack([low[0] + low[1] * brain[0], high[0] + high[1] * brain[1]])
        mean = mean[None, ..., None].astype(np.float32)
        impact = Impact(["x"], options, mean, np.full_like(mean, variance), np.arange(60))
        lower, upper = bootstrap(impact).impact["forward"].ravel()
        assert lower < impact.matrix("forward")[0, 0] < upper
        held += lower <= truth <= upper
    assert 0.88 * 200 <= held <= 0.99 * 200


def test_bootstrap_is_that_of_resampled_brains(rng):
    """One resample by hand, brains drawn with both ends of all regions together."""
    mean, variance = rng.standard_normal((2, 2, 2, 9, 3)).astype(np.float32)
    variance = np.exp(variance)
    options = ImpactOptions(resamples=1, bootstrap_seed=4)
    impact = Impact(["a", "b"], options, mean, variance, np.arange(9))
    drawn = np.random.default_rng(4).integers(9, size=9)
    by_hand = Impact(["a", "b"], options, mean[:, :, drawn], variance[:, :, drawn], drawn)
    for direction in DIRECTIONS:
        for end in bootstrap(impact).impact[direction]:
            assert_allclose(end, by_hand.matrix(direction), rtol=1e-6)
    expected = by_hand.disentanglement.trace_over_absolute
    ends = bootstrap(impact).scores["symmetric"]["trace_over_absolute"]
    assert_allclose(ends, expected, rtol=1e-6)


def test_more_brains_narrower_intervals_and_the_seed_decides(rng):
    images, *_ = brains(rng, 160)
    images *= rng.uniform(0.8, 1, (160, 1, 1)).astype(np.float32)
    model = LinearModel(rng.standard_normal((3, *SHAPE)) / 30)
    few = impact_matrix(model, images, REGIONS, sections=range(20))
    many = impact_matrix(model, images, REGIONS)
    width = [np.ptp(i.intervals.impact["symmetric"], axis=0).mean() for i in (few, many)]
    assert width[1] < 0.6 * width[0]
    assert_array_equal(bootstrap(few).impact["forward"], few.intervals.impact["forward"])


def test_tables_are_complete_and_long(rng):
    images, *_ = brains(rng)
    model = LinearModel(rng.standard_normal((4, *SHAPE)) / 30)
    result = impact_matrix(model, images, REGIONS, ImpactOptions(resamples=50))
    table = result.table()
    assert list(table) == ["region", "factor", "direction", "value", "low", "high"]
    assert len(table) == 3 * 4 * len(DIRECTIONS)
    row = table.query("region == 'right' and factor == 2 and direction == 'backward'")
    assert row["value"].item() == result.matrix("backward")[1, 1]
    assert (table["low"] <= table["high"]).all()
    scores = result.scores()
    assert len(scores) == 3 * len(DIRECTIONS)
    paper = scores.query("score == 'paper' and direction == 'symmetric'")
    assert paper["value"].item() == pytest.approx(float(result.disentanglement))
    none = impact_matrix(model, images, REGIONS, ImpactOptions(resamples=0))
    assert none.table()[["low", "high"]].isna().all(axis=None)


def test_one_factor_or_one_region_has_impacts_but_no_disentanglement(rng):
    images, *_ = brains(rng)
    encoder = rng.standard_normal((2, *SHAPE)) / 30
    one_factor = impact_matrix(LinearModel(encoder[:1]), images, REGIONS)
    one_region = impact_matrix(LinearModel(encoder), images, {"left": LEFT})
    for result in (one_factor, one_region):
        assert (result.matrix() > 0).all()
        assert len(result.table()) == result.matrix().size * 3
        assert result.scores().empty
        with pytest.raises(ValueError, match="at least 2 regions and 2 factors"):
            _ = result.disentanglement


def test_progress_counts_encodes_and_can_stop(rng):
    images, *_ = brains(rng, 20)
    model = LinearModel(rng.standard_normal((2, *SHAPE)))
    seen = []
    impact_matrix(model, images, REGIONS, progress=lambda *at: seen.append(at))
    assert seen[0] == (0, 120)
    assert seen[-1] == (120, 120)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    with pytest.raises(Stopped):
        impact_matrix(model, images, REGIONS, progress=lambda done, _: done < 30)


def test_memory_does_not_grow_with_the_population(rng, tmp_path):
    images, *_ = brains(rng, 32)
    model = LinearModel(rng.standard_normal((2, *SHAPE)))
    peaks = []
    for copies in (1, 8):
        path = tmp_path / f"{copies}.zarr"
        Population(np.tile(images, (copies, 1, 1))).save(path)
        population = Population.open(path)
        impact_matrix(model, population, REGIONS, sections=[0, 1])
        tracemalloc.start()
        result = impact_matrix(model, population, REGIONS)
        peaks.append(tracemalloc.get_traced_memory()[1] - 2 * result.mean.nbytes)
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_to_numpy_it_is_its_matrix_and_regions_need_no_names(rng):
    images, *_ = brains(rng)
    model = LinearModel(rng.standard_normal((4, *SHAPE)) / 30, variance=0.05)
    result = impact_matrix(model, images, REGIONS)
    assert_array_equal(np.asarray(result), result.matrix())
    assert disentanglement_score(result) == disentanglement_score(result.matrix())
    numbered = impact_matrix(model, images, np.stack([*REGIONS.values()]))
    assert numbered.regions == ["1", "2", "3"]
    assert_array_equal(numbered, result)


GOOD = np.random.default_rng(1).uniform(0.2, 0.3, (4, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize(
    ("images", "regions", "message"),
    [
        (GOOD, {}, "at least one region"),
        (GOOD, "SSp", "must be real numbers"),
        (GOOD[:1], REGIONS, "cannot be fitted to 1 section"),
        (GOOD[:0], REGIONS, "cannot be fitted to 0 section"),
        (GOOD, {"none": 0 * LEFT}, "'none' is empty"),
        (GOOD, {"small": LEFT[:-1]}, "'small' has shape"),
        (GOOD * ~LEFT, {"left": LEFT}, "'left' has no content"),
        (np.where(TOP, GOOD, 0), {"left": LEFT}, "'left' lies outside the tissue"),
        (np.where(LEFT, np.nan, GOOD), REGIONS, "'2' and 1 more hold NaN"),
        (100 * GOOD, REGIONS, "not preprocessed"),
        (GOOD[:, :-1], REGIONS, "the model is for sections of"),
        (Population(GOOD[:1]), REGIONS, "cannot be fitted to 1 section"),
    ],
)
def test_what_is_refused(images, regions, message):
    with pytest.raises(ValueError, match=message):
        impact_matrix(LinearModel(np.ones((2, *SHAPE))), images, regions)
