"""The gradients of one step, on any number of processes: ``python -m tests.gradients 2 FILE.npz``.

A script of its own because the processes that share a step each run the same program.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from lightning_fabric import Fabric

from napari_brainvae.models.network import Network
from napari_brainvae.models.objective import BetaVAEObjective
from training.fitting.job import Plan
from training.fitting.sections import Resident
from training.fitting.steps import training_steps

PLAN = Plan(
    objective=BetaVAEObjective(),
    batch_size=6,
    learning_rate=1.0,
    steps=1,
    seed=1,
    schedule="constant",
)


def gradients(fabric: Fabric) -> dict[str, np.ndarray]:
    """What one step of plain descent at rate 1 takes from the weights, and its losses."""
    images = np.random.default_rng(0).random((6, 64, 64), dtype=np.float32)
    torch.manual_seed(0)
    network = Network(64, 64, 2)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    wrapped, optimizer = fabric.setup(network, torch.optim.SGD(network.parameters(), 1.0))
    (logged,) = training_steps(fabric, wrapped, optimizer, Resident(images, fabric.device), PLAN)
    after = dict(network.named_parameters())
    taken = {name: (before[name] - after[name]).detach().numpy() for name in before}
    return taken | {
        "losses": torch.cat([logged.terms["reconstruction"][None], logged.terms["kl"]]).numpy()
    }


if __name__ == "__main__":
    launched = Fabric(accelerator="cpu", devices=int(sys.argv[1]))
    launched.launch()
    found = gradients(launched)
    if launched.global_rank == 0:
        np.savez(sys.argv[2], **found)
