"""Rotation of the latent space: what must not change, what must be found, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy
import torch

from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.checkpoint import (
    DEMO_MODEL,
    HEADER_KEY,
    fingerprint,
    load_checkpoint,
    save_checkpoint,
)
from napari_brainvae.models.header import Reference, Rotation
from napari_brainvae.models.measures import kl_divergence
from napari_brainvae.models.pca import PCA, principal_components
from napari_brainvae.models.rotation import factor_fields, rotate_factors, simple_axes, varimax
from napari_brainvae.phantom.phantom import (
    BRIGHTNESS_FACTORS,
    FACTORS,
    Phantom,
    PhantomOptions,
    draw_section,
    planted_mask,
)
from tests.linear_model import LinearModel
from tests.models.test_displacing import fresh as displacing
from tests.models.test_vae import fresh

KINDS = ["network", "network with shortcut", "PCA", "displacing"]


def random_rotation(rng, size):
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


def criterion(loadings):
    """Kaiser's raw varimax criterion, written out."""
    return np.square(loadings).var(axis=0).sum()


@pytest.fixture(params=KINDS)
def model(request, rng):
    """A model of each kind with three factors that all do something."""
    images = rng.random((9, 64, 72), dtype=np.float32)
    if request.param == "PCA":
        return PCA.fit(images, 3)
    if request.param == "displacing":
        return displacing((64, 72))
    model = fresh(shortcut="shortcut" in request.param)
    if "shortcut" in request.param:
        mean, components, eigenvalues = principal_components(images, 3)
        model.network.set_mean_image(torch.from_numpy(mean))
        scales = torch.from_numpy(np.sqrt(eigenvalues)).float()
        model.network.start_from_pca(torch.from_numpy(components), scales, 1.5)
    return model


@pytest.fixture
def images(rng):
    return rng.random((12, 64, 72), dtype=np.float32)


# ------------------------------------------------------------------------------ varimax


@pytest.mark.parametrize("degrees", [0, 10, 30, 45, 60, 89])
def test_two_mixed_columns_are_told_apart(degrees):
    """At 45 degrees the criterion has no slope, which is where gradient steps stay."""
    plain = np.repeat(np.eye(2), 50, axis=0) * np.linspace(1, 2, 100)[:, None]
    angle = np.radians(degrees)
    mixture = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    found = np.abs(mixture @ varimax(plain @ mixture))
    assert np.allclose(np.sort(found, axis=1), [0, 1], atol=1e-7)


def test_no_angle_does_better(rng):
    loadings = rng.normal(size=(60, 2)) ** 3
    angles = np.linspace(0, np.pi / 2, 2001)
    turns = np.array([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]])
    best = max(criterion(loadings @ turns[..., i]) for i in range(len(angles)))
    assert criterion(loadings @ varimax(loadings)) >= best


def test_local_factors_come_out_of_any_mixture(rng):
    local = np.repeat(np.eye(6), 80, axis=0) * rng.uniform(0.5, 2, (480, 1)) * np.arange(1, 7)
    noisy = local + rng.normal(size=local.shape) * 0.05
    mixtures = [random_rotation(rng, 6) for _ in range(5)]
    for mixture in mixtures:
        found = np.abs(mixture @ varimax(noisy @ mixture))
        assert np.allclose(found.max(axis=0), 1, atol=1e-3)
        assert sorted(found.argmax(axis=0)) == list(range(6))


@pytest.mark.parametrize(
    "loadings",
    [
        np.zeros((5, 3)),
        np.ones((5, 3)),
        np.eye(3)[:1],
        np.arange(4.0)[:, None],
        np.outer(np.arange(5), [1, 0, 2]),
        np.random.default_rng(0).normal(size=(40, 7)),
    ],
    ids=["zero", "equal", "one pixel", "one factor", "a collapsed factor", "noise"],
)
def test_the_rotation_is_orthogonal_and_never_worse(loadings):
    before = loadings.copy()
    rotation = varimax(loadings)
    assert np.allclose(rotation @ rotation.T, np.eye(loadings.shape[1]), atol=1e-12)
    assert criterion(loadings @ rotation) >= criterion(loadings) - 1e-12
    assert np.array_equal(loadings, before)
    assert np.array_equal(varimax(loadings), rotation)


def test_order_is_by_variance_explained_and_signs_brighten(rng):
    """Each field brightens a patch and, as matched brightness does, darkens all else a little."""
    fields = np.zeros((3, 24, 10))
    for k, size in enumerate([1.0, 3.0, 2.0]):
        fields[k, 8 * k] = size
        fields[k] -= fields[k].mean()
    mixture = random_rotation(rng, 3)
    mixed = np.tensordot(mixture.T, fields, 1)
    local = np.tensordot(simple_axes(mixed).T, mixed, 1)
    power = np.square(local).sum(axis=(1, 2))
    assert np.all(np.diff(power) < 0)
    assert [np.argmax(field.mean(axis=1)) // 8 for field in local] == [1, 2, 0]
    assert np.all(np.sum(local * np.abs(local), axis=(1, 2)) > 0)


# ----------------------------------------------------------------- what must not change


def test_reconstructions_stay_and_codes_turn(model, images):
    before = model.encode(images)
    drawn = model.decode(before[0])
    rotated = rotate_factors(model, images)
    codes, _ = rotated.encode(images)
    assert type(rotated) is type(model)
    assert np.allclose(codes, before[0] @ rotated.rotation, atol=1e-5)
    assert not np.allclose(codes, before[0], atol=1e-2)
    assert np.abs(rotated.decode(codes) - drawn).max() < 1e-6
    assert model.rotation is None
    assert model.header.rotation is None
    assert np.array_equal(model.encode(images)[0], before[0])


def test_variances_are_the_marginals_of_the_rotated_posterior(model, images, rng):
    rotation = random_rotation(rng, 3)
    _, log_variance = model.encode(images)
    _, turned = model.with_rotation(rotation, None).encode(images)
    for own, ours in zip(np.exp(log_variance.astype(float)), np.exp(turned), strict=True):
        assert np.allclose(ours, np.diag(rotation.T @ np.diag(own) @ rotation), rtol=1e-4)


def test_the_marginals_know_at_most_what_the_posterior_knows(images, rng):
    """KL of the posterior = sum over marginals + what ties them together; equal if only named."""
    model = fresh()
    whole = kl_divergence(*model.encode(images)).sum(axis=1)
    rotated = model.with_rotation(random_rotation(rng, 3), None)
    assert np.all(kl_divergence(*rotated.encode(images)).sum(axis=1) < whole)
    named = model.with_rotation(np.array([[0, 1.0, 0], [0, 0, -1], [1, 0, 0]]), None)
    assert np.allclose(kl_divergence(*named.encode(images)).sum(axis=1), whole, rtol=1e-5)


def test_two_rotations_are_one(images, rng):
    """Also for variances, which marginals of marginals would not be."""
    model = fresh()
    first = model.with_rotation(random_rotation(rng, 3), None)
    second = rotate_factors(first, images)
    axes = simple_axes(factor_fields(first, first.encode(images)[0]))
    at_once = model.with_rotation(first.rotation @ axes, None)
    for ours, expected in zip(second.encode(images), at_once.encode(images), strict=True):
        assert np.allclose(ours, expected, atol=1e-6)


def test_what_is_local_already_stays(images, rng):
    once = rotate_factors(LinearModel(rng.normal(size=(3, 64, 72)) * 0.01), images)
    twice = rotate_factors(once, images)
    assert np.allclose(twice.rotation, once.rotation, atol=1e-5)


def test_none_gives_the_axes_of_the_fit_back(model, images):
    back = rotate_factors(rotate_factors(model, images), images, "none")
    assert fingerprint(back) == fingerprint(model)
    assert back.header == model.header
    assert np.array_equal(back.encode(images)[1], model.encode(images)[1])


def test_a_changed_region_is_encoded_in_the_same_axes(model, images):
    rotated = rotate_factors(model, images)
    region = np.zeros((64, 72), bool)
    region[20:30, 25:45] = True
    version = np.where(region, 1 - images[0], images[0])
    near = rotated.near(images[0])(version[None], [region])
    for ours, expected in zip(near, rotated.encode(version[None]), strict=True):
        assert np.allclose(ours, expected, atol=1e-4)


def test_the_reference_is_that_of_the_rotated_codes(model, images):
    errors = np.arange(len(images))
    model.header.reference = Reference.measure(errors, *model.encode(images))
    rotated = rotate_factors(model, images)
    assert rotated.header.reference == Reference.measure(errors, *rotated.encode(images))
    assert rotated.header.reference != model.header.reference


# --------------------------------------------------------------------------------- files


def test_a_rotated_model_comes_back_and_says_its_rule(model, images, tmp_path):
    rotated = rotate_factors(model, images)
    save_checkpoint(rotated, tmp_path / "m.safetensors")
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert fingerprint(loaded) == fingerprint(rotated) != fingerprint(model)
    assert np.array_equal(loaded.encode(images)[0], rotated.encode(images)[0])
    said = loaded.header.model_dump()["rotation"]
    assert said["method"] == "varimax"
    assert said["sections"] == 12
    assert "variance explained" in said["order"]
    assert "brighten" in said["sign"]


def test_a_model_without_rotation_is_written_as_before(model, tmp_path):
    save_checkpoint(model, tmp_path / "m.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes()
    top = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert "rotation" not in top
    assert "rotation" not in json.loads(top["__metadata__"]["napari_brainvae"])


def test_a_checkpoint_from_before_opens_as_it_is(model, tmp_path, rng):
    """Written before there were rotations, and before anything was said of what is usual."""
    images = rng.random((2, *model.shape), dtype=np.float32)
    mean, log_variance = model.encode(images)
    error = np.array([0.1, 0.2])
    model.header.reference = Reference.measure(error, mean, log_variance)
    path = tmp_path / "old.safetensors"
    header = json.loads(model.header.model_dump_json())
    del header["reference"]["residual_spread"]
    assert "rotation" not in header
    path.write_bytes(safetensors.numpy.save(model.tensors(), {HEADER_KEY: json.dumps(header)}))
    old = load_checkpoint(path)
    assert old.header.rotation is None
    assert old.header.reference.residual_spread is None
    assert np.array_equal(old.encode(images)[0], mean)
    assert np.array_equal(old.encode(images)[1], log_variance)


def test_the_model_that_ships_has_its_factors_turned():
    model = load_checkpoint(DEMO_MODEL)
    assert model.header.rotation.method == "varimax"
    assert model.header.reference.residual_spread is not None


def test_tensor_and_header_must_both_speak_of_the_rotation(images, tmp_path):
    rotated = rotate_factors(fresh(), images)
    rotated.header.rotation = None
    save_checkpoint(rotated, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="not those its header promises"):
        load_checkpoint(tmp_path / "m.safetensors")


# ----------------------------------------------------------------------- planted truth


def test_mixed_patches_are_taken_apart(rng):
    patches = np.zeros((4, 64, 72))
    for k in range(4):
        patches[k, 15 * k : 15 * k + 12, 10:50] = 0.01 * (4 - k)
    mixture = random_rotation(rng, 4)
    model = LinearModel(np.tensordot(mixture.T, patches, 1))
    rotated = rotate_factors(model, rng.random((3, 64, 72)))
    fields = factor_fields(rotated, np.zeros((1, 4)))
    assert np.allclose(fields, patches, atol=1e-6)


@pytest.fixture(scope="module")
def planted():
    """Sections, planted factors and masks of 200 drawn brains of 64 x 80 px without artifacts."""
    size = {"height": 64, "width": 80}
    options = PhantomOptions(count=200, seed=3, artifacts=0, **size)
    phantom = Phantom(draw_section(**size), options)
    brains = [phantom.brain(i) for i in range(len(phantom))]
    raw = np.stack([brain.image for brain in brains])
    masks = {name: planted_mask(phantom.section, name) for name in BRIGHTNESS_FACTORS}
    return Preprocessing.fit(raw).apply(raw), np.stack([b.factors for b in brains]), masks


def correlations(model, images, factors):
    """|r| of each planted factor with each code."""
    codes, _ = model.encode(images)
    return np.abs(np.corrcoef(factors.T, codes.T)[: len(FACTORS), len(FACTORS) :])


def test_each_planted_factor_becomes_one_code(planted):
    """All but the size of the ventricles, which is too faint for 12 components to hold."""
    images, factors, masks = planted
    model = PCA.fit(images, 12)
    mixed = correlations(model, images, factors)[:-1].max(axis=1)
    rotated = rotate_factors(model, images)
    found = correlations(rotated, images, factors)[:-1]
    assert mixed.min() < 0.8
    assert found.max(axis=1).min() > 0.93
    assert len(set(found.argmax(axis=1))) == len(found)
    energy = np.square(factor_fields(rotated, np.zeros((1, 12))))
    for name, factor in zip(masks, found.argmax(axis=1), strict=False):
        assert energy[factor][masks[name]].sum() > 0.7 * energy[factor].sum()


def test_a_start_from_rotated_components(rng):
    """Codes are the scores times the rotation; variances those of the best diagonal posterior."""
    images = rng.random((20, 64, 72), dtype=np.float32)
    mean, components, eigenvalues = principal_components(images, 3)
    scales = np.sqrt(eigenvalues).astype(np.float32)
    axes = simple_axes(components * scales[:, None, None])
    plain, rotated = fresh(shortcut=True), fresh(shortcut=True)
    for model, rotation in ((plain, None), (rotated, torch.from_numpy(axes).float())):
        model.network.set_mean_image(torch.from_numpy(mean))
        model.network.start_from_pca(
            torch.from_numpy(components), torch.from_numpy(scales), 1.5, rotation
        )
        model.network.encoder[-1].weight.data.zero_()  # the network, which is not rotated
        model.network.decoder[0].weight.data.zero_()
    codes, log_variance = rotated.encode(images)
    assert np.allclose(codes, plain.encode(images)[0] @ axes, atol=1e-4)
    assert np.allclose(rotated.reconstruct(images), plain.reconstruct(images), atol=1e-5)
    precision = axes.T @ np.diag((eigenvalues + 1.5) / 1.5) @ axes
    assert np.allclose(np.exp(log_variance), 1 / np.diag(precision), rtol=1e-4)


# ---------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: varimax(np.zeros(4)), r"shape \(P, L\)"),
        (lambda: varimax(np.zeros((0, 3))), r"shape \(P, L\)"),
        (lambda: varimax([[1, np.nan]]), "finite"),
        (lambda: rotate_factors(fresh(), np.zeros((2, 64, 64))), "for sections of 64 x 72 px"),
        (lambda: rotate_factors(fresh(), np.zeros((0, 64, 72))), "at least one"),
        (lambda: rotate_factors(fresh(), np.zeros((64, 72))), "for sections of 64 x 72 px"),
        (lambda: factor_fields(fresh(), np.zeros((2, 4))), "3 latent factors"),
        (lambda: fresh().with_rotation(np.eye(4), None), "orthogonal matrix"),
        (lambda: fresh().with_rotation(np.ones((3, 3)), None), "orthogonal matrix"),
    ],
)
def test_what_cannot_be_rotated_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_no_other_rule_is_known(images):
    with pytest.raises(ValueError, match="varimax"):
        Rotation(method="quartimax", sections=1)
