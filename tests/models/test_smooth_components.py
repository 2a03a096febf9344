"""Components of smoothed sections, whose amount of smoothing cross-validation finds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter

from napari_brainvae.models.pca import trimmed_components
from napari_brainvae.models.smooth_components import (
    choose_smoothing,
    products,
    smooth_components,
    smoothed,
)

SHAPE, COUNT = (40, 48), 2


def population(rng, brains, width, noise=0.3):
    """Two factors whose fields are random and smooth over ``width`` px, and white noise."""
    fields = [gaussian_filter(rng.standard_normal(SHAPE), width) for _ in range(COUNT)]
    fields = np.array([field / field.std() for field in fields])
    images = np.tensordot(rng.standard_normal((brains, COUNT)) * [0.15, 0.1], fields, 1)
    images += noise * rng.standard_normal(images.shape)
    return (images + 3).astype(np.float32), fields


def test_smoothing_is_a_gaussian(rng):
    images = rng.random((3, *SHAPE)).astype(np.float32)
    expected = [gaussian_filter(image, 2, truncate=8) for image in images]
    assert_allclose(smoothed(images, 2), expected, atol=2e-5)


def test_products_are_those_of_smoothed_sections(rng):
    images = rng.random((6, *SHAPE)).astype(np.float32)
    centred = images - images.mean(axis=0)
    smooth = smoothed(centred, 1.5).reshape(6, -1)
    gram, cross = products(images, [0.0, 1.5])[1]
    assert_allclose(gram, smooth @ smooth.T, atol=1e-4)
    assert_allclose(cross, centred.reshape(6, -1) @ smooth.T, atol=1e-4)


def test_no_smoothing_gives_the_trimmed_components(rng):
    images, _ = population(rng, 30, 4)
    for one, other in zip(
        smooth_components(images, COUNT, 0), trimmed_components(images, COUNT), strict=True
    ):
        assert_array_equal(one, other)


def test_components_are_orthonormal_and_scores_of_sharp_sections_uncorrelated(rng):
    images, _ = population(rng, 60, 4)
    mean, components, variances = smooth_components(images, COUNT, 1.0)
    flat = components.reshape(COUNT, -1).astype(np.float64)
    assert_allclose(flat @ flat.T, np.eye(COUNT), atol=1e-5)
    scores = (images - mean).reshape(len(images), -1) @ flat.T
    # Nobody is left out here: the covariance is that of all sections.
    assert_allclose(np.cov(scores.T), np.diag(variances), atol=1e-2 * variances[0])
    assert variances[0] >= variances[1]


def test_smooth_components_are_nearer_to_what_was_planted(rng):
    images, fields = population(rng, 40, 4)
    truth = np.linalg.qr(fields.reshape(COUNT, -1).T)[0]

    def found(sigma):
        flat = smooth_components(images, COUNT, sigma)[1].reshape(COUNT, -1)
        return np.square(flat @ truth).sum() / COUNT

    sharp, smooth = found(0), found(2)
    assert smooth > sharp
    assert smooth > 0.9


def test_the_best_amount_grows_with_the_smoothness_of_the_fields(rng):
    amounts = [choose_smoothing(population(rng, 60, width)[0], COUNT)[0] for width in (1, 6)]
    assert amounts[0] < amounts[1]


def test_sharp_fields_are_not_smoothed_away(rng):
    images, _ = population(rng, 100, 0.01, noise=0.01)
    sigma, left = choose_smoothing(images, COUNT)
    assert sigma == 0
    assert left[0.0] == min(left.values())


def test_what_is_left_is_the_noise(rng):
    images, fields = population(rng, 200, 4)
    signal = np.square(fields).mean(axis=(1, 2)) @ np.square([0.15, 0.1])
    _, left = choose_smoothing(images, COUNT, sigmas=[2.0])
    assert left[2.0] == pytest.approx(0.3**2 / (0.3**2 + signal), rel=0.05)


def test_too_few_sections_to_hold_any_out_are_not_smoothed(rng):
    images, _ = population(rng, 4, 4)
    assert choose_smoothing(images, 3) == (0.0, {})
