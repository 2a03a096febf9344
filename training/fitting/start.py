"""The model of a run at its starting point."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from napari_brainvae.arrays import Images
from napari_brainvae.factors.shape_and_brightness import decompose
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.displacing import Displacing
from napari_brainvae.models.header import Header
from napari_brainvae.models.network import Network
from napari_brainvae.models.network_model import NetworkModel
from napari_brainvae.models.objective import FULL_SIZE
from napari_brainvae.models.rotation import simple_axes
from napari_brainvae.models.smooth_components import choose_smoothing, smooth_components
from napari_brainvae.models.vae import BetaVAE
from training.fitting.findings import LINEAR, held_out_error
from training.fitting.job import Job
from training.fitting.replication import SMOOTHING
from training.fitting.sections import IN_MEMORY, evenly


def start(job: Job) -> NetworkModel:
    """Random weights in recipe paper; else components, which all that is fitted adds to."""
    if job.options.recipe == "displacing":
        return start_displacing(job)
    options = job.options
    fast = options.recipe == "fast"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = Network(*job.preprocessing.shape, options.latent_dim, shortcut=fast)
    linear = linear_path(job) if fast else None
    model = BetaVAE(_header(job, "vae", linear, shortcut=fast), network)
    if linear is not None:
        network.set_mean_image(torch.from_numpy(linear.mean))
        network.start_from_pca(
            torch.from_numpy(linear.components),
            torch.from_numpy(linear.scales),
            noise_variance=noise_variance(job),
            rotation=None if linear.axes is None else torch.from_numpy(linear.axes).float(),
        )
        _remember_linear(model, job)
    return model


def start_displacing(job: Job) -> Displacing:
    """Rotated components, as much of each as can be seen as displacement of the mean."""
    linear = linear_path(job)
    model = Displacing(_header(job, "displacing", linear))
    loadings = linear.components * linear.scales[:, None, None]
    if linear.axes is not None:
        loadings = np.tensordot(linear.axes.T, loadings, 1).astype(np.float32)
    mean, changes = torch.from_numpy(linear.mean), torch.from_numpy(loadings)
    model.network.noise_variance.fill_(noise_variance(job))
    still = torch.zeros(len(changes), 2, *linear.mean.shape)
    model.network.start_from(mean, changes, still)
    _remember_linear(model, job)
    try:
        parts = decompose(linear.mean, loadings)
    except InputError:  # a mean section that is the same everywhere has nothing to displace
        return model
    # Where tissue goes to is opposite to where a pixel takes it from.
    moved = torch.from_numpy(-np.stack([part.displacement for part in parts]))
    model.network.start_from(mean, changes, moved)
    return model


class LinearPath(NamedTuple):
    """Linear factors of the training sections."""

    mean: Images
    components: Images
    scales: Images
    """``(L,)`` float32, standard deviations of the scores."""
    axes: Any
    """``(L, L)``, in which each acts in one place; None where that is not asked for."""
    sigma: float
    """Of the Gaussian under which they were fitted, px."""


def linear_path(job: Job) -> LinearPath:
    """Components of the training sections, smoothed by as much as cross-validation says."""
    options = job.options
    images = job.sections.read(evenly(range(len(job.sections)), IN_MEMORY))
    sigma = options.smoothing
    if sigma is None:
        sigma, _ = choose_smoothing(images, options.latent_dim, seed=options.seed)
    mean, components, eigenvalues = smooth_components(images, options.latent_dim, sigma)
    scales = np.sqrt(eigenvalues).astype(np.float32)
    axes = None
    if options.rotation == "varimax":
        axes = simple_axes(components * scales[:, None, None])
    return LinearPath(mean, components, scales, axes, sigma)


def noise_variance(job: Job) -> float:
    """Variance of a pixel's noise that the objective means.

    Without a KL divergence posteriors have no optimal variance: beta 0 starts as a small one.
    """
    smallest = 1e-3 / 2 / (FULL_SIZE / np.prod(job.preprocessing.shape))
    # No weight can hold more.
    return float(np.clip(job.plan.objective.noise_variance, smallest, np.finfo(np.float32).max))


def _header(
    job: Job,
    kind: Literal["vae", "displacing"],
    linear: LinearPath | None,
    *,
    shortcut: bool = False,
) -> Header:
    height, width = job.preprocessing.shape
    more = {} if linear is None else {SMOOTHING: linear.sigma}
    return Header(
        kind=kind,
        height=height,
        width=width,
        latent_dim=job.options.latent_dim,
        shortcut=shortcut,
        preprocessing=job.preprocessing,
        pixel_size_um=job.description.pixel_size_um,
        plane=job.description.plane,
        training=job.record | {"held_out": job.held_out} | more,
    )


def _remember_linear(model: NetworkModel, job: Job) -> None:
    error = held_out_error(model, job.samples)
    if error is not None:
        model.header.training[LINEAR] = error
