"""Factors in sentences: planted truth, what is told of what, the table that other programs read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.factors.cards import factor_cards
from napari_brainvae.factors.description import describe_factors, factor_table
from napari_brainvae.factors.shape_and_brightness import ShapeAndBrightness
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.header import Stability
from napari_brainvae.phantom.phantom import FACTORS, Phantom, PhantomOptions, draw_section
from tests.linear_model import LinearModel, reference

SECTION = draw_section(96, 128)
TREE, LABELS = SECTION.tree, SECTION.annotation
PLANTED = {
    "SSp": "primary somatosensory area, 12 % brighter",
    "RSP": "retrosplenial area, 12 % brighter",
    "HPF": "hippocampal formation, 12 % brighter",
    "TH": "thalamus, 12 % brighter",
    "HY": "hypothalamus, 12 % brighter",
}


def parts(displacement=(0.0, 0.0), brightness=0.0, shares=(0.0, 1.0), opposite=0.0, pixel=25.0):
    """A decomposition that is the same everywhere."""
    field = np.broadcast_to(np.reshape(displacement, (2, 1, 1)), (2, *LABELS.shape))
    return ShapeAndBrightness(
        displacement=field.astype(np.float32),
        brightness=np.full(LABELS.shape, brightness, np.float32),
        displacement_share=shares[0],
        brightness_share=shares[1],
        residual_share=1 - sum(shares) if any(shares) else 0.0,
        displacement_peak=float(np.hypot(*displacement)),
        brightness_peak=brightness,
        opposite_peak=opposite,
        pixel_size_um=pixel,
    )


def change(**at):
    return sum(value * TREE.within(LABELS, key) for key, value in at.items()).astype(np.float32)


def described(changes, decompositions, atlas=True, stability=None, **more):
    known = reference([0] * len(changes), [1] * len(changes))
    model = LinearModel(np.stack(changes), reference=known)
    model.header.stability = stability
    more |= {"labels": LABELS, "tree": TREE} if atlas else {}
    return describe_factors(model, np.stack(changes), decompositions, **more)


@pytest.fixture(scope="module")
def cards():
    """Of a model whose factors are the planted ones."""
    phantom = Phantom(SECTION, PhantomOptions(height=96, width=128))
    steps = np.eye(len(FACTORS))
    changes = np.stack([(phantom.anatomy(s) - phantom.anatomy(-s)) / 2 for s in steps])
    model = LinearModel(changes, offset=SECTION.template)
    found = factor_cards(model, labels=LABELS, tree=TREE, pixel_size_um=SECTION.pixel_size_um)
    return dict(zip(FACTORS, found, strict=True))


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_brightness_is_said_with_its_region_and_its_size(cards, planted):
    number = FACTORS.index(planted) + 1
    assert cards[planted].description.sentence == f"F{number}: {PLANTED[planted]} per SD"


@pytest.mark.parametrize(
    ("planted", "name"),
    [("cortical thickness", "isocortex"), ("ventricle size", "ventricular systems")],
)
def test_a_planted_shape_is_said_with_what_becomes_larger(cards, planted, name):
    told = cards[planted].description
    assert (told.name, told.direction, told.side) == (name, "larger", "both")
    size = float(f"{told.displacement_um:.2g}")
    expected = f"{told.factor}: {name}, larger, displaced by up to {size:g} µm per SD"
    assert told.sentence.startswith(expected)


def test_a_card_holds_the_sections_at_two_deviations(cards):
    card = cards["HPF"]
    assert np.allclose(card.sections[2] - card.sections[0], 4 * card.change, atol=1e-6)
    assert np.allclose(card.sections[1], SECTION.template, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "found", "sentence"),
    [
        (change(HPF=1), parts(brightness=0.153), "F1: hippocampal formation, 15 % brighter per SD"),
        (change(HPF=-1), parts(brightness=-0.153), "F1: hippocampal formation, 15 % darker per SD"),
        (
            change(HPF=1, HY=-0.9),
            parts(brightness=0.1, opposite=-0.09),
            "F1: hippocampal formation, 10 % brighter per SD (hypothalamus, 9 % darker)",
        ),
        (
            change(HPF=1),
            parts((0, 1.2), 0.1, shares=(0.3, 0.7)),
            "F1: hippocampal formation, 10 % brighter per SD, and displaced by up to 30 µm",
        ),
        # What moves as one becomes neither larger nor smaller.
        (
            change(Isocortex=1),
            parts((0, 2.2), 0.01, shares=(0.95, 0.05)),
            "F1: whole section, displaced by up to 55 µm per SD",
        ),
        (
            change(Isocortex=1),
            parts((0, 2.2), -0.1, shares=(0.7, 0.3), pixel=None),
            "F1: whole section, displaced by up to 2.2 px per SD, and up to 10 % darker",
        ),
        (change(HPF=0), parts(shares=(0.0, 0.0)), "F1: changes nothing"),
    ],
)
def test_sentences(changed, found, sentence):
    assert described([changed], [found])[0].sentence == sentence


def test_one_side_is_said():
    left = change(HPF=1) * (np.arange(128) < 64)
    told = described([left], [parts(brightness=0.1)])[0]
    assert told.sentence == "F1: left hippocampal formation, 10 % brighter per SD"
    assert told.side == "left"


def test_without_an_atlas_the_sentence_says_where_in_per_cent():
    told = described([change(HPF=1)], [parts(brightness=0.1)], atlas=False)[0]
    assert "% of the height" in told.sentence
    assert told.structures == ()


def test_replication_brains_and_covariates_are_told():
    codes = pd.DataFrame(
        {"F1": [0.0, 2.0, -1.0, 1.0, np.nan], "F2": [5.0, 4.0, 3.0, 2.0, 1.0]},
        index=list("abcde"),
    )
    found = pd.DataFrame(
        {
            "covariate": ["sex", "age", "age"],
            "factor": ["F1", "F1", "F2"],
            "effect": [0.3, -0.6, 0.1],
            "q": [0.01, 0.04, 0.5],
        }
    )
    stability = Stability(
        splits=3,
        sections=40,
        similarity=(0.95, 0.2),
        came_again=(5, 1),
        replicated=(True, False),
        arch_of=(-1, -1),
    )
    one, two = described(
        [change(HPF=1)] * 2,
        [parts(brightness=0.1)] * 2,
        codes=codes,
        associations=found,
        stability=stability,
    )
    assert one.lowest == ("c", "a", "d")
    assert one.highest == ("b", "d", "a")
    assert one.covariates == ("age", "sex")
    assert (one.replicated, one.similarity) == (True, pytest.approx(0.95))
    assert one.sentence.endswith("; replicated in 5 of 6 halves; goes with age, sex")
    assert (two.replicated, two.covariates) == (False, ())
    assert two.sentence.endswith("; not replicated: came again in 1 of 6 halves")
    table = factor_table([one, two])
    assert table["replicated"].tolist() == [1, 0]
    assert table["lowest"].tolist() == ["c a d", "e d c"]


def test_an_arch_is_called_one():
    stability = Stability(
        splits=3,
        sections=40,
        similarity=(0.95, 0.99),
        came_again=(5, 6),
        replicated=(True, False),
        arch_of=(-1, 0),
    )
    both = [change(HPF=1)] * 2, [parts(brightness=0.1)] * 2
    _, arch = described(*both, stability=stability)
    assert arch.arch_of == "F1"
    assert arch.sentence.endswith("; no factor of its own: what F1 adds at both its ends")


def test_the_table_begins_with_what_other_programs_read(cards, tmp_path):
    told = [card.description for card in cards.values()]
    factor_table(told).to_csv(tmp_path / "factors.csv", index=False)
    table = pd.read_csv(tmp_path / "factors.csv")
    contract = "factor name direction displacement_um brightness_percent displacement_share"
    contract += " brightness_share replicated kl"
    assert list(table.columns[:9]) == contract.split()
    assert table["factor"].tolist() == [f"F{i + 1}" for i in range(8)]
    assert table["sentence"].tolist() == [each.sentence for each in told]
    assert table["replicated"].isna().all()
    shares = table[["displacement_share", "brightness_share", "residual_share"]]
    assert np.allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"codes": pd.DataFrame(np.zeros((5, 3)))}, "codes of 3 factors"),
    ],
)
def test_what_is_of_another_model_is_refused(more, message):
    with pytest.raises(InputError, match=message):
        described([change(HPF=1)], [parts(brightness=0.1)], **more)


def test_decompositions_of_other_factors_are_refused():
    with pytest.raises(InputError, match="decompositions of 2 factors for a model of 1"):
        described([change(HPF=1)], [parts(brightness=0.1)] * 2)
