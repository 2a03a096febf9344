"""What an interpretation is made from: models by name, a place in an atlas, regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_brainvae.arrays import Mask
from napari_brainvae.atlas.regions import Region
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model
from napari_brainvae.models.checkpoint import run_name
from napari_brainvae.models.header import check_comparable
from training.interpretation.options import InterpretOptions
from training.located import Place


@dataclass(frozen=True, eq=False)
class Regions:
    """What is perturbed: masks ``(H, W)`` by name, and the same as files that open again."""

    masks: dict[str, Mask]
    files: dict[str, Region]


def name_models(models: Mapping[Path, Model]) -> dict[str, Model]:
    """Short names to show: their labels, with the run where that is not enough.

    Of a model whose run has another's name, the whole path.

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
    shown = list(kinds.values())
    for more in (run_name, str):
        shown = [
            f"{kinds[path]} {more(path)}" if shown.count(name) > 1 else name
            for path, name in zip(kinds, shown, strict=True)
        ]
    return dict(zip(shown, models.values(), strict=True))


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
