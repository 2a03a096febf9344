"""Everything that a run needs, decided: what starts and fits the model sees only a `Job`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from napari_brainvae.arrays import Images
from napari_brainvae.data.augmentation import corrupt_by_chance
from napari_brainvae.data.population import Description, Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.io.errors import InputError, present
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.objective import Objective
from napari_brainvae.reporting.provenance import provenance
from training.fitting.reading import (
    fit_preprocessing,
    leave_out_flagged,
    prepare,
    read_once,
    split,
)
from training.fitting.replication import SPLITS
from training.fitting.sections import Resident, Sections, Streamed, evenly

log = logging.getLogger(__name__)

PACKAGES = ("napari-brainvae", "torch", "lightning-fabric", "numpy")
"""Distributions whose versions decide what is fitted."""

SAMPLE = 256
"""Sections, at most, that are looked at to say how training goes."""

READERS = 8
"""Processes that read ahead of a GPU by default."""

Corrupt = Callable[[Tensor, list[int]], Tensor]
"""Makes inputs of a step's sections ``(n, 1, H, W)``; told how many sections the run had seen
before each of them, from which all that it does must follow."""


@dataclass(frozen=True)
class Plan:
    """What the steps do; see `FitOptions` for the meaning of the options."""

    objective: Objective
    batch_size: int
    learning_rate: float
    steps: int
    seed: int
    schedule: Literal["constant", "cosine"]


@dataclass(frozen=True)
class Samples:
    """Prepared sections ``(n, H, W)`` that are looked at to say how training goes."""

    training: Images
    held_out: Images | None


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes
    ----------
    options
        Resolved.
    plan
        Of the steps.
    description, preprocessing
        Of the population.
    sections
        To fit.
    samples
        To look at.
    corrupt
        What corrupts the inputs of a step, if that was asked for.
    fabric
        Launched: device, precision and processes.
    record
        All that decides the outcome: options, versions, data.
    held_out
        Ids of the brains that are not fitted.
    splits
        Divisions of the brains in halves, in which factors are to come again.
    """

    options: FitOptions
    plan: Plan
    description: Description
    preprocessing: Preprocessing
    sections: Sections
    samples: Samples
    corrupt: Corrupt | None
    fabric: Fabric
    record: dict[str, Any]
    held_out: list[str]
    splits: int = SPLITS


def make_job(
    options: FitOptions,
    population: Population,
    fingerprint: str | None = None,
    members: list[int] | None = None,
    splits: int = SPLITS,
) -> Job:
    """Decide everything, and read the population once.

    Sections that do not go into the memory of the device are read a second time at the start, for
    the preprocessing, and then at each of the steps: memory must not grow with them.

    Parameters
    ----------
    fingerprint
        Of the population, where it is known.
    members
        Positions of the brains to fit, and no others, instead of the share that is not held out.
    splits
        As in `Job`; 0 where nobody asks for it.

    Raises
    ------
    InputError
        If the sections, or options that hang together, cannot be used.
    """
    train, held_out = _fitted(options, population, members)
    options = options.resolved(len(train))
    looked_at = held_out[:SAMPLE]
    done = population.description.preprocessing
    height, width = done.shape if done else population.shape
    resident = len(train) * height * width * 4 <= options.resident_gb * 1e9
    kept = [*train, *looked_at] if resident else looked_at
    fingerprint, stored = read_once(population, kept, fingerprint)
    of_train = Population(stored[: len(train)]) if resident else population
    preprocessing = done or fit_preprocessing(of_train, range(len(train)) if resident else train)
    prepared = prepare(population, stored, kept, preprocessing)
    plan = make_plan(options, preprocessing.shape, len(train))
    fabric = make_fabric(options)
    sections: Sections
    if resident:
        sections = Resident(prepared[: len(train)], fabric.device)
    else:
        sections = _streamed(options, preprocessing, train, fabric.device)
    return Job(
        options,
        plan,
        population.description,
        preprocessing,
        sections,
        Samples(
            sections.read(evenly(range(len(train)), SAMPLE)),
            prepared[len(kept) - len(looked_at) :].copy() if looked_at else None,
        ),
        corruption(options, preprocessing),
        fabric,
        _record(options, population, fingerprint, train, held_out),
        [population.ids[i] for i in held_out],
        splits,
    )


def _fitted(
    options: FitOptions, population: Population, members: list[int] | None
) -> tuple[list[int], list[int]]:
    """Positions of the brains that are fitted, and of those held out."""
    if members is not None:
        return members, []
    train, held_out = split(population, options.held_out, options.seed)
    flagged = options.include_flagged
    return leave_out_flagged(population, train, include_flagged=flagged), held_out


def _record(
    options: FitOptions,
    population: Population,
    fingerprint: str,
    train: list[int],
    held_out: list[int],
) -> dict[str, Any]:
    everyone = len(train) + len(held_out) == len(population)
    return provenance(
        options,
        population,
        packages=PACKAGES,
        without={"resume", "out", "marks"},
        fingerprint=fingerprint,
        measured=None if everyone else train,
    )


def make_plan(options: FitOptions, shape: tuple[int, int], count: int) -> Plan:
    """Turn resolved options into a plan for ``count`` sections of ``(H, W)`` px.

    Raises
    ------
    InputError
        If the sections of a step do not divide among the devices.
    """
    batch_size = min(present(options.batch_size, "a resolved batch size"), count)
    if batch_size % options.devices:
        raise InputError(
            f"{batch_size} sections a step do not divide among {options.devices} devices: "
            "give another --batch-size"
        )
    return Plan(
        objective=options.objective(shape),
        batch_size=batch_size,
        learning_rate=options.learning_rate,
        steps=present(options.steps, "a resolved number of steps"),
        seed=options.seed,
        schedule="constant" if options.recipe == "paper" else "cosine",
    )


def make_fabric(options: FitOptions) -> Fabric:
    """Start the processes, on the devices and in the precision that were asked for.

    Raises
    ------
    InputError
        If there is no such device, or it cannot do what was asked for.
    """
    kind = options.device
    if kind == "auto" and torch.cuda.is_available():
        kind = "cuda"
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if not there.get(kind, 1):
        raise InputError(f"torch finds no {kind} device here: try --device auto")
    if (most := there.get(kind, options.devices)) < options.devices:
        raise InputError(f"--devices {options.devices}: torch finds {most} {kind} device(s) here")
    if options.threads:
        if options.threads > cpus():
            log.warning(
                "--threads %d: as many as this machine has CPUs, %d, are taken",
                options.threads,
                cpus(),
            )
        torch.set_num_threads(min(options.threads, cpus()))
    precision: Any = _precision(options.precision, options.device)
    fabric = Fabric(accelerator=options.device, devices=options.devices, precision=precision)
    if options.capture and options.recipe == "displacing":
        raise InputError(
            "--capture: the steps of recipe displacing are not all alike, leave it out"
        )
    if options.capture and (fabric.device.type != "cuda" or options.devices > 1):
        raise InputError(
            f"--capture records steps of one CUDA device, not of {options.devices} "
            f"{fabric.device.type}: leave it out"
        )
    fabric.launch()
    torch.backends.cudnn.benchmark = True
    return fabric


def cpus() -> int:
    """How many CPUs this process may use; more threads than that slow each other down."""
    here = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(here(0)) if here else os.cpu_count() or 1


def corruption(options: FitOptions, preprocessing: Preprocessing) -> Corrupt | None:
    """What corrupts the inputs of a step, if that was asked for."""
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


def _streamed(
    options: FitOptions, preprocessing: Preprocessing, train: list[int], device: torch.device
) -> Streamed:
    readers = options.readers
    if readers is None:
        readers = READERS if device.type == "cuda" else 0
    size = len(train) * preprocessing.height * preprocessing.width * 4
    log.warning(
        "%d sections take %.1f GB, more than --resident-gb %g: they are read from the file as they "
        "are needed",
        len(train),
        size / 1e9,
        options.resident_gb,
    )
    return Streamed(options.population, preprocessing, train, device, readers)


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
