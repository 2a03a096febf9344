"""What an interpretation is made from: models by name, a place in an atlas, regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from napari_brainvae.arrays import Mask
from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.atlas.regions import Region
from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model
from napari_brainvae.models.header import check_comparable
from training.interpretation.options import InterpretOptions


class Placed(Protocol):
    """Options that say where sections lie."""

    @property
    def population(self) -> Path:
        """File of the sections."""

    @property
    def atlas(self) -> Path | None:
        """Atlas directory."""

    @property
    def plane(self) -> int | None:
        """Coronal plane of the atlas."""

    @property
    def pixel_size_um(self) -> float | None:
        """Side of a pixel, um."""


@dataclass(frozen=True)
class Place:
    """What is known of where the population's sections lie; in which atlas, if there is one."""

    shape: tuple[int, int]
    pixel_size_um: float | None
    plane: int | None
    section: AtlasSection | None


@dataclass(frozen=True, eq=False)
class Regions:
    """What is perturbed: masks ``(H, W)`` by name, and the same as files that open again."""

    masks: dict[str, Mask]
    files: dict[str, Region]


def name_models(models: Mapping[Path, Model]) -> dict[str, Model]:
    """Short names to show, their labels, with the file where that is not enough.

    Raises
    ------
    InputError
        If the models are not for sections of one size, or not prepared alike.
    """
    first = next(iter(models.values()))
    kinds = {}
    for path, model in models.items():
        if model.shape != first.shape:
            raise InputError(f"{path} is for sections of {model.shape} px, not {first.shape}")
        kinds[path] = model.label
    check_comparable({str(path): model.header for path, model in models.items()})
    alike = list(kinds.values())
    return {
        kind if alike.count(kind) == 1 else f"{kind} {path}": models[path]
        for path, kind in kinds.items()
    }


def locate(options: Placed, population: Population, model: Model) -> Place:
    """Find the atlas, and the population's plane and pixel size in it.

    Raises
    ------
    InputError, OSError
        If there is an atlas but not the plane or the pixel size.
    """
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


def choose_regions(options: InterpretOptions, place: Place) -> Regions:
    """Take the atlas structures and the drawn regions; none without an atlas and a file.

    Raises
    ------
    InputError, OSError
        If one that was asked for is not there, or a name stands for two.
    """
    regions = Regions({}, {})
    if not {"regions", "impact", "fields"} & set(options.parts):
        return regions
    if place.section is not None:
        regions.masks.update(place.section.regions(options.regions, options.side))
    elif "regions" in options.model_fields_set:
        raise InputError(f"the regions {', '.join(options.regions)} need --atlas")
    for name, mask in regions.masks.items():
        regions.files[name] = Region.from_mask(name, mask, place.pixel_size_um)
    for path in options.region_file:
        region = Region.load(path)
        if region.name in regions.masks:
            raise InputError(f"two regions are called {region.name!r}")
        regions.masks[region.name] = region.to_mask(place.shape, place.pixel_size_um)
        regions.files[region.name] = region
    return regions
