"""One asymmetric brain, as every program that registers brains would write it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import tifffile
import zarr

from napari_brainvae.data.orientation import OPPOSITE, reorient

Brain = npt.NDArray[np.uint16]
SHAPE = (24, 64, 80)
VOXEL_UM = 100.0


def asymmetric_brain(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Brain:
    """(AP, DV, ML) "asl": an ellipsoid, with a landmark that no turn and no mirror leaves alone."""
    rng = np.random.default_rng(seed)
    ap, dv, ml = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    tissue = (ap / 0.95) ** 2 + (dv / 0.8) ** 2 + (ml / 0.9) ** 2 < 1
    left_dorsal_front = np.exp(-((ap + 0.3) ** 2 + (dv + 0.4) ** 2 + (ml + 0.5) ** 2) / 0.05)
    level = 400 + 100 * dv + 80 * ap + 900 * left_dorsal_front
    return np.where(tissue, level + rng.normal(0, 5, shape), 0).clip(0).astype(np.uint16)


def directions(orientation: str, world: str) -> npt.NDArray[np.float64]:
    """A row an axis: its step in a world whose axes end at the letters of ``world``."""
    rows = np.zeros((3, 3))
    for axis, begin in enumerate(orientation):
        end = OPPOSITE[begin]
        if end in world:
            rows[axis, world.index(end)] = 1
        else:
            rows[axis, world.index(begin)] = -1
    return rows


def write_nifti(path: Path, brain: Brain, orientation: str, degrees: float = 0) -> Path:
    """NIfTI whose affine says all; turned about its third axis by some degrees."""
    affine = np.eye(4)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    affine[:3, :3] = turn @ directions(orientation, "ras").T * VOXEL_UM / 1000
    affine[:3, 3] = (3, -4, 5)
    image = nibabel.Nifti1Image(np.ascontiguousarray(reorient(brain, "asl", orientation)), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def write_nrrd(path: Path, brain: Brain, orientation: str) -> Path:
    header = {
        "space": "left-posterior-superior",
        "space directions": directions(orientation, "lps") * VOXEL_UM / 1000,
        "space units": ["mm", "mm", "mm"],
    }
    nrrd.write(str(path), np.asfortranarray(reorient(brain, "asl", orientation)), header)
    return path


def write_mhd(path: Path, brain: Brain, orientation: str) -> Path:
    array = np.ascontiguousarray(reorient(brain, "asl", orientation))
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([VOXEL_UM / 1000] * 3)
    image.SetDirection(directions(orientation, "lps")[::-1].T.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


def write_tiff(path: Path, brain: Brain, orientation: str) -> Path:
    """A TIFF knows neither its axes nor the size of its voxels."""
    stack = np.ascontiguousarray(reorient(brain, "asl", orientation))
    tifffile.imwrite(path, stack, photometric="minisblack")
    return path


def write_abba(path: Path, brain: Brain, orientation: str) -> Path:
    """ABBA's registered slices: a stack of ImageJ, calibrated in mm."""
    stack = np.ascontiguousarray(reorient(brain, "asl", orientation))
    per_mm = 1000 / VOXEL_UM
    metadata = {"axes": "ZYX", "unit": "mm", "spacing": VOXEL_UM / 1000}
    tifffile.imwrite(path, stack, imagej=True, resolution=(per_mm, per_mm), metadata=metadata)
    return path


def write_brainreg(folder: Path, brain: Brain, *, atlas: str | None = "phantom_100um") -> Path:
    """brainreg's folder: the standard image "asr", others in the space of the sample."""
    folder.mkdir(parents=True)
    write_tiff(folder / "downsampled_standard.tiff", brain, "asr")
    sample = brain[:, ::-1, :40]
    for name in ("downsampled", "registered_atlas", "registered_hemispheres", "boundaries"):
        tifffile.imwrite(folder / f"{name}.tiff", sample, photometric="minisblack")
    (folder / "volumes.csv").write_text("structure_name,left_volume_mm3\n")
    if atlas is not None:
        said = {"atlas": atlas, "orientation": "psl", "voxel_sizes": ["5", "2", "2"]}
        (folder / "brainreg.json").write_text(json.dumps(said))
    return folder


def write_registration(folder: Path, brain: Brain, layer: str = "cfos") -> Path:
    """The folder of brainglobe-registration."""
    folder.mkdir(parents=True)
    write_tiff(folder / f"downsampled_standard_{layer}.tiff", brain, "asr")
    sample = brain[:, ::-1, :40]
    tifffile.imwrite(folder / "registered_atlas.tiff", sample, photometric="minisblack")
    (folder / "brainglobe-registration.json").write_text(json.dumps({"atlas": "phantom_100um"}))
    return folder


def write_ome_zarr(path: Path, brain: Brain, orientation: str, *, words: bool = True) -> Path:
    said = {"a": "anterior-to-posterior", "s": "superior-to-inferior", "r": "right-to-left"}
    said |= {"p": "posterior-to-anterior", "i": "inferior-to-superior", "l": "left-to-right"}
    axes = [
        {"name": name, "type": "space", "unit": "micrometer"}
        | ({"orientation": {"type": "anatomical", "value": said[begin]}} if words else {})
        for name, begin in zip("zyx", orientation, strict=True)
    ]
    scale = [{"type": "scale", "scale": [VOXEL_UM] * 3}]
    scales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    group = zarr.open_group(path, mode="w")
    group.attrs["ome"] = {"version": "0.5", "multiscales": scales}
    group.create_array("0", data=np.ascontiguousarray(reorient(brain, "asl", orientation)))
    return path


def ten_inputs(folder: Path, brain: Brain, orientation: str) -> Path:
    """Write a brain ten times; what knows no orientation lies as ``orientation``."""
    folder.mkdir()
    write_brainreg(folder / "brainreg", brain)
    write_registration(folder / "registration", brain)
    write_nifti(folder / "ras.nii.gz", brain, "lpi")
    write_nifti(folder / "lps.nii", brain, "rai")
    write_nifti(folder / "permuted.nii", brain, "sla")
    write_nifti(folder / "flipped.nii.gz", brain, "pir")
    write_nrrd(folder / "nearly.nrrd", brain, "psr")
    write_mhd(folder / "meta.mhd", brain, "lsa")
    write_abba(folder / "abba.tif", brain, orientation)
    write_tiff(folder / "plain.tiff", brain, orientation)
    return folder


Writer = Callable[[Path, Brain, str], Path]
WRITERS: dict[str, Writer] = {
    ".nii.gz": write_nifti,
    ".nrrd": write_nrrd,
    ".mhd": write_mhd,
    ".mha": write_mhd,
    ".zarr": write_ome_zarr,
}
"""Formats that know how they lie."""
