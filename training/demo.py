"""``python -m training.demo``: the whole tour on brains that are made on the spot."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from napari_brainvae.io.errors import InputError, present
from napari_brainvae.io.option_types import Seed, Steps
from training.cli import main

if TYPE_CHECKING:  # torch and all that follows wait until there is something to do
    from napari_brainvae.models.base import Model
    from napari_brainvae.reporting.html import Part

log = logging.getLogger(__name__)


class DemoOptions(BaseModel):
    """Make a population, fit a beta-VAE, describe its factors, compare it with PCA, report it all.

    What an earlier, interrupted demo with the same options has finished in the same folder is not
    done again, and a report that is there stays as it is.
    """

    out: CliPositionalArg[Path] = Field(Path("demo"), description="Folder for everything.")
    count: int = Field(240, ge=20, le=1_000_000, description="Brains to make.")
    height: int = Field(160, ge=64, le=8192, description="Rows of a section, px.")
    width: int = Field(224, ge=64, le=8192, description="Columns of a section, px.")
    steps: Steps | None = Field(None, description="Training steps; recipe fast's by default.")
    seed: Seed = Field(1, description="Of the population and of the fit.")


def demo(options: DemoOptions) -> None:
    """Run `training.demo` with these options.

    Raises
    ------
    InputError, OSError
        If the folder holds something else than a demo with these options.
    """
    from napari_brainvae.models.fit_options import FitOptions
    from training.fit import fit
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
        log.info("3 of 4: cards of the factors; held-out brains, beside the mean section and PCA")
        _report(population, run, options.out)
        log.info("4 of 4: %s", report)
    log.info(
        "\nWhat each factor does is on its card: %s begins with them, and %s holds them all.",
        report,
        options.out / "factors",
    )
    log.info(
        "\nIn napari: File > Open the folder %s (with 'Brain VAE') and %s,\n"
        "then Plugins > Brain VAE > Factors, or Reconstruct and denoise.",
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


def _about(path: Path) -> str:
    from napari_brainvae.data.population import Population

    population = Population.open(path)
    height, width = population.images.shape[1:]
    return (
        f"A beta-VAE was fitted to {len(population)} phantom brains, drawn by this program: "
        f"sections of {height} x {width} pixels that differ in the brightness of regions and in "
        "their shape, some of them with leakage, missing tissue or a grid laid over them. What "
        "was planted is known, so what is said here can be held against it. First what each "
        "latent factor of the model does, then how well held-out brains are drawn."
    )


def _report(path: Path, run: Path, out: Path) -> Path:
    """Describe the factors, evaluate the run, and write ``report.html``."""
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
    cards = _cards(path, model, out / "factors")
    comparison = compare(settings, {"beta-VAE": model})
    log.info(summary(comparison))
    history = pd.read_csv(run / "history.csv")
    write_report(
        out / "report.html",
        "napari-brainvae: demo",
        [
            ("About", _about(path), None),
            *cards,
            *evaluation_parts(comparison, evaluation_figures(comparison)),
            (
                "All factors side by side",
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


def _cards(path: Path, model: Model, folder: Path) -> list[Part]:
    """Write the cards of the factors to a folder; the parts of a report that show them."""
    from napari_brainvae.atlas.atlas import Atlas
    from napari_brainvae.atlas.atlas_section import AtlasSection, labels_and_tree
    from napari_brainvae.data.population import Population
    from napari_brainvae.denoising.brain_table import brain_table, factors_of
    from napari_brainvae.factors.cards import factor_cards
    from napari_brainvae.factors.impact import usable_sections
    from napari_brainvae.reporting.export import export_cards, results_folder
    from napari_brainvae.reporting.provenance import provenance
    from napari_brainvae.statistics.association import associate

    population = Population.open(path)
    known, sections = population.description, usable_sections(population)
    atlas = Atlas.open(path.with_suffix(".atlas"))
    plane = present(known.plane, "the plane of a phantom")
    section = AtlasSection.lay(atlas, plane, model.shape, known.pixel_size_um)
    codes = factors_of(brain_table(model, population)).iloc[sections]
    labels, tree = labels_and_tree(section)
    cards = factor_cards(
        model,
        labels=labels,
        tree=tree,
        pixel_size_um=known.pixel_size_um,
        codes=codes,
        associations=associate(codes, population.covariates),
    )
    about = provenance({}, population, {model.label: model}, measured=sections)
    with results_folder(folder, about, overwrite=True) as beside:
        return export_cards(beside, cards, about, section)


if __name__ == "__main__":
    main(DemoOptions, demo, program="python -m training.demo")
