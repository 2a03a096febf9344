"""Time the training step beside the plain loop that a lab would write, on a CPU or a GPU.

    python -m benchmarks.training_step --threads 1
    python -m benchmarks.training_step --device cuda --batch 64 --steps 100 --whole-run

The plain loop: the authors' network in its default memory format, float32, ordinary Adam. Both
start from the same weights and see the same batches and noise, so that their losses can be
compared step by step. Variants take turns of a few steps; medians over turns are printed.
--whole-run then fits the paper's 10,000 steps by `training.fit`, in a process of its own, and by
the plain loop with two seeds of the noise: what the two differ by is what a curve may.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional as F

from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.network import Network
from napari_brainvae.models.objective import BetaVAEObjective
from training.fitting.job import Plan
from training.fitting.sections import Resident, Sections, Streamed
from training.fitting.steps import batch_noise, batch_order, training_steps

HEIGHT, WIDTH, FACTORS = 320, 448, 8
BETA = 3.0

VARIANTS = {
    # name: precision, recorded, compiled, streamed
    "ours, float32": ("32-true", False, False, False),
    "ours, bf16": ("bf16-mixed", False, False, False),
    "ours, bf16, recorded": ("bf16-mixed", True, False, False),
    "ours, bf16, compiled": ("bf16-mixed", False, True, False),
    "ours, bf16, compiled, recorded": ("bf16-mixed", True, True, False),
    "ours, bf16, recorded, streamed": ("bf16-mixed", True, False, True),
}


class Plain(nn.Module):
    """The authors' network at 320 x 448 px, L = 8: 730,289 parameters."""

    def __init__(self) -> None:
        super().__init__()
        down = [nn.Conv2d(1 if i == 0 else 32, 32, 4, 2 if i < 6 else 1, 1) for i in range(7)]
        up = [
            nn.ConvTranspose2d(32, 32 if i < 6 else 1, 4, 1 if i == 0 else 2, 1) for i in range(7)
        ]
        self.encoder = nn.Sequential(
            *(part for layer in down for part in (layer, nn.ReLU())),
            nn.Flatten(),
            *(nn.Linear(768, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()),
            nn.Linear(256, 2 * FACTORS),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(FACTORS, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()),
            *(nn.Linear(256, 768), nn.ReLU()),
            nn.Unflatten(1, (32, 4, 6)),
            *(part for layer in up[:-1] for part in (layer, nn.ReLU())),
            up[-1],
        )


def plain_loop(network: Plain, images: Tensor, plan: Plan, noise_seed: int) -> Iterator[Tensor]:
    """Take the steps as a lab would write them; the objective of each."""
    adam = torch.optim.Adam(network.parameters(), plan.learning_rate)
    noisy = replace(plan, seed=noise_seed)
    for step, batch in enumerate(batch_order(plan, len(images))):
        x = images[batch.to(images.device)]
        mean, log_variance = network.encoder(x).chunk(2, dim=1)
        noise = batch_noise(noisy, len(x), FACTORS, step).to(x.device)
        logits = network.decoder(mean + torch.exp(log_variance / 2) * noise)
        error = F.mse_loss(torch.sigmoid(logits), x, reduction="sum") / len(x)
        kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1).mean()
        objective = error + BETA * kl
        adam.zero_grad()
        objective.backward()
        adam.step()
        yield objective.detach()


def our_loop(
    network: Network, sections: Sections, plan: Plan, device: str, precision: str, recorded: bool
) -> Iterator[Tensor]:
    """Take the steps as `training.fit` does; the objective of each."""
    fabric = Fabric(accelerator=device, devices=1, precision=precision)
    adam = torch.optim.Adam(
        network.parameters(), plan.learning_rate, fused=True, capturable=recorded
    )
    wrapped, optimizer = fabric.setup(network, adam)
    for done in training_steps(fabric, wrapped, optimizer, sections, plan, capture=recorded):
        yield done.terms["reconstruction"] + BETA * done.terms["rate"]


def population(count: int) -> NDArray[np.uint16]:
    """Sections ``(count, H, W)`` that differ from each other in a dozen smooth ways."""
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.standard_normal((13, HEIGHT, WIDTH)), (0, 12, 12))
    smooth /= np.abs(smooth).max(axis=(1, 2), keepdims=True)
    images = np.empty((count, HEIGHT, WIDTH), dtype=np.uint16)
    for image in images:
        drawn = 0.5 + smooth[0] + np.tensordot(rng.normal(0, 0.15, 12), smooth[1:], axes=1)
        image[:] = 1000 * np.clip(drawn, 0.02, 2)
    return images


def starts(options: argparse.Namespace, path: Path) -> dict[str, Iterator[Tensor]]:
    """All loops at their start, from the same weights."""
    device = torch.device(options.device)
    plan = make_plan(options.batch, steps=10**9)
    opened = Population.open(path)
    preprocessing = Preprocessing.fit(opened.sections(range(min(64, len(opened)))))
    positions = list(range(len(opened)))
    resident = Resident(opened.prepared(preprocessing, positions), device)
    streamed = Streamed(path, preprocessing, positions, device, options.readers)
    loops = {"plain loop": plain_loop(plain().to(device), resident.images, plan, plan.seed)}
    for name, (precision, recorded, compiled, from_file) in VARIANTS.items():
        if device.type == "cpu" and (recorded or compiled or (precision != "32-true")):
            continue
        network = ours().to(device, memory_format=torch.channels_last)
        if compiled:
            network = torch.compile(network)
        sections = streamed if from_file else resident
        loops[name] = our_loop(network, sections, plan, options.device, precision, recorded)
    return loops


def ours() -> Network:
    """The network that `training.fit --recipe paper --seed 0` starts from."""
    torch.manual_seed(0)
    return Network(HEIGHT, WIDTH, FACTORS)


def plain() -> Plain:
    """The authors' network with the same weights."""
    network, weights = Plain(), ours().state_dict()
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    return network


def make_plan(batch: int, steps: int) -> Plan:
    """Recipe paper."""
    return Plan(
        objective=BetaVAEObjective(BETA),
        batch_size=batch,
        learning_rate=2e-4,
        steps=steps,
        seed=0,
        schedule="constant",
    )


def take_turns(
    loops: dict[str, Iterator[Tensor]], options: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, NDArray[np.float64]]]:
    """Seconds a step by turn, and the objective of every step, of each loop."""
    wait = torch.cuda.synchronize if options.device == "cuda" else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    losses: dict[str, list[Tensor]] = {}
    for name, loop in loops.items():
        start = time.perf_counter()
        losses[name] = list(islice(loop, options.warm_up))
        wait()
        print(f"{name:32} first {options.warm_up} steps {time.perf_counter() - start:6.1f} s")
    for turn in range(options.turns):
        for name in np.roll(list(loops), turn):
            wait()
            start = time.perf_counter()
            losses[name] += islice(loops[name], options.steps)
            wait()
            seconds[name].append((time.perf_counter() - start) / options.steps)
    return seconds, {name: torch.stack(one).double().cpu().numpy() for name, one in losses.items()}


def report(
    seconds: dict[str, list[float]],
    losses: dict[str, NDArray[np.float64]],
    options: argparse.Namespace,
) -> None:
    """Print times, their ratio to the plain loop turn by turn, and how far losses differ."""
    plain = np.array(seconds["plain loop"])
    print(f"\n{'':32}{'ms/step':>10}{'quartiles':>18}{'x plain':>9}{'quartiles':>14}", end="")
    print(f"{'10,000 steps':>14}{'loss differs':>14}")
    for name, times in seconds.items():
        low, median, high = 1e3 * np.percentile(times, [25, 50, 75])
        a, ratio, b = np.percentile(np.array(times) / plain, [25, 50, 75])
        differs = np.abs(losses[name] / losses["plain loop"] - 1).max()
        quartiles = f"{low:.1f} - {high:.1f}"
        print(f"{name:32}{median:10.2f}{quartiles:>18}{ratio:9.3f}", end="")
        print(f"{f'{a:.3f} - {b:.3f}':>14}{median * 10:12.0f} s{differs:13.2e}")
    if options.device == "cuda":
        print(f"GPU memory, all loops: {torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most")


def whole_run(options: argparse.Namespace, path: Path, folder: Path) -> None:
    """Fit 10,000 steps by the command, and by the plain loop with two noises; print the curves."""
    command = [sys.executable, "-m", "training.fit", str(path), "--out", str(folder / "run")]
    flags = ["--recipe", "paper", "--steps", str(options.run_steps), "--device", options.device]
    flags += ["--batch-size", str(options.batch), "--held-out", "0", "--checkpoint-every", "5000"]
    if options.device == "cuda":
        flags += ["--capture"]
    start = time.perf_counter()
    subprocess.run([*command, *flags], check=True)
    total = time.perf_counter() - start
    print(f"\ntraining.fit, {options.run_steps} steps, from start to end: {total:.1f} s")
    history = pd.read_csv(folder / "run" / "history.csv")
    curves = {"training.fit": history["reconstruction"] + BETA * history["rate"]}
    opened = Population.open(path)
    preprocessing = Preprocessing.fit(opened.sections(range(min(64, len(opened)))))
    images = torch.from_numpy(opened.prepared(preprocessing, slice(None))[:, None])
    images = images.to(options.device)
    plan = make_plan(options.batch, options.run_steps)
    for noise_seed in (0, 1):
        start = time.perf_counter()
        loop = plain_loop(plain().to(options.device), images, plan, noise_seed)
        losses = torch.stack(list(loop)).cpu().numpy()
        print(f"plain loop, noise {noise_seed}: {time.perf_counter() - start:.1f} s")
        curves[f"plain, noise {noise_seed}"] = pd.Series(losses[history["step"] - 1])
    parts = np.arange(len(history)) * 10 // len(history)
    print("objective, means over tenths of the run, from the same weights")
    print(pd.DataFrame(curves).groupby(parts).mean().round(1).to_string(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--sections", type=int, default=128, help="of the population")
    parser.add_argument("--steps", type=int, default=1, help="a turn")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--warm-up", type=int, default=2, help="steps that are not timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--readers", type=int, default=8, help="processes of the streamed variant")
    parser.add_argument("--whole-run", action="store_true")
    parser.add_argument("--run-steps", type=int, default=10_000)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device here: nothing was measured")
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    where = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
    print(
        f"{where}, {options.threads} CPU thread(s), Python {platform.python_version()}, "
        f"torch {torch.__version__}; batches of {options.batch} x {HEIGHT} x {WIDTH}"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "population.zarr"
        Population(population(options.sections)).save(path)
        report(*take_turns(starts(options, path), options), options)
        if options.whole_run:
            whole_run(options, path, Path(folder))


if __name__ == "__main__":
    main()
