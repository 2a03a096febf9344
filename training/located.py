"""What every look at a population through a model is told: which brains, where, and where to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.option_types import MarksFile
from napari_brainvae.io.places import check_empty

if TYPE_CHECKING:  # what reads files waits until there is something to read
    import pandas as pd

    from napari_brainvae.atlas.atlas_section import AtlasSection
    from napari_brainvae.data.population import Population
    from napari_brainvae.models.base import Model


class LocatedOptions(BaseModel):
    """Flags that commands share which measure the brains of a population by a model."""

    population: CliPositionalArg[Path] = Field(
        description="Sections of many brains: .zarr, .npz (array 'images'), .npy or a TIFF stack."
    )
    out: Path = Field(description="Folder for the results; new or empty.")
    atlas: Path | None = Field(
        None,
        description="Atlas directory, or the name of a BrainGlobe atlas that is there, such as "
        "allen_mouse_25um. By default POPULATION.atlas beside the population, which is what a "
        "drawn phantom has.",
    )
    plane: int | None = Field(
        None,
        ge=0,
        le=100_000,
        description="Coronal plane of the atlas; needed where no file says it.",
    )
    pixel_size_um: float | None = Field(
        None, gt=0, le=100_000, description="Side of a pixel, um; needed where no file says it."
    )
    covariates: Path | None = Field(
        None,
        description="What is known of the brains: a CSV of any kind, or a spreadsheet, of which a "
        "column (id, subject, file name) names them. By default what the population file says.",
    )
    marks: MarksFile = None
    overwrite: bool = Field(
        False, description="Write into a folder that holds files, and over those of the same name."
    )


@dataclass(frozen=True)
class Place:
    """What is known of where the population's sections lie; in which atlas, if there is one."""

    shape: tuple[int, int]
    pixel_size_um: float | None
    plane: int | None
    section: AtlasSection | None


def check_out(options: LocatedOptions) -> None:
    """See that results can be written, before anything is computed.

    Raises
    ------
    OSError
        If something is there that was not to be overwritten.
    """
    check_empty(options.out, "give another folder, or --overwrite", overwrite=options.overwrite)


def known_of(options: LocatedOptions, population: Population) -> pd.DataFrame:
    """Covariates of the brains, from the table given or the population; its flags count, too.

    Raises
    ------
    InputError, OSError
        If there is a table that cannot be read.
    """
    from napari_brainvae.data.covariates import read_covariates

    if options.covariates is None:
        return population.covariates
    covariates = read_covariates(options.covariates, population.ids)
    if "flagged" in covariates:
        population.covariates["flagged"] = covariates["flagged"]
    return covariates


def locate(options: LocatedOptions, population: Population, model: Model) -> Place:
    """Find the atlas, and the population's plane and pixel size in it.

    Raises
    ------
    InputError, OSError
        If there is an atlas but not the plane or the pixel size.
    """
    from napari_brainvae.atlas.atlas import Atlas
    from napari_brainvae.atlas.atlas_section import AtlasSection

    known, header = population.description, model.header
    pixel_size_um = options.pixel_size_um or known.pixel_size_um or header.pixel_size_um
    planes = (options.plane, known.plane, header.plane)
    plane = next((plane for plane in planes if plane is not None), None)
    beside = options.population.with_suffix(".atlas")
    directory = options.atlas or (beside if beside.is_dir() else None)
    if directory is None:
        return Place(model.shape, pixel_size_um, plane, None)
    if plane is None:
        raise InputError("neither population nor model says its plane of the atlas: give --plane")
    if pixel_size_um is None:
        raise InputError("neither population nor model says its pixel size: give --pixel-size-um")
    section = AtlasSection.lay(Atlas.open(directory), plane, model.shape, pixel_size_um)
    return Place(model.shape, pixel_size_um, plane, section)
