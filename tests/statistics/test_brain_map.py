"""The map of brains: closed forms of what is enclosed, nearest, and where groups lie."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_brainvae.statistics.brain_map import (
    OTHER,
    PALETTE,
    colour_brains,
    colour_columns,
    covariance_ellipse,
    ellipses_of_pairs,
    enclosed,
    hollow_and_crossed,
    nearest,
    number_columns,
    shades_of_numbers,
    simplified,
)

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4]]


def test_a_square_encloses_what_its_sides_bound(rng):
    points = rng.uniform(-2, 6, (500, 2))
    expected = ((points > 0) & (points < 4)).all(axis=1)
    assert np.array_equal(enclosed(points, SQUARE), expected)


def test_a_circle_encloses_what_is_within_its_radius(rng):
    angles = np.linspace(0, 2 * np.pi, 2000)
    circle = 3 * np.stack([np.cos(angles), np.sin(angles)], -1)
    points = rng.normal(0, 3, (500, 2))
    near_edge = abs(np.hypot(*points.T) - 3) < 1e-3
    within = enclosed(points, circle)
    assert np.array_equal(within[~near_edge], (np.hypot(*points.T) < 3)[~near_edge])
    coarse = simplified(circle, 0.05)
    assert len(coarse) < 50
    far = abs(np.hypot(*points.T) - 3) > 0.06
    assert np.array_equal(enclosed(points, coarse)[far], within[far])


def test_a_line_that_bends_inwards_leaves_out_its_bay():
    bay = [[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]]
    assert enclosed([[2, 3], [2, 0.5], [0.2, 3]], bay).tolist() == [False, True, True]


@given(st.integers(0, 2))
def test_fewer_than_three_corners_enclose_nothing(corners):
    assert not enclosed([[0, 0], [1, 1]], np.ones((corners, 2))).any()


def test_nowhere_is_not_enclosed_and_not_near():
    nowhere = [[np.nan, 1], [1, np.nan]]
    assert not enclosed(nowhere, SQUARE).any()
    assert nearest(nowhere, (1, 1), 9) is None
    assert nearest(np.empty((0, 2)), (1, 1), 9) is None


def test_the_nearest_within_reach():
    points = [[0, 0], [3, 4], [np.nan, 0]]
    assert nearest(points, (2.9, 4), 1) == 1
    assert nearest(points, (0, 2), 2) == 0, "the reach itself is within"
    assert nearest(points, (0, 2), 1.99) is None


def test_an_ellipse_holds_its_share_of_a_normal_distribution(rng):
    covariance = np.array([[4, 1.5], [1.5, 1]])
    points = rng.multivariate_normal([2, -1], covariance, 40_000)
    ellipse = covariance_ellipse(points)
    assert np.allclose(ellipse.mean, [2, -1], atol=0.05)
    assert np.allclose(ellipse.covariance, covariance, atol=0.1)
    for share in (0.5, 0.95):
        assert enclosed(points, ellipse.outline(share, 400)).mean() == pytest.approx(
            share, abs=0.005
        )


def test_every_point_of_the_outline_is_as_far_as_chi_squared_says():
    """Squared Mahalanobis distance of two dimensions: 5.991 holds 95 %, from any table."""
    ellipse = covariance_ellipse([[0, 0], [2, 1], [1, 5], [4, 2]])
    away = ellipse.outline() - ellipse.mean
    distance = np.einsum("ni,ij,nj->n", away, np.linalg.inv(ellipse.covariance), away)
    assert distance == pytest.approx(5.991, abs=1e-3)


def test_two_brains_have_no_ellipse_and_a_line_has_a_flat_one():
    assert covariance_ellipse([[0, 0], [1, 1], [np.nan, 2]]) is None
    flat = covariance_ellipse([[0, 0], [1, 1], [2, 2]]).outline()
    assert np.allclose(flat[:, 0], flat[:, 1])


def test_the_ellipses_of_all_pairs_are_those_of_each(rng):
    """Also where other rows are unknown in each column, and far from zero."""
    columns = rng.normal(1e6, [1, 3, 0.1, 5], (40, 4))
    columns[rng.random(columns.shape) < 0.2] = np.nan
    columns[2:, 3] = np.nan
    pairs = [(0, 1), (2, 1), (0, 3), (0, 0)]
    known, of_pairs = ellipses_of_pairs(columns, pairs)
    assert known.tolist() == [True, True, False, True]
    lines = of_pairs.outline(count=9)
    for index, pair in enumerate(pairs):
        points = columns[:, pair]
        points = points[np.isfinite(points).all(axis=1)]
        if known[index]:
            assert of_pairs.mean[index] == pytest.approx(points.mean(axis=0), rel=1e-12)
            assert of_pairs.covariance[index] == pytest.approx(np.cov(points.T), rel=1e-7)
            alone = covariance_ellipse(points).outline(count=9)
            assert lines[index] == pytest.approx(alone, rel=1e-9)


def test_groups_have_colours_by_name_and_those_unknown_are_grey():
    table = pd.DataFrame({"line": ["wt", "ko", "wt", "", None]})
    coloured = colour_brains(table, "line")
    assert [(g.name, g.colour, g.members.sum()) for g in coloured.groups] == [
        ("ko", PALETTE[0], 1),
        ("wt", PALETTE[1], 2),
        ("not known", OTHER, 2),
    ]
    hexes = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in coloured.colours]
    assert hexes == [PALETTE[1], PALETTE[0], PALETTE[1], OTHER, OTHER]


def test_the_largest_groups_have_colours_and_the_others_share_grey():
    names = [f"g{i}" for i in range(9) for _ in range(10 - i)]
    coloured = colour_brains(pd.DataFrame({"by": names}), "by")
    assert [group.name for group in coloured.groups] == [*(f"g{i}" for i in range(7)), "others"]
    assert sum(group.members for group in coloured.groups).tolist() == [1] * len(names)


def test_numbers_go_from_the_first_shade_to_the_last():
    coloured = colour_brains(pd.DataFrame({"age": [10.0, 20, np.nan, 15]}), "age")
    shades = shades_of_numbers()
    assert coloured.limits == (10, 20)
    assert coloured.colours[0].tolist() == shades[0].tolist()
    assert coloured.colours[1].tolist() == shades[-1].tolist()
    assert bytes(coloured.colours[2]).hex() == OTHER[1:]


def test_yes_and_no_are_said():
    coloured = colour_brains(pd.DataFrame({"flagged": [True, False, False]}), "flagged")
    assert [(g.name, g.members.sum()) for g in coloured.groups] == [("no", 2), ("yes", 1)]


def test_columns_that_tell_brains_apart():
    table = pd.DataFrame(
        {
            "F1": [0.1, 0.2, 0.3, 0.4],
            "constant": [1, 1, 1, 1],
            "sex": ["f", "m", "f", "m"],
            "id": ["a", "b", "c", "d"],
            "flagged": [False] * 4,
            "unusual": [True, False, False, False],
        }
    )
    assert number_columns(table) == ["F1"]
    assert colour_columns(table) == ["sex", "unusual", "F1"]
    hollow, crossed = hollow_and_crossed(table)
    assert hollow.sum() == 0 and crossed.tolist() == [True, False, False, False]
