"""``python -m training.phantom``: write a population with planted factors, and its truth."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg
from tqdm import tqdm

from napari_brainvae.io.places import NewPopulation
from napari_brainvae.phantom.phantom import (
    Phantom,
    PhantomOptions,
    draw_section,
    section_from_atlas,
    write_phantom,
    write_phantom_atlas,
)
from training.cli import main

log = logging.getLogger(__name__)


class PhantomCommand(PhantomOptions):
    """Make a population of brains with planted factors, and keep the truth beside it.

    OUT.zarr gets the sections, ids and covariates, and in its group 'truth' the planted factors,
    the clean sections, the artifact class and the artifact mask. Without --atlas the section is
    drawn from nothing, and its annotation is written as an atlas directory OUT.atlas.
    """

    out: CliPositionalArg[NewPopulation] = Field(
        description="Population file to write, ending in .zarr."
    )
    atlas: Path | None = Field(
        None,
        description="Atlas directory or BrainGlobe name: use its template and annotation instead "
        "of drawing.",
    )


def phantom(options: PhantomCommand) -> None:
    """Run `training.phantom` with these options.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.atlas.atlas import Atlas

    beside = options.out.with_suffix(".atlas")
    for path in (options.out, beside) if options.atlas is None else (options.out,):
        if path.exists():
            raise FileExistsError(f"{path} exists already; give another name")
    if options.atlas is None:
        section = draw_section(options.height, options.width)
    else:
        atlas = Atlas.open(options.atlas)
        section = section_from_atlas(atlas, options.plane, options.height, options.width)
        if section.plane != options.plane:
            log.info("no template of plane %d: plane %d is used", options.plane, section.plane)
    plain = PhantomOptions(**options.model_dump(include=set(PhantomOptions.model_fields)))
    with tqdm(total=options.count, unit="brain") as bar:
        write_phantom(
            Phantom(section, plain), options.out, progress=lambda done, _: bar.update(done - bar.n)
        )
    if options.atlas is None:
        write_phantom_atlas(section, beside)
        log.info("atlas: %s", beside)
    log.info("population: %s", options.out)


if __name__ == "__main__":
    main(PhantomCommand, phantom, program="python -m training.phantom")
