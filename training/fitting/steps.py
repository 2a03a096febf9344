"""The steps of a fit: everything at one follows from the seed and the step's number.

So a run that was killed continues exactly where it stood, with only weights and the optimiser's
moments to restore, and several processes agree on every batch without talking.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from napari_brainvae.models.network import Network
from napari_brainvae.models.objective import FULL_SIZE, Objective
from training.fitting.job import Corrupt, Plan
from training.fitting.sections import Sections, to_device

CHUNK_PIXELS = 2 * FULL_SIZE
"""Pixels, about, whose gradients a CPU computes at a time: two sections of full size."""

WARM_UP = 3
"""Steps before one is recorded."""


@dataclass(frozen=True)
class Logged:
    """What a step tells: tensors, so that a GPU need not be waited for."""

    step: int
    terms: dict[str, Tensor]
    """Terms of the objective, averaged over the batch, ``()`` or ``(L,)``."""
    gradient: Tensor
    """Norm of the gradient; infinite too where its squares, which Adam keeps, are."""


def training_steps(
    fabric: Any,
    network: Network,
    optimizer: torch.optim.Optimizer,
    sections: Sections,
    plan: Plan,
    start: int = 0,
    *,
    corrupt: Corrupt | None = None,
    capture: bool = False,
) -> Iterator[Logged]:
    """Optimise the objective from step ``start`` to the plan's last.

    Parameters
    ----------
    fabric
        A launched `lightning_fabric.Fabric`.
    network, optimizer
        As `fabric.setup` gave them; each group of parameters has its ``pace``.
    sections
        What to fit.
    plan
        What to do.
    start
        Steps already done.
    corrupt
        Makes the inputs to encode; the sections as they are stay the target.
    capture
        Record the step as a CUDA graph and replay it; wants an optimiser that is ``capturable``.

    Yields
    ------
    Logged
        After every step.
    """
    mine = slice(fabric.global_rank, None, fabric.world_size)
    size = min(plan.batch_size, len(sections))
    order = (batch[mine] for batch in batch_order(plan, len(sections), start))
    take: Callable[..., dict[str, Tensor]]
    take = partial(take_step, fabric, network, optimizer, plan.objective)
    if capture:
        take = Captured(take)
        for group in optimizer.param_groups:
            group["lr"] = torch.zeros((), device=fabric.device)  # which a replay reads again
    for step, targets in enumerate(sections.batches(order), start):
        for group in optimizer.param_groups:
            rate = group.get("pace", 1.0) * learning_rate(plan, step)
            if capture:
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        # Every process draws the whole batch's noise and keeps its own rows.
        noise = to_device(batch_noise(plan, size, network.latent_dim, step)[mine], targets.device)
        seen = range(step * size, (step + 1) * size)[mine]
        inputs = targets if corrupt is None else corrupt(targets, list(seen))
        terms = take(inputs, targets, noise)
        if fabric.world_size > 1:
            terms = {name: fabric.all_reduce(t, reduce_op="mean") for name, t in terms.items()}
        yield Logged(step + 1, terms, terms.pop("gradient"))


def take_step(
    fabric: Any,
    network: Network,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    inputs: Tensor,
    targets: Tensor,
    noise: Tensor,
) -> dict[str, Tensor]:
    """Change the weights by one step; the objective's terms, and ``gradient``, its norm."""
    optimizer.zero_grad(set_to_none=True)
    count = chunk = len(targets)
    if objective.separable and targets.device.type == "cpu":
        # A few sections at a time, whose activations stay in the cache.
        chunk = max(1, CHUNK_PIXELS // targets[0].numel())
    totals: dict[str, Tensor] = {}
    for at in range(0, count, chunk):
        part = slice(at, at + chunk)
        share = len(targets[part]) / count
        # Processes exchange gradients once, with the last chunk.
        with fabric.no_backward_sync(network, enabled=at + chunk < count):
            loss, terms = objective(network(inputs[part], noise[part]), targets[part])
            fabric.backward(share * loss)
        for name, term in terms.items():
            totals[name] = totals.get(name, torch.zeros_like(term)) + share * term.detach()
    norms = [p.grad.norm() for p in network.parameters() if p.grad is not None]
    totals["gradient"] = torch.stack(norms).norm()
    optimizer.step()
    return totals


class Captured:
    """A step recorded once as a CUDA graph and then replayed, with no Python between kernels.

    The first few calls run as they are: recording wants every buffer to have been made.
    """

    def __init__(self, step: Callable[..., dict[str, Tensor]]) -> None:
        self.step, self.calls = step, 0
        self.graph = torch.cuda.CUDAGraph()
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.inputs: list[Tensor] = []
        self.result: dict[str, Tensor] = {}

    def __call__(self, *tensors: Tensor) -> dict[str, Tensor]:
        """Take the step with these tensors, whose shapes never change."""
        self.calls += 1
        if self.calls <= WARM_UP:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                result = self.step(*tensors)
            torch.cuda.current_stream().wait_stream(self.stream)
            return result
        if not self.inputs:
            self.inputs = [tensor.clone() for tensor in tensors]
            # The loader's own thread may pin memory meanwhile, which corrupts nothing here.
            with torch.cuda.graph(
                self.graph, stream=self.stream, capture_error_mode="thread_local"
            ):
                self.result = self.step(*self.inputs)
        for held, tensor in zip(self.inputs, tensors, strict=True):
            held.copy_(tensor)
        self.graph.replay()
        return {name: tensor.clone() for name, tensor in self.result.items()}


def learning_rate(plan: Plan, step: int) -> float:
    """Learning rate of a step: constant, or a short rise and a cosine to zero."""
    if plan.schedule == "constant":
        return plan.learning_rate
    rise = max(1, min(100, plan.steps // 10))
    if step < rise:
        return plan.learning_rate * (step + 1) / rise
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / (plan.steps - rise)))


def batch_order(plan: Plan, count: int, start: int = 0) -> Iterator[Tensor]:
    """Positions ``(n,)`` of each batch from step ``start`` on.

    Each epoch has a new order, and its incomplete last batch is dropped.
    """
    size = min(plan.batch_size, count)
    per_epoch = count // size
    order = None
    for step in range(start, plan.steps):
        epoch, place = divmod(step, per_epoch)
        if order is None or place == 0:
            order = torch.randperm(count, generator=_random(plan.seed, epoch, 0))
        yield order[place * size : (place + 1) * size]


def batch_noise(plan: Plan, size: int, latent_dim: int, step: int) -> Tensor:
    """Noise of a step's posterior samples, ``(size, L)`` from N(0, 1)."""
    return torch.randn(size, latent_dim, generator=_random(plan.seed, step, 1))


def _random(seed: int, index: int, stream: int) -> torch.Generator:
    """Give a generator of its own to each (seed, index, stream)."""
    key = hashlib.blake2b(f"{seed} {index} {stream}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(key, "little", signed=True))
