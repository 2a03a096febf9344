"""An annotated atlas: any coronal plane, masks of any structure, outlines, names and colours.

The directory is the cache of allensdk's ``MouseConnectivityCache``, so what allensdk fetched opens
here::

    structures.json
    annotation/ccf_2017/annotation_25.nrrd     (AP, DV, ML), a structure id in every voxel
    average_template_25.nrrd                   optional, the same grid
    template_planes/plane_293.tif              optional, single planes of the template

Rows run dorsal to ventral. Columns run from the left of the animal to its right, as the ML index of
the Common Coordinate Framework does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy  # whose modules are imported when they are first used
import tifffile
from numpy.typing import NDArray

from napari_brainvae.arrays import Labels, Mask
from napari_brainvae.atlas.nrrd_volume import read_volume, write_volume
from napari_brainvae.atlas.ontology import (
    Structure,
    StructureTree,
    read_structures,
    write_structures,
)
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.io.errors import InputError

Side = Literal["both", "left", "right"]
_ANNOTATION = Path("annotation") / "ccf_2017"


class Atlas(StructureTree):
    """A structure tree with its annotated volume.

    Attributes
    ----------
    annotation : ndarray
        (AP, DV, ML) uint32, read-only; 0 is outside the brain.
    resolution_um : float
        Edge of a voxel in micrometres.
    directory : Path
        Where the atlas was opened.

    Examples
    --------
    >>> import tempfile
    >>> from napari_brainvae.phantom.phantom import draw_section, write_phantom_atlas
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_phantom_atlas(draw_section(64, 80), folder)
    ...     mask = Atlas.open(folder).mask("SSp", plane=2, side="left")
    >>> mask.shape
    (64, 80)
    """

    def __init__(
        self,
        structures: Iterable[Structure],
        annotation: Labels,
        resolution_um: float,
        directory: Path,
    ) -> None:
        super().__init__(structures)
        annotation.flags.writeable = False
        self.annotation = annotation
        self.resolution_um = resolution_um
        self.directory = directory

    @classmethod
    def open(cls, directory: str | Path, resolution_um: float | None = None) -> Atlas:
        """Open an atlas directory.

        Parameters
        ----------
        directory
            In the layout this module's head shows.
        resolution_um
            Which annotation to take; needed only where there are several.

        Raises
        ------
        OSError
            If a file is missing.
        InputError
            If a file cannot be understood.
        """
        directory = Path(directory)
        if not directory.is_dir():
            raise FileNotFoundError(f"no atlas directory at {directory}")
        structures = read_structures(directory / "structures.json")
        file = _choose_annotation(directory / _ANNOTATION, resolution_um)
        annotation, voxel_um = read_volume(file)
        if annotation.dtype.kind not in "iu" or annotation.min() < 0:
            raise InputError(f"{file} holds {annotation.dtype}, not structure ids")
        return cls(structures, annotation.astype(np.uint32, copy=False), voxel_um, directory)

    @staticmethod
    def files(directory: str | Path) -> list[Path]:
        """Files of an atlas directory that `open` reads, of every resolution; they may be gone."""
        annotations = sorted((Path(directory) / _ANNOTATION).glob("annotation_*.nrrd"))
        return [Path(directory) / "structures.json", *annotations]

    @staticmethod
    def write(
        directory: str | Path,
        annotation: NDArray[Any],
        structures: Iterable[Structure],
        resolution_um: float,
        template: NDArray[Any] | None = None,
    ) -> None:
        """Write an atlas directory, all of it or nothing.

        Parameters
        ----------
        directory
            Must not hold anything yet.
        annotation, template
            (AP, DV, ML); structure ids, and intensities of any type.
        structures
            Every structure, ancestors included.
        resolution_um
            Edge of a voxel in micrometres.

        Raises
        ------
        OSError
            If the directory holds something already or cannot be written.
        InputError
            If the volumes are not 3-D or differ in shape.
        """
        directory = Path(directory)
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

    def plane(self, index: int) -> Labels:
        """One coronal plane of the annotation, (DV, ML) uint32.

        Raises
        ------
        InputError
            If there is no such plane.
        """
        return np.ascontiguousarray(self.annotation[self._checked(index)])

    def section(self, plane: int, shape: tuple[int, int], pixel_size_um: float) -> Labels:
        """Cut a plane as a population's sections are cut.

        The section shares its centre with the plane. At the atlas's own resolution this is the
        paper's crop: 448 of the 456 columns are ML 4 to 451.

        Parameters
        ----------
        plane
            Index of the coronal plane.
        shape
            (H, W) of the section.
        pixel_size_um
            Edge of a pixel of the section.

        Returns
        -------
        ndarray
            (H, W) uint32, the nearest voxel's structure; 0 beyond the plane.
        """
        labels = self.plane(plane)
        ratio = pixel_size_um / self.resolution_um
        if min(shape) < 1 or not ratio > 0:
            raise InputError(f"a section of {shape} pixels of {pixel_size_um} um cannot be cut")
        inside, nearest = [], []
        for size, available in zip(shape, labels.shape, strict=True):
            position = np.floor(centred(size, available, ratio) + 0.5)
            inside.append((position >= 0) & (position < available))
            nearest.append(np.clip(position, 0, available - 1).astype(int))
        return np.where(np.logical_and.outer(*inside), labels[np.ix_(*nearest)], np.uint32(0))

    def mask(
        self,
        key: str | int,
        plane: int,
        side: Side = "both",
        shape: tuple[int, int] | None = None,
        pixel_size_um: float | None = None,
    ) -> Mask:
        """Where a structure and its parts lie in a coronal plane.

        Parameters
        ----------
        key
            Acronym, full name or id.
        plane
            Index of the coronal plane.
        side
            Of the animal: ``"left"`` is the smaller ML index. A column exactly on the midline
            counts as left, so that the two sides never overlap.
        shape, pixel_size_um
            Give the mask for a population's section (see `section`) instead of the whole plane.

        Returns
        -------
        ndarray
            (DV, ML), or ``shape``; bool.

        Raises
        ------
        InputError
            If the structure, plane or side does not exist.
        """
        if shape is None:
            labels = self.plane(plane)
        else:
            labels = self.section(plane, shape, pixel_size_um or self.resolution_um)
        return of_side(self.within(labels, key), side)

    def template(self, plane: int) -> tuple[NDArray[np.float32], int]:
        """Give the average template's plane, or the nearest that is there.

        Returns
        -------
        image : ndarray
            (DV, ML) float32 in the file's own units.
        index : int
            The plane that ``image`` shows: ``plane`` itself where the whole volume is there.

        Raises
        ------
        InputError
            If the directory holds no template, or one of another shape.
        """
        self._checked(plane)
        volume = self.directory / f"average_template_{self.resolution_um:g}.nrrd"
        if volume.is_file():
            image, index = read_volume(volume)[0][plane], plane
        else:
            files = {
                int(file.stem.removeprefix("plane_")): file
                for file in (self.directory / "template_planes").glob("plane_*.tif")
            }
            if not files:
                raise InputError(f"{self.directory} has neither {volume.name} nor template_planes")
            index = min(files, key=lambda each: abs(each - plane))
            image = tifffile.imread(files[index])
        if image.shape != self.annotation.shape[1:]:
            grid = self.annotation.shape[1:]
            raise InputError(f"the template's plane is {image.shape}, the annotation's {grid}")
        return np.ascontiguousarray(image, dtype=np.float32), index

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self.annotation):
            raise InputError(f"plane {index} is not in the atlas: 0 to {len(self.annotation) - 1}")
        return index


def of_side(mask: Mask, side: Side) -> Mask:
    """Keep of a mask ``(H, W)`` what lies on one side of the animal; see `Atlas.mask`.

    Raises
    ------
    InputError
        If there is no such side.
    """
    if side not in ("both", "left", "right"):
        raise InputError(f"side must be both, left or right, not {side!r}")
    if side == "both":
        return mask
    is_left = 2 * np.arange(mask.shape[1]) + 1 <= mask.shape[1]
    return np.asarray(mask & (is_left if side == "left" else ~is_left))


def outlines(labels: Labels) -> Mask:
    """Borders between structures, one pixel thin.

    Of two structures that touch, the one with the greater id carries the border; against the
    background every structure does.

    Returns
    -------
    ndarray
        Same shape as ``labels``, bool.
    """
    cross = scipy.ndimage.generate_binary_structure(labels.ndim, 1)
    return np.asarray(labels > scipy.ndimage.minimum_filter(labels, footprint=cross))


def centred(size: int, available: int, ratio: float) -> NDArray[np.float64]:
    """Where ``size`` pixels lie on an axis of ``available`` voxels that has the same centre.

    Parameters
    ----------
    size, available
        Number of pixels wanted and of voxels there.
    ratio
        Pixel size / voxel size.

    Returns
    -------
    ndarray
        (size,) positions of the pixels' centres, 0 being the centre of the first voxel.
    """
    offset = (np.arange(size) + 0.5 - size / 2) * ratio
    # A hair towards the centre: a pixel midway between two voxels then takes mirrored ones left
    # and right.
    return np.asarray(offset * (1 - 1e-9) + (available - 1) / 2)


def _choose_annotation(folder: Path, resolution_um: float | None) -> Path:
    files = sorted(folder.glob("annotation_*.nrrd"))
    if not files:
        raise FileNotFoundError(f"no annotation_<resolution>.nrrd in {folder}")
    if resolution_um is not None:
        wanted = folder / f"annotation_{resolution_um:g}.nrrd"
        if wanted not in files:
            raise FileNotFoundError(f"no {wanted.name} in {folder}")
        return wanted
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(f"{folder} holds {names}: say which resolution to open")
    return files[0]
