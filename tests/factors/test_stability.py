"""Which factors come again: planted ones do, noise that nothing shares does not."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter

from napari_brainvae import factor_stability, rotate_factors
from napari_brainvae.factors.stability import FactorStability, SplitHalves, random_halves
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.pca import PCA

SHAPE, BRAINS, PLANTED = (64, 96), 120, 6


def section():
    """A bright ellipse with a darker middle."""
    y, x = np.indices(SHAPE) - np.array(SHAPE)[:, None, None] / 2
    far = (y / 28) ** 2 + (x / 42) ** 2
    return (0.5 * (far < 1) - 0.2 * (far < 0.2)).astype(np.float32)


def discs():
    """Six regions, apart from each other, ``(6, H, W)`` bool."""
    y, x = np.indices(SHAPE)
    return np.stack([(y - r) ** 2 + (x - c) ** 2 < 36 for r in (22, 42) for c in (24, 48, 72)])


def planted(seed, brains=BRAINS):
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((brains, PLANTED))
    images = section() + 0.1 * np.tensordot(codes, discs(), 1)
    images += 0.03 * rng.standard_normal(images.shape)
    return np.clip(images, 0, None).astype(np.float32), codes


@lru_cache
def analysed(seed):
    return SplitHalves(planted(seed)[0], splits=2, seed=seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("latent_dim", [6, 8, 12])
def test_as_many_factors_come_again_as_were_planted(seed, latent_dim):
    found = analysed(seed).measure(latent_dim)
    assert found.replicated.sum() == PLANTED
    # Noise explains less than what was planted, so that it comes last.
    assert found.replicated[:PLANTED].all()


def test_fewer_factors_than_planted_cannot_be_more(seed=0):
    assert analysed(seed).measure(4).replicated.sum() <= 4


def smooth(rng, sigma):
    noise = [gaussian_filter(rng.standard_normal(SHAPE), sigma) for _ in range(BRAINS)]
    return np.array(noise) / np.std(noise)


NULLS = {
    "white": lambda rng: rng.standard_normal((BRAINS, *SHAPE)),
    "white, as strong as the section is bright": lambda rng: (
        rng.standard_normal((BRAINS, *SHAPE)) * 2 * section()
    ),
    "heavy tails": lambda rng: rng.standard_t(3, (BRAINS, *SHAPE)),
    "smooth over 2 px": lambda rng: smooth(rng, 2),
    "a gain of its own in each brain's noise": lambda rng: (
        rng.standard_normal((BRAINS, *SHAPE)) * rng.gamma(2, size=(BRAINS, 1, 1))
    ),
}


@pytest.mark.parametrize("kind", NULLS)
def test_where_nothing_is_shared_but_the_mean_no_factor_counts(kind):
    noise = NULLS[kind](np.random.default_rng(0))
    halves = SplitHalves(np.clip(1 + section() + 0.03 * noise, 0, None), splits=2)
    assert not halves.measure(6).replicated.any()


def test_codes_of_matched_factors_agree():
    found = analysed(0).measure(8)
    assert (np.median(found.code_correlation, axis=0)[:PLANTED] > 0.9).all()


def test_shapes_and_ranges():
    found = factor_stability(planted(0, 40)[0], 3, splits=2, seed=4)
    assert found.map_similarity.shape == found.code_correlation.shape == (2, 3)
    assert found.replicated.shape == (3,) and found.replicated.dtype == np.bool_
    for shares in (found.map_similarity, found.code_correlation, found.subspace_overlap):
        assert ((shares >= 0) & (shares <= 1 + 1e-9)).all()
    assert ((found.held_out_variance > 0) & (found.held_out_variance < 1)).all()


def test_the_seed_decides_all():
    images = planted(0, 40)[0]
    one, same, other = (factor_stability(images, 3, splits=2, seed=s) for s in (1, 1, 2))
    assert_array_equal(one.map_similarity, same.map_similarity)
    assert not np.array_equal(one.map_similarity, other.map_similarity)


def test_the_unit_of_the_sections_does_not_matter():
    images = planted(0, 40)[0]
    one, other = (factor_stability(i, 3, splits=2) for i in (images, 1 + images / 4))
    assert_allclose(one.map_similarity, other.map_similarity, atol=1e-4)
    assert_allclose(one.code_correlation, other.code_correlation, atol=1e-4)


def test_what_is_left_of_held_out_brains_is_the_noise():
    images, _ = planted(0)
    left = np.median(analysed(0).measure(PLANTED).held_out_variance)
    variance = 0.01 * discs().sum() + 0.03**2 * np.prod(SHAPE)
    # Outside the ellipse the noise is cut at zero: what stays of it has less variance.
    assert 0.5 < left / (0.03**2 * np.prod(SHAPE) / variance) < 1.1
    assert len(images) == BRAINS


def test_the_rule():
    maps = np.array([[0.99, 0.96, 0.94, 0.95, 1], [0.95, 0.2, 0.94, 0.95, 1], [0.2, 0.97, 0, 1, 1]])
    ones = np.ones(len(maps))
    halves = np.stack([maps, np.ones_like(maps)], axis=1)
    found = FactorStability(halves, maps, ones, ones, np.array([-1, -1, -1, -1, 0]))
    assert_array_equal(found.map_similarity, maps)
    assert found.came_again.tolist() == [5, 5, 3, 6, 6]
    assert found.similarity.tolist() == [0.95, 0.96, 0.94, 0.95, 1]
    assert found.replicated.tolist() == [True, True, False, True, False]


def test_the_worse_half_counts():
    """Brains of one half show a factor that those of the other lack."""
    rng = np.random.default_rng(0)
    images, _ = planted(0)
    half = next(random_halves(BRAINS, splits=1, seed=0))
    only_there = np.zeros(SHAPE, dtype=np.float32)
    only_there[4:12, 40:56] = 1
    images = images + 0.5 + 0.2 * (half * rng.standard_normal(BRAINS))[:, None, None] * only_there
    found = SplitHalves(images, splits=1, seed=0).measure(PLANTED + 1)
    assert found.replicated.sum() == PLANTED


def test_a_model_is_held_against_halves_by_its_own_factors():
    images, _ = planted(0)
    model = rotate_factors(PCA.fit(images, PLANTED), images)
    found = analysed(0).measure_model(model)
    assert found.replicated.all()
    linear = analysed(0).measure(PLANTED)
    # Decoding clips at 0 and 1, and nothing is trimmed: nearly, not quite.
    assert_allclose(found.similarity, linear.similarity, atol=0.02)


def test_unrotated_factors_of_a_model_do_not_come_again():
    images, _ = planted(0)
    found = analysed(0).measure_model(PCA.fit(images, PLANTED))
    assert found.replicated.sum() < PLANTED / 2


def test_a_factor_that_changes_nothing_is_like_no_other():
    images, _ = planted(0)
    model = rotate_factors(PCA.fit(images, PLANTED), images)
    model.components[:] = 0
    found = analysed(0).measure_model(model)
    assert (found.map_similarity == 0).all()
    assert not found.replicated.any()


BAD = {
    "no splits": (dict(splits=0), "splits of the brains must be at least 1"),
    "half a split": (dict(splits=2.5), "whole number"),
    "no such seed": (dict(seed=-1), "the seed must be at least 0"),
    "no factors": (dict(latent_dim=0), "from 1 to 8 factors, not 0"),
    "more factors than halves can tell": (dict(latent_dim=9), "from 1 to 8 factors, not 9"),
    "too few brains": (
        dict(images=np.ones((5, 8, 8)) * np.arange(8)),
        "5 sections cannot be split",
    ),
    "one image": (dict(images=np.ones((8, 8))), "must have shape"),
    "nan": (dict(images=np.full((20, 8, 8), np.nan)), "NaN"),
}


@pytest.mark.parametrize(("wrong", "message"), BAD.values(), ids=list(BAD))
def test_bad_input(wrong, message):
    given = dict(images=planted(0, 20)[0], latent_dim=2) | wrong
    with pytest.raises(InputError, match=message):
        factor_stability(**given)
