"""How many factors to ask for: as many as were planted, from few splits; none where none are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from napari_brainvae.data.population import Population
from napari_brainvae.factors import suggestion
from napari_brainvae.factors.stability import SplitHalves
from napari_brainvae.factors.suggestion import SPLITS, Suggestion, suggest_latent_dim
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Stopped
from tests.factors.test_stability import BRAINS, PLANTED, SHAPE, planted, section


@pytest.mark.parametrize("seed", range(3))
def test_as_many_are_suggested_as_were_planted(seed, monkeypatch):
    monkeypatch.setattr(suggestion, "MOST_FACTORS", PLANTED + 1)  # up to 12: minutes, and the same
    found = suggest_latent_dim(Population(planted(seed)[0]), seed=seed)
    assert found.latent_dim == PLANTED == max(found.replicated.values())
    assert found.sentence.startswith(f"6 of 6 come again in halves of {BRAINS} brains, divided 4 ")


def test_noise_suggests_nothing(monkeypatch):
    monkeypatch.setattr(suggestion, "MOST_FACTORS", 3)
    noise = np.random.default_rng(0).standard_normal((60, *SHAPE))
    found = suggest_latent_dim(Population(np.clip(1 + section() + 0.03 * noise, 0, None)))
    assert not any(found.replicated.values())
    assert found.sentence.startswith("Of 1 to 3 factors none comes again in halves of 60 brains")


def test_what_was_fitted_to_a_half_serves_again_and_changes_nothing():
    halves = SplitHalves(planted(0, 60)[0], 2)
    for count in range(1, 6):
        alone = SplitHalves(planted(0, 60)[0], 2).measure(count)
        assert (halves.measure(count).half_similarity == alone.half_similarity).all()


def test_it_tells_of_each_split_and_stops_at_the_next():
    told = []

    def progress(done, total):
        told.append((done, total))
        return len(told) < 7

    with pytest.raises(Stopped):
        suggest_latent_dim(Population(planted(0, 60)[0]), smoothing=0.0, progress=progress)
    assert len(told) == 7  # the last of them in the second number of factors
    assert told[:SPLITS] == [(i + 1, SPLITS * 650) for i in range(SPLITS)]
    assert all(a < b for (a, _), (b, _) in pairwise(told))


def test_too_few_brains():
    with pytest.raises(InputError, match="4 brains cannot be split in halves"):
        suggest_latent_dim(Population(planted(0, 4)[0]))


def test_the_least_number_of_those_that_are_as_good():
    assert Suggestion({1: 1, 2: 2, 3: 2, 4: 1}, 40, 3).latent_dim == 2
    assert "40 brains, divided 3 times" in Suggestion({1: 1}, 40, 3).sentence
