"""An atlas directory as allensdk's ``MouseConnectivityCache`` keeps it.

What allensdk fetched opens here::

    structures.json
    annotation/ccf_2017/annotation_25.nrrd     (AP, DV, ML), a structure id in every voxel
    average_template_25.nrrd                   optional, the same grid
    template_planes/plane_293.tif              optional, single planes of the template
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_brainvae.atlas.nrrd_volume import read_volume, write_volume
from napari_brainvae.atlas.ontology import Structure, read_structures, write_structures
from napari_brainvae.atlas.stored import StoredAtlas, Template
from napari_brainvae.data.tiff_stack import opening
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.io.errors import DAMAGED, InputError, MissingFileError

_ANNOTATION = Path("annotation") / "ccf_2017"


def read_allen_folder(directory: Path, resolution_um: float | None = None) -> StoredAtlas:
    """Read a directory in the layout that this module's head shows.

    Parameters
    ----------
    resolution_um
        Which annotation to take; needed only where there are several.

    Raises
    ------
    OSError
        If a file is missing.
    InputError
        If a file cannot be understood.
    """
    structures = read_structures(directory / "structures.json")
    file = _choose_annotation(directory / _ANNOTATION, resolution_um)
    annotation, voxel_um = read_volume(file)
    if annotation.dtype.kind not in "iu" or annotation.min() < 0:
        raise InputError(f"{file} holds {annotation.dtype}, not structure ids")
    return StoredAtlas(
        directory.name,
        directory,
        structures,
        annotation.astype(np.uint32, copy=False),
        voxel_um,
        voxel_um,
        _template(directory, voxel_um),
    )


def allen_files(directory: Path) -> list[Path]:
    """Files that `read_allen_folder` reads, of every resolution; they may be gone."""
    annotations = sorted((directory / _ANNOTATION).glob("annotation_*.nrrd"))
    return [directory / "structures.json", *annotations]


def write_allen_folder(
    directory: Path,
    annotation: NDArray[Any],
    structures: Iterable[Structure],
    resolution_um: float,
    template: NDArray[Any] | None,
) -> None:
    """Write an atlas directory, all of it or nothing; see `atlas.Atlas.write`."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(f"{directory} is there already: an atlas needs a new directory")
    if annotation.ndim != 3 or (template is not None and template.shape != annotation.shape):
        raise InputError("annotation and template must be (AP, DV, ML) and of one shape")
    name = f"{resolution_um:g}.nrrd"
    with replacing(directory) as folder:
        (folder / _ANNOTATION).mkdir(parents=True)
        write_structures(folder / "structures.json", structures)
        labels = annotation.astype(np.uint32)
        write_volume(folder / _ANNOTATION / f"annotation_{name}", labels, resolution_um)
        if template is not None:
            write_volume(folder / f"average_template_{name}", template, resolution_um)


def _template(directory: Path, resolution_um: float) -> Template:
    def plane(index: int) -> tuple[NDArray[Any], int]:
        volume = directory / f"average_template_{resolution_um:g}.nrrd"
        if volume.is_file():
            return read_volume(volume)[0][index], index
        files = {
            int(file.stem.removeprefix("plane_")): file
            for file in (directory / "template_planes").glob("plane_*.tif")
        }
        if not files:
            raise InputError(f"{directory} has neither {volume.name} nor template_planes")
        nearest = min(files, key=lambda each: abs(each - index))
        try:
            with opening(files[nearest]) as tif:
                return tif.asarray(), nearest
        except DAMAGED as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{files[nearest]} cannot be read: {reason}") from error

    return plane


def _choose_annotation(folder: Path, resolution_um: float | None) -> Path:
    files = sorted(folder.glob("annotation_*.nrrd"))
    if not files:
        raise MissingFileError(f"no annotation_<resolution>.nrrd in {folder}")
    if resolution_um is not None:
        wanted = folder / f"annotation_{resolution_um:g}.nrrd"
        if wanted not in files:
            raise MissingFileError(f"no {wanted.name} in {folder}")
        return wanted
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(f"{folder} holds {names}: say which resolution to open")
    return files[0]
