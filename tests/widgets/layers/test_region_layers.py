"""From shapes and structures to masks, on a bare layer."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Shapes

from napari_brainvae.atlas.regions import Region, polygons_to_mask
from napari_brainvae.widgets.layers.region_layers import shapes_in_pixels
from napari_brainvae.widgets.layers.section_layers import (
    section_geometry,
)
from tests.widgets.windows import RECTANGLE

STACKS = {
    "plain": {},
    "25 um with an offset": {"scale": (1, 25, 25), "translate": (0, 1000, -300)},
    "flipped": {"scale": (1, 25, -25), "translate": (0, 0, 2000)},
    "turned": {"scale": (1, 25, 25), "rotate": 30, "translate": (3, 4, 5)},
    "affine": {"affine": [[1, 0, 0, 0], [0, 2, 0.5, 7], [0, 0, 3, -9], [0, 0, 0, 1]]},
}
LAYERS = {
    "as the sections": None,
    "plain": {},
    "25 um with an offset": {"scale": (25, 25), "translate": (-40, 70)},
    "flipped and turned": {"scale": (-2, 0.5), "rotate": 70},
    "on one brain of the stack": {"ndim": 3},
}


def drawn_on(sections, vertices, kind, **layer) -> Shapes:
    """A Shapes layer that shows ``vertices``, given in the pixels of the sections."""
    shapes = Shapes(ndim=layer.pop("ndim", 2), **layer)
    world = [sections.data_to_world((1, *vertex)) for vertex in vertices]
    shapes.add([shapes.world_to_data(point[-shapes.ndim :]) for point in world], shape_type=kind)
    return shapes


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("stack", STACKS)
def test_a_region_is_where_it_was_drawn(stack, layer):
    sections = Image(np.zeros((3, 60, 84)), **STACKS[stack])
    options = LAYERS[layer]
    if options is None:
        options = section_geometry(sections, (60, 84))
    shapes = drawn_on(sections, RECTANGLE, "polygon", **options)
    # The model crops two columns on either side.
    mask = polygons_to_mask(shapes_in_pixels(shapes, sections, (60, 80)), (60, 80))
    expected = np.zeros((60, 80), bool)
    expected[10:31, 20 - 2 : 41 - 2] = True
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize(
    ("kind", "area"),
    [
        ("rectangle", 21 * 21),
        ("polygon", 21 * 21),
        ("path", 21 * 21),
        ("ellipse", np.pi / 4 * 20.8**2),
        ("line", 0),
    ],
)
def test_every_kind_of_shape(kind, area):
    sections = Image(np.zeros((60, 80)), scale=(25, 25))
    vertices = RECTANGLE[:2] if kind == "line" else RECTANGLE
    shapes = drawn_on(sections, vertices, kind, scale=(5, 5))
    mask = polygons_to_mask(shapes_in_pixels(shapes, sections, (60, 80)), (60, 80))
    assert mask.sum() == pytest.approx(area, rel=0.02)


def test_several_shapes_are_one_region_and_what_lies_outside_is_cut_off():
    sections = Image(np.zeros((60, 80)))
    shapes = drawn_on(sections, RECTANGLE, "rectangle")
    shapes.add(RECTANGLE + 10, shape_type="rectangle")
    shapes.add(RECTANGLE + np.array([40, 50]), shape_type="rectangle")
    mask = polygons_to_mask(shapes_in_pixels(shapes, sections, (60, 80)), (60, 80))
    assert mask.sum() == 2 * 21**2 - 11**2 + 10 * 10


def test_a_region_file_lies_on_sections_of_another_size():
    region = Region.from_polygons("r", [RECTANGLE], (60, 80), 25.0)
    [outline] = region.placed((30, 44), 50.0)
    mask = polygons_to_mask([outline], (30, 44))
    assert np.array_equal(mask, region.to_mask((30, 44), 50.0))
