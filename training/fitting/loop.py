"""The loop of a fit, from a job to a run folder: steps, rows of history, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, Stopped, report
from napari_brainvae.models.base import Reference, kl_divergence, squared_error
from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.network import Network
from napari_brainvae.models.residual_spread import residual_spread
from napari_brainvae.models.rotation import rotate_factors
from napari_brainvae.models.vae import BetaVAE
from training.fitting.job import Job, Samples
from training.fitting.run_folder import WRONG, RunFolder
from training.fitting.steps import Logged, learning_rate, training_steps

ACTIVE = 0.01
"""Variance of the posterior mean over brains above which a factor is active (Burda et al. 2016)."""


def train(
    job: Job, model: BetaVAE, folder: RunFolder, progress: Progress | None = None
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
        network.parameters(), job.plan.learning_rate, fused=True, capturable=capture
    )
    wrapped, optimizer = job.fabric.setup(network, optimizer)
    saved = folder.load_state(last) if options.resume else None
    if saved is not None:
        try:
            restore(saved, network, optimizer, capture=capture)
        except WRONG as error:
            raise InputError(f"{folder.state} is of another network: {error}") from error
    first = saved["step"] if saved else 0
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


def restore(
    saved: dict[str, Any], network: Network, optimizer: torch.optim.Optimizer, *, capture: bool
) -> None:
    """Put weights and moments back, for steps that are recorded or not, as they are from now on."""
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    for group in optimizer.param_groups:
        group["capturable"] = capture


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


def save(
    job: Job,
    model: BetaVAE,
    optimizer: torch.optim.Optimizer,
    folder: RunFolder,
    step: int,
) -> dict[str, Any]:
    """Write checkpoint, history and what resume needs, if all is finite; what `measure` found."""
    model.network.eval()
    # Weights may be finite and still too large to decode anything: seen before axes are sought.
    if not np.isfinite(model.reconstruct(job.samples.training[:1])).all():
        raise diverged(step, "network", job, folder)
    result = rotated(model, job)
    findings = measure(result, job.samples)
    numbers = [findings["training_error"], *findings["kl_per_factor"]]
    weights = model.network.state_dict().values()
    if not (np.isfinite(numbers).all() and all(w.isfinite().all() for w in weights)):
        raise diverged(step, "network", job, folder)
    result.header.training |= {"step": step} | findings
    save_checkpoint(result, folder.model)
    model.network.train()
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


def rotated(model: BetaVAE, job: Job) -> BetaVAE:
    """Give the model that is saved; it is fitted further in the axes it has.

    Recipe fast starts from rotated components: what is left is a few degrees, and the order.
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


def measure(model: BetaVAE, samples: Samples) -> dict[str, Any]:
    """How the model stands: errors, KL divergence per factor, active factors.

    Also puts into the model's header the reference against which new sections are judged.
    """
    model.network.eval()
    mean, log_variance = model.encode(samples.training)
    decoded = model.decode(mean)
    error = squared_error(samples.training, decoded)
    spread = residual_spread(samples.training, decoded)
    model.header.reference = Reference.measure(error, mean, log_variance, spread)
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


def summary(findings: dict[str, Any], folder: RunFolder) -> str:
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
    return "\n".join([*lines, f"model: {folder.model}"])
