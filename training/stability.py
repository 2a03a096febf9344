"""``python -m training.stability``: which factors would come again in other brains, how many."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field, model_validator
from pydantic_settings import CliPositionalArg

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.option_types import MarksFile, Seed, Steps, Threads, Workers
from napari_brainvae.io.places import check_empty
from training.cli import LatentDims, main, numbers, progress_bar

if TYPE_CHECKING:
    from napari_brainvae.arrays import Images
    from napari_brainvae.data.population import Population
    from napari_brainvae.factors.stability import FactorStability, SplitHalves
    from napari_brainvae.models.base import Model

log = logging.getLogger(__name__)


class StabilityOptions(BaseModel):
    """Fit halves of the brains, and count the factors that come again.

    Of each number of factors the linear path of recipe fast (trimmed principal components, varimax)
    is fitted to all brains and to both halves of each split; with --refit the whole model, each fit
    kept in OUT.fits as soon as it is done, so that the same command goes on. Writes stability.csv
    (a row a factor), summary.csv (a row a number of factors), the figure as PNG and SVG, and
    record.json.
    """

    population: CliPositionalArg[Path] = Field(
        description="Sections of many brains: .zarr, .npz (array 'images'), .npy or a TIFF stack."
    )
    out: Path = Field(description="Folder for the results; new or empty.")
    latent_dims: LatentDims = Field(
        "1:12", description="Numbers of factors L: FROM:TO, FROM:TO:STEP or 1,3,4."
    )
    splits: int = Field(10, ge=1, le=1000, description="Random divisions of the brains in halves.")
    model: Path | None = Field(
        None,
        description="Checkpoint whose own factors are held against the halves', instead of those "
        "of the linear path fitted to all brains; --latent-dims then is its number of factors.",
    )
    seed: Seed = Field(0, description="Of the splits.")
    include_flagged: bool = Field(
        False, description="Take brains that are flagged as not to be trusted, too."
    )
    marks: MarksFile = None
    smoothing: float | None = Field(
        None,
        ge=0,
        le=100,
        description="Gaussian, SD in px, under which components are fitted; as the model's, or by "
        "cross-validation, by default.",
    )
    refit: bool = Field(
        False, description="Fit the whole model to each half, rotated, instead of its linear path."
    )
    recipe: Literal["paper", "fast", "displacing"] = Field(
        "fast", description="Of the fits of --refit."
    )
    steps: Steps | None = Field(None, description="Training steps of a fit; the recipe's.")
    threads: Threads | None = Field(None, description="CPU threads of a fit.")
    scheduler: str | None = Field(
        None, description="Address of a dask scheduler for --refit; see docs/sweep.md."
    )
    workers: Workers = Field(2, description="Processes on this machine, without --scheduler.")

    @model_validator(mode="after")
    def _of_refit(self) -> StabilityOptions:
        """Refuse what would be passed over: a linear path has no steps."""
        for name in ("recipe", "steps", "threads", "scheduler", "workers"):
            if not self.refit and getattr(self, name) != type(self).model_fields[name].default:
                raise InputError(f"--{name} is for whole fits: give --refit as well")
        return self


def stability(options: StabilityOptions) -> dict[int, FactorStability]:
    """Run `training.stability` with these options: everything is written at the end, or nothing.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.data.population import Population
    from napari_brainvae.factors.impact import usable_sections
    from napari_brainvae.factors.stability import SplitHalves
    from napari_brainvae.models.checkpoint import load_checkpoint
    from napari_brainvae.reporting.stability_tables import how_many, summary_rows

    check_empty(options.out)
    model = None if options.model is None else load_checkpoint(options.model)
    population = Population.open(options.population, options.marks)
    chosen = usable_sections(population, include_flagged=options.include_flagged)
    if options.refit:
        fingerprint = population.fingerprint()
        found = _refit(options, fingerprint, chosen, model)
    else:
        fingerprint, images = _read(population, chosen, model)
        smoothing = _smoothing(options, images, model)
        log.info("components are fitted to sections smoothed by %g px", smoothing)
        halves = SplitHalves(images, options.splits, options.seed, smoothing)
        found = _measure(options, halves, images, model)
    _write(options, population, (fingerprint, chosen), model, found)
    summary = summary_rows(found)
    log.info(
        "%s\n%s\nwritten: %s",
        summary.round(3).to_string(index=False),
        how_many(summary),
        options.out,
    )
    return found


def _read(population: Population, chosen: list[int], model: Model | None) -> tuple[str, Images]:
    from training.fitting.reading import fit_preprocessing, prepare, read_once

    if model is not None:
        preprocessing = model.header.preprocessing
    else:
        done = population.description.preprocessing
        preprocessing = done or fit_preprocessing(population, chosen)
    fingerprint, sections = read_once(population, chosen)
    return fingerprint, prepare(population, sections, chosen, preprocessing)


def _smoothing(options: StabilityOptions, images: Images, model: Model | None) -> float:
    from napari_brainvae.models.smooth_components import choose_smoothing
    from training.fitting.replication import SMOOTHING

    if options.smoothing is not None:
        return options.smoothing
    if model is not None:
        return float(model.header.training.get(SMOOTHING, 0.0))
    dims = numbers(options.latent_dims, smallest=1)
    return choose_smoothing(images, int(dims[len(dims) // 2]), seed=options.seed)[0]


def _measure(
    options: StabilityOptions, halves: SplitHalves, images: Images, model: Model | None
) -> dict[int, FactorStability]:
    if model is not None:
        return {model.latent_dim: halves.measure_model(model, images)}
    asked = [int(n) for n in numbers(options.latent_dims, smallest=1)]
    dims = [n for n in asked if n <= halves.most]
    if not dims:
        halves.measure(asked[0])  # says what is wrong
    if len(dims) < len(asked):
        log.warning(
            "halves of these brains tell %d factors at most: %s left out",
            halves.most,
            ", ".join(str(n) for n in asked if n not in dims),
        )
    with progress_bar("numbers of factors", unit="L") as progress:
        found = {}
        for i, count in enumerate(dims):
            progress(i, len(dims))
            found[count] = halves.measure(count)
        progress(len(dims), len(dims))
    return found


def _refit(
    options: StabilityOptions, fingerprint: str, chosen: list[int], model: Model | None
) -> dict[int, FactorStability]:
    from training.refits import stability_of_refits

    dims = [int(n) for n in numbers(options.latent_dims, smallest=1)]
    found = {}
    for count in dims if model is None else [model.latent_dim]:
        about = {
            "population": str(options.population.absolute()),
            "fingerprint": fingerprint,
            "chosen": chosen,
            "options": options.model_dump(include={"recipe", "steps", "threads", "seed"})
            | {"latent_dim": count},
        }
        found[count] = stability_of_refits(
            options.out.with_name(f"{options.out.name}.fits") / f"L-{count}",
            about,
            options.splits,
            options.seed,
            scheduler=options.scheduler,
            workers=options.workers,
            model=model,
        )
    return found


def _write(
    options: StabilityOptions,
    population: Population,
    data: tuple[str, list[int]],
    model: Model | None,
    found: dict[int, FactorStability],
) -> None:
    from napari_brainvae.io.atomic_files import filling, write_text
    from napari_brainvae.reporting.paper_figures import save_figure
    from napari_brainvae.reporting.provenance import provenance
    from napari_brainvae.reporting.stability_tables import (
        factor_rows,
        how_many,
        stability_figure,
        summary_rows,
    )

    about = provenance(
        options,
        population,
        None if model is None else {"model": model},
        without=("out",),
        fingerprint=data[0],
        measured=data[1],
    )
    summary = summary_rows(found)
    with filling(options.out) as folder:
        factor_rows(found).to_csv(folder / "stability.csv", index=False)
        summary.to_csv(folder / "summary.csv", index=False)
        save_figure(stability_figure(found, brains=len(data[1])), folder / "stability", about)
        write_text(
            folder / "record.json",
            json.dumps(about | {"answer": how_many(summary)}, indent=2) + "\n",
        )


if __name__ == "__main__":
    main(StabilityOptions, stability, program="python -m training.stability")
