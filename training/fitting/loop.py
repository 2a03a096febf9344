"""The loop of a fit, from a job to a run folder: steps, rows of history, checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, Stopped, report
from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.network_model import NetworkModel
from napari_brainvae.models.rotation import rotate_factors
from training.fitting.findings import measure
from training.fitting.job import Job
from training.fitting.replication import replication
from training.fitting.run_folder import WRONG, RunFolder
from training.fitting.sections import IN_MEMORY, evenly
from training.fitting.steps import Logged, learning_rate, training_steps

log = logging.getLogger(__name__)


def train(
    job: Job, model: NetworkModel, folder: RunFolder, progress: Progress | None = None
) -> dict[str, Any]:
    """Fit, or go on fitting, and leave all in the run folder.

    Returns
    -------
    dict
        What the run came to (see `measure`); empty in all processes but the first.

    Raises
    ------
    InputError
        If training diverges; the last checkpoint stays as it is.
    Stopped
        If ``progress`` says so; the run can be resumed from that step.
    """
    options, capture, last = job.options, job.options.capture, job.plan.steps
    network = model.network.train()
    optimizer = torch.optim.Adam(
        model.parameter_groups(), job.plan.learning_rate, fused=True, capturable=capture
    )
    wrapped, optimizer = job.fabric.setup(network, optimizer)
    first = resumed(job, folder, network, optimizer) if options.resume else 0
    given = (job.fabric, wrapped, optimizer, job.sections, job.plan, first)
    steps = finite(training_steps(*given, corrupt=job.corrupt, capture=capture), job, folder)
    if job.fabric.global_rank > 0:
        for _ in steps:
            pass
        return {}
    folder.begin(job.record, first)
    findings: dict[str, Any] = {}
    if first == last:  # killed between its last state and its record, or its model was lost
        findings = save(job, model, optimizer, folder, last)
    if first == 0 and options.recipe != "paper":
        save_model(job, model, folder, 0)
        log.info("first model, before the first step, to be looked at meanwhile: %s", folder.model)
    began, counted = time.monotonic(), first
    for done in steps:
        if done.step % options.log_every == 0 or done.step == last:
            now = time.monotonic()
            speed = (done.step - counted) * job.plan.batch_size / (now - began)
            folder.rows.append(row(done, job, speed))
            began, counted = now, done.step
        if done.step % options.checkpoint_every == 0 or done.step == last:
            findings = save(job, model, optimizer, folder, done.step)
        try:
            report(progress, done.step, last)
        except Stopped:
            save(job, model, optimizer, folder, done.step)
            raise
    folder.write_record(job.record | {"status": "complete"} | findings)
    return findings


def resumed(
    job: Job, folder: RunFolder, network: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Put saved weights and moments back; the step that they are of, 0 where none were saved.

    Raises
    ------
    InputError
        If what was saved is damaged, or of another network.
    """
    saved = folder.load_state(job.plan.steps)
    if saved is None:
        return 0
    try:
        restore(saved, network, optimizer)
    except WRONG as error:
        raise InputError(f"{folder.state} is of another network: {error}") from error
    return int(saved["step"])


def restore(saved: dict[str, Any], network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put weights and moments back.

    Raises
    ------
    RuntimeError, ValueError, KeyError, TypeError, AttributeError
        If they are of another network.
    """
    network.load_state_dict(saved["network"])
    # Of the optimiser's options those of this run count: rate and capture may be others now.
    now = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": saved["optimizer"]["state"], "param_groups": now})
    if len(optimizer.state) != len(list(network.parameters())):
        raise ValueError(f"it has moments of {len(optimizer.state)} weights")
    for parameter in network.parameters():
        for moment in ("exp_avg", "exp_avg_sq"):
            if optimizer.state[parameter][moment].shape != parameter.shape:
                raise ValueError(f"{moment} has another shape than the weights")


def finite(steps: Iterator[Logged], job: Job, folder: RunFolder) -> Iterator[Logged]:
    """Pass steps on as long as their losses and gradients are finite.

    A GPU is asked only at the steps that are logged or saved: it is waited for then anyway.

    Raises
    ------
    InputError
        At the first step that is not, alike in all processes.
    """
    options = job.options
    for done in steps:
        looked_at = done.step % options.log_every == 0 or done.step % options.checkpoint_every == 0
        if looked_at or done.step == job.plan.steps or done.gradient.device.type == "cpu":
            for name, value in {**done.terms, "gradient": done.gradient}.items():
                if not torch.isfinite(value).all():
                    raise diverged(done.step, name, job, folder)
        yield done


def diverged(step: int, what: str, job: Job, folder: RunFolder) -> InputError:
    """Leave word in the record, and say what to do."""
    if job.fabric.global_rank == 0:
        folder.write_record(job.record | {"status": "diverged", "diverged_at": step})
    stays = f"the last good model stays in {folder.model}" if folder.model.exists() else "no model"
    return InputError(
        f"training diverged at step {step}: its {what} is not finite ({stays}); begin another run "
        "with a smaller --learning-rate or --beta"
    )


def save_model(job: Job, model: NetworkModel, folder: RunFolder, step: int) -> dict[str, Any]:
    """Write the checkpoint of a step, if all is finite; what `measure` found."""
    model.network.eval()
    # Weights may be finite and still too large to decode anything: seen before axes are sought.
    codes, _ = model.encode(job.samples.training[:1])
    if not (np.isfinite(codes).all() and np.isfinite(model.decode(codes)).all()):
        raise diverged(step, "network", job, folder)
    result = rotated(model, job)
    try:
        findings = measure(result, job.samples)
    except FloatingPointError as error:
        raise diverged(step, "KL divergence", job, folder) from error
    weights = model.network.state_dict().values()
    if not (np.isfinite(findings["training_error"]) and all(w.isfinite().all() for w in weights)):
        raise diverged(step, "network", job, folder)
    result.header.training |= {"step": step} | findings
    if step == job.plan.steps and job.options.rotation == "varimax" and job.splits:
        images = job.sections.read(evenly(range(len(job.sections)), IN_MEMORY))
        result.header.stability = replication(result, images, job.plan.seed, job.splits)
        if result.header.stability is not None:
            findings["replicated"] = list(result.header.stability.replicated)
    save_checkpoint(result, folder.model)
    model.network.train()
    return findings


def save(
    job: Job,
    model: NetworkModel,
    optimizer: torch.optim.Optimizer,
    folder: RunFolder,
    step: int,
) -> dict[str, Any]:
    """Write checkpoint, history and what resume needs, if all is finite; what `measure` found."""
    findings = save_model(job, model, folder, step)
    if folder.rows and folder.rows[-1]["step"] == step:
        folder.rows[-1]["held_out_error"] = findings.get("held_out_error")
    folder.write_history()
    # Last: a kill before it repeats these steps, a kill after it has lost nothing.
    folder.save_state(
        {
            "network": model.network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
        }
    )
    return findings


def rotated(model: NetworkModel, job: Job) -> NetworkModel:
    """Give the model that is saved; it is fitted further in the axes it has.

    The fit starts from rotated components: what is left is a few degrees, and the order.
    """
    if job.options.rotation != "varimax":
        return model
    return rotate_factors(model, job.samples.training)


def row(done: Logged, job: Job, images_per_second: float) -> dict[str, Any]:
    """One row of the history: terms of the objective, a column a factor where they have several."""
    columns: dict[str, Any] = {"step": done.step}
    for name, term in done.terms.items():
        if term.ndim:
            columns |= {f"{name}_{i + 1}": value for i, value in enumerate(term.tolist())}
        else:
            columns[name] = float(term)
    return columns | {
        "learning_rate": learning_rate(job.plan, done.step - 1),
        "images_per_second": images_per_second,
        "held_out_error": None,
    }
