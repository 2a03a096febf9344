from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.models.pca import PCA, principal_components


@pytest.fixture
def images(rng):
    factors = rng.normal(size=(20, 5)) * [5, 4, 3, 2, 1]
    patterns = rng.normal(size=(5, 64, 66)) * 0.01
    return 0.5 + np.tensordot(factors, patterns, 1) * 0.1


def test_components_are_those_of_the_full_svd(images):
    mean, components, eigenvalues = principal_components(images, 4)
    flat = images.reshape(20, -1).astype(np.float64)
    _, singular, rows = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    assert np.allclose(mean.ravel(), flat.mean(axis=0), atol=1e-6)
    assert np.allclose(eigenvalues, singular[:4] ** 2 / 19, rtol=1e-4)
    overlap = np.abs(np.sum(components.reshape(4, -1) * rows[:4], axis=1))
    assert np.allclose(overlap, 1, atol=1e-4)


def test_all_components_give_the_sections_back(images):
    model = PCA.fit(images.astype(np.float32), 5)
    assert np.allclose(model.reconstruct(images), images, atol=1e-4)


def test_codes_are_whitened_scores(images):
    mean, log_variance = PCA.fit(images.astype(np.float32), 3).encode(images)
    assert np.allclose(np.cov(mean.T), np.eye(3), atol=1e-3)
    assert np.isfinite(log_variance).all()


@pytest.mark.parametrize(
    ("count", "message"), [(20, "at most 19"), (8, "only 5 principal components, not 8")]
)
def test_more_components_than_the_sections_carry_are_refused(images, count, message):
    with pytest.raises(ValueError, match=message):
        principal_components(images, count)


def test_the_mean_section_is_no_pca(images):
    model = PCA.fit(images.astype(np.float32), 3)
    assert (model.family, model.label, model.has_posterior) == ("PCA", "PCA", False)
    mean = PCA(model.header, model.mean, 0 * model.components, np.ones(3))
    assert mean.family is None
