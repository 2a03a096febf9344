"""``python -m training.traverse``: sections between two brains as a movie, or from any codes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg

from napari_brainvae.factors.path_options import PathOptions
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.option_types import Seed
from training.cli import main, progress_bar

if TYPE_CHECKING:
    from napari_brainvae.data.population import Population
    from napari_brainvae.models.base import Model

log = logging.getLogger(__name__)


class TraverseOptions(PathOptions):
    """Generate sections: from one brain to another, from codes, or of a brain by chance.

    A movie (movie.gif, frames as PNG) runs evenly along the straight line between the posterior
    means of two brains; one section is a figure (PNG, SVG). Beside them lie the codes (codes.csv),
    sections and changes as they are (generated.ome.tif), and record.json. The panel "Explore
    factors" writes the same bytes.
    """

    model: CliPositionalArg[Path] = Field(description="Checkpoint.")
    population: CliPositionalArg[Path] = Field(description="Sections that the model can use.")
    out: Path = Field(description="Folder for the results; new or empty.")
    draw: Literal["prior", "population"] | None = Field(
        None,
        description="Codes by chance: from the prior N(0, I), or from the Gaussian with mean and "
        "covariance of the codes of the brains that are not flagged.",
    )
    seed: Seed = Field(0, description="Of --draw.")

    @model_validator(mode="after")
    def _something(self) -> TraverseOptions:
        asked = self.movie + bool(self.factors) + (self.draw is not None)
        if asked != 1:
            raise InputError(
                "say what to generate: --from-brain and --to-brain, or --factors, or --draw"
            )
        return self


def traverse(options: TraverseOptions) -> None:
    """Run `training.traverse` with these options: everything is written at the end, or nothing.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.data.population import Population
    from napari_brainvae.io.atomic_files import recover
    from napari_brainvae.models.checkpoint import load_checkpoint
    from napari_brainvae.reporting.traversal import write_traversal

    out = recover(options.out.absolute())
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{options.out} is not an empty folder: give another")
    model, population = load_checkpoint(options.model), Population.open(options.population)
    plain = options.model_dump(include=set(PathOptions.model_fields))
    if options.draw is not None:
        plain["factors"] = _drawn(options, model, population)
        log.info("--factors=%s", ",".join(map(repr, plain["factors"])))
    with progress_bar("frames", unit="frame") as progress:
        write_traversal(out, model, population, PathOptions(**plain), progress=progress)
    log.info("written: %s", options.out)


def _drawn(options: TraverseOptions, model: Model, population: Population) -> list[float]:
    from napari_brainvae.denoising.brain_table import brain_table, factors_of
    from napari_brainvae.factors.latent_paths import draw_from_prior, draw_like_population

    if options.draw == "prior":
        return list(map(float, draw_from_prior(model.latent_dim, options.seed)))
    with progress_bar("codes") as progress:
        brains = brain_table(model, population, progress=progress)
    codes = factors_of(brains[~population.flagged])
    return list(map(float, draw_like_population(codes, options.seed)))


if __name__ == "__main__":
    main(TraverseOptions, traverse, program="python -m training.traverse")
