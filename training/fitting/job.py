"""One training run from sections to checkpoint: split, set up, train, log, save."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from napari_brainvae.arrays import Images
from napari_brainvae.data.augmentation import corrupt_by_chance
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Header, Reference, kl_divergence, squared_error
from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.network import Network
from napari_brainvae.models.pca import trimmed_components
from napari_brainvae.models.rotation import rotate_factors, simple_axes
from napari_brainvae.models.vae import BetaVAE
from training.fitting.loop import FULL_SIZE, Logged, Plan, learning_rate, training_steps
from training.fitting.run_folder import RunFolder
from training.fitting.sections import Resident, Sections, Streamed, evenly, fit_preprocessing

if TYPE_CHECKING:
    from training.fitting.options import FitOptions

SAMPLE = 256
"""Sections, at most, that are looked at to say how training goes."""

START_SAMPLE = 2048
"""Sections, at most, whose principal components recipe fast starts from."""

READERS = 8
"""Processes that read ahead of a GPU by default."""


ACTIVE = 0.01
"""Variance of the posterior mean over brains above which a factor is active (Burda et al. 2016)."""


def split(population: Population, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Divide the positions of a population into training and held-out ones.

    Raises
    ------
    ValueError
        If fewer than two brains would be left to fit.
    """
    count = round(share * len(population))
    order = np.random.default_rng(seed).permutation(len(population))
    train, held_out = sorted(order[count:].tolist()), sorted(order[:count].tolist())
    if len(train) < 2:
        raise InputError(
            f"{len(population)} section(s), {count} held out, leave {len(train)} to fit; "
            "at least 2 are needed"
        )
    return train, held_out


def run_training(
    options: FitOptions, population: Population, directory: RunFolder, record: dict[str, Any]
) -> None:
    """Fit, or go on fitting, with resolved options; see `training.fit.FitOptions`."""
    train, held_out = split(population, options.held_out, options.seed)
    preprocessing = population.description.preprocessing or fit_preprocessing(population, train)
    plan = make_plan(options, preprocessing, len(train))
    if options.threads:
        torch.set_num_threads(options.threads)
    fabric = make_fabric(options)
    sections = choose_sections(options, population, preprocessing, train, fabric.device)
    samples = Samples(
        sections.read(evenly(range(len(sections)), SAMPLE)),
        population.prepared(preprocessing, held_out[:SAMPLE]) if held_out else None,
    )
    model = start(options, plan, preprocessing, population, sections)
    model.header.training = record | {"held_out": [population.ids[i] for i in held_out]}
    network = model.network.train()
    capture = options.capture and fabric.device.type == "cuda" and fabric.world_size == 1
    optimizer = torch.optim.Adam(
        network.parameters(), plan.learning_rate, fused=True, capturable=capture
    )
    wrapped, optimizer = fabric.setup(network, optimizer)
    saved = directory.load_state() if options.resume else None
    if saved is not None:
        restore(saved, network, optimizer, capture=capture)
    first = saved["step"] if saved else 0

    log = Log(options, plan, directory, first)
    corrupt = corruption(options, preprocessing)
    steps = training_steps(
        fabric, wrapped, optimizer, sections, plan, first, corrupt=corrupt, capture=capture
    )
    if fabric.global_rank > 0:
        for _ in steps:
            pass
        return
    directory.write_record(record | {"status": "running"})
    # A run that was killed between its last state and its record has no step left to do.
    findings = measure(rotated(model, options, samples), samples) if first == plan.steps else {}
    for step in log.follow(steps):
        if step % options.checkpoint_every == 0 or step == plan.steps:
            result = rotated(model, options, samples)
            findings = measure(result, samples)
            result.header.training |= {"step": step} | findings
            save_checkpoint(result, directory.model)
            network.train()
            log.write(step, findings)
            # Last: a kill before it repeats these steps, a kill after it has lost nothing.
            directory.save_state(
                {
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                }
            )
    directory.write_record(record | {"status": "complete"} | findings)
    print(summary(findings, directory))


def restore(
    saved: dict[str, Any], network: Network, optimizer: torch.optim.Optimizer, *, capture: bool
) -> None:
    """Put weights and moments back, for steps that are recorded or not, as they are from now on."""
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    for group in optimizer.param_groups:
        group["capturable"] = capture


def make_plan(options: FitOptions, preprocessing: Preprocessing, count: int) -> Plan:
    """Turn resolved options into a plan for ``count`` sections.

    Raises
    ------
    ValueError
        If the sections of a step do not divide among the devices.
    """
    assert options.batch_size and options.steps  # by `resolved`
    fast = options.recipe == "fast"
    batch_size = min(options.batch_size, count)
    if batch_size % options.devices:
        raise InputError(
            f"{batch_size} sections a step do not divide among {options.devices} devices: "
            "give another --batch-size"
        )
    return Plan(
        beta=options.beta,
        loss=options.loss,
        batch_size=batch_size,
        learning_rate=options.learning_rate,
        steps=options.steps,
        seed=options.seed,
        schedule="cosine" if fast else "constant",
        pixel_weight=FULL_SIZE / (preprocessing.height * preprocessing.width) if fast else 1.0,
    )


def make_fabric(options: FitOptions) -> Fabric:
    """Start the processes, on the devices and in the precision that were asked for."""
    precision: Any = _precision(options.precision, options.device)
    fabric = Fabric(
        accelerator=options.device,
        devices=options.devices,
        precision=precision,
    )
    fabric.launch()
    torch.backends.cudnn.benchmark = True
    return fabric


def choose_sections(
    options: FitOptions,
    population: Population,
    preprocessing: Preprocessing,
    train: list[int],
    device: torch.device,
) -> Sections:
    """Keep the sections in the memory of the device if they may take it, else read them."""
    size = len(train) * preprocessing.height * preprocessing.width * 4
    if size <= options.resident_gb * 1e9:
        return Resident(population.prepared(preprocessing, train), device)
    if device.type == "cuda":
        readers = READERS if options.readers is None else options.readers
    else:
        readers = options.readers or 0
    print(
        f"{len(train)} sections take {size / 1e9:.1f} GB, more than --resident-gb "
        f"{options.resident_gb:g}: they are read from the file as they are needed",
        file=sys.stderr,
    )
    return Streamed(options.population, preprocessing, train, device, readers)


def start(
    options: FitOptions,
    plan: Plan,
    preprocessing: Preprocessing,
    population: Population,
    sections: Sections,
) -> BetaVAE:
    """Make the model of a recipe at its starting point."""
    height, width = preprocessing.shape
    fast = options.recipe == "fast"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = Network(height, width, options.latent_dim, shortcut=fast)
    header = Header(
        kind="vae",
        height=height,
        width=width,
        latent_dim=options.latent_dim,
        shortcut=fast,
        preprocessing=preprocessing,
        pixel_size_um=population.description.pixel_size_um,
        plane=population.description.plane,
    )
    if fast:
        images = sections.read(evenly(range(len(sections)), START_SAMPLE))
        mean, components, eigenvalues = trimmed_components(images, options.latent_dim)
        scales = np.sqrt(eigenvalues).astype(np.float32)
        axes = None
        if options.rotation == "varimax":
            axes = torch.from_numpy(simple_axes(components * scales[:, None, None])).float()
        network.set_mean_image(torch.from_numpy(mean))
        network.start_from_pca(
            torch.from_numpy(components),
            torch.from_numpy(scales),
            noise_variance=max(plan.beta, 1e-3) / 2 / plan.pixel_weight,
            rotation=axes,
        )
    return BetaVAE(header, network)


def rotated(model: BetaVAE, options: FitOptions, samples: Samples) -> BetaVAE:
    """Give the model that is saved; it is fitted further in the axes it has.

    Recipe fast starts from rotated components: what is left is a few degrees, and the order.
    """
    model.network.eval()
    return rotate_factors(model, samples.training) if options.rotation == "varimax" else model


def corruption(
    options: FitOptions, preprocessing: Preprocessing
) -> Callable[[Tensor, list[int]], Tensor] | None:
    """What corrupts the inputs of a step, if that was asked for; see `training_steps`."""
    if options.augment == 0:
        return None

    def corrupt(sections: Tensor, seen: list[int]) -> Tensor:
        # A generator for each section: the same whatever stands beside it, on any number of GPUs.
        corrupted = [
            corrupt_by_chance(
                image, options.augment, preprocessing, np.random.default_rng([seed, number])
            )
            for image, number in zip(sections[:, 0].cpu().numpy(), seen, strict=True)
        ]
        return torch.from_numpy(np.stack(corrupted)[:, None]).to(sections.device)

    seed = options.seed
    return corrupt


@dataclass(frozen=True)
class Samples:
    """Prepared sections ``(n, H, W)`` that are looked at to say how training goes."""

    training: Images
    held_out: Images | None


def measure(model: BetaVAE, samples: Samples) -> dict[str, Any]:
    """How the model stands: errors, KL divergence per factor, active factors.

    Also puts into the model's header the reference against which new sections are judged.
    """
    model.network.eval()
    mean, log_variance = model.encode(samples.training)
    error = squared_error(samples.training, model.decode(mean))
    model.header.reference = Reference.measure(error, mean, log_variance)
    findings = {
        "training_error": float(error.mean()),
        "kl_per_factor": kl_divergence(mean, log_variance).mean(axis=0).tolist(),
        "active_factors": int((mean.var(axis=0) > ACTIVE).sum()),
        "latent_dim": model.latent_dim,
    }
    if samples.held_out is not None:
        error = squared_error(samples.held_out, model.reconstruct(samples.held_out))
        findings["held_out_error"] = float(error.mean())
    return findings


def summary(findings: dict[str, Any], directory: RunFolder) -> str:
    """What the run came to, in a few lines."""
    active, total = findings["active_factors"], findings["latent_dim"]
    lines = [
        f"squared error per pixel: {findings['training_error']:.6f} training"
        + (f", {findings['held_out_error']:.6f} held out" if "held_out_error" in findings else ""),
        "KL divergence per factor, nats: "
        + " ".join(f"{kl:.2f}" for kl in findings["kl_per_factor"]),
        f"active factors: {active} of {total}",
    ]
    if active < total:
        lines.append(
            f"warning: {total - active} of {total} factors have collapsed (they do not vary over "
            "brains): try --recipe fast, a smaller --beta, or fewer latent factors"
        )
    return "\n".join([*lines, f"model: {directory.model}"])


class Log:
    """What is shown while a run goes on, and the rows of ``history.csv``."""

    def __init__(self, options: FitOptions, plan: Plan, directory: RunFolder, first: int) -> None:
        self.options, self.plan, self.directory, self.first = options, plan, directory, first
        self.rows = directory.read_history(first)

    def follow(self, steps: Iterator[Logged]) -> Iterator[int]:
        """Pass on the number of each step done, with a progress bar and a row now and then."""
        began, images = time.monotonic(), 0
        # In a log file, a line now and then is enough.
        pause = 0.5 if sys.stderr.isatty() else 10
        with tqdm(
            total=self.plan.steps, initial=self.first, unit="step", mininterval=pause, smoothing=0.1
        ) as bar:
            for done in steps:
                images += self.plan.batch_size
                bar.update()
                if done.step % self.options.log_every == 0 or done.step == self.plan.steps:
                    now = time.monotonic()
                    self._add_row(done, images / (now - began))
                    began, images = now, 0
                    last = self.rows[-1]
                    bar.set_postfix_str(
                        f"reconstruction {last['reconstruction']:.1f}, KL {last['rate']:.1f}",
                        refresh=False,
                    )
                yield done.step

    def _add_row(self, done: Logged, images_per_second: float) -> None:
        kl = done.kl.tolist()
        self.rows.append(
            {
                "step": done.step,
                "reconstruction": float(done.reconstruction),
                **{f"kl_{i + 1}": value for i, value in enumerate(kl)},
                "rate": sum(kl),
                "learning_rate": learning_rate(self.plan, done.step - 1),
                "images_per_second": images_per_second,
                "held_out_error": None,
            }
        )

    def write(self, step: int, findings: dict[str, Any]) -> None:
        """Write the history so far, with the held-out error at the row of this step."""
        if self.rows and self.rows[-1]["step"] == step:
            self.rows[-1]["held_out_error"] = findings.get("held_out_error")
        self.directory.write_history(self.rows)


def _precision(asked: str, device: str) -> str:
    """Name a precision for Fabric: bf16 only where the hardware is fast at it, unless asked for."""
    if asked == "32":
        return "32-true"
    if asked == "bf16":
        return "bf16-mixed"
    if device in ("auto", "cuda") and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Private names of torch, and the only ones that tell; without them, float32 it is.
        fast = any(
            getattr(torch.cpu, name, bool)()
            for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    return "bf16-mixed" if fast else "32-true"
