"""Names of places: the coarsest structures that hold a map, sides, and places without an atlas."""

from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.factors.naming import name_place
from napari_brainvae.io.errors import InputError
from napari_brainvae.phantom.phantom import draw_section

SECTION = draw_section(96, 128)
TREE, LABELS = SECTION.tree, SECTION.annotation
LEFT = 2 * np.arange(128) + 1 <= 128


def within(*names):
    return np.any([TREE.within(LABELS, name) for name in names], axis=0).astype(float)


def named(weights):
    place = name_place(weights, LABELS, TREE)
    return place.name, [TREE.structure(key).acronym for key in place.structures]


@pytest.mark.parametrize(
    ("weights", "name", "acronyms"),
    [
        (within("HPF"), "hippocampal formation", ["HPF"]),
        # A part of it alone.
        (within("CA1"), "field CA1", ["CA1"]),
        # All of it, with a little around: that is not worth another name.
        (within("TH") + 0.005, "thalamus", ["TH"]),
        # Two that are far apart, the one that holds more first.
        (
            0.6 * within("HY") / within("HY").sum() + 0.4 * within("RSP") / within("RSP").sum(),
            "hypothalamus and retrosplenial area",
            ["HY", "RSP"],
        ),
        (within("HPF") * LEFT, "left hippocampal formation", ["HPF"]),
        (within("HPF") * ~LEFT, "right hippocampal formation", ["HPF"]),
        # Everywhere alike.
        (within("root"), "whole section", []),
        (np.zeros(LABELS.shape), "whole section", []),
    ],
)
def test_a_map_has_the_name_of_the_coarsest_structures_that_hold_it(weights, name, acronyms):
    assert named(weights) == (name, acronyms)


def test_of_a_structure_and_its_only_part_the_coarser_is_named():
    """In a plane where the striatum is all there is of the cerebral nuclei, both hold the same."""
    only = np.where(TREE.within(LABELS, "CNU"), TREE.structure("CP").id, LABELS)
    place = name_place(TREE.within(only, "CP"), only.astype(np.uint32), TREE)
    assert place.name == "cerebral nuclei"


def test_what_lies_outside_the_tissue_does_not_count():
    assert named(within("HPF") + 100 * (LABELS == 0)) == named(within("HPF"))


def test_enrichment_is_share_less_area_less_the_cost_of_a_name():
    place = name_place(within("HPF"), LABELS, TREE)
    area = within("HPF").sum() / (LABELS > 0).sum()
    assert place.enrichment == pytest.approx(1 - area - 0.1)


def test_structures_named_do_not_overlap_and_no_other_set_of_their_parts_is_worth_more(rng):
    for _ in range(20):
        weights = rng.random(LABELS.shape) ** 8 * within(*rng.choice(["HPF", "TH", "cc"], 2))
        place = name_place(weights, LABELS, TREE)
        paths = [set(TREE.structure(key).path[:-1]) for key in place.structures]
        assert not any(set(place.structures) & path for path in paths)
        alone = [
            weights[mask].sum() / weights[LABELS > 0].sum() - mask.sum() / (LABELS > 0).sum() - 0.1
            for mask in (TREE.within(LABELS, each.id) for each in TREE)
        ]
        assert place.enrichment >= max(alone) - 1e-9


def test_without_an_atlas_the_place_is_said_in_per_cent():
    weights = np.zeros((100, 200))
    weights[20:40, 30:50] = 1
    assert name_place(weights).name == "22 to 38 % of the height, 16 to 24 % of the width"
    assert name_place(weights).side == "left"
    both = weights + weights[:, ::-1]
    name = "22 to 38 % of the height, 16 to 24 % of the width from either side"
    assert (name_place(both).name, name_place(both).side) == (name, "both")


@pytest.mark.parametrize(
    ("weights", "labels", "message"),
    [
        (np.full(LABELS.shape, np.nan), LABELS, "finite"),
        (-within("HPF"), LABELS, "not negative"),
        (np.ones((2, *LABELS.shape)), LABELS, r"\(H, W\)"),
        (np.ones((64, 64)), LABELS, "the labels are"),
        (within("HPF"), np.zeros_like(LABELS), "no structure"),
    ],
)
def test_what_cannot_be_named_is_refused(weights, labels, message):
    with pytest.raises(InputError, match=message):
        name_place(weights, labels, TREE)
