"""The space of the atlas that a user names."""

from __future__ import annotations

from pathlib import Path

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.gather import Space
from napari_brainvae.data.volumes import open_volume
from napari_brainvae.io.errors import InputError


def atlas_space(text: str) -> Space:
    """Find the space of an atlas by its name or its folder, without reading its voxels.

    Raises
    ------
    InputError
        If it is neither.
    """
    folder = Path(text).expanduser()
    if folder.is_dir():
        files = [file for file in Atlas.files(folder) if file.suffix == ".nrrd"]
        if len(files) != 1:
            raise InputError(f"{folder} holds {len(files)} annotations, not one: is it an atlas?")
        volume = open_volume(files[0])
        size = volume.voxel_um[0]
        if size is None:
            raise InputError(f"{files[0]} says no resolution")
        ap, dv, ml = (int(n) * size for n in volume.voxels.shape)
        return Space(folder.name, size, (ap, dv, ml))
    if space := Space.named(text):
        return space
    raise InputError(
        f"--atlas {text} is no folder, and no name of an atlas of BrainGlobe, which ends in its "
        "resolution as allen_mouse_25um does"
    )
