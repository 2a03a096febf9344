"""Components as sums of sections: what a Gram matrix knows is what the pixels say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from napari_brainvae.io.errors import InputError
from napari_brainvae.models.gram import (
    components_of,
    gram_matrix,
    trimmed_components_of,
)
from napari_brainvae.models.pca import trimmed_components

COUNT = 3


@pytest.fixture
def images(rng):
    return rng.random((20, 9, 11)).astype(np.float32)


@pytest.fixture
def half(rng):
    kept = np.zeros(20, dtype=bool)
    kept[rng.permutation(20)[:10]] = True
    return kept


def by_svd(images, kept):
    flat = images.reshape(len(images), -1).astype(np.float64)
    mean = flat[kept].mean(axis=0)
    _, values, rows = np.linalg.svd(flat[kept] - mean, full_matrices=False)
    return flat - mean, values[:COUNT] ** 2 / (kept.sum() - 1), rows[:COUNT]


def test_components_of_a_half_are_those_of_its_pixels(images, half):
    found = components_of(gram_matrix(images), half, COUNT)
    centred, variances, rows = by_svd(images, half)
    fields = found.weights.T @ centred
    assert_allclose(found.variances, variances, rtol=1e-9)
    assert_allclose(np.abs(fields @ rows.T), np.eye(COUNT), atol=1e-6)
    assert_allclose(np.abs(found.scores(gram_matrix(images))), np.abs(centred @ rows.T), atol=1e-9)


def test_residuals_are_what_the_components_leave_of_every_section(images, half):
    gram = gram_matrix(images)
    centred, _, rows = by_svd(images, half)
    left, energy = components_of(gram, half, COUNT).residuals(gram)
    assert_allclose(energy, np.square(centred).sum(axis=1), rtol=1e-9)
    assert_allclose(left, np.square(centred - centred @ rows.T @ rows).sum(axis=1), rtol=1e-9)


def test_weights_take_part_in_the_fit_or_are_zero_and_cancel(images, half):
    weights = components_of(gram_matrix(images), half, COUNT).weights
    assert (weights[~half] == 0).all()
    assert_allclose(weights.sum(axis=0), 0, atol=1e-12)


def test_what_all_sections_share_changes_nothing(images, half, rng):
    shared = rng.random((9, 11)).astype(np.float32)
    before, after = gram_matrix(images), gram_matrix(images + shared)
    assert_allclose(after, before, atol=1e-4)


def test_a_section_unlike_the_others_has_no_say(rng):
    scores = rng.standard_normal((30, 1))
    images = 0.5 + 0.1 * scores[:, :, None] * np.ones((9, 11)) * np.linspace(-1, 1, 11)
    images += 0.001 * rng.standard_normal(images.shape)
    images[4] += np.linspace(-0.3, 0.3, 9)[:, None]
    found = trimmed_components_of(gram_matrix(images), np.ones(30, dtype=bool), 1)
    assert not found.kept[4]
    assert found.weights[4] == 0


def test_only_members_are_fitted(images, half):
    found = trimmed_components_of(gram_matrix(images), half, COUNT)
    assert not found.kept[~half].any()


def test_sections_all_alike_carry_none():
    with pytest.raises(InputError, match="carry only 0 principal components"):
        components_of(gram_matrix(np.ones((6, 4, 4))), np.ones(6, dtype=bool), 1)


def test_too_few_sections(images):
    few = np.arange(20) < 3
    with pytest.raises(InputError, match="3 sections carry at most 2"):
        components_of(gram_matrix(images), few, 3)


def test_trimming_leaves_out_what_the_pixels_say(images):
    """The components are those of `pca.trimmed_components`, which works on pixels."""
    images[3] += np.linspace(0, 3, 11, dtype=np.float32)
    found = trimmed_components_of(gram_matrix(images), np.ones(20, dtype=bool), COUNT)
    _, components, variances = trimmed_components(images, COUNT)
    fields = found.weights.T @ images.reshape(20, -1).astype(np.float64)
    assert_allclose(found.variances, variances, rtol=1e-6)
    assert_allclose(np.abs(fields @ components.reshape(COUNT, -1).T), np.eye(COUNT), atol=1e-5)
