"""Points as pixels: which are drawn, in which colour, and that none leaves the picture."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_brainvae.reporting.point_raster import cross, disc, draw_points, packed, ring, stamp


def drawn(places, mark, colours=None, shape=(20, 30)):
    picture = np.zeros(shape, np.uint32)
    places = np.array(places, np.intp).reshape(-1, 2)
    colours = np.full(len(places), 7, np.uint32) if colours is None else np.array(colours)
    stamp(picture, places, colours.astype(np.uint32), mark)
    return picture


def test_marks_by_hand():
    assert len(disc(1)) == 5 and len(disc(2)) == 13 and len(disc(0)) == 1
    assert len(ring(2, 1)) == 13 - 5
    assert {tuple(pixel) for pixel in cross(1, 1).tolist()} == {
        (-1, -1),
        (-1, 1),
        (0, 0),
        (1, -1),
        (1, 1),
    }


def test_a_point_is_drawn_where_it_is():
    rows, columns = drawn([[10, 20]], disc(2)).nonzero()
    assert (np.hypot(rows - 10, columns - 20) <= 2).all() and len(rows) == 13


def test_later_points_cover_earlier_ones():
    picture = drawn([[10, 10], [10, 11]], disc(1), [3, 5])
    assert picture[10, 10] == 5 and picture[10, 9] == 3


@given(st.lists(st.tuples(st.integers(-9, 30), st.integers(-9, 40)), max_size=8))
def test_at_the_edge_the_rest_is_left_out(places):
    mark = disc(2)
    expected = np.zeros((60, 70), np.uint32)
    for row, column in places:
        for r, c in mark:
            expected[20 + row + r, 20 + column + c] = 7
    assert np.array_equal(drawn(places, mark), expected[20:40, 20:50])


def test_all_planes_at_once_are_what_each_is_alone(rng):
    """Plain points first, hollow ones above them, crosses above all; unknown ones nowhere."""
    count, shape = 60, (40, 90)
    places = rng.uniform(2, 38, (2, 2, count))
    places[1, 0] += 45
    places[0, :, 5] = np.nan
    colours = rng.integers(0, 256, (count, 3), dtype=np.uint8)
    hollow, crossed = rng.random((2, count)) < 0.2
    drawn = draw_points(shape, places, colours, hollow, crossed, radius=2.0, line=1.0)
    expected, shades = np.zeros(shape, np.uint32), packed(colours)
    for x_of, y_of in places:
        for which, mark in (
            (~hollow & ~crossed, disc(2)),
            (hollow, ring(2, 1)),
            (crossed, cross(3, 1)),
        ):
            for i in np.flatnonzero(which & np.isfinite(x_of)):
                for row, column in mark + np.floor([y_of[i], x_of[i]]).astype(int):
                    if 0 <= row < shape[0] and 0 <= column < shape[1]:
                        expected[row, column] = shades[i]
    assert np.array_equal(drawn, expected)


def test_colours_as_qt_packs_them():
    assert hex(packed(np.array([[0x12, 0x34, 0x56]], np.uint8))[0]) == "0xff123456"
