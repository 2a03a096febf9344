"""``python -m training.demo``: the whole tour on brains that are made on the spot."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from training.cli import main


class DemoOptions(BaseModel):
    """Make a population, fit a beta-VAE, compare it with PCA, write a report and a checkpoint.

    What an earlier, interrupted demo has finished in the same folder is not done again.
    """

    out: CliPositionalArg[Path] = Field(Path("demo"), description="Folder for everything.")
    count: int = Field(240, ge=10, description="Brains to make.")
    height: int = Field(160, ge=64, description="Rows of a section, px.")
    width: int = Field(224, ge=64, description="Columns of a section, px.")
    steps: int | None = Field(None, ge=1, description="Training steps; recipe fast's by default.")
    seed: int = Field(1, ge=0, description="Of the population and of the fit.")


def demo(options: DemoOptions) -> None:
    """Run `training.demo` with these options."""
    from training.fit import FitOptions, fit
    from training.phantom import PhantomCommand, phantom

    population, run = options.out / "phantom.zarr", options.out / "run"
    size = {"height": options.height, "width": options.width}
    if not population.exists():
        print("1 of 4: a population of phantom brains with planted differences")
        phantom(PhantomCommand(out=population, count=options.count, seed=options.seed, **size))
    if not _complete(run):
        print("2 of 4: a beta-VAE, fitted on 80 % of them")
        resume = (run / "record.json").exists()
        plan = {"steps": options.steps, "seed": options.seed, "resume": resume}
        fit(FitOptions(population=population, out=run, **plan))
    print("3 of 4: held-out brains, beside the mean section and PCA")
    report = _report(population, run, options.out)
    print(f"4 of 4: {report}")
    print(
        "\nIn napari: File > Open the folder "
        f"{population} (with 'Brain VAE') and {run / 'model.safetensors'},\n"
        "then Plugins > Brain VAE > Reconstruct and denoise."
    )


def _complete(run: Path) -> bool:
    import json

    record = run / "record.json"
    return record.exists() and json.loads(record.read_text())["status"] == "complete"


def _report(path: Path, run: Path, out: Path) -> Path:
    """Evaluate the run and write ``report.html``."""
    import numpy as np
    import pandas as pd

    from napari_brainvae.checkpoint import load_checkpoint
    from napari_brainvae.population import Population
    from training.evaluate import (
        EvaluateOptions,
        baselines,
        held_out_sections,
        readable,
        squared_errors,
        truth,
    )
    from training.report import (
        history_figure,
        reconstruction_figure,
        signature,
        traversal_figure,
        write_report,
    )

    model = load_checkpoint(run / "model.safetensors")
    population = Population.open(path)
    held_out = held_out_sections(population, [model])
    models = {**baselines(population, model, held_out), "beta-VAE": model}
    settings = EvaluateOptions(population=path, model=[run / "model.safetensors"], out=out)
    errors = readable(squared_errors(settings, population, held_out, models))
    clean, artifact = truth(path, model, held_out)
    assert clean is not None  # a phantom knows its truth
    shown = [int(np.flatnonzero(artifact == kind)[0]) for kind in np.unique(artifact)]
    figure = reconstruction_figure(
        model,
        population,
        [held_out[i] for i in shown],
        [f"{artifact[i]}" for i in shown],
        clean[shown],
    )
    print(errors.to_string())
    history = pd.read_csv(run / "history.csv")
    write_report(
        out / "report.html",
        "napari-brainvae: demo",
        [
            (
                "Denoising brains the model has not seen",
                "One held-out brain per class of artifact: as it came, as the model draws it, and "
                "as it would be without artifact and noise.",
                figure,
            ),
            (
                "How far from the truth",
                "Squared error per pixel of the reconstructions, x 1e-4, mean over held-out "
                "brains with its 95 % interval.",
                errors,
            ),
            (
                "What the latent factors do",
                "Change of the mean brain as one factor goes from low to high; red is brighter.",
                traversal_figure(model),
            ),
            (
                "Training",
                "A factor whose KL divergence is zero has collapsed.",
                history_figure(history),
            ),
            (
                "Next",
                signature(model),
                f"napari {path} {run / 'model.safetensors'}\n"
                f"python -m training.fit YOUR_SECTIONS --out YOUR_RUN",
            ),
        ],
    )
    return out / "report.html"


if __name__ == "__main__":
    main(DemoOptions, demo, program="python -m training.demo")
