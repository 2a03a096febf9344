"""``python -m training.rotate``: give a model's factors other axes, each acting in one place."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from training.cli import main

log = logging.getLogger(__name__)


class RotateOptions(BaseModel):
    """Rotate the factors of any model, PCA or VAE, the published checkpoint too.

    Writes the same model in other axes: reconstructions and errors stay as they are. Of the
    population those brains are used that the model was fitted on, as far as its checkpoint says
    which were held out, 256 at most, evenly spread.
    """

    model: CliPositionalArg[Path] = Field(description="Checkpoint to rotate; it stays as it is.")
    population: CliPositionalArg[Path] = Field(
        description="Sections around which the factors' fields are taken."
    )
    out: Path = Field(description="Checkpoint to write, ending in .safetensors.")
    rotation: Literal["varimax", "none"] = Field(
        "varimax",
        description="'varimax' of the factors' fields; 'none' gives back the axes in which the "
        "weights were fitted (from rotated components on, in training.fit --rotation varimax).",
    )
    overwrite: bool = Field(False, description="Replace the checkpoint if it exists.")


def rotate(options: RotateOptions) -> None:
    """Run `training.rotate` with these options.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.data.population import Population
    from napari_brainvae.models.checkpoint import check_new, load_checkpoint, save_checkpoint
    from napari_brainvae.models.rotation import rotate_factors
    from training.fitting.job import SAMPLE
    from training.fitting.sections import evenly

    check_new(options.out, overwrite=options.overwrite)
    model = load_checkpoint(options.model)
    population = Population.open(options.population)
    held_out = set(model.header.training.get("held_out", ()))
    fitted = [i for i, name in enumerate(population.ids) if name not in held_out]
    chosen = evenly(fitted or range(len(population)), SAMPLE)
    images = population.prepared(model.header.preprocessing, chosen)
    save_checkpoint(rotate_factors(model, images, options.rotation), options.out)
    log.info("rotation: %s, from %d brains\nmodel: %s", options.rotation, len(chosen), options.out)


if __name__ == "__main__":
    main(RotateOptions, rotate, program="python -m training.rotate")
