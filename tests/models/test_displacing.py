"""Factors that displace tissue: closed forms, planted displacements, and what is saved."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
import torch
from torch.nn.functional import interpolate

from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from napari_brainvae.models.displacing import Displacing
from napari_brainvae.models.displacing_network import (
    Displaced,
    DisplacingNetwork,
    _sample,
    fine,
    grid_of,
)
from napari_brainvae.models.header import Header, Rotation
from napari_brainvae.models.objective import DisplacingObjective, usual

SHAPE = (64, 72)


def fresh(shape=SHAPE, latent_dim=3, noise=0.05) -> Displacing:
    """A brain-like mean, factors that move it smoothly and brighten parts of it."""
    rng = np.random.default_rng(3)

    def smooth(*size):
        drawn = scipy.ndimage.gaussian_filter(
            rng.normal(size=(*size, *shape)), [0] * len(size) + [5, 5]
        )
        return torch.from_numpy(drawn / drawn.std()).float()

    height, width = shape
    header = Header(
        kind="displacing",
        height=height,
        width=width,
        latent_dim=latent_dim,
        preprocessing=Preprocessing(height=height, width=width),
    )
    model = Displacing(header)
    mean = (0.5 + 0.12 * smooth(1)[0]).clamp(0.1, 0.9)
    with torch.no_grad():
        model.network.mean_image.copy_(mean)
        model.network.change.copy_(0.02 * smooth(latent_dim))
        moves = 0.8 * height / 64 * smooth(latent_dim, 2)
        model.network.displacement.copy_(interpolate(moves, grid_of(shape), mode="area"))
        model.network.noise_variance.fill_(noise)
    return model


def still(model: Displacing) -> Displacing:
    """The same without displacement."""
    model.network.displacement.data.zero_()
    return model


@pytest.fixture
def codes(rng):
    return rng.normal(size=(12, 3)).astype(np.float32)


# ---------------------------------------------------------------------------- closed forms


def test_the_code_0_is_the_mean():
    model = fresh()
    assert np.allclose(
        model.decode(np.zeros((1, 3)))[0], model.network.mean_image.detach(), atol=1e-6
    )


def test_without_displacement_it_is_a_linear_model(codes):
    """Posterior of a linear Gaussian model, written out (Tipping and Bishop 1999)."""
    model = still(fresh())
    network = model.network
    change = network.change.detach().numpy().reshape(3, -1).astype(float)
    mean = network.mean_image.detach().numpy()
    images = model.decode(codes) + 0.01
    precision = np.eye(3) + change @ change.T / 0.05
    expected = np.linalg.solve(precision, change @ (images - mean).reshape(12, -1).T / 0.05).T
    found, log_variance = model.encode(images)
    assert np.allclose(found, expected, atol=1e-4)
    assert np.allclose(log_variance, -np.log(np.diag(precision)), atol=1e-4)
    drawn = mean + np.tensordot(codes, network.change.detach(), 1)
    assert np.allclose(images - 0.01, drawn.clip(0, 1), atol=1e-5)


@pytest.mark.parametrize("pixels", [0.3, 1.0, 2.5, -4.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_pure_shift_is_found_in_pixels(pixels, axis):
    model = still(fresh(latent_dim=2, noise=1e-4))
    model.network.change.data.zero_()
    model.network.displacement.data[0, axis] = 1.0  # one px per SD
    mean = model.network.mean_image.detach().numpy()
    shift = np.eye(2)[axis] * -pixels
    found, _ = model.encode(scipy.ndimage.shift(mean, shift, order=1, mode="nearest")[None])
    assert found[0] == pytest.approx([pixels, 0], abs=0.02)


def test_what_is_decoded_is_encoded_again(codes):
    model = fresh(noise=1e-4)
    found, _ = model.encode(model.decode(codes))
    assert np.abs(found - codes).max() < 0.02


def test_a_code_is_the_best_there_is(codes, rng):
    """No step in any direction lowers error / variance + |z|^2."""
    model = fresh()
    images = model.decode(codes) + 0.02 * rng.normal(size=(12, *SHAPE)).astype(np.float32)
    found, _ = model.encode(images)

    def cost(z):
        return np.square(images - model.decode(z)).sum(axis=(1, 2)) / 0.05 + np.square(z).sum(
            axis=1
        )

    for step in (*np.eye(3), *-np.eye(3)):
        assert np.all(cost(found + 0.1 * step) > cost(found))


def test_codes_of_a_section_do_not_depend_on_its_company(codes):
    model = fresh()
    images = model.decode(codes)
    together = model.encode(images)
    alone = model.encode(images[5:6])
    for all_of_them, one in zip(together, alone, strict=True):
        assert np.allclose(all_of_them[5], one[0], atol=1e-4)
    assert model.encode(images[:0])[0].shape == (0, 3)


def test_large_sections_are_looked_at_coarsely_and_give_the_same_codes(codes):
    """230 x 301 px are more than codes are sought on, and divide by nothing."""
    model = fresh((230, 301), noise=0.05)
    found, _ = model.encode(model.decode(codes[:3]))
    assert np.abs(found - codes[:3]).max() < 0.05


@pytest.mark.parametrize("turn", ["swap", "any"])
def test_a_rotation_leaves_what_is_decoded(turn, codes, rng):
    model = fresh()
    axes = np.eye(3)[[2, 0, 1]] if turn == "swap" else np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotated = model.with_rotation(axes, Rotation(method="varimax", sections=6))
    images = model.decode(codes)
    assert np.abs(rotated.decode(codes @ axes) - images).max() < 1e-6
    assert np.allclose(rotated.encode(images)[0], model.encode(images)[0] @ axes, atol=1e-5)


def test_a_start_draws_to_first_order_what_linear_factors_draw():
    """Of small codes; and where nothing moves, exactly."""
    model = fresh()
    loadings = model.network.change.detach().clone()
    moves = fine(model.network.displacement.detach(), SHAPE)
    mean = model.network.mean_image.detach().clone()
    code = torch.tensor([[0.02, -0.01, 0.015]])
    expected = torch.tensordot(code, loadings, 1)
    network = DisplacingNetwork(*SHAPE, 3)
    for given, share in ((torch.zeros_like(moves), 1e-4), (moves, 0.15)):
        network.start_from(mean, loadings, given)
        left = network.decode(code)[:, 0] - mean - expected
        assert left.square().sum() < share * expected.square().sum()


def test_the_gradient_is_that_of_the_whole_search(codes):
    """The codes' own dependence on the decoder adds nothing at their optimum."""
    network, noise = fresh().network, torch.zeros(12, 3)
    images = 1.1 * torch.from_numpy(fresh().decode(codes))[:, None]

    def loss():
        found = network(images, noise)
        error = (found.decoded - images).square().sum()
        return error + network.noise_variance * found.mean.square().sum()

    loss().backward()
    slope = network.mean_image.grad.sum().item()
    with torch.no_grad():
        network.mean_image += 1e-3
        above = loss()
        network.mean_image -= 2e-3
        below = loss()
    assert (above - below).item() / 2e-3 == pytest.approx(slope, rel=0.02)


# ------------------------------------------------------------------------------- objective


def test_an_artifact_has_no_say(rng):
    """Its error is far above the others': nothing is learned from it."""
    images = torch.from_numpy(rng.random((8, 1, *SHAPE), dtype=np.float32))
    decoded = (images + 0.01 * torch.randn(images.shape, generator=torch.manual_seed(0))).clone()
    decoded[3] += 0.5
    decoded.requires_grad_()
    zero = torch.zeros(8, 2)
    loss, _ = DisplacingObjective(3.0, 1.0)(Displaced(decoded, zero, zero), images)
    loss.backward()
    assert not decoded.grad[3].any()
    assert all(decoded.grad[i].any() for i in range(8) if i != 3)


@pytest.mark.parametrize(("errors", "kept"), [([1.0], 1), ([1.0, 9.0], 2), ([2.0] * 5, 5)])
def test_few_or_equal_sections_all_count(errors, kept):
    assert int(usual(torch.tensor(errors)).sum()) == kept


def test_another_loss_is_refused():
    with pytest.raises(InputError, match="bernoulli"):
        DisplacingObjective.of({"beta": 3.0, "loss": "bernoulli"}, SHAPE)


def test_weights_that_are_no_numbers_draw_none_and_end_no_process(codes):
    """In the gradient torch's sampler wrote outside of its memory, at a place that was NaN."""
    model = fresh()
    where = torch.zeros(1, 2, 3, 2)
    where[0, 1, 2, 0] = torch.nan
    where.requires_grad_()
    drawn = _sample(torch.rand(1, 4, 5, 5, requires_grad=True), where)
    assert drawn.isnan().nonzero()[:, 2:].unique(dim=0).tolist() == [[1, 2]]
    drawn.sum().backward()
    model.network.displacement.data[0, 0, 3, 3] = torch.nan
    assert model.network.decode(torch.from_numpy(codes)).isnan().any()
    mean, log_variance = model.network.encode(torch.rand(2, 1, *SHAPE))
    assert mean.isfinite().all()
    assert log_variance.isnan().any()


# --------------------------------------------------------------------------------- the file


def test_a_checkpoint_gives_the_model_back(tmp_path, codes):
    model = fresh().with_rotation(np.eye(3)[::-1], Rotation(method="varimax", sections=6))
    save_checkpoint(model, tmp_path / "m.safetensors")
    opened = load_checkpoint(tmp_path / "m.safetensors")
    assert isinstance(opened, Displacing)
    assert (opened.label, opened.family, opened.has_posterior) == ("Displacing", None, True)
    assert opened.noise_variance == pytest.approx(0.05)
    assert fingerprint(opened) == fingerprint(model)
    images = model.decode(codes)
    assert np.array_equal(opened.decode(codes), images)
    assert np.allclose(opened.encode(images)[0], model.encode(images)[0], atol=1e-6)


@pytest.mark.parametrize("size", [(63, 80), (80, 63)])
def test_sections_are_at_least_64_px(size):
    with pytest.raises(InputError, match="at least 64"):
        DisplacingNetwork(*size, 3)
