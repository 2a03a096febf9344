"""Batches: what they explain, what ComBat takes out and keeps, and when they are the group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom

from napari_brainvae.io.errors import InputError
from napari_brainvae.statistics.batch import (
    combat,
    entanglement,
    entanglement_warning,
    variance_explained,
)


@pytest.fixture
def runs(rng):
    """90 brains of three runs, which shift and stretch eight codes; a group with an effect of 1."""
    batch = pd.Series(np.repeat(["r1", "r2", "r3"], 30), name="run")
    group = rng.integers(0, 2, 90).astype(float)
    values = rng.normal(size=(90, 8)) + group[:, None]
    values[30:60] = values[30:60] * 1.8 + 2
    values[60:] -= 1.5
    return values, batch, group[:, None]


def test_the_share_of_nothing_is_nothing_on_average(rng):
    batch = pd.Series(np.repeat(list("abcd"), 10), name="run")
    share, p = variance_explained(rng.normal(size=(40, 2000)), batch)
    assert abs(share.mean()) < 4 * share.std() / np.sqrt(2000)
    assert binom.ppf(0.001, 2000, 0.05) <= (p <= 0.05).sum() <= binom.ppf(0.999, 2000, 0.05)


def test_combat_takes_out_place_and_spread_and_keeps_the_group(runs):
    values, batch, group = runs
    before, _ = variance_explained(values, batch, group)
    harmonized = combat(values, batch, group)
    after, _ = variance_explained(harmonized, batch, group)
    assert before.min() > 0.3
    assert after.max() < 0.02
    inside = harmonized - group @ np.linalg.lstsq(group, harmonized, rcond=None)[0]
    spread = [inside[batch == run].std(axis=0).mean() for run in batch.unique()]
    assert max(spread) / min(spread) < 1.1
    kept = harmonized[group[:, 0] == 1].mean() - harmonized[group[:, 0] == 0].mean()
    # 720 values of spread 1.3 about an effect of 1, four standard errors.
    assert kept == pytest.approx(1, abs=4 * 1.3 * 2 / np.sqrt(720))


def test_combat_without_the_group_loses_it_where_batches_hold_more_of_one(rng):
    batch = pd.Series(np.repeat(["r1", "r2"], 50), name="run")
    group = np.concatenate([np.arange(50) < 10, np.arange(50) < 40]).astype(float)[:, None]
    values = rng.normal(size=(100, 6)) + group
    kept, lost = (
        np.mean(v[group[:, 0] == 1] - 0) - np.mean(v[group[:, 0] == 0])
        for v in (combat(values, batch, group), combat(values, batch))
    )
    assert kept > lost + 0.2


def test_batches_alike_are_left_nearly_alone(rng):
    values = rng.normal(size=(80, 8))
    batch = pd.Series(["a", "b"] * 40, name="run")
    assert np.abs(combat(values, batch) - values).max() < 0.6


def test_the_numbers_are_those_of_neurocombat():
    """As neuroCombat 0.2.12 gives them (parametric, with empirical Bayes)."""
    i = np.arange(36).reshape(12, 3)
    values = np.sin(1.7 * i) + np.outer(np.repeat([0, 1, -1], 4), [1, 2, 0.5]) * (1 + 0.1 * i)
    batch, group = pd.Series(np.repeat(["1", "2", "3"], 4), name="run"), np.tile([0, 1, 1, 0], 3)
    expected = [
        [-0.285556, 0.246183, -0.733226],
        [-0.195312, -0.390559, -0.753422],
        [-1.424617, -0.651962, 0.132164],
    ]
    assert_allclose(combat(values, batch, group[:, None])[[0, 5, 11]], expected, atol=2e-4)


def test_a_constant_factor_stays_so(runs):
    values, batch, group = runs
    values[:, 3] = 7.0
    assert_allclose(combat(values, batch, group)[:, 3], 7.0)


def test_one_factor_alone_is_harmonized_by_its_own_means(runs):
    values, batch, _ = runs
    harmonized = combat(values[:, :1], batch)
    assert_allclose(
        [harmonized[batch == b].mean() for b in ("r1", "r2", "r3")], values[:, 0].mean()
    )


@pytest.mark.parametrize(
    ("batch", "preserve", "sentence"),
    [
        (["a"] * 9 + ["b"], None, "run 'b' has one brain: ComBat needs two in a batch"),
        (["a", "b"] * 5, [[1.0], [0]] * 5, "what is to be preserved and run cannot be told apart"),
    ],
)
def test_what_combat_cannot_do_is_said(rng, batch, preserve, sentence):
    with pytest.raises(InputError, match=sentence):
        combat(rng.normal(size=(10, 3)), pd.Series(batch, name="run"), preserve)


@pytest.mark.parametrize(
    ("tested", "share", "words"),
    [
        ([1, 1, 0, 0] * 5, 0.0, ""),
        ([1, 0] * 10, 1.0, "cannot be told apart: no batch holds a difference in group"),
        ([1, 0] * 9 + [0, 1], 0.64, r"go together \(r = 0.80\)"),
    ],
)
def test_group_and_batch_that_go_together_are_warned_of(tested, share, words):
    batch = pd.Series(["x", "y"] * 10, name="day")
    assert entanglement(tested, batch) == pytest.approx(share)
    text = entanglement_warning("group", tested, batch)
    assert bool(text) == bool(words)
    assert not words or pd.Series([text]).str.contains(words).all()
