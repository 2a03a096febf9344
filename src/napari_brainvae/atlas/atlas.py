"""An annotated atlas: any coronal plane, masks of any structure, outlines, names and colours.

Rows run dorsal to ventral. Columns run from the left of the animal to its right, as the ML index of
the Common Coordinate Framework does; what BrainGlobe keeps the other way round is turned on its way
in.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy  # whose modules are imported when they are first used
from numpy.typing import NDArray

from napari_brainvae.arrays import Labels, Mask
from napari_brainvae.atlas.allen_folder import allen_files, read_allen_folder, write_allen_folder
from napari_brainvae.atlas.brainglobe import (
    brainglobe_files,
    locate_brainglobe,
    missing_message,
    read_brainglobe,
)
from napari_brainvae.atlas.ontology import Structure, StructureTree
from napari_brainvae.atlas.stored import StoredAtlas
from napari_brainvae.io.errors import InputError, MissingFileError
from napari_brainvae.io.real_numbers import whole_number

Side = Literal["both", "left", "right"]


class Atlas(StructureTree):
    """A structure tree with its annotated volume.

    Attributes
    ----------
    resolution_um : float
        Edge of a pixel of a plane in micrometres; planes have square pixels.
    spacing_um : float
        From one plane to the next; the same where voxels are cubes.
    name : str
        To show.
    directory : Path
        Where the atlas was opened.
    orientation : str
        Where the axes of its files begin; here they are ``"asl"`` whatever that is.

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

    def __init__(self, stored: StoredAtlas) -> None:
        try:
            super().__init__(stored.structures)
        except InputError as error:
            raise InputError(f"{stored.directory}: {error}") from error
        self.name, self.directory = stored.name, stored.directory
        self.resolution_um, self.spacing_um = stored.resolution_um, stored.spacing_um
        self.orientation = stored.orientation
        self._stored = stored

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (AP, DV, ML)."""
        planes, rows, columns = self._stored.annotation.shape
        return int(planes), int(rows), int(columns)

    @cached_property
    def annotation(self) -> NDArray[np.uint32]:
        """(AP, DV, ML) uint32, read-only; 0 is outside the brain. All of it is in memory then."""
        annotation = np.asarray(self._stored.annotation, np.uint32)
        annotation.flags.writeable = False
        return annotation

    @classmethod
    def open(cls, directory: str | Path, resolution_um: float | None = None) -> Atlas:
        """Open an atlas by its folder, or one of BrainGlobe by its name.

        Parameters
        ----------
        directory
            As allensdk caches it (see `allen_folder`) or as brainglobe-atlasapi does, version 2 or
            3 (see `brainglobe`); or the name of an atlas that brainglobe-atlasapi has fetched, such
            as ``allen_mouse_25um``.
        resolution_um
            Which annotation of an Allen folder to take; needed only where there are several.

        Raises
        ------
        OSError
            If it, or a file of it, is missing.
        InputError
            If a file cannot be understood, or the atlas is only half fetched.
        """
        folder = locate_brainglobe(directory)
        if folder is not None:
            atlas = cls(read_brainglobe(folder))
            if resolution_um not in (None, atlas.resolution_um):
                raise InputError(f"{atlas.name} has voxels of {atlas.resolution_um:g} um")
            return atlas
        if not Path(directory).is_dir():
            raise MissingFileError(missing_message(directory))
        return cls(read_allen_folder(Path(directory), resolution_um))

    @staticmethod
    def files(directory: str | Path) -> list[Path]:
        """Files of an atlas that `open` reads, of every resolution; they may be gone."""
        folder = locate_brainglobe(directory)
        return allen_files(Path(directory)) if folder is None else brainglobe_files(folder)

    @staticmethod
    def write(
        directory: str | Path,
        annotation: NDArray[Any],
        structures: Iterable[Structure],
        resolution_um: float,
        template: NDArray[Any] | None = None,
    ) -> None:
        """Write an atlas directory in allensdk's layout, all of it or nothing.

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
        write_allen_folder(Path(directory), annotation, structures, resolution_um, template)

    def plane(self, index: int) -> Labels:
        """One coronal plane of the annotation, (DV, ML) uint32.

        Raises
        ------
        InputError
            If there is no such plane.
        """
        plane = self._stored.annotation[self._checked(index)]
        return np.ascontiguousarray(plane, dtype=np.uint32)

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
        return self._cut(self.plane(plane), shape, pixel_size_um)

    def _cut(
        self, plane: NDArray[np.uint32], shape: tuple[int, int], pixel_size_um: float
    ) -> NDArray[np.uint32]:
        """Nearest voxels of a plane (DV, ML) that shares its centre with the section."""
        ratio = pixel_size_um / self.resolution_um
        if min(shape) < 1 or not ratio > 0:
            raise InputError(f"a section of {shape} pixels of {pixel_size_um} um cannot be cut")
        inside, nearest = [], []
        for size, available in zip(shape, plane.shape, strict=True):
            position = np.floor(centred(size, available, ratio) + 0.5)
            inside.append((position >= 0) & (position < available))
            nearest.append(np.clip(position, 0, available - 1).astype(int))
        return np.where(np.logical_and.outer(*inside), plane[np.ix_(*nearest)], np.uint32(0))

    def left(
        self, plane: int, shape: tuple[int, int] | None = None, pixel_size_um: float | None = None
    ) -> Mask:
        """Which pixels are of the animal's left half: (DV, ML), or ``shape``; bool.

        The left half of the columns, the middle one with it; where an atlas says itself, because
        its midline is not in the middle, what it says.

        Parameters
        ----------
        plane, shape, pixel_size_um
            As `mask` takes them.
        """
        if self._stored.left is None:
            return left_columns(self.shape[1:] if shape is None else shape)
        half = np.asarray(self._stored.left[self._checked(plane)] == 1, np.uint32)
        if shape is not None:
            half = self._cut(half, shape, pixel_size_um or self.resolution_um)
        return half > 0

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
            Of the animal; see `left`. The two sides never overlap and make up both.
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
        left = None if side == "both" else self.left(plane, shape, pixel_size_um)
        return of_side(self.within(labels, key), side, left)

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
        image, index = self._stored.template(plane)
        if image.shape != self.shape[1:]:
            raise InputError(
                f"the template's plane is {image.shape}, the annotation's {self.shape[1:]}"
            )
        return np.ascontiguousarray(image, dtype=np.float32), index

    def _checked(self, index: int) -> int:
        index = whole_number(index, "a plane")
        if not 0 <= index < self.shape[0]:
            raise InputError(f"plane {index} is not in the atlas: 0 to {self.shape[0] - 1}")
        return index


def of_side(mask: Mask, side: Side, left: Mask | None = None) -> Mask:
    """Keep of a mask ``(H, W)`` what lies on one side of the animal.

    Parameters
    ----------
    left
        What is left (see `Atlas.left`); the left half of the columns by default.

    Raises
    ------
    InputError
        If there is no such side.
    """
    if side not in ("both", "left", "right"):
        raise InputError(f"side must be both, left or right, not {side!r}")
    if side == "both":
        return mask
    half = left_columns(mask.shape) if left is None else left
    return np.asarray(mask & (half if side == "left" else ~half))


def left_columns(shape: tuple[int, ...]) -> Mask:
    """``(H, W)`` bool: the left half of the columns, with the middle one if there is one."""
    height, width = shape
    return np.broadcast_to(2 * np.arange(width) + 1 <= width, (height, width))


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
