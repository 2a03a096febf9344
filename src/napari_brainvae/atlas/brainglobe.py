"""BrainGlobe's atlases where brainglobe-atlasapi keeps them, read without it and without a network.

Version 3 is a cache whose parts are shared between atlases::

    brainglobe-atlasapi/atlases/<name>/<1_0>/manifest.json      resolution (um), shape, its parts
    brainglobe-atlasapi/terminologies/<n>/<v>/terminology.csv   identifier, abbreviation, name, ...
    brainglobe-atlasapi/annotation-sets/<n>/<v>/annotations_compressed.ome.zarr
    brainglobe-atlasapi/annotation-sets/<n>/<v>/hemispheres.ome.zarr      of atlases not symmetric
    brainglobe-atlasapi/templates/<n>/<v>/template.ome.zarr

Version 2 is a folder ``<name>_v1.2`` of metadata.json, structures.json, annotation.tiff,
reference.tiff and hemispheres.tiff. Their arrays begin at the animal's right ("asr"), as a rule;
what is given is turned. Formats as brainglobe-atlasapi 3.0.2 and 2.x write and read them.
"""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import zarr
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError

from napari_brainvae.atlas.brainglobe_structures import read_records, read_terminology
from napari_brainvae.atlas.stored import StoredAtlas
from napari_brainvae.atlas.turned_volume import TurnedVolume
from napari_brainvae.data.orientation import check_orientation, spacing_inside
from napari_brainvae.data.tiff_stack import opening
from napari_brainvae.io.errors import DAMAGED, InputError
from napari_brainvae.io.regular_files import regular_file, regular_tree

PACKAGE = "brainglobe-atlasapi"
ANNOTATION = "annotations_compressed.ome.zarr"
HEMISPHERES = "hemispheres.ome.zarr"
TEMPLATE = "template.ome.zarr"


class _Part(BaseModel):
    location: str


class _AnnotationSet(_Part):
    template: _Part


class _Manifest(BaseModel):
    """What ``manifest.json`` or ``metadata.json`` says; the parts are those of version 3."""

    resolution: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    orientation: str = "asr"
    symmetric: bool = True
    terminology: _Part | None = None
    annotation_set: _AnnotationSet | None = Field(None)


def brainglobe_folder() -> Path:
    """Where brainglobe-atlasapi keeps atlases, by its own configuration.

    ``~/.brainglobe``, or what ``bg_config.conf`` in ``~/.config/brainglobe`` or
    ``$BRAINGLOBE_CONFIG_DIR`` says.

    Raises
    ------
    InputError
        If that file cannot be understood.
    """
    default = Path.home() / ".brainglobe"
    folder = os.environ.get("BRAINGLOBE_CONFIG_DIR") or Path.home() / ".config" / "brainglobe"
    file = Path(folder) / "bg_config.conf"
    parser = configparser.ConfigParser()
    try:
        parser.read(file, encoding="utf-8")
        stated = parser.get("default_dirs", "brainglobe_dir", fallback=str(default), raw=True)
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file} is no configuration of BrainGlobe: {reason}") from error
    return Path(stated).expanduser()


def available_atlases() -> dict[str, Path]:
    """Atlases of BrainGlobe that are completely there, by name, with their folders.

    Of an atlas of several versions the newest is named; version 3 is newer than version 2.

    Raises
    ------
    InputError
        If BrainGlobe's configuration cannot be understood.

    Examples
    --------
    >>> from napari_brainvae import Atlas
    >>> for name, folder in available_atlases().items():
    ...     assert Atlas.open(name).directory == folder
    """
    found = {}
    for name, folder in sorted(_folders().items()):
        try:
            _check_complete(folder)
        except InputError:
            continue
        found[name] = folder
    return found


def chunk_folders(name: str) -> dict[str, Path]:
    """Where the chunks of an atlas of version 3 belong, for each array that it has.

    Raises
    ------
    InputError
        If what describes them is missing, too.
    """
    folder = _folders()[name]
    manifest = _manifest(folder)
    parts = ["annotation", "template", *([] if manifest.symmetric else ["hemispheres"])]
    levels = {part: _zarr_level(folder, manifest, part) for part in parts}
    return {part: file / array.path / "c" for part, (file, array) in levels.items()}


def locate_brainglobe(place: str | Path) -> Path | None:
    """Find the folder of an atlas by its folder, its manifest or its name; None if it is none.

    A folder of that name goes before an atlas of that name.
    """
    path = Path(place)
    if path.name in ("manifest.json", "metadata.json") and path.is_file():
        path = path.parent
    if path.exists():
        if _is_version_3(path) or (path / "metadata.json").is_file():
            return path
        return _newest(path) if path.is_dir() else None
    if len(path.parts) != 1:
        return None
    exact = brainglobe_folder() / path.name  # as version 2 names its folders: NAME_v1.2
    return exact if (exact / "metadata.json").is_file() else _folders().get(path.name)


def missing_message(place: str | Path) -> str:
    """Say that there is no such atlas, and which there are."""
    if len(Path(place).parts) != 1:
        return f"no atlas directory at {place}"
    there = ", ".join(available_atlases()) or "none"
    return (
        f"no atlas directory at {place}, and of BrainGlobe's atlases in {brainglobe_folder()} "
        f"there is {there}"
    )


def brainglobe_files(folder: Path) -> list[Path]:
    """Files by which it shows that an atlas was written again."""
    if not _is_version_3(folder):
        return [folder / n for n in ("metadata.json", "structures.json", "annotation.tiff")]
    manifest = _manifest(folder)
    annotation = _part(folder, manifest.annotation_set) / ANNOTATION
    terms = _part(folder, manifest.terminology) / "terminology.csv"
    return [folder / "manifest.json", terms, annotation / "zarr.json"]


def read_brainglobe(folder: Path) -> StoredAtlas:
    """Read an atlas of version 3 or 2; planes are read when they are asked for.

    Raises
    ------
    InputError
        If a file is missing or cannot be understood: one sentence, at once.
    """
    manifest = _check_complete(folder)
    version_3 = _is_version_3(folder)
    name = folder.parent.name if version_3 else folder.name
    annotation = _volume(folder, manifest, "annotation")
    if annotation.dtype.kind not in "iu":
        raise InputError(f"{name}: its annotation holds {annotation.dtype}, not structure ids")
    spacing, row, column = spacing_inside(manifest.resolution, manifest.orientation)

    def template(plane: int) -> tuple[npt.NDArray[Any], int]:
        return _volume(folder, manifest, "template")[plane], plane

    return StoredAtlas(
        name,
        folder,
        read_terminology(_part(folder, manifest.terminology) / "terminology.csv")
        if version_3
        else read_records(folder / "structures.json"),
        annotation,
        min(row, column),
        spacing,
        template,
        None if manifest.symmetric else _volume(folder, manifest, "hemispheres"),
        manifest.orientation,
    )


# Where things are


def _folders() -> dict[str, Path]:
    """Folders of the newest version of every atlas, by name, complete or not."""
    root, found = brainglobe_folder(), {}
    for metadata in sorted(root.glob("*_v*/metadata.json"), key=lambda m: _number(m.parent.name)):
        found[re.sub(r"_v[\d.]+$", "", metadata.parent.name)] = metadata.parent
    for atlas in (root / PACKAGE / "atlases").glob("*/"):
        newest = _newest(atlas)
        if newest is not None:
            found[atlas.name] = newest
    return found


def _is_version_3(folder: Path) -> bool:
    """Whether its manifest is one of BrainGlobe; allensdk puts one of its own into its folder."""
    allen = ("structures.json", "annotation")
    return (folder / "manifest.json").is_file() and not any((folder / n).exists() for n in allen)


def _newest(folder: Path) -> Path | None:
    versions = [found.parent for found in folder.glob("*/manifest.json")]
    numbered = [each for each in versions if re.fullmatch(r"\d+(_\d+)*", each.name)]
    return max(numbered, key=lambda each: _number(each.name), default=None)


def _number(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.rpartition("_v")[2])]


def _part(folder: Path, part: _Part | None) -> Path:
    """Where a part of an atlas of version 3 lies: locations begin at the root of the cache."""
    if part is None:
        raise InputError(f"{folder / 'manifest.json'} does not say where its parts are")
    return folder.parents[2] / part.location.lstrip("/\\")


def _manifest(folder: Path) -> _Manifest:
    file = folder / ("manifest.json" if _is_version_3(folder) else "metadata.json")
    try:
        manifest = _Manifest.model_validate_json(regular_file(file).read_bytes())
        manifest.orientation = check_orientation(manifest.orientation)
        return manifest
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{file} describes no atlas: {place} {problem['msg']}") from error
    except (InputError, OSError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def _check_complete(folder: Path) -> _Manifest:
    """Refuse an atlas of which something is missing, without reading any voxel."""
    manifest = _manifest(folder)
    parts = ["annotation", *([] if manifest.symmetric else ["hemispheres"])]
    if _is_version_3(folder):
        terms = _part(folder, manifest.terminology) / "terminology.csv"
    else:
        terms = folder / "structures.json"
    if not terms.is_file():
        raise _half(folder, terms)
    for part in parts:
        _volume(folder, manifest, part)
    return manifest


def _half(folder: Path, missing: Path) -> InputError:
    version_3 = _is_version_3(folder)
    name = folder.parent.name if version_3 else folder.name
    way = f"brainvae acquire brainglobe {name} fetches it" if version_3 else "fetch it again"
    return InputError(f"the atlas {name} is only half there: {missing} is missing; {way}")


# Volumes


def _volume(folder: Path, manifest: _Manifest, part: str) -> TurnedVolume:
    """Open ``annotation``, ``hemispheres`` or ``template``, in this program's orientation."""
    if _is_version_3(folder):
        file, array = _zarr_level(folder, manifest, part)
    else:
        file, array = _tiff(folder, part)
    if tuple(array.shape) != manifest.shape:
        raise InputError(f"{file} has {tuple(array.shape)} voxels, its atlas {manifest.shape}")
    volume = TurnedVolume(file, array, manifest.orientation, manifest.resolution)
    if volume.is_empty:
        raise _half(folder, file / array.path / "c")
    return volume


def _zarr_level(folder: Path, manifest: _Manifest, part: str) -> tuple[Path, zarr.Array]:
    """The level of an OME-Zarr pyramid (NGFF 0.4 or 0.5, mm) that has the atlas's resolution."""
    where = _part(folder, manifest.annotation_set)
    if part == "template" and manifest.annotation_set is not None:
        where = _part(folder, manifest.annotation_set.template)
    names = {"annotation": ANNOTATION, "hemispheres": HEMISPHERES, "template": TEMPLATE}
    file = where / names[part]
    if not any((file / name).is_file() for name in ("zarr.json", ".zattrs")):
        raise _half(folder, file)
    try:
        regular_tree(file)
        group = zarr.open_group(file, mode="r")
        attributes: dict[str, Any] = dict(group.attrs)
        levels = attributes.get("ome", attributes)["multiscales"][0]["datasets"]
        paths = {_scale_um(level): str(level["path"]) for level in levels}
    except (*DAMAGED, OSError) as error:
        raise InputError(f"{file} is no OME-Zarr: {' '.join(str(error).split())}") from error
    close = [p for scale, p in paths.items() if np.allclose(scale, manifest.resolution, rtol=1e-4)]
    if not close:
        raise InputError(f"{file} has no level of {manifest.resolution} um")
    try:
        array = group[close[0]]
    except (*DAMAGED, OSError) as error:
        raise _half(folder, file / close[0]) from error
    if not isinstance(array, zarr.Array):
        raise _half(folder, file / close[0])
    if 0 in (array.shards or array.chunks):
        raise InputError(f"{file / close[0]} has chunks of no voxels")
    return file, array


def _scale_um(level: dict[str, Any]) -> tuple[float, ...]:
    transforms = level["coordinateTransformations"]
    scale = next(each["scale"] for each in transforms if each["type"] == "scale")
    return tuple(1000 * float(millimetres) for millimetres in scale[-3:])


def _tiff(folder: Path, part: str) -> tuple[Path, npt.NDArray[Any]]:
    file = folder / f"{'reference' if part == 'template' else part}.tiff"
    if not file.is_file():
        raise _half(folder, file)
    try:
        with opening(file) as tif:
            if tif.series[0].dataoffset is None:  # it is compressed
                return file, tif.asarray()
            return file, tifffile.memmap(file, mode="r")
    except (*DAMAGED, OSError) as error:
        raise InputError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
