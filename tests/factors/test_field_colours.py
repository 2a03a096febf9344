"""The colours of a factor's pictures say what they are said to say."""

from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.factors.field_colours import (
    BRIGHTER,
    DARKER,
    MOST_OPAQUE,
    change_limit,
    mixed_hues,
    signed_overlay,
    signed_panel,
)
from napari_brainvae.factors.projective_field import HUES, compose_rgb


def test_a_change_is_transparent_where_nothing_happens_and_coloured_by_its_sign():
    values = np.array([[-2.0, -0.5, 0.0, 0.5, 2.0]])
    colors = signed_overlay(values, 1.0)[0]
    assert np.allclose(
        colors[:, 3], [MOST_OPAQUE, MOST_OPAQUE / 2, 0, MOST_OPAQUE / 2, MOST_OPAQUE]
    )
    assert np.allclose(colors[:2, :3], DARKER) and np.allclose(colors[3:, :3], BRIGHTER)


def test_a_picture_that_stands_alone_is_the_grey_section_where_nothing_changes():
    section = np.full((20, 20), 0.5, np.float32)
    change = np.zeros((20, 20), np.float32)
    change[:10] = 0.1
    assert change_limit(change) == pytest.approx(0.1)
    borders = np.zeros((20, 20), bool)
    borders[15] = True
    picture = signed_panel(change, section, 1.0, borders)
    assert (picture[..., 3] == 255).all()
    assert (picture[12, :, :3] == 127).all(), "grey"
    assert (picture[5, :, 0] > picture[5, :, 2]).all(), "brighter is red"
    assert (picture[15, :, :3] > 127).all() and (picture[15, :, :3] < 160).all(), "a faint line"


def test_every_mixture_of_the_parts_has_a_colour_of_its_own_which_the_map_shows():
    mixtures = mixed_hues()
    assert len({parts for parts, _ in mixtures}) == 2 ** len(HUES) - 1
    assert [color for _, color in mixtures[: len(HUES)]] == list(HUES.values())
    for parts, color in mixtures:
        maps = np.array(parts, float)[:, None, None].repeat(2, axis=2)
        assert np.allclose(compose_rgb(maps, np.ones(3))[0, 0], color)
    colors = np.array([color for _, color in mixtures])
    apart = np.abs(colors[:, None] - colors[None]).max(axis=-1)
    assert (apart[~np.eye(len(colors), dtype=bool)] >= 0.5).all(), "told apart"
