"""Displacement and brightness: planted truth on the real template, invariants, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from skimage.transform import downscale_local_mean

import napari_brainvae
from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.factors import shape_and_brightness as module
from napari_brainvae.factors.shape_and_brightness import all_shape_and_brightness, decompose
from napari_brainvae.factors.signed_change import sections_at, signed_change
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Stopped
from napari_brainvae.phantom.phantom import (
    BRIGHTNESS_FACTORS,
    BRIGHTNESS_PER_SD,
    FACTORS,
    Phantom,
    PhantomOptions,
    draw_section,
    planted_mask,
    section_from_atlas,
    shape_fields,
)
from tests.linear_model import LinearModel, reference

SHIFT_UM = np.array([-20.0, 15.0])
"""A pure shift, planted beside the phantom's own factors: up, and to the right."""


class Planted:
    """What one SD of each planted factor does to the mean section, decomposed."""

    def __init__(self, section):
        self.section, self.pixel = section, section.pixel_size_um
        height, width = section.shape
        phantom = Phantom(section, PhantomOptions(height=height, width=width))
        steps = [*np.eye(len(FACTORS)), np.zeros(len(FACTORS))]
        shift = np.broadcast_to(SHIFT_UM[:, None, None] / self.pixel, (2, height, width))
        # A brain takes its value from where tissue came from: against the way that tissue moves.
        warps = [*(0 * shift for _ in FACTORS), -shift]
        changes = [
            (phantom.anatomy(step, warp) - phantom.anatomy(-step, -warp)) / 2
            for step, warp in zip(steps, warps, strict=True)
        ]
        self.mean, self.changes = phantom.anatomy(np.zeros(len(FACTORS))), np.stack(changes)
        self.names = [*FACTORS, "shift"]
        moves = -shape_fields(section)
        self.moves = dict(zip([*FACTORS[-2:], "shift"], [*moves, shift], strict=True))
        self.found = dict(
            zip(self.names, decompose(self.mean, self.changes, self.pixel), strict=True)
        )

    def planted_um(self, name):
        """How far the tissue is moved at most."""
        return np.hypot(*self.moves[name])[self.section.tissue].max() * self.pixel


@pytest.fixture(scope="module")
def atlas(shared_data):
    return Atlas.open(shared_data / "ccf")


@pytest.fixture(scope="module")
def fine(atlas):
    return Planted(section_from_atlas(atlas, 293, 160, 224))


@pytest.fixture(scope="module")
def coarse(atlas):
    return Planted(section_from_atlas(atlas, 293, 80, 112))


@pytest.fixture(params=["fine", "coarse"])
def planted(request):
    """50 and 100 um."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def drawn():
    """The drawn section at a small size."""
    return Planted(draw_section(64, 80))


def test_brightness_and_displacement_are_told_apart_for_every_planted_factor(planted):
    for name, found in planted.found.items():
        is_brightness = name in BRIGHTNESS_FACTORS
        assert (found.brightness_share > found.displacement_share) == is_brightness, name
        assert found.residual_share < 0.01, name


@pytest.mark.parametrize("name", BRIGHTNESS_FACTORS)
def test_planted_brightness_has_its_size(planted, name):
    found, mask = planted.found[name], planted_mask(planted.section, name)
    assert found.brightness_peak == pytest.approx(BRIGHTNESS_PER_SD, rel=0.3)
    assert found.brightness_percent[mask].max() == pytest.approx(12, rel=0.3)
    assert found.brightness_percent[planted.section.tissue & ~mask].mean() < 1


@pytest.mark.parametrize("name", [*FACTORS[-2:], "shift"])
def test_planted_displacement_has_its_size_in_micrometres(planted, name):
    found = planted.found[name]
    assert found.displacement_peak_um == pytest.approx(planted.planted_um(name), rel=0.3)
    # Most of the planted field is in it, in squares, though no edge shows what moves along it, and
    # nothing what moves where all is alike.
    u, truth = (
        each[:, planted.section.tissue] for each in (found.displacement, planted.moves[name])
    )
    assert (u * truth).sum() > 0
    assert (u * truth).sum() ** 2 > 0.5 * (u**2).sum() * (truth**2).sum()


def test_half_the_resolution_says_the_same_in_micrometres(fine):
    halved = [downscale_local_mean(each, (2, 2)) for each in (fine.mean, *fine.changes)]
    halves = decompose(halved[0], halved[1:], 2 * fine.pixel)
    for name, half in zip(fine.names, halves, strict=True):
        found, is_brightness = fine.found[name], name in BRIGHTNESS_FACTORS
        assert (half.brightness_share > half.displacement_share) == is_brightness, name
        if is_brightness:
            assert half.brightness_peak == pytest.approx(found.brightness_peak, rel=0.05)
        else:
            assert half.displacement_peak_um == pytest.approx(found.displacement_peak_um, rel=0.2)
            assert half.displacement_peak == pytest.approx(found.displacement_peak / 2, rel=0.2)


def test_a_large_section_is_solved_on_a_coarser_grid(coarse, monkeypatch):
    monkeypatch.setattr(module, "MOST_PIXELS", 40 * 56)
    for name, found in zip(
        coarse.names, decompose(coarse.mean, coarse.changes, 100.0), strict=True
    ):
        assert found.displacement.shape == (2, 80, 112)
        assert found.brightness.shape == (80, 112)
        if name in BRIGHTNESS_FACTORS:
            assert found.brightness_share > 0.9
            assert found.brightness_peak == pytest.approx(BRIGHTNESS_PER_SD, rel=0.3)
    assert found.displacement_peak == pytest.approx(coarse.planted_um("shift") / 100, rel=0.3)


def test_twice_the_change_is_twice_the_size_and_the_same_shares(drawn):
    twice = decompose(drawn.mean, 2 * drawn.changes)
    for found, double in zip(drawn.found.values(), twice, strict=True):
        scale = np.abs(found.displacement).max()
        assert_allclose(double.displacement, 2 * found.displacement, atol=1e-5 * scale)
        assert double.brightness_peak == pytest.approx(2 * found.brightness_peak, rel=1e-4)
        assert double.brightness_share == pytest.approx(found.brightness_share, rel=1e-6)


def test_the_unit_of_brightness_does_not_matter(drawn):
    counts = decompose(1000 * drawn.mean, 1000 * drawn.changes)
    for found, other in zip(drawn.found.values(), counts, strict=True):
        assert_allclose(other.displacement, found.displacement, atol=1e-5)
        assert_allclose(other.brightness, found.brightness, atol=1e-5)


def test_the_other_sign_is_the_other_way(drawn):
    other = decompose(drawn.mean, -drawn.changes)
    for found, turned in zip(drawn.found.values(), other, strict=True):
        assert_allclose(turned.displacement, -found.displacement, atol=1e-5)
        assert turned.brightness_peak == pytest.approx(-found.brightness_peak)
        assert turned.opposite_peak == pytest.approx(-found.opposite_peak)
        assert found.brightness_peak * found.opposite_peak <= 0


def test_a_mirrored_brain_moves_as_in_a_mirror(drawn):
    mirrored = decompose(drawn.mean[:, ::-1], drawn.changes[:, :, ::-1])
    for found, mirror in zip(drawn.found.values(), mirrored, strict=True):
        rows, columns = mirror.displacement[:, :, ::-1]
        assert_allclose([rows, -columns], found.displacement, atol=1e-4)
        assert_allclose(mirror.brightness[:, ::-1], found.brightness, atol=1e-4)


def test_shares_add_up(drawn):
    for found in drawn.found.values():
        shares = found.displacement_share, found.brightness_share, found.residual_share
        assert min(shares) >= 0
        assert sum(shares) == pytest.approx(1)


def test_what_changes_nothing_has_no_share(drawn):
    (found,) = decompose(drawn.mean, 0 * drawn.changes[:1])
    assert (found.displacement_share, found.brightness_share, found.residual_share) == (0, 0, 0)
    assert found.displacement_peak == found.brightness_peak == found.opposite_peak == 0
    assert not found.displacement.any()
    assert not found.brightness.any()


def test_a_model_is_asked_for_its_own_changes(drawn):
    """A linear decoder's half difference at +-1 SD is its component times the codes' SD."""
    known = reference([0.5] * 9, [2.0] * 9)
    offset = drawn.mean - np.tensordot(np.full(9, 0.5), drawn.changes / 2, 1)
    model = LinearModel(drawn.changes / 2, offset=offset, reference=known)
    assert_allclose(signed_change(model), drawn.changes, atol=1e-6)
    assert_allclose(
        sections_at(model, 3, [-2, 0]), drawn.mean + drawn.changes[3] * [[[-2]], [[0]]], atol=1e-6
    )
    found = napari_brainvae.shape_and_brightness(model, 3)
    assert found.displacement_um is None and found.displacement_peak_um is None
    model.header.pixel_size_um = drawn.pixel
    in_um = all_shape_and_brightness(model, [3])[0]
    expected = drawn.found["STR"]
    assert_allclose(in_um.brightness, expected.brightness, atol=1e-3)
    assert_allclose(in_um.displacement_um, expected.displacement_um, atol=0.05)
    assert in_um.brightness_share == pytest.approx(found.brightness_share)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        (np.eye(64), np.ones((64, 64)), r"\(F, H, W\)"),
        (np.eye(64), np.ones((2, 64, 80)), r"\(F, H, W\)"),
        (np.ones((64, 64)), np.ones((1, 64, 64)), "no tissue"),
        (np.eye(64), np.full((1, 64, 64), np.nan), "NaN"),
        (np.full((64, 64), np.inf), np.ones((1, 64, 64)), "NaN or infinite"),
    ],
)
def test_what_cannot_be_decomposed_is_refused(section, changes, message):
    with pytest.raises(InputError, match=message):
        decompose(section, changes)


def test_a_factor_that_is_not_there_is_refused(drawn):
    with pytest.raises(InputError, match="no factor"):
        napari_brainvae.shape_and_brightness(LinearModel(drawn.changes), 9)


def test_it_says_how_far_it_is_and_stops_when_asked(drawn):
    calls = []
    decompose(drawn.mean, drawn.changes[:2], progress=lambda *at: calls.append(at))
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    with pytest.raises(Stopped):
        decompose(drawn.mean, drawn.changes, progress=lambda done, _: done < 1)
