"""``python -m training.fit``: fit a beta-VAE to a population, headless and resumable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from training.cli import main

if TYPE_CHECKING:  # torch and all that follows wait until there is something to fit
    from napari_brainvae.population import Population

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {"batch_size": 64, "learning_rate": 2e-4, "steps": 10_000},
    "fast": {"batch_size": 32, "learning_rate": 5e-4, "steps": 1_000},
}


class FitOptions(BaseModel):
    """Fit a beta-VAE to a population of registered sections.

    Writes model.safetensors (the last step), record.json, history.csv and state/ to the run
    folder. Stop it with Ctrl-C or kill it at any time and go on with --resume.
    """

    population: CliPositionalArg[Path] = Field(
        description="Sections of many brains: .zarr, .npz (array 'images'), .npy or a TIFF stack."
    )
    out: Path = Field(description="Folder of the run; new, or an interrupted run with --resume.")
    recipe: Literal["paper", "fast"] = Field(
        "fast",
        description="'paper' to the letter, or 'fast': centred on the mean section, started from "
        "PCA, cosine learning rate.",
    )
    latent_dim: int = Field(8, ge=1, le=512, description="Number of latent factors L.")
    beta: float = Field(3.0, ge=0, description="Weight of the KL divergence.")
    loss: Literal["gaussian", "bernoulli"] = Field(
        "gaussian", description="Squared error or cross entropy, summed over pixels."
    )
    batch_size: int | None = Field(
        None, ge=1, description="Sections a step; 64 in recipe paper, 32 in fast."
    )
    learning_rate: float | None = Field(
        None, gt=0, description="Adam's; 2e-4 in recipe paper, at most 5e-4 in fast."
    )
    steps: int | None = Field(
        None, ge=1, description="Training steps; 10000 in recipe paper, 1000 in fast."
    )
    held_out: float = Field(
        0.2, ge=0, lt=1, description="Share of the brains kept out of the fit, chosen by the seed."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where to compute.")
    devices: int = Field(1, ge=1, description="How many of them, data-parallel.")
    precision: Literal["auto", "32", "bf16"] = Field(
        "auto", description="bf16 where the hardware is fast at it, else 32."
    )
    seed: int = Field(0, ge=0, description="Of the split, the start, the batches and the noise.")
    threads: int | None = Field(None, ge=1, description="CPU threads; torch's choice by default.")
    log_every: int = Field(10, ge=1, description="Steps from one row of history.csv to the next.")
    checkpoint_every: int = Field(250, ge=1, description="Steps from one saved state to the next.")
    resume: bool = Field(False, description="Go on with the interrupted run in the run folder.")

    def resolved(self) -> FitOptions:
        """Fill in what was left to the recipe."""
        defaults = RECIPES[self.recipe]
        return self.model_copy(
            update={k: v for k, v in defaults.items() if getattr(self, k) is None}
        )


def fit(options: FitOptions) -> None:
    """Run `training.fit` with these options.

    Raises
    ------
    ValueError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.population import Population
    from training.run import run_training
    from training.run_directory import RunDirectory

    options = options.resolved()
    directory = RunDirectory(options.out)
    directory.check(resume=options.resume)
    population = Population.open(options.population)
    record = _record(options, population)
    if options.resume:
        _check_same_run(directory.read_record(), record, options.out)
    run_training(options, population, directory, record)


def _record(options: FitOptions, population: Population) -> dict[str, Any]:
    """Everything that decides the outcome of a run."""
    from importlib.metadata import version

    packages = ("napari-brainvae", "torch", "lightning-fabric", "numpy")
    return {
        "options": options.model_dump(mode="json", exclude={"resume", "out"}),
        "versions": {name: version(name) for name in packages},
        "data": {
            "sections": len(population),
            "shape": list(population.shape),
            "fingerprint": population.fingerprint(),
        },
    }


def _check_same_run(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with other data or other options than the run was begun with."""
    if before["data"] != now["data"]:
        raise ValueError(f"the run in {folder} was begun with other data than this population")
    # The path may change and a run may be looked at more often; what decides the result may not.
    free = {"population", "log_every", "checkpoint_every"}
    changed = [
        f"--{name.replace('_', '-')} {value} (was {before['options'].get(name)})"
        for name, value in now["options"].items()
        if name not in free and before["options"].get(name) != value
    ]
    if changed:
        raise ValueError(f"the run in {folder} was begun with other options: {', '.join(changed)}")


if __name__ == "__main__":
    main(FitOptions, fit, program="python -m training.fit")
