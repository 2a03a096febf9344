"""Posteriors that are known before they are asked for, and that are never stale."""

from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.reconstruction import reconstruct_section
from napari_brainvae.models import encoding_cache as ahead
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.encoding_cache import EncodingCache, encode_ahead
from tests.linear_model import LinearModel

SHAPE = (64, 72)


class Counting(LinearModel):
    """A linear model that notes the sections it encodes."""

    def __init__(self, rng):
        super().__init__(rng.normal(size=(3, *SHAPE)))
        self.encoded = []

    def _encode(self, images):
        self.encoded += [image.copy() for image in images]
        return super()._encode(images)


@pytest.fixture
def model(rng):
    return Counting(rng)


@pytest.fixture
def sections(rng):
    return rng.random((9, *SHAPE), dtype=np.float32)


def test_posteriors_are_the_models_in_any_order_and_number(model, sections, rng):
    remembering = EncodingCache(model)
    for chosen in ([], [2], [4, 2, 2, 0], rng.integers(9, size=20)):
        got, expected = remembering.encode(sections[chosen]), model.encode(sections[chosen])
        for ours, theirs in zip(got, expected, strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
            assert ours.shape == theirs.shape


def test_a_section_is_encoded_once_and_again_when_a_pixel_changed(model, sections):
    remembering = EncodingCache(model)
    for _ in range(3):
        remembering.encode(sections[:2])
    assert len(model.encoded) == remembering.known == 2
    sections[1, 30, 30] += 1e-3
    remembering.encode(sections[:2])
    assert len(model.encoded) == remembering.known == 3
    assert np.array_equal(model.encoded[-1], sections[1])


def test_all_else_is_the_models(model, sections):
    remembering, codes = EncodingCache(model), np.eye(3)
    assert remembering.header is model.header
    assert np.array_equal(remembering.decode(codes), model.decode(codes))
    assert remembering.tensors() == model.tensors()
    everywhere = np.ones(SHAPE, dtype=bool)
    near = remembering.near(sections[0])(sections[1:2], [everywhere])
    np.testing.assert_allclose(near[0], model.encode(sections[1:2])[0])
    with pytest.raises(ValueError, match="the model is for sections of 64 x 72 px"):
        remembering.encode(sections[:, :60])


def test_the_nearest_are_encoded_first_and_none_beyond_reach(model, sections, monkeypatch):
    monkeypatch.setattr(ahead, "REACH", 3)
    population = Population(sections)
    prepared = population.prepared(model.header.preprocessing, slice(None))
    remembering = EncodingCache(model)
    steps = encode_ahead(remembering, population, 2)
    next(steps)
    assert len(model.encoded) == 1, "one a step, so that it can be left at any"
    assert len(list(steps)) == 5
    order = [
        int(np.flatnonzero([np.array_equal(section, p) for p in prepared])[0])
        for section in model.encoded
    ]
    assert order == [2, 1, 3, 0, 4, 5]


def test_a_section_that_cannot_be_used_is_passed_over(model, sections):
    sections[1] = np.nan
    assert len(list(encode_ahead(EncodingCache(model), Population(sections), 0))) == 9
    assert len(model.encoded) == 8


@pytest.mark.parametrize("robust", [False, True])
def test_a_reconstruction_is_the_same(population, run_folder, robust):
    model = load_checkpoint(run_folder / "model.safetensors")
    remembering = EncodingCache(model)
    list(encode_ahead(remembering, population, 3))
    ours = reconstruct_section(remembering, population, 3, robust=robust)
    plain = reconstruct_section(model, population, 3, robust=robust)
    assert np.array_equal(ours.reconstruction, plain.reconstruction)
    assert np.array_equal(ours.residual, plain.residual)
    assert (ours.error, ours.kl, ours.outlier) == (plain.error, plain.kl, plain.outlier)
