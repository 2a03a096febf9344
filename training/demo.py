"""``python -m training.demo``: the whole tour on brains that are made on the spot."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.option_types import Seed
from training.cli import main

log = logging.getLogger(__name__)


class DemoOptions(BaseModel):
    """Make a population, fit a beta-VAE, compare it with PCA, write a report and a checkpoint.

    What an earlier, interrupted demo with the same options has finished in the same folder is not
    done again, and a report that is there stays as it is.
    """

    out: CliPositionalArg[Path] = Field(Path("demo"), description="Folder for everything.")
    count: int = Field(240, ge=20, le=1_000_000, description="Brains to make.")
    height: int = Field(160, ge=64, le=8192, description="Rows of a section, px.")
    width: int = Field(224, ge=64, le=8192, description="Columns of a section, px.")
    steps: int | None = Field(
        None, ge=1, le=10**9, description="Training steps; recipe fast's by default."
    )
    seed: Seed = Field(1, description="Of the population and of the fit.")


def demo(options: DemoOptions) -> None:
    """Run `training.demo` with these options.

    Raises
    ------
    InputError, OSError
        If the folder holds something else than a demo with these options.
    """
    from training.fit import fit
    from training.fitting.options import FitOptions
    from training.phantom import PhantomCommand, phantom

    _begin(options)
    population, run = options.out / "phantom.zarr", options.out / "run"
    size = {"height": options.height, "width": options.width}
    if not population.exists():
        log.info("1 of 4: a population of phantom brains with planted differences")
        phantom(PhantomCommand(out=population, count=options.count, seed=options.seed, **size))
    if not _complete(run):
        log.info("2 of 4: a beta-VAE, fitted on 80 % of them")
        resume = (run / "record.json").exists()
        plan = {"steps": options.steps, "seed": options.seed, "resume": resume, "log_every": 1}
        fit(FitOptions(population=population, out=run, **plan))
    report = options.out / "report.html"
    if report.exists():
        log.info("%s is there already, and stays: delete it to have it written again", report)
    else:
        log.info("3 of 4: held-out brains, beside the mean section and PCA")
        _report(population, run, options.out)
        log.info("4 of 4: %s", report)
    log.info(
        "\nIn napari: File > Open the folder %s (with 'Brain VAE') and %s,\n"
        "then Plugins > Brain VAE > Reconstruct and denoise.",
        population,
        run / "model.safetensors",
    )


def _begin(options: DemoOptions) -> None:
    """Note what the demo is, or see that it is the one that was begun in this folder."""
    from napari_brainvae.io.atomic_files import write_text
    from napari_brainvae.io.json_files import read_json

    path, plan = options.out / "demo.json", options.model_dump(mode="json", exclude={"out"})
    if not path.exists():
        if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
            raise FileExistsError(f"{options.out} is not empty and holds no demo: give another")
        write_text(path, json.dumps(plan, indent=2) + "\n")
        return
    if read_json(path) != plan:
        raise InputError(
            f"the demo in {options.out} was begun with other options ({path.name} holds them): "
            "give them again or another folder"
        )


def _complete(run: Path) -> bool:
    from training.fitting.run_folder import RunFolder

    folder = RunFolder(run)
    return folder.record.exists() and folder.read_record().get("status") == "complete"


def _report(path: Path, run: Path, out: Path) -> Path:
    """Evaluate the run and write ``report.html``."""
    import pandas as pd

    from napari_brainvae.models.checkpoint import load_checkpoint
    from napari_brainvae.reporting.html import write_report
    from training.evaluation.comparison import compare, summary
    from training.evaluation.figures import evaluation_figures, history_figure, traversal_figure
    from training.evaluation.options import EvaluateOptions
    from training.evaluation.report import evaluation_parts, signature

    checkpoint = run / "model.safetensors"
    model = load_checkpoint(checkpoint)
    settings = EvaluateOptions(population=path, model=[checkpoint], out=out)
    comparison = compare(settings, {"beta-VAE": model})
    log.info(summary(comparison))
    history = pd.read_csv(run / "history.csv")
    write_report(
        out / "report.html",
        "napari-brainvae: demo",
        [
            *evaluation_parts(comparison, evaluation_figures(comparison)),
            (
                "What the latent factors do",
                "Change of the mean brain as one factor goes from low to high; red is brighter.",
                traversal_figure(model),
            ),
            (
                "Training",
                "What the steps reported of their own batches, as running means.",
                history_figure(history),
            ),
            (
                "Next",
                signature(model),
                f"napari {path} {checkpoint}\nbrainvae fit YOUR_SECTIONS --out YOUR_RUN",
            ),
        ],
    )
    return out / "report.html"


if __name__ == "__main__":
    main(DemoOptions, demo, program="python -m training.demo")
