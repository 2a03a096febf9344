"""A choice among layers that says when the chosen one is not what it was."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_brainvae.widgets.panels.layer_choice import LayerChoice
from tests.listeners import callbacks

ALTERED = {
    "data": np.ones((3, 8, 10)),
    "scale": (1, 2, 2),
    "translate": (0, 5, 5),
    "rotate": 30,
    "shear": (0.1, 0, 0),
    "affine": np.diag([1, 2, 2, 1]),
    "units": ("pixel", "um", "um"),
}


@pytest.mark.parametrize("how", ALTERED)
def test_it_says_when_the_chosen_layer_is_altered(qtbot, how):
    viewer = ViewerModel()
    other, chosen = (viewer.add_image(np.zeros((3, 8, 10)), name=name) for name in ("a", "b"))
    before = callbacks(viewer)
    choice, told = LayerChoice(viewer, "sections", "sections"), []
    choice.altered.connect(lambda: told.append(choice.layer))
    assert choice.layer is chosen
    setattr(other, how, ALTERED[how])
    assert told == []
    setattr(chosen, how, ALTERED[how])
    assert told == [chosen]
    choice.release()
    assert callbacks(viewer) == before


@pytest.fixture
def two(qtbot):
    """Two layers of sections, the second chosen, the first of them hidden; and the choice."""
    viewer = ViewerModel()
    layers = [viewer.add_image(np.zeros((3, 8, 10)), name=name) for name in ("a", "b")]
    layers[0].visible = False
    choice = LayerChoice(viewer, "sections", "sections")
    yield viewer, layers, choice
    choice.release()


def test_sections_that_are_picked_are_seen_in_the_place_of_the_others(two):
    _, (other, chosen), choice = two
    choice.native.activated.emit(0)
    assert choice.layer is other and other.visible and not chosen.visible
    choice.native.activated.emit(1)
    assert choice.layer is chosen and chosen.visible and not other.visible


def test_sections_that_are_picked_stay_hidden_where_none_were_seen(two):
    _, (other, chosen), choice = two
    chosen.visible = False
    choice.native.activated.emit(0)
    assert choice.layer is other and not other.visible and not chosen.visible


def test_sections_are_seen_that_are_left_once_others_are_removed(two):
    viewer, (other, chosen), choice = two
    viewer.layers.remove(chosen)
    assert choice.layer is other and other.visible
    assert chosen.visible, "as it was, if it is put back"
