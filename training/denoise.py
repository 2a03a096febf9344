"""``python -m training.denoise``: the sections of every brain without what is artifact."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from napari_brainvae.io.errors import InputError
from training.cli import main, progress_bar

log = logging.getLogger(__name__)


class DenoiseOptions(BaseModel):
    """Write the denoised section of every brain: its reconstruction without what is artifact.

    Where the model calls a brain an outlier, what the residual says is artifact is left out before
    the section is encoded (robust inference); intact brains are reconstructed as they come.
    --robust looks for artifacts in every brain, --no-robust in none. A .zarr is a population that
    keeps ids and covariates and gets each brain's error, KL divergence, gain and share of artifact,
    and the arrays 'repaired' (the sections with the reconstruction where they are artifact) and
    'artifact' (the masks). A .tif is an OME-TIFF in micrometres, a page a brain; with --robust its
    channels are the reconstruction, the repaired section and the mask.
    """

    population: CliPositionalArg[Path] = Field(
        description="Sections of many brains: .zarr, .npz (array 'images'), .npy or a TIFF stack."
    )
    model: Path = Field(description="Checkpoint.")
    out: Path = Field(description="File to write, ending in .zarr, .tif or .tiff.")
    robust: bool | None = Field(
        None, description="Find artifacts in all brains or in none; by default in outliers."
    )
    brains: list[str] = Field([], description="Ids of the brains to write: A,B,C; by default all.")
    overwrite: bool = Field(False, description="Replace the file if it exists.")


def denoise(options: DenoiseOptions) -> None:
    """Run `training.denoise` with these options.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.data.population import Population
    from napari_brainvae.denoising.reconstruction import export_reconstructions
    from napari_brainvae.models.checkpoint import load_checkpoint

    population = Population.open(options.population)
    model = load_checkpoint(options.model)
    if options.robust is None and model.header.reference is None:
        log.info("the checkpoint does not say what is usual, so no brain is an outlier: --robust")
    if options.brains:
        unknown = [brain for brain in options.brains if brain not in population.ids]
        if unknown:
            raise InputError(f"no brain {unknown[0]!r} in {options.population}")
        population = population.subset([population.ids.index(brain) for brain in options.brains])
    with progress_bar("denoising") as progress:
        export_reconstructions(
            model,
            population,
            options.out,
            robust=options.robust,
            overwrite=options.overwrite,
            progress=progress,
        )
    log.info("reconstructions: %s", options.out)


if __name__ == "__main__":
    main(DenoiseOptions, denoise, program="python -m training.denoise")
