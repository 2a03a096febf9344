"""What was measured, as the parts of one HTML file that opens from disk without a network."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from napari_brainvae.models.base import Model
from napari_brainvae.models.checkpoint import fingerprint
from training.evaluation.comparison import Comparison, brains, claims_summary, readable
from training.evaluation.held_out_metrics import FEWEST_RESAMPLED, SQUARED_ERRORS, dtcwt_scales


def evaluation_parts(
    comparison: Comparison, figures: dict[str, Figure]
) -> list[tuple[str, str, Any]]:
    """Everything a comparison says, as parts of a report."""
    metrics, held = comparison.metrics, comparison.held
    count = brains(comparison)
    scales = dtcwt_scales(held.sections.shape[1:])
    claims = comparison.claims
    verdicts = claims.pivot_table(
        index=["claim", "model", "worse", "metric"],
        columns="class",
        values="verdict",
        aggfunc="first",
        fill_value="",
    )
    parts: list[tuple[str, str, Any]] = [
        (
            "Denoising",
            f"{count}. Of each class, the brain of median error under {comparison.baseline}: as it "
            "came, as each model denoises it (outlined: what it calls artifact and leaves out, "
            "where it calls the brain an outlier)"
            + (", and without artifact and noise." if held.clean is not None else "."),
            figures["denoising"],
        ),
        (
            "Image quality and distribution",
            "CW-SSIM steerable: scale 4, 8 orientations; over the tissue, or with the usual "
            "Gaussian weights, which hardly see the lateral cortex. CW-SSIM dtcwt: the mean of "
            f"scales 1 to {scales}, over the tissue, on fewer brains. "
            "The PCA-Frechet distance is a number of the whole set; its interval is a jackknife. "
            f"Classes of fewer than {FEWEST_RESAMPLED} brains have no interval.",
            figures["metrics"],
        ),
        (
            f"Difference to {comparison.baseline}",
            "The same brains for both, so that what makes a brain hard for every model drops out.",
            figures["differences"],
        ),
        (
            "The paper's claim: beta-VAE better than VAE better than PCA",
            "Confirmed or refuted where the whole interval of the paired difference says so. "
            + " ".join(f"{line}." for line in claims_summary(claims)),
            verdicts if len(claims) else None,
        ),
    ]
    if comparison.notes:
        text = "; ".join(comparison.notes) + "."
        parts.insert(0, ("Which brains are new to the models", text, None))
    if "latent" in figures:
        text = "Of the fitted model. A factor whose KL divergence is zero has collapsed."
        parts.append(("Use of the latent space", text, figures["latent"]))
    for metric in metrics["metric"].unique():
        if not metric.startswith("KL F"):
            table = metrics[metrics["metric"] == metric]
            small = metric in SQUARED_ERRORS
            unit = "Times 1e-4; 95 % intervals." if small else "95 % intervals."
            parts.append((metric, unit, readable(table, 1e4 if small else 1.0)))
    return parts


def signature(model: Model) -> str:
    """One line that ties a report to its checkpoint."""
    return f"Checkpoint {fingerprint(model)}; settings: {model.header.training.get('options')}"
