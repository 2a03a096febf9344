"""The model of a run at its starting point."""

from __future__ import annotations

import numpy as np
import torch

from napari_brainvae.models.header import Header
from napari_brainvae.models.network import Network
from napari_brainvae.models.objective import FULL_SIZE
from napari_brainvae.models.rotation import simple_axes
from napari_brainvae.models.smooth_components import choose_smoothing, smooth_components
from napari_brainvae.models.vae import BetaVAE
from training.fitting.findings import LINEAR, held_out_error
from training.fitting.job import Job
from training.fitting.replication import SMOOTHING
from training.fitting.sections import IN_MEMORY, evenly


def start(job: Job) -> BetaVAE:
    """Random weights in recipe paper; in recipe fast PCA, beside which the network is silent."""
    options = job.options
    height, width = job.preprocessing.shape
    fast = options.recipe == "fast"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = Network(height, width, options.latent_dim, shortcut=fast)
    more = {SMOOTHING: _start_from_pca(network, job)} if fast else {}
    header = Header(
        kind="vae",
        height=height,
        width=width,
        latent_dim=options.latent_dim,
        shortcut=fast,
        preprocessing=job.preprocessing,
        pixel_size_um=job.description.pixel_size_um,
        plane=job.description.plane,
        training=job.record | {"held_out": job.held_out} | more,
    )
    model = BetaVAE(header, network)
    linear = held_out_error(model, job.samples) if fast else None
    if linear is not None:
        header.training[LINEAR] = linear
    return model


def _start_from_pca(network: Network, job: Job) -> float:
    """Start from components, and say under how wide a Gaussian they were fitted, px."""
    images = job.sections.read(evenly(range(len(job.sections)), IN_MEMORY))
    sigma = job.options.smoothing
    if sigma is None:
        sigma, _ = choose_smoothing(images, network.latent_dim, seed=job.options.seed)
    mean, components, eigenvalues = smooth_components(images, network.latent_dim, sigma)
    network.set_mean_image(torch.from_numpy(mean))
    scales = np.sqrt(eigenvalues).astype(np.float32)
    axes = None
    if job.options.rotation == "varimax":
        axes = torch.from_numpy(simple_axes(components * scales[:, None, None])).float()
    # Without a KL divergence posteriors have no optimal variance: beta 0 starts as a small one.
    smallest = 1e-3 / 2 / (FULL_SIZE / mean.size)
    network.start_from_pca(
        torch.from_numpy(components),
        torch.from_numpy(scales),
        noise_variance=max(job.plan.objective.noise_variance, smallest),
        rotation=axes,
    )
    return sigma
