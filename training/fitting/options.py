"""Everything that a fit can be told: the flags of ``training.fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from napari_brainvae.io.option_types import MarksFile, Seed, Steps, Threads

if TYPE_CHECKING:  # torch waits until there is something to fit
    from napari_brainvae.models.objective import Objective

BATCH_SIZE = {"paper": 64, "fast": 32, "displacing": 32}
PAPER_STEPS = 10_000
FAST_EPOCHS = 20
"""Passes of recipe fast over the training sections; more overfit (measured on 160 to 1,000)."""


class FitOptions(BaseModel):
    """Fit a beta-VAE, or factors that displace tissue, to a population of registered sections.

    Writes model.safetensors (the last step), record.json, history.csv and state/ to the run
    folder. Stop it with Ctrl-C or kill it at any time and go on with --resume.
    """

    population: CliPositionalArg[Path] = Field(
        description="Sections of many brains: .zarr, .npz (array 'images'), .npy or a TIFF stack."
    )
    out: Path = Field(description="Folder of the run; new, or an interrupted run with --resume.")
    recipe: Literal["paper", "fast", "displacing"] = Field(
        "fast",
        description="'paper' to the letter; 'fast': few steps, in which it learns what PCA leaves; "
        "'displacing': no network, each factor displaces tissue beside changing its brightness.",
    )
    latent_dim: int = Field(8, ge=1, le=512, description="Number of latent factors L.")
    rotation: Literal["varimax", "none"] | None = Field(
        None,
        description="Axes of the latent space: 'varimax' of the factors' fields, so that each acts "
        "in one place, or as the fit gave them; none in recipe paper, else varimax.",
    )
    smoothing: float | None = Field(
        None,
        ge=0,
        le=100,
        description="Standard deviation in px of a Gaussian under which recipes fast and "
        "displacing fit the components they start from (sections stay sharp); chosen by "
        "cross-validation by default.",
    )
    beta: float = Field(3.0, ge=0, allow_inf_nan=False, description="Weight of the KL divergence.")
    loss: Literal["gaussian", "bernoulli"] = Field(
        "gaussian", description="Squared error or cross entropy, summed over pixels."
    )
    batch_size: int | None = Field(
        None, ge=1, le=1_000_000, description="Sections a step; 64 in recipe paper, else 32."
    )
    learning_rate: float = Field(
        2e-4,
        gt=0,
        allow_inf_nan=False,
        description="Adam's; its peak in recipes fast and displacing.",
    )
    steps: Steps | None = Field(
        None,
        description="Training steps; 10000 in recipe paper, else 20 passes over the sections.",
    )
    augment: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the inputs corrupted with synthetic leakage, missing tissue or grid; "
        "the section as it came stays the target.",
    )
    held_out: float = Field(
        0.2, ge=0, lt=1, description="Share of the brains kept out of the fit, chosen by the seed."
    )
    include_flagged: bool = Field(
        False, description="Also fit brains that the covariate 'flagged' marks."
    )
    marks: MarksFile = None
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where to compute.")
    devices: int = Field(1, ge=1, le=1024, description="How many of them, data-parallel.")
    precision: Literal["auto", "32", "bf16"] = Field(
        "auto", description="bf16 where the hardware is fast at it, else 32."
    )
    resident_gb: float = Field(
        4.0,
        ge=0,
        allow_inf_nan=False,
        description="Memory, GB, that the training sections may take on the device; more of them "
        "are read from the file as they are needed.",
    )
    readers: int | None = Field(
        None,
        ge=0,
        le=256,
        description="Processes that read ahead then; 8 for a GPU, none for a CPU by default.",
    )
    capture: bool = Field(
        False, description="Record the step as a CUDA graph and replay it; on one GPU."
    )
    seed: Seed = Field(0, description="Of the split, the start, the batches and the noise.")
    threads: Threads | None = Field(None, description="CPU threads; torch's choice by default.")
    log_every: Steps = Field(10, description="Steps from one row of history.csv to the next.")
    checkpoint_every: Steps = Field(250, description="Steps from one saved state to the next.")
    resume: bool = Field(False, description="Go on with the interrupted run in the run folder.")

    def objective(self, shape: tuple[int, int]) -> Objective:
        """What these options minimise at sections of ``(H, W)`` px."""
        from napari_brainvae.models.objective import BetaVAEObjective, DisplacingObjective

        if self.recipe == "displacing":
            return DisplacingObjective.of(dict(self), shape)
        return BetaVAEObjective.of(dict(self), shape)

    def resolved(self, sections: int) -> FitOptions:
        """Fill in what was left to the recipe, for a number of training sections."""
        batch_size = self.batch_size or BATCH_SIZE[self.recipe]
        epochs = FAST_EPOCHS * max(1, sections // batch_size)
        steps = self.steps or (PAPER_STEPS if self.recipe == "paper" else epochs)
        rotation = self.rotation or ("none" if self.recipe == "paper" else "varimax")
        update = {"batch_size": batch_size, "steps": steps, "rotation": rotation}
        return self.model_copy(update=update)
