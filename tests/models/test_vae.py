from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.header import Header
from napari_brainvae.models.measures import kl_divergence
from napari_brainvae.models.network import Network
from napari_brainvae.models.objective import (
    BetaVAEObjective,
    batch_kl_divergence,
    reconstruction_loss,
)
from napari_brainvae.models.pca import principal_components
from napari_brainvae.models.vae import BetaVAE


def fresh(height=64, width=72, latent_dim=3, shortcut=False) -> BetaVAE:
    torch.manual_seed(0)
    header = Header(
        kind="vae",
        height=height,
        width=width,
        latent_dim=latent_dim,
        shortcut=shortcut,
        preprocessing=Preprocessing(height=height, width=width),
    )
    return BetaVAE(header)


def test_at_the_papers_size_it_is_the_published_network():
    """Parameters and layer positions of nerdslab/brainsynth at L = 8."""
    network = Network(320, 448, 8)
    assert sum(p.numel() for p in network.parameters()) == 730_289
    names = {name.rsplit(".", 1)[0] for name, _ in network.named_parameters()}
    encoder = {f"encoder.{i}" for i in (0, 2, 4, 6, 8, 10, 12, 15, 17, 19)}
    decoder = {f"decoder.{i}" for i in (0, 2, 4, 7, 9, 11, 13, 15, 17, 19)}
    assert names == encoder | decoder
    assert network.encoder[15].in_features == 32 * 4 * 6


@pytest.mark.parametrize("size", [(64, 64), (64, 200), (65, 71), (127, 129), (208, 176)])
def test_any_size_from_64_gives_sections_of_that_size(size):
    model = fresh(*size)
    images = np.random.default_rng(1).random((2, *size), dtype=np.float32)
    mean, log_variance = model.encode(images)
    drawn = model.decode(mean)
    assert mean.shape == log_variance.shape == (2, 3)
    assert drawn.shape == images.shape
    assert drawn.dtype == mean.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def test_numpy_face_is_the_torch_network(rng):
    model = fresh()
    images = rng.random((7, 64, 72), dtype=np.float32)
    with torch.no_grad():
        mean, log_variance = model.network.encode(torch.from_numpy(images[:, None]))
        drawn = torch.sigmoid(model.network.decode(mean))[:, 0]
    ours = model.encode(images)
    assert np.allclose(ours[0], mean, atol=1e-5)
    assert np.allclose(ours[1], log_variance, atol=1e-5)
    assert np.allclose(model.decode(ours[0]), drawn, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (65, 71), (320, 448)])
def test_drawing_without_gradients_is_the_transposed_convolution(size, rng):
    """The fast last layer against torch's own, which training uses."""
    network = fresh(*size, latent_dim=4).network
    latents = torch.from_numpy(rng.normal(size=(3, 4)).astype(np.float32))
    plain = network.decode(latents)
    assert plain.requires_grad
    with torch.no_grad():
        fast = network.decode(latents)
    assert torch.allclose(fast, plain, rtol=0, atol=2e-6 * float(plain.detach().abs().max()))


def test_losses_are_sums_over_pixels_and_means_over_the_batch(rng):
    logits = torch.from_numpy(rng.normal(size=(2, 1, 4, 5)))
    images = torch.from_numpy(rng.random((2, 1, 4, 5)))
    probability = torch.sigmoid(logits)
    square = ((probability - images) ** 2).sum() / 2
    entropy = -(images * probability.log() + (1 - images) * (1 - probability).log()).sum() / 2
    assert torch.isclose(reconstruction_loss(logits, images, "gaussian"), square)
    assert torch.isclose(reconstruction_loss(logits, images, "bernoulli"), entropy)


def test_kl_divergence_is_that_of_the_two_gaussians(rng):
    mean, log_variance = rng.normal(size=(2, 6, 3))
    posterior = torch.distributions.Normal(
        torch.from_numpy(mean), torch.from_numpy(np.exp(log_variance / 2))
    )
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    assert np.allclose(kl_divergence(mean, log_variance), expected)
    ours = batch_kl_divergence(torch.from_numpy(mean), torch.from_numpy(log_variance))
    assert torch.allclose(ours, expected.mean(dim=0))


def test_a_start_from_pca_reconstructs_as_pca_does(rng):
    """Sections that differ little and stay off the ends of [0, 1], where the logit is linear."""
    factors = rng.normal(size=(40, 3))
    patterns = rng.normal(size=(3, 64, 72)) * 0.01
    noise = rng.normal(size=(40, 64, 72)) * 1e-3
    images = np.float32(0.5 + np.tensordot(factors, patterns, 1) + noise)
    mean, components, eigenvalues = principal_components(images, 3)
    model = fresh(shortcut=True)
    model.network.set_mean_image(torch.from_numpy(mean))
    scales = np.sqrt(eigenvalues).astype(np.float32)
    model.network.start_from_pca(torch.from_numpy(components), torch.from_numpy(scales), 0.5)
    codes, log_variance = model.encode(images)
    centred = (images - mean).reshape(40, -1)
    scores = centred @ components.reshape(3, -1).T
    by_pca = (scores @ components.reshape(3, -1)).reshape(images.shape) + mean
    error = np.square(model.decode(codes) - images).mean()
    assert error < 1.05 * np.square(by_pca - images).mean()
    assert np.allclose(codes, scores / scales, atol=0.1)
    assert np.allclose(log_variance.mean(axis=0), np.log(0.5 / (eigenvalues + 0.5)), atol=0.1)


def test_padding_is_outside_the_section():
    """A pixel in a corner of an odd-sized section reaches the code; the code draws that corner."""
    model = fresh(65, 71)
    images = torch.rand(1, 1, 65, 71, requires_grad=True)
    model.network.encode(images)[0].sum().backward()
    assert images.grad is not None
    assert all(images.grad[0, 0, r, c] != 0 for r in (0, -1) for c in (0, -1))
    left, right, top, bottom = model.network.padding
    assert F.pad(images, model.network.padding).shape[2:] == (65 + top + bottom, 71 + left + right)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode(np.zeros((2, 64, 64))), "for sections of 64 x 72 px"),
        (lambda m: m.encode(np.zeros((64, 72))), "for sections of 64 x 72 px"),
        (lambda m: m.near(np.zeros((64, 64))), "for sections of 64 x 72 px"),
        (lambda m: m.decode(np.zeros((2, 4))), "has 3 latent factors"),
        (lambda m: m.decode(np.zeros(3)), "has 3 latent factors"),
        (lambda m: Network(63, 100, 2), "at least 64 x 64"),
        (lambda m: m.network.start_from_pca(None, None, 1.0), "no shortcut"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(fresh())


@pytest.mark.parametrize(
    ("options", "family", "label"),
    [
        ({"beta": 1.0}, "VAE", "VAE"),
        ({"beta": 20.0}, "beta-VAE", "beta-VAE"),
        ({"beta": 0.5}, None, "beta-VAE"),
        ({}, None, "beta-VAE"),
    ],
)
def test_a_vae_knows_its_family_by_its_beta(options, family, label):
    model = fresh()
    model.header.training = {"options": options}
    assert (model.family, model.label) == (family, label)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"recipe": "paper", "beta": 3.0, "loss": "gaussian"}, 1.5),
        ({"recipe": "fast", "beta": 3.0, "loss": "gaussian"}, 1.5 * 64 * 72 / (320 * 448)),
        ({"recipe": "fast", "beta": 0.0, "loss": "gaussian"}, None),
        ({"recipe": "fast", "beta": 3.0, "loss": "bernoulli"}, None),
        ({}, None),
    ],
)
def test_the_noise_that_a_squared_error_stands_for(options, expected):
    model = fresh()
    model.header.training = {"options": options}
    assert model.noise_variance == (expected and pytest.approx(expected))


def test_the_network_returns_what_an_objective_may_need(rng):
    """The objective is equation 2 of what the network returns, and its terms add up to it."""
    network = fresh().network
    images = torch.from_numpy(rng.random((3, 1, 64, 72), dtype=np.float32))
    noise = torch.from_numpy(rng.normal(size=(3, 3)).astype(np.float32))
    output = network(images, noise)
    mean, log_variance = network.encode(images)
    assert torch.equal(output.latents, mean + torch.exp(log_variance / 2) * noise)
    assert torch.equal(output.logits, network.decode(output.latents))
    loss, terms = BetaVAEObjective(beta=2.0, pixel_weight=5.0)(output, images)
    assert torch.isclose(loss, 5 * terms["reconstruction"] + 2 * terms["rate"])
    assert torch.isclose(terms["rate"], terms["kl"].sum())
    assert terms["kl"].shape == (3,)


def test_a_separable_objective_is_the_mean_over_its_parts(rng):
    network, objective = fresh().network, BetaVAEObjective()
    assert objective.separable
    images = torch.from_numpy(rng.random((4, 1, 64, 72), dtype=np.float32))
    noise = torch.zeros(4, 3)
    whole = objective(network(images, noise), images)[0]
    parts = [
        objective(network(images[i : i + 1], noise[:1]), images[i : i + 1])[0] for i in range(4)
    ]
    assert torch.isclose(whole, torch.stack(parts).mean(), rtol=1e-5)
