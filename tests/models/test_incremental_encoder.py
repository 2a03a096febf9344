"""Encoding again where a section was changed, held against encoding it as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.factors.impact import ImpactOptions, impact_matrix
from napari_brainvae.factors.receptive_field import Probe, perturb, region_weights
from napari_brainvae.models.header import Header
from napari_brainvae.models.incremental_encoder import LAYERS, reach
from napari_brainvae.models.pca import PCA
from napari_brainvae.models.vae import BetaVAE

SIZES = [(64, 64), (65, 71), (90, 127), (208, 176), (320, 448)]


def fresh(shape, *, shortcut=False) -> BetaVAE:
    """A network whose every number is random, the mean image and the linear path included."""
    height, width = shape
    header = Header(
        kind="vae",
        height=height,
        width=width,
        latent_dim=3,
        shortcut=shortcut,
        preprocessing=Preprocessing(height=height, width=width),
    )
    torch.manual_seed(3)
    model = BetaVAE(header)
    network = model.network
    for module in network.encoder:
        if hasattr(module, "bias"):
            torch.nn.init.uniform_(module.bias, -0.1, 0.1)
    network.set_mean_image(torch.rand(shape))
    if network.shortcut_in is not None:
        network.shortcut_in.normal_(0, 1e-2)
    return model


def regions_of(shape):
    """Regions in the middle, at borders and corners, of one pixel, in parts, all and none."""
    height, width = shape
    places = {
        "middle": [np.s_[20:41, 17:50]],
        "top": [np.s_[:3, 10:30]],
        "bottom right corner": [np.s_[height - 1 :, width - 1 :]],
        "left column": [np.s_[:, :1]],
        "one pixel": [np.s_[33, 30]],
        "two sides": [np.s_[30:35, 2:9], np.s_[30:35, width - 9 : width - 2]],
        "all": [np.s_[:]],
        "none": [],
    }
    regions = {name: np.zeros(shape, bool) for name in places}
    for name, parts in places.items():
        for part in parts:
            regions[name][part] = True
    return regions


def same_codes(ours, plain, section_codes):
    """Equal to rounding, which is far below what the changes did."""
    for got, expected, before in zip(ours, plain, section_codes, strict=True):
        assert got.dtype == np.float32
        assert_allclose(got, expected, atol=2e-6 * max(1, np.abs(expected).max()), rtol=2e-5)
        assert np.abs(expected - before).max() > 1e-3


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("mode", ["content", "fill"])
@pytest.mark.parametrize("shape", SIZES)
def test_it_is_the_encode_of_the_perturbed_section(shape, mode, shortcut, rng):
    model = fresh(shape, shortcut=shortcut)
    section = rng.random(shape, dtype=np.float32)
    section[section < 0.1] = 0
    soft = [
        region_weights(mask, shape, edge)
        for mask in regions_of(shape).values()
        for edge in (0, 2.5)
        if mask.any()
    ]
    changes = [(region, weight) for region in soft for weight in (-1, 0.3, 4)]
    versions = np.stack([perturb(section, *change, mode) for change in changes])
    ours = model.near(section)(versions, [region > 0 for region, _ in changes])
    same_codes(ours, model.encode(versions), model.encode(section[None]))


@settings(deadline=None, max_examples=40)
@given(
    corners=st.tuples(*[st.integers(0, 64), st.integers(0, 70)] * 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_change_in_any_rectangle(corners, seed):
    model, rng = fresh((65, 71)), np.random.default_rng(seed)
    section = rng.random((65, 71), dtype=np.float32)
    (top, bottom), (left, right) = sorted(corners[::2]), sorted(corners[1::2])
    region = np.zeros((65, 71), bool)
    region[top : bottom + 1, left : right + 1] = True
    version = np.where(region, rng.random((65, 71), dtype=np.float32), section)
    ours, plain = model.near(section)(version[None], [region]), model.encode(version[None])
    assert_allclose(ours, plain, atol=2e-5)


def test_one_version_leaves_nothing_behind_for_the_next(rng):
    model = fresh((65, 71), shortcut=True)
    section = rng.random((65, 71), dtype=np.float32)
    regions = regions_of((65, 71))
    encode = model.near(section)
    version = perturb(section, regions["middle"], -1)
    first = encode(version[None], [regions["middle"]])
    with pytest.raises(ValueError, match="zip"):
        encode(version[None], [])
    for name in ("two sides", "all", "middle", "none"):
        again = encode(section[None], [regions[name]])
        assert_allclose(again, model.encode(section[None]), atol=1e-5)
    assert_array_equal(encode(version[None], [regions["middle"]]), first)


@pytest.mark.parametrize("shape", [(64, 64), (65, 71), (208, 176)])
def test_a_region_reaches_what_its_windows_hold_and_nothing_else(shape):
    network = fresh(shape).network
    for name, region in regions_of(shape).items():
        found = reach(region, network.padding)
        maps = F.pad(torch.from_numpy(region)[None, None].float(), network.padding)
        assert_array_equal(found.pixels, np.flatnonzero(region))
        for i in range(LAYERS):
            assert len(found.steps[i].inputs) == maps.sum(), name
            maps = F.max_pool2d(maps, 4, 2, 1)
            assert len(found.steps[i].stretches) == 4 * maps.sum()
        assert_array_equal(found.outputs, np.flatnonzero(maps))


@pytest.mark.parametrize("mode", ["content", "fill"])
def test_the_impact_matrix_is_that_of_the_plain_loop(mode, rng, monkeypatch):
    shape = (65, 71)
    model = fresh(shape, shortcut=True)
    images = rng.random((5, *shape), dtype=np.float32)
    regions = {name: mask for name, mask in regions_of(shape).items() if mask.any()}
    options = ImpactOptions(mode=mode, low=-0.5, soft_edge=1.5)
    result = impact_matrix(model, images, regions, options)
    for r, mask in enumerate(regions.values()):
        for e, weight in enumerate((-0.5, 1.0)):
            soft = region_weights(mask, shape, 1.5)
            codes = model.encode(perturb(images, soft, weight, mode))
            assert_allclose(result.mean[r, e], codes[0], atol=1e-5)
            assert_allclose(result.variance[r, e], np.exp(codes[1]), rtol=1e-4)
    monkeypatch.setattr("napari_brainvae.factors.impact.BATCH", 3)
    assert_allclose(impact_matrix(model, images, regions, options).mean, result.mean, atol=1e-6)


@pytest.mark.parametrize("mode", ["content", "fill"])
def test_a_probe_gives_what_two_encodes_give(mode, rng):
    shape = (90, 127)
    model = fresh(shape, shortcut=True)
    section = rng.random(shape, dtype=np.float32)
    probe, code = Probe(model, section), model.encode(section[None])[0][0]
    assert_allclose(probe.mean, code, atol=1e-5)
    for mask in regions_of(shape).values():
        if mask.any():
            region = region_weights(mask, shape, 1.0)
            changed, shift = probe.shift(region, -0.7, mode)
            assert_array_equal(changed, perturb(section, region, -0.7, mode))
            assert_allclose(shift, model.encode(changed[None])[0][0] - code, atol=2e-5)


def test_other_models_encode_as_a_whole(rng):
    images = rng.random((6, 64, 72), dtype=np.float32)
    model = PCA.fit(images, 2)
    region = np.ones((64, 72), bool)
    codes = model.near(images[0])(images[1:3], [region, region])
    assert_array_equal(codes, model.encode(images[1:3]))
