"""Between layers and populations, without a window."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_brainvae.data.population import Population
from napari_brainvae.widgets.layers.section_layers import (
    add_quietly,
    population_layer,
    population_of,
    section_geometry,
    show_index,
    shown_index,
)


def test_a_layer_is_added_where_it_is_told_and_another_stays_active():
    viewer = ViewerModel()
    below, above = Image(np.zeros((4, 4))), Image(np.zeros((4, 4)))
    viewer.layers.extend([below, above])
    viewer.layers.selection.active = below
    new = Image(np.zeros((4, 4)))
    add_quietly(viewer, new, 1)
    assert list(viewer.layers) == [below, new, above]
    assert viewer.layers.selection.active is below


@pytest.mark.parametrize(
    ("index", "scale", "translate"), [(0, 1, 0), (5, 1, 0), (23, 1, 0), (5, 2.0, 100.0)]
)
def test_the_brain_on_show(population, index, scale, translate):
    viewer = ViewerModel()
    layer = viewer.add_image(
        np.zeros((24, 64, 80)), scale=(scale, 1, 1), translate=(translate, 0, 0)
    )
    viewer.dims.set_point(0, index * scale + translate)
    assert shown_index(layer, viewer.dims.point) == index
    show_index(viewer, layer, 5)
    assert shown_index(layer, viewer.dims.point) == 5
    viewer.add_image(np.zeros((2, 24, 64, 80)))  # with another axis before
    show_index(viewer, layer, index)
    assert shown_index(layer, viewer.dims.point) == index


def test_a_section_lies_exactly_on_its_stack():
    layer = Image(
        np.zeros((2, 100, 104)),
        scale=(1, 25, 25),
        translate=(0, 50, -75),
        units=("pixel", "um", "um"),
        axis_labels=("brain", "DV", "ML"),
    )
    part = Image(np.zeros((100, 100)), **section_geometry(layer, (100, 100)))
    # The model crops two columns on either side.
    assert np.allclose(part.data_to_world((7, 3)), layer.data_to_world((0, 7, 3 + 2))[1:])
    turned = Image(np.zeros((100, 104)), scale=(25, 25), rotate=30, translate=(5, 6))
    part = Image(np.zeros((100, 100)), **section_geometry(turned, (100, 100)))
    assert np.allclose(part.data_to_world((7, 3)), turned.data_to_world((7, 5)))


def test_a_population_without_a_pixel_size_is_in_pixels(rng):
    _, options, _ = population_layer(Population(rng.uniform(1, 2, (3, 64, 64))), "x")
    assert options["units"] == ("pixel",) * 3
    assert options["scale"] == (1, 1, 1)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Image(np.zeros((4, 5, 3)), rgb=True), "colour"),
        (Image(np.zeros((2, 3, 4, 5))), "4 axes"),
        (Image([np.zeros((3, 8, 8)), np.zeros((3, 4, 4))], multiscale=True), "multiscale"),
    ],
)
def test_layers_that_are_no_population(layer, message):
    with pytest.raises(ValueError, match=message):
        population_of(layer)


@pytest.mark.parametrize("shape", [(64, 80), (3, 64, 80)])
def test_a_layer_is_one_population_as_long_as_its_data_are(shape):
    """Else whoever keeps what belongs to a population would do everything anew each time."""
    layer = Image(np.ones(shape, np.float32))
    population = population_of(layer)
    layer.name, layer.scale = "mice", (2,) * len(shape)
    assert population_of(layer) is population
    layer.data = np.zeros(shape, np.float32)
    assert population_of(layer) is not population
    assert not population_of(layer).images[0].any()


def test_pixels_that_replace_those_of_a_file_are_seen(population):
    data, options, _ = population_layer(population, "mice")
    layer = Image(data, **options)
    assert population_of(layer) is population
    layer.data = smoothed = population.sections() / 2
    assert population_of(layer).images is smoothed
    assert population_of(layer).ids == population.ids, "of the same brains"
    assert population_of(layer).description == population.description
    layer.data = smoothed[:5]
    assert population_of(layer).ids == [f"{i:04d}" for i in range(5)], "nobody knows which"
    layer.data = data
    assert population_of(layer) is population


def test_nothing_is_kept_of_a_layer_that_is_gone():
    layer = Image(np.ones((3, 64, 80)))
    population = weakref.ref(population_of(layer))
    del layer
    gc.collect()
    assert population() is None
