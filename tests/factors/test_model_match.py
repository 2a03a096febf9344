"""Planted partners of factors: those of a model that was turned, and of one with fewer."""

from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.factors.model_match import match_factors
from napari_brainvae.io.errors import InputError


@pytest.fixture
def codes(rng):
    return rng.standard_normal((60, 5))


@pytest.fixture
def fields(rng):
    return rng.standard_normal((5, 64, 80)).astype(np.float32)


def test_a_permuted_and_sign_flipped_copy_matches_at_one(codes, fields, rng):
    order, signs = rng.permutation(5), np.array([1, -1, -1, 1, -1])
    found = match_factors(
        codes, (codes * signs)[:, order], fields, (fields * signs[:, None, None])[order]
    )
    table = found.table()
    partner = {f"F{order[b] + 1}": f"F{b + 1}" for b in range(5)}
    assert dict(zip(table["factor_a"], table["factor_b"], strict=True)) == partner
    assert list(table["by_fields"]) == list(table["factor_b"])
    sign = table["factor_a"].map({f"F{i + 1}": s for i, s in enumerate(signs)})
    np.testing.assert_allclose(table["correlation"], sign, atol=1e-12)
    np.testing.assert_allclose(table["cosine"], sign, atol=1e-6)
    assert list(table["said"]) == ["turned round" if s < 0 else "" for s in sign]


def test_a_turned_copy_is_found_where_axes_still_agree(codes):
    """Two factors mixed by 10 degrees: the correlation is the angle's cosine."""
    a = codes - codes.mean(axis=0)
    a = np.linalg.qr(a)[0]  # uncorrelated, of one variance
    turn = np.deg2rad(10)
    b = a.copy()
    b[:, 0] = np.cos(turn) * a[:, 0] + np.sin(turn) * a[:, 1]
    b[:, 1] = np.cos(turn) * a[:, 1] - np.sin(turn) * a[:, 0]
    table = match_factors(a, b).table()
    assert list(table["factor_a"]) == list(table["factor_b"])
    np.testing.assert_allclose(table["correlation"], [1, 1, 1, *[np.cos(turn)] * 2], atol=1e-12)
    assert list(table["cosine"].isna()) == [True] * 5, "no fields were given"


def test_what_has_no_partner_is_said_of_either_model(codes):
    fewer = codes[:, [3, 0]]
    table = match_factors(codes, fewer).table()
    pairs = list(zip(table["factor_a"], table["factor_b"], strict=True))
    assert set(pairs[:2]) == {("F4", "F1"), ("F1", "F2")}
    assert pairs[2:] == [("F2", ""), ("F3", ""), ("F5", "")]
    assert all(said.startswith("only in A, most like F") for said in table["said"][2:])
    assert table["correlation"][2:].isna().all()
    table = match_factors(fewer, codes).table()
    assert list(table["factor_b"][2:]) == ["F2", "F3", "F5"]
    assert all(said.startswith("only in B, most like F") for said in table["said"][2:])


def test_codes_and_fields_that_disagree_are_both_told(codes, fields):
    table = match_factors(codes, codes, fields, fields[[1, 0, 2, 3, 4]]).table()
    said = dict(zip(table["factor_a"], table["said"], strict=True))
    assert said == {"F1": "by its field F2", "F2": "by its field F1", "F3": "", "F4": "", "F5": ""}


def test_strangers_are_hardly_alike_and_collapsed_factors_like_nothing(codes, rng):
    other = rng.standard_normal((60, 5))
    other[:, 2] = 0.25
    found = match_factors(codes, other)
    assert not found.correlations[:, 2].any()
    assert {"hardly alike"} == set(found.table()["said"])


def test_fields_of_other_sizes_leave_the_codes(codes, fields):
    found = match_factors(codes, codes, fields, fields[:, :60])
    assert np.isnan(found.cosines).all()
    np.testing.assert_allclose(found.table()["correlation"], 1)


def test_brains_that_either_model_lacks_are_left_out(codes):
    some, others = codes.copy(), codes.copy()
    some[3], others[7] = np.nan, np.nan
    np.testing.assert_allclose(np.diag(match_factors(some, others).correlations), 1)
    with pytest.raises(InputError, match="2 brains can be used by both"):
        match_factors(codes[:2], codes[:2])
    with pytest.raises(InputError, match="not of the same brains"):
        match_factors(codes, codes[1:])
