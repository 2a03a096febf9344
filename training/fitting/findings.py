"""What a run came to: how its model stands, and how that is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_brainvae.models.header import Reference
from napari_brainvae.models.measures import kl_divergence, squared_error
from napari_brainvae.models.network_model import NetworkModel
from napari_brainvae.models.residual_spread import residual_spread
from training.fitting.job import Samples

ACTIVE = 0.01
"""Variance of the posterior mean over brains above which a factor is active (Burda et al. 2016)."""

LINEAR = "linear_held_out_error"
"""What the start leaves in the checkpoint but in recipe paper: the error of linear factors."""

GAIN = {"vae": "network_gain", "displacing": "displacement_gain"}
"""What is said of the lower error, by kind of model."""

GAINS = {
    "network_gain": "beside its linear path the network {} the held-out error by {:.1%}",
    "displacement_gain": "displacing tissue {} the held-out error of linear factors by {:.1%}",
}


def measure(model: NetworkModel, samples: Samples) -> dict[str, Any]:
    """How the model stands: errors, KL divergence per factor, active factors.

    Also puts into the model's header the reference against which new sections are judged.

    Raises
    ------
    FloatingPointError
        If the model gives codes that are no numbers.
    """
    model.network.eval()
    mean, log_variance = model.encode(samples.training)
    kl = kl_divergence(mean, log_variance).mean(axis=0)
    if not np.isfinite(kl).all():
        raise FloatingPointError("the KL divergence is not finite")
    decoded = model.decode(mean)
    error = squared_error(samples.training, decoded)
    spread = residual_spread(samples.training, decoded)
    model.header.reference = Reference.measure(error, mean, log_variance, spread)
    findings = {
        "training_error": float(error.mean()),
        "kl_per_factor": kl.tolist(),
        "active_factors": int((mean.var(axis=0) > ACTIVE).sum()),
        "latent_dim": model.latent_dim,
    }
    held_out = held_out_error(model, samples)
    if held_out is not None:
        findings["held_out_error"] = held_out
        linear = model.header.training.get(LINEAR)
        if linear:
            findings[GAIN[model.header.kind]] = 1 - held_out / linear
    return findings


def held_out_error(model: NetworkModel, samples: Samples) -> float | None:
    """Mean squared error of the reconstructions of held-out sections; None where there are none.

    Raises
    ------
    FloatingPointError
        If the model gives codes that are no numbers.
    """
    if samples.held_out is None:
        return None
    codes, _ = model.encode(samples.held_out)
    if not np.isfinite(codes).all():
        raise FloatingPointError("the codes of held-out sections are not finite")
    return float(squared_error(samples.held_out, model.decode(codes)).mean())


def summary(findings: dict[str, Any], model: Path) -> str:
    """What the run came to, in a few lines."""
    active, total = findings["active_factors"], findings["latent_dim"]
    lines = [
        f"squared error per pixel: {findings['training_error']:.6f} training"
        + (f", {findings['held_out_error']:.6f} held out" if "held_out_error" in findings else ""),
        "KL divergence per factor, nats: "
        + " ".join(f"{kl:.2f}" for kl in findings["kl_per_factor"]),
        f"active factors: {active} of {total}",
    ]
    for gain, what in GAINS.items():
        if gain in findings:
            lowers = "lowers" if findings[gain] >= 0 else "raises"
            lines.append(what.format(lowers, abs(findings[gain])))
    if "replicated" in findings:
        again = [f"F{i + 1}" for i, replicated in enumerate(findings["replicated"]) if replicated]
        lines.append(
            f"{len(again)} of {total} factors come again in split halves of the brains"
            + (f": {', '.join(again)}" if again else "")
        )
    if active < total:
        lines.append(
            f"warning: {total - active} of {total} factors have collapsed (they do not vary over "
            "brains): try --recipe fast, a smaller --beta, or fewer latent factors"
        )
    return "\n".join([*lines, f"model: {model}"])
