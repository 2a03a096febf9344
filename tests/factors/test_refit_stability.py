"""Factors of whole models against refits: what is the same, what is not, and in which order."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from napari_brainvae.factors.refit_stability import FittedFactors, refit_stability

SHAPE, BRAINS, COUNT = (12, 16), 60, 3
RNG = np.random.default_rng(0)
FIELDS = np.linalg.qr(RNG.standard_normal((192, 6)))[0].T.reshape(6, *SHAPE)
CODES = RNG.standard_normal((BRAINS, 6))


def fitted(which, signs=1, scale=1.0, left=0.5):
    return FittedFactors(scale * FIELDS[which], signs * CODES[:, which], left)


def test_order_sign_and_scale_of_a_refit_do_not_matter():
    turned = fitted([2, 0, 1], signs=np.array([1, -1, 1]), scale=7)
    found = refit_stability(fitted([0, 1, 2]), [(turned, fitted([1, 2, 0]))] * 4)
    assert_allclose(found.map_similarity, 1)
    assert_allclose(found.code_correlation, 1)
    assert_allclose(found.subspace_overlap, 1)
    assert found.replicated.all()
    assert found.map_similarity.shape == (4, COUNT)


def test_what_one_half_lacks_does_not_come_again():
    found = refit_stability(fitted([0, 1, 2]), [(fitted([0, 1, 2]), fitted([0, 1, 5], left=0.7))])
    assert_allclose(found.map_similarity, [[1, 1, 0]], atol=1e-12)
    assert found.came_again.tolist() == [2, 2, 1]
    assert found.replicated.tolist() == [True, True, False]
    assert_allclose(found.subspace_overlap, 2 / 3)
    assert_allclose(found.held_out_variance, 0.6)


def test_an_arch_is_none_of_the_factors():
    codes = CODES[:, :3].copy()
    codes[:, 2] = codes[:, 0] ** 2
    whole = FittedFactors(FIELDS[:3], codes)
    found = refit_stability(whole, [(whole, whole)])
    assert found.arch_of.tolist() == [-1, -1, 0]
    assert found.replicated.tolist() == [True, True, False]


def test_a_collapsed_factor_is_like_no_other():
    none = FittedFactors(np.zeros((1, *SHAPE)), np.zeros((BRAINS, 1)))
    found = refit_stability(none, [(none, none)])
    assert found.map_similarity == found.code_correlation == 0
