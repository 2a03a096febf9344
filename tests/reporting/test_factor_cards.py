"""Cards of factors as figures: what is drawn of what, marked on both sides and with a length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from matplotlib.collections import LineCollection
from matplotlib.path import Path
from matplotlib.quiver import Quiver

from napari_brainvae.factors.cards import factor_cards
from napari_brainvae.factors.field_colours import MOST_OPAQUE, signed_overlay
from napari_brainvae.phantom.phantom import FACTORS, Phantom, PhantomOptions, draw_section
from napari_brainvae.reporting.export import write_card_maps
from napari_brainvae.reporting.factor_cards import (
    BRIGHTER,
    DARKER,
    draw_cards,
    factor_card,
)
from napari_brainvae.reporting.section_axes import readable_labels
from tests.linear_model import LinearModel
from tests.reporting.paper import assert_fit_for_paper

SECTION = draw_section(64, 80)
TREE, LABELS = SECTION.tree, SECTION.annotation


@pytest.fixture(scope="module")
def cards():
    """One of brightness, HPF, and one of displacement, cortical thickness."""
    phantom = Phantom(SECTION, PhantomOptions(height=64, width=80))
    steps = np.eye(len(FACTORS))[[FACTORS.index("HPF"), FACTORS.index("cortical thickness")]]
    changes = np.stack([(phantom.anatomy(s) - phantom.anatomy(-s)) / 2 for s in steps])
    model = LinearModel(changes, offset=SECTION.template)
    return factor_cards(model, labels=LABELS, tree=TREE, pixel_size_um=SECTION.pixel_size_um)


def texts(figure):
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [*found, *(text.get_text() for text in figure.texts)]


def panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title() == title)


def collections(axes, kind):
    return [each for each in axes.collections if isinstance(each, kind)]


def test_a_card_shows_three_sections_the_change_and_its_parts(cards):
    figure = factor_card(cards[0], labels=LABELS, tree=TREE)
    titles = {axes.get_title() for axes in figure.axes}
    assert {"-2 SD", "mean", "+2 SD", "change per SD", "brightness"} <= titles
    shown = [panel(figure, title).images[0] for title in ("-2 SD", "mean", "+2 SD")]
    for image, section in zip(shown, cards[0].sections, strict=True):
        assert np.array_equal(image.get_array(), section)
    # On one grey scale, or they could not be compared.
    assert len({image.get_clim() for image in shown}) == 1
    assert cards[0].description.sentence in texts(figure)


def test_every_section_is_marked_left_right_and_with_a_length(cards):
    """80 px of 140 um are 11.2 mm, a fifth of which is 2.24."""
    figure = factor_card(cards[0])
    found = texts(figure)
    assert [found.count(text) for text in ("L", "R", "2 mm")] == [5, 5, 5]
    told = texts(factor_card(cards[0], plane=286, about="beta-VAE"))
    assert told.count("plane 286") == 5
    assert any("beta-VAE" in text for text in told)
    (bar,) = panel(figure, "mean").lines
    assert np.ptp(bar.get_xdata()) * SECTION.pixel_size_um == pytest.approx(2000)
    unknown = replace(cards[0], parts=replace(cards[0].parts, pixel_size_um=None))
    assert not panel(factor_card(unknown), "mean").lines


def test_what_is_a_small_part_of_the_change_is_told_but_not_drawn(cards):
    bright, moved = (factor_card(card) for card in cards)
    assert not collections(panel(bright, "brightness"), Quiver)
    (arrows,) = collections(panel(moved, "displacement"), Quiver)
    assert len(panel(moved, "displacement").images) == 1
    # Arrows point where tissue goes, and rows run down.
    columns, rows = arrows.XY.round().astype(int).T
    assert np.allclose(arrows.U, cards[1].parts.displacement[1, rows, columns])
    assert np.allclose(arrows.V, cards[1].parts.displacement[0, rows, columns])
    assert any("% displacement" in text for text in texts(bright))


def test_only_a_factor_that_does_not_replicate_is_framed(cards):
    for replicated, width in ((None, 0), (True, 0), (False, 3)):
        halves = None if replicated is None else (3, 20)
        told = replace(cards[0].description, replicated=replicated, similarity=0.5, halves=halves)
        figure = factor_card(replace(cards[0], description=told))
        assert figure.patch.get_linewidth() == width
        assert any("not replicated" in text for text in texts(figure)) == (replicated is False)


def test_a_card_fits_a_page_and_can_be_read(cards):
    """As much as there is ever to say, and sections that are wide or high."""
    about = "beta-VAE of the second batch, codes of 1,234 brains"
    known = {"lowest": ("mouse-number-1234",) * 3, "highest": ("mouse-number-5678",) * 3}
    for card in cards:
        said = {"similarity": 0.5, "halves": (3, 20), "covariates": ("sex", "age_days"), "kl": 1.2}
        told = replace(card.description, replicated=False, **said, **known)
        card = replace(card, change=card.change / 137)  # of which a scale has many digits
        figure = factor_card(
            replace(card, description=told), labels=LABELS, tree=TREE, plane=286, about=about
        )
        assert_fit_for_paper(figure)


def test_named_structures_are_outlined_but_not_over_the_change(cards):
    figure = factor_card(cards[0], labels=LABELS, tree=TREE)
    change, parts = (
        collections(panel(figure, title), LineCollection)
        for title in ("change per SD", "brightness")
    )
    assert (len(change), len(parts)) == (1, 2)
    region = TREE.within(LABELS, "HPF")
    rows, columns = np.indices(region.shape)
    inside = sum(
        Path(line).contains_points(np.c_[columns.ravel(), rows.ravel()]).reshape(region.shape)
        for line in parts[1].get_segments()
    )
    assert ((inside % 2 == 1) == region).mean() > 0.995


def test_facts_name_the_brains_at_both_ends_and_what_goes_with_it(cards):
    told = replace(cards[0].description, lowest=("a", "b"), highest=("z",), covariates=("age",))
    told = replace(told, kl=1.5)
    (facts,) = (
        text for text in texts(factor_card(replace(cards[0], description=told))) if "KL" in text
    )
    for fact in ("KL divergence 1.50 nats", "lowest in a, b", "highest in z", "goes with age"):
        assert fact in facts


def test_colours_have_the_sign_and_nothing_is_transparent():
    values = np.array([[-2.0, -1.0, 0.0, 0.5, 1.0]])
    colours = signed_overlay(values, 1.0)
    assert np.allclose(colours[0, :, 3], MOST_OPAQUE * np.array([1, 1, 0, 0.5, 1]))
    assert np.allclose(colours[0, [0, 4], :3], [DARKER, BRIGHTER])
    inside = np.array([[True, False, True, True, False]])
    assert np.array_equal(signed_overlay(values, 1.0, inside)[..., 3] > 0, inside & (values != 0))


def test_small_structures_join_their_parents():
    joined = readable_labels(LABELS, TREE)
    assert np.array_equal(joined > 0, LABELS > 0)
    tissue = (LABELS > 0).sum()
    for key in np.unique(LABELS[LABELS > 0]).tolist():
        here = set(joined[key == LABELS].tolist())
        assert len(here) == 1
        assert here <= set(TREE.structure(key).path)
        if (key == LABELS).sum() >= 0.01 * tissue:
            assert here == {key}


def test_cards_have_the_names_of_their_factors(cards):
    assert list(draw_cards(cards)) == ["factor_F1", "factor_F2"]


def test_maps_are_written_with_their_names(cards, tmp_path):
    write_card_maps(tmp_path / "c.ome.tif", cards, 140.0, {})
    with tifffile.TiffFile(tmp_path / "c.ome.tif") as tif:
        maps = tif.asarray()
        image = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
    assert maps.shape == (2, 4, 64, 80)
    for card, (change, brightness, *displacement) in zip(cards, maps, strict=True):
        assert np.array_equal(change, card.change)
        assert np.array_equal(brightness, card.parts.brightness)
        assert np.array_equal(displacement, card.parts.displacement)
    assert image["Pixels"]["Channel"][0]["Name"] == "signed change"
