"""Ways through the latent space, whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.data.population import Population
from napari_brainvae.factors.latent_paths import (
    brain_code,
    draw_from_prior,
    draw_like_population,
    how_far_out,
    interpolate,
    nearest_brain,
    share_nearer,
)
from napari_brainvae.factors.live_section import Against, generate
from napari_brainvae.factors.path_options import PathOptions
from napari_brainvae.factors.traversal import traversal
from napari_brainvae.io.errors import InputError
from tests.linear_model import LinearModel, reference


@pytest.fixture
def model(rng):
    return LinearModel(
        rng.standard_normal((3, 64, 80)) / 500, reference=reference([1, 0, 2], [1] * 3)
    )


@pytest.fixture
def brains(rng):
    return Population(rng.random((5, 64, 80), np.float32), [f"b{i}" for i in range(5)])


def test_a_line_is_straight_and_even_and_ends_where_it_was_told(rng):
    start, end = rng.standard_normal((2, 4)).astype(np.float32) * [1, 1e-6, 1e6, 0]
    line = interpolate(start, end, 7)
    assert line.dtype == np.float32
    assert np.array_equal(line[0], start.astype(np.float32))
    assert np.array_equal(line[-1], end.astype(np.float32))
    expected = start + np.linspace(0, 1, 7)[:, None] * (end - start)
    np.testing.assert_allclose(line, expected, rtol=1e-5)
    with pytest.raises(InputError, match="two steps"):
        interpolate(start, end, 1)
    with pytest.raises(InputError, match="no line"):
        interpolate(start, end[:3], 5)


def test_the_nearest_brain_is_by_euclids_distance():
    codes = np.array([[0, 0], [3, 4], [np.nan, 0], [10, 0]])
    assert nearest_brain(codes, [0, 0]) == (0, 0)
    assert nearest_brain(codes, [6, 8]) == (1, 5)
    assert nearest_brain(codes, [9, 0]) == (3, 1)
    with pytest.raises(InputError, match="no brain"):
        nearest_brain(codes[2:3], [0, 0])
    with pytest.raises(InputError, match="shape"):
        nearest_brain(codes, [0, 0, 0])


def test_draws_from_the_prior_are_standard_normal_and_come_again_by_their_seed():
    draws = np.array([draw_from_prior(8, seed) for seed in range(2000)])
    assert np.array_equal(draw_from_prior(8, 3), draws[3])
    assert np.abs(draws.mean(axis=0)).max() < 4 / np.sqrt(2000)
    np.testing.assert_allclose(np.cov(draws.T), np.eye(8), atol=0.15)


def test_draws_like_the_population_have_its_mean_and_covariance(rng):
    mix = np.array([[1, 0.8, 0], [0, 0.6, 0], [0, 0, 0.01]])
    codes = rng.standard_normal((50, 3)) @ mix + [5, -1, 0]
    draws = np.array([draw_like_population(codes, seed) for seed in range(4000)])
    np.testing.assert_allclose(draws.mean(axis=0), codes.mean(axis=0), atol=0.08)
    scale = np.outer(codes.std(axis=0), codes.std(axis=0))
    np.testing.assert_allclose(np.cov(draws.T) / scale, np.cov(codes.T) / scale, atol=0.1)
    unusable = np.vstack([codes, np.full(3, np.nan)])
    assert np.array_equal(draw_like_population(unusable, 7), draws[7])
    with pytest.raises(InputError, match="two brains"):
        draw_like_population(codes[:1], 0)


def test_how_far_out_counts_the_brains_that_are_nearer():
    codes = np.column_stack([np.arange(-100, 101), np.zeros(201)])
    np.testing.assert_allclose(share_nearer(codes, [-50.5, 0]), [101 / 201, 0])
    assert how_far_out(codes, [50, 0]) == ""
    assert how_far_out(codes, [-99.5, 0]) == "F1 beyond 99 % of brains"
    assert how_far_out(codes, [101, 1]) == "F1, F2 beyond all brains"


def test_the_live_section_is_one_decode_and_its_change_is_from_what_was_told(model, brains):
    decoded = []
    plain = model._decode
    model._decode = lambda codes: decoded.append(codes) or plain(codes)
    mean, brain = Against(model, brains), Against(model, brains, 2)
    code = np.array([0.3, -2, 1.5], np.float32)
    for against, at in ((mean, [1, 0, 2]), (brain, brain_code(model, brains, 2))):
        generate(against, code)
        decoded.clear()
        made = generate(against, code)
        assert len(decoded) == 1
        assert np.array_equal(made.section, plain(code[None])[0])
        start = plain(np.asarray(at, np.float32)[None])[0]
        assert np.array_equal(made.change, made.section - start)
    zero = generate(brain, brain_code(model, brains, 2))
    assert not zero.change.any(), "the brain on show, as the model draws it"


def test_a_movie_is_the_line_between_two_brains_decoded(model, brains):
    told = []
    found = traversal(
        model, brains, PathOptions(from_brain="b1", to_brain="b4", steps=5),
        progress=lambda *each: told.append(each),
    )  # fmt: skip
    section = brains.prepared(model.header.preprocessing, [1, 4])
    ends = model.encode(section[:1])[0][0], model.encode(section[1:])[0][0]
    assert np.array_equal(found.codes, interpolate(*ends, 5))
    for code, drawn in zip(found.codes, found.sections, strict=True):
        assert np.array_equal(drawn, model.decode(code[None])[0])
    assert not found.changes[0].any()
    assert told == [(i, 5) for i in range(5)]
    for ids in (("b1", "b9"), ("no", "b1")):
        with pytest.raises(InputError, match=r"there is no brain '(b9|no)'"):
            traversal(model, brains, PathOptions(from_brain=ids[0], to_brain=ids[1]))


def test_one_section_is_held_against_the_mean_or_a_brain(model, brains):
    codes = [0.5, -1, 2]
    still = traversal(model, brains, PathOptions(factors=codes))
    assert np.array_equal(still.sections, model.decode([codes]))
    assert np.array_equal(still.reference, model.decode([[1, 0, 2]])[0])
    still = traversal(model, brains, PathOptions(factors=codes, against_brain="b3"))
    assert np.array_equal(still.reference, model.decode(brain_code(model, brains, 3)[None])[0])
    with pytest.raises(InputError, match="3 factors; --factors are 2"):
        traversal(model, brains, PathOptions(factors=[1, 2]))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"from_brain": "b1"}, "needs both"),
        ({"to_brain": "b1"}, "needs both"),
        ({"from_brain": "b1", "to_brain": "b2", "factors": [1]}, "are a movie"),
    ],
)
def test_options_that_contradict_each_other(asked, message):
    with pytest.raises(ValueError, match=message):
        PathOptions(**asked)
