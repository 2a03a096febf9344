"""``python -m training.pca``: fit the linear baseline, to compare a beta-VAE with."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from napari_brainvae.io.option_types import MarksFile, Seed
from training.cli import main

log = logging.getLogger(__name__)


class PCAOptions(BaseModel):
    """Fit a principal component analysis to a population of registered sections.

    Writes a checkpoint that every other command takes as it takes a beta-VAE's. With the same
    --held-out and --seed it is fitted to the same brains as by training.fit.
    """

    population: CliPositionalArg[Path] = Field(
        description="Sections of many brains: .zarr, .npz (array 'images'), .npy or a TIFF stack."
    )
    out: Path = Field(description="Checkpoint to write, ending in .safetensors.")
    latent_dim: int = Field(8, ge=1, le=512, description="Number of components L.")
    held_out: float = Field(
        0.2, ge=0, lt=1, description="Share of the brains kept out of the fit, chosen by the seed."
    )
    include_flagged: bool = Field(
        False, description="Also fit brains that the covariate 'flagged' marks."
    )
    marks: MarksFile = None
    seed: Seed = Field(0, description="Of the split.")
    overwrite: bool = Field(False, description="Replace the checkpoint if it exists.")


def fit_pca(options: PCAOptions, *, fingerprint: str | None = None) -> None:
    """Run `training.pca` with these options; the population is read once.

    Parameters
    ----------
    fingerprint
        Of the population, where it is known: it is not hashed again.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.data.population import Population
    from napari_brainvae.data.preprocessing import Preprocessing
    from napari_brainvae.models.checkpoint import check_new, save_checkpoint
    from napari_brainvae.models.header import Reference
    from napari_brainvae.models.measures import squared_error
    from napari_brainvae.models.pca import PCA
    from napari_brainvae.models.residual_spread import residual_spread
    from napari_brainvae.reporting.provenance import provenance
    from training.fitting.reading import leave_out_flagged, prepare, read_once, split

    check_new(options.out, overwrite=options.overwrite)
    population = Population.open(options.population, options.marks)
    train, held_out = split(population, options.held_out, options.seed)
    train = leave_out_flagged(population, train, include_flagged=options.include_flagged)
    fingerprint, stored = read_once(population, train, fingerprint)
    description = population.description
    preprocessing = description.preprocessing or Preprocessing.fit(stored)
    images = prepare(population, stored, train, preprocessing)
    model = PCA.fit(images, options.latent_dim, preprocessing=preprocessing)
    mean, log_variance = model.encode(images)
    decoded = model.decode(mean)
    error = squared_error(images, decoded)
    spread = residual_spread(images, decoded)
    model.header = model.header.model_copy(
        update={
            "pixel_size_um": description.pixel_size_um,
            "plane": description.plane,
            "reference": Reference.measure(error, mean, log_variance, spread),
            "training": provenance(
                options,
                population,
                packages=("napari-brainvae", "numpy", "scipy"),
                without={"out", "overwrite"},
                fingerprint=fingerprint,
                measured=train if len(train) + len(held_out) < len(population) else None,
                held_out=[population.ids[i] for i in held_out],
            ),
        }
    )
    save_checkpoint(model, options.out)
    log.info(f"squared error per pixel: {error.mean():.6f} training\nmodel: {options.out}")


if __name__ == "__main__":
    main(PCAOptions, fit_pca, program="python -m training.pca")
