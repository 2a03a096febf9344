"""Atlases as brainglobe-atlasapi keeps them, written by hand: what its packager writes, no more."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import zarr

from napari_brainvae.atlas.ontology import Structure

AXES = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]


def write_version_3(
    root: Path,
    name: str,
    structures: Iterable[Structure],
    annotation: np.ndarray,
    *,
    resolution=(25.0, 25.0, 25.0),
    template: np.ndarray | None = None,
    hemispheres: np.ndarray | None = None,
    version: str = "1_0",
    chunks=(128, 128, 128),
    orientation: str = "asr",
) -> Path:
    """Write an atlas, arrays in ``orientation`` as given, into the cache ``root``.

    Returns the atlas's folder, the one of its manifest.
    """
    cache = root / "brainglobe-atlasapi"
    places = {
        kind: f"/{kind}/{name}-{kind}/{version}"
        for kind in ("terminologies", "annotation-sets", "templates", "atlases")
    }
    places["atlases"] = f"/atlases/{name}/{version}"
    folders = {kind: cache / place.lstrip("/") for kind, place in places.items()}
    folders["terminologies"].mkdir(parents=True)
    write_terminology(folders["terminologies"] / "terminology.csv", structures)
    sets = folders["annotation-sets"]
    write_ome_zarr(sets / "annotations_compressed.ome.zarr", annotation, "u4", resolution, chunks)
    if hemispheres is not None:
        write_ome_zarr(sets / "hemispheres.ome.zarr", hemispheres, "u1", resolution, chunks)
    template = annotation % 4096 if template is None else template
    write_ome_zarr(folders["templates"] / "template.ome.zarr", template, "u2", resolution, chunks)
    part = {"name": name, "version": version.replace("_", ".")}
    manifest = {
        "name": name,
        "location": places["atlases"],
        "citation": "unpublished",
        "atlas_link": "http://www.example.com",
        "species": "Mus musculus",
        "symmetric": hemispheres is None,
        "resolution": list(resolution),
        "orientation": orientation,
        "version": version.replace("_", "."),
        "shape": list(annotation.shape),
        "additional_references": [],
        "terminology": {**part, "location": places["terminologies"]},
        "annotation_set": {
            **part,
            "location": places["annotation-sets"],
            "template": {**part, "location": places["templates"]},
        },
        "template": {**part, "location": places["templates"]},
    }
    folders["atlases"].mkdir(parents=True)
    (folders["atlases"] / "manifest.json").write_text(json.dumps(manifest, indent=4))
    return folders["atlases"]


def write_terminology(file: Path, structures: Iterable[Structure]) -> None:
    rows = [
        {
            "identifier": each.id,
            "parent_identifier": each.parent or "",
            "annotation_value": each.id,
            "name": each.name,
            "abbreviation": each.acronym,
            "color_hex_triplet": "#" + bytes(each.color).hex().upper(),
            "root_identifier_path": str(list(each.path)),
        }
        for each in structures
    ]
    pd.DataFrame(rows).to_csv(file, index=False)


def write_ome_zarr(file: Path, volume: np.ndarray, dtype, resolution, chunks) -> None:
    """Two levels, of which the atlas is the second: its place is told by its scale."""
    group = zarr.open_group(file, mode="w")
    levels = {"0": (np.zeros((2, 2, 2), dtype), 0.5), "1": (volume.astype(dtype), 1)}
    datasets = []
    for path, (voxels, factor) in levels.items():
        scale = [factor * um / 1000 for um in resolution]
        transform = {"type": "scale", "scale": scale}
        datasets.append({"path": path, "coordinateTransformations": [transform]})
        group.create_array(path, data=voxels, chunks=tuple(np.minimum(chunks, voxels.shape)))
    multiscale = {"name": "image", "axes": AXES, "datasets": datasets}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}


def write_version_2(
    root: Path,
    name: str,
    structures: Iterable[Structure],
    annotation: np.ndarray,
    *,
    resolution=(25.0, 25.0, 25.0),
    orientation: str = "asr",
    hemispheres: np.ndarray | None = None,
    version: str = "1.2",
    compression: str | None = None,
) -> Path:
    """Write the folder of an atlas of version 2; arrays as given."""
    folder = root / f"{name}_v{version}"
    folder.mkdir(parents=True)
    records = [
        {
            "acronym": each.acronym,
            "id": each.id,
            "name": each.name,
            "structure_id_path": list(each.path),
            "rgb_triplet": list(each.color),
        }
        for each in structures
    ]
    (folder / "structures.json").write_text(json.dumps(records))
    metadata = {
        "name": name,
        "citation": "unpublished",
        "species": "Mus musculus",
        "symmetric": hemispheres is None,
        "resolution": list(resolution),
        "orientation": orientation,
        "version": version,
        "shape": list(annotation.shape),
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))
    volumes = {"annotation": annotation.astype("u4"), "reference": (annotation % 4096).astype("u2")}
    if hemispheres is not None:
        volumes["hemispheres"] = hemispheres.astype("u1")
    for kind, volume in volumes.items():
        tifffile.imwrite(folder / f"{kind}.tiff", volume, compression=compression)
    return folder
