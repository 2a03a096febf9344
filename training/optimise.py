"""The training loop: everything at a step follows from the seed and the step's number.

So a run that was killed continues exactly where it stood, with only weights and the optimiser's
moments to restore, and several processes agree on every batch without talking.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from napari_brainvae.vae import Network, kl_per_factor, reconstruction_loss

FULL_SIZE = 320 * 448
"""Pixels of the paper's sections, at which its beta was chosen."""


@dataclass(frozen=True)
class Plan:
    """What one run does; see `training.fit.FitOptions` for the meaning of the options."""

    beta: float
    loss: Literal["gaussian", "bernoulli"]
    batch_size: int
    learning_rate: float
    steps: int
    seed: int
    schedule: Literal["constant", "cosine"]
    pixel_weight: float
    """Weight of the reconstruction term, 1 in the paper."""


@dataclass(frozen=True)
class Logged:
    """What a step tells: losses as tensors, so that a GPU need not be waited for."""

    step: int
    reconstruction: Tensor
    """Loss summed over pixels, averaged over the batch."""
    kl: Tensor
    """``(L,)`` KL divergence per factor, nats."""


def training_steps(
    fabric: Any,
    network: Network,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    plan: Plan,
    start: int = 0,
    corrupt: Callable[[Tensor, list[int]], Tensor] | None = None,
) -> Iterator[Logged]:
    """Optimise equation 2 of the paper from step ``start`` to the plan's last.

    Parameters
    ----------
    fabric
        A launched `lightning_fabric.Fabric`.
    network, optimizer
        As `fabric.setup` gave them.
    images
        ``(N, 1, H, W)`` training sections on the device.
    plan
        What to do.
    start
        Steps already done.
    corrupt
        Makes of a step's sections ``(n, 1, H, W)`` the inputs to encode; the sections as they
        are stay the target. Told how many sections the run had seen before each of them, from
        which all that it does must follow.

    Yields
    ------
    Logged
        After every step.
    """
    for step in range(start, plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan, step)
        batch = batch_indices(plan, len(images), step)
        # Every process draws the whole batch's noise and keeps its own rows.
        noise = batch_noise(plan, len(batch), network.latent_dim, step)
        mine = slice(fabric.global_rank, None, fabric.world_size)
        sections = images[batch[mine].to(images.device)]
        seen = range(step * len(batch), (step + 1) * len(batch))[mine]
        inputs = sections if corrupt is None else corrupt(sections, list(seen))
        logits, mean, log_variance = network(inputs, noise[mine].to(images.device))
        reconstruction = reconstruction_loss(logits.float(), sections, plan.loss)
        kl = kl_per_factor(mean.float(), log_variance.float())
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(plan.pixel_weight * reconstruction + plan.beta * kl.sum())
        optimizer.step()
        yield Logged(step + 1, reconstruction.detach(), kl.detach())


def learning_rate(plan: Plan, step: int) -> float:
    """Learning rate of a step: constant, or a short rise and a cosine to zero."""
    if plan.schedule == "constant":
        return plan.learning_rate
    rise = max(1, min(100, plan.steps // 10))
    if step < rise:
        return plan.learning_rate * (step + 1) / rise
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / (plan.steps - rise)))


def batch_indices(plan: Plan, count: int, step: int) -> Tensor:
    """Sections of a step's batch: each epoch a new order, its incomplete last batch dropped."""
    size = min(plan.batch_size, count)
    per_epoch = count // size
    order = torch.randperm(count, generator=_random(plan.seed, step // per_epoch, 0))
    first = (step % per_epoch) * size
    return order[first : first + size]


def batch_noise(plan: Plan, size: int, latent_dim: int, step: int) -> Tensor:
    """Noise of a step's posterior samples, ``(size, L)`` from N(0, 1)."""
    return torch.randn(size, latent_dim, generator=_random(plan.seed, step, 1))


def _random(seed: int, index: int, stream: int) -> torch.Generator:
    """Give a generator of its own to each (seed, index, stream)."""
    key = hashlib.blake2b(f"{seed} {index} {stream}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(key, "little", signed=True))
