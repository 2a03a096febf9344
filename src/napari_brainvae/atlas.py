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

import difflib
import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import nrrd
import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from napari_brainvae.files import replacing

Side = Literal["both", "left", "right"]
Labels = NDArray[np.uint32]
Mask = NDArray[np.bool_]
_ANNOTATION = Path("annotation") / "ccf_2017"


@dataclass(frozen=True)
class Structure:
    """One structure of the ontology: ``path`` holds its ancestors' ids from the root, and its own."""

    id: int
    acronym: str
    name: str
    path: tuple[int, ...]
    color: tuple[int, int, int]
    graph_order: int

    @property
    def parent(self) -> int | None:
        """The id of the structure this one is part of; None for the root."""
        return self.path[-2] if len(self.path) > 1 else None


class StructureTree:
    """The ontology: which structure is part of which, their names and colours.

    Parameters
    ----------
    structures
        In any order; ids and acronyms may not repeat.
    """

    def __init__(self, structures: Iterable[Structure]) -> None:
        ordered = sorted(structures, key=lambda structure: structure.graph_order)
        self._by_id = {structure.id: structure for structure in ordered}
        self._by_acronym = {structure.acronym: structure for structure in ordered}
        if not len(self._by_id) == len(self._by_acronym) == len(ordered) > 0:
            raise ValueError("a structure tree needs structures whose ids and acronyms are unique")

    def __iter__(self) -> Any:
        """Iterate over the structures in graph order."""
        return iter(self._by_id.values())

    @cached_property
    def structures(self) -> pd.DataFrame:
        """One row per structure in graph order, indexed by id."""
        columns = ["acronym", "name", "parent", "path", "color", "graph_order"]
        rows = [[getattr(structure, column) for column in columns] for structure in self]
        frame = pd.DataFrame(rows, columns=columns, index=pd.Index(self._by_id, name="id"))
        return frame.astype({"parent": "Int64"})

    @cached_property
    def names(self) -> dict[int, str]:
        """The text to show for every id: ``"SSp: Primary somatosensory area"``."""
        return {s.id: f"{s.acronym}: {s.name}" for s in self._by_id.values()}

    @property
    def colors(self) -> dict[int | None, tuple[float, float, float, float]]:
        """RGBA in [0, 1] for every id, as napari's ``DirectLabelColormap`` takes it.

        Background (0) and ids the ontology does not know (None) are transparent.
        """
        clear = (0.0, 0.0, 0.0, 0.0)
        colors: dict[int | None, tuple[float, float, float, float]] = {None: clear, 0: clear}
        for structure in self._by_id.values():
            red, green, blue = structure.color
            colors[structure.id] = (red / 255, green / 255, blue / 255, 1.0)
        return colors

    def structure(self, key: str | int) -> Structure:
        """Find a structure by acronym, full name (in any case) or id.

        Raises
        ------
        ValueError
            If there is none; the message names those that are spelled alike.
        """
        found = self._by_acronym.get(str(key)) or self._by_id.get(_as_id(key))
        if found is None:
            by_name = {s.name.casefold(): s for s in self._by_id.values()}
            found = by_name.get(str(key).strip().casefold())
        if found is None:
            raise ValueError(f"the atlas has no structure {key!r}{self._alike(str(key))}")
        return found

    def _alike(self, key: str) -> str:
        spellings: dict[str, str] = {}
        for structure in self._by_id.values():
            spellings.setdefault(structure.acronym.casefold(), structure.acronym)
            spellings.setdefault(structure.name.casefold(), structure.name)
        close = difflib.get_close_matches(key.strip().casefold(), spellings, n=4, cutoff=0.6)
        return f"; did you mean {', '.join(spellings[word] for word in close)}?" if close else ""

    def descendants(self, key: str | int) -> list[int]:
        """Ids of a structure and of everything that is part of it, in graph order."""
        top = self.structure(key).id
        return [structure.id for structure in self._by_id.values() if top in structure.path]

    def children(self, key: str | int) -> list[int]:
        """Ids of the structures directly below one, in graph order."""
        top = self.structure(key).id
        return [structure.id for structure in self._by_id.values() if structure.parent == top]

    def within(self, labels: Labels, key: str | int) -> Mask:
        """Where ``labels`` show a structure or any part of it; same shape, bool."""
        return np.isin(labels, self.descendants(key))

    def coarse(self, labels: Labels, keys: Sequence[str | int]) -> Labels:
        """Redraw ``labels`` with the given structures only.

        Returns
        -------
        ndarray
            Each structure's own id wherever it or a part of it was, else 0. Where the given
            structures nest, the inner one shows.
        """
        coarse = np.zeros_like(labels)
        for structure in sorted(map(self.structure, keys), key=lambda each: len(each.path)):
            coarse[self.within(labels, structure.id)] = structure.id
        return coarse


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
        ValueError
            If a file cannot be understood.
        """
        directory = Path(directory)
        if not directory.is_dir():
            raise FileNotFoundError(f"no atlas directory at {directory}")
        structures = _read_structures(directory / "structures.json")
        file = _choose_annotation(directory / _ANNOTATION, resolution_um)
        annotation, voxel_um = _read_volume(file)
        if annotation.dtype.kind not in "iu" or annotation.min() < 0:
            raise ValueError(f"{file} holds {annotation.dtype}, not structure ids")
        return cls(structures, annotation.astype(np.uint32, copy=False), voxel_um, directory)

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
        ValueError
            If the volumes are not 3-D or differ in shape.
        """
        directory = Path(directory)
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise FileExistsError(f"{directory} is there already: an atlas needs a new directory")
        if annotation.ndim != 3 or (template is not None and template.shape != annotation.shape):
            raise ValueError("annotation and template must be (AP, DV, ML) and of one shape")
        records = [_to_record(structure) for structure in StructureTree(structures)]
        name = f"{resolution_um:g}.nrrd"
        with replacing(directory) as folder:
            (folder / _ANNOTATION).mkdir(parents=True)
            (folder / "structures.json").write_text(json.dumps(records, indent=1), "utf-8")
            labels = annotation.astype(np.uint32)
            _write_volume(folder / _ANNOTATION / f"annotation_{name}", labels, resolution_um)
            if template is not None:
                _write_volume(folder / f"average_template_{name}", template, resolution_um)

    def plane(self, index: int) -> Labels:
        """One coronal plane of the annotation, (DV, ML) uint32.

        Raises
        ------
        ValueError
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
            raise ValueError(f"a section of {shape} pixels of {pixel_size_um} um cannot be cut")
        inside, nearest = [], []
        for size, available in zip(shape, labels.shape, strict=True):
            position = np.floor(centred(size, available, ratio) + 0.5)
            inside.append((position >= 0) & (position < available))
            nearest.append(np.clip(position, 0, available - 1).astype(int))
        return np.asarray(labels[np.ix_(*nearest)] * np.ix_(*inside)[0] * np.ix_(*inside)[1])

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
        ValueError
            If the structure, plane or side does not exist.
        """
        if side not in ("both", "left", "right"):
            raise ValueError(f"side must be both, left or right, not {side!r}")
        if shape is None:
            labels = self.plane(plane)
        else:
            labels = self.section(plane, shape, pixel_size_um or self.resolution_um)
        mask = self.within(labels, key)
        if side != "both":
            columns = np.arange(mask.shape[1])
            is_left = 2 * columns + 1 <= mask.shape[1]
            mask &= is_left if side == "left" else ~is_left
        return mask

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
        ValueError
            If the directory holds no template, or one of another shape.
        """
        self._checked(plane)
        volume = self.directory / f"average_template_{self.resolution_um:g}.nrrd"
        if volume.is_file():
            image, index = _read_volume(volume)[0][plane], plane
        else:
            files = {
                int(file.stem.removeprefix("plane_")): file
                for file in (self.directory / "template_planes").glob("plane_*.tif")
            }
            if not files:
                raise ValueError(f"{self.directory} has neither {volume.name} nor template_planes")
            index = min(files, key=lambda each: abs(each - plane))
            image = tifffile.imread(files[index])
        if image.shape != self.annotation.shape[1:]:
            raise ValueError(
                f"the template's plane is {image.shape}, the annotation's {self.annotation.shape[1:]}"
            )
        return np.ascontiguousarray(image, dtype=np.float32), index

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self.annotation):
            raise ValueError(f"plane {index} is not in the atlas: 0 to {len(self.annotation) - 1}")
        return index


def outlines(labels: Labels) -> Mask:
    """Borders between structures, one pixel thin.

    Of two structures that touch, the one with the greater id carries the border; against the
    background every structure does.

    Returns
    -------
    ndarray
        Same shape as ``labels``, bool.
    """
    cross = ndimage.generate_binary_structure(labels.ndim, 1)
    return np.asarray(labels > ndimage.minimum_filter(labels, footprint=cross))


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


def _as_id(key: str | int) -> int:
    try:
        return int(key)
    except ValueError:
        return -1


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
        raise ValueError(f"{folder} holds {names}: say which resolution to open")
    return files[0]


def _read_volume(file: Path) -> tuple[NDArray[Any], float]:
    """Read (AP, DV, ML) voxels and their size in um, never holding more than one copy."""
    try:
        with open(file, "rb") as handle:
            header = nrrd.read_header(handle)
            shape = tuple(int(size) for size in header["sizes"])
            if len(shape) != 3:
                raise ValueError(f"it has {len(shape)} dimensions, not 3")
            if header["encoding"] in ("gzip", "gz") and not {"data file", "datafile"} & set(header):
                # pynrrd inflates into a buffer and copies it: 300 MB twice for the 25 um volume.
                voxels = np.empty(shape, _dtype(header), order="F")
                with gzip.GzipFile(fileobj=handle) as stream:
                    filled = stream.readinto(voxels.T.data.cast("B"))
                if filled != voxels.nbytes:
                    raise ValueError("it is truncated")
            else:
                voxels = nrrd.read_data(header, handle, str(file))
        return voxels, _resolution(header, file)
    except (nrrd.NRRDError, ValueError, KeyError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file} is not a readable NRRD volume: {error}") from error


def _dtype(header: dict[str, Any]) -> np.dtype[Any]:
    dtype = np.dtype(nrrd.reader._TYPEMAP_NRRD2NUMPY[header["type"]])
    return dtype.newbyteorder({"big": ">", "little": "<"}[header.get("endian", "little")])


def _resolution(header: dict[str, Any], file: Path) -> float:
    """Voxel size from the header's directions, else from the name."""
    directions = header.get("space directions")
    if directions is not None:
        edges = np.linalg.norm(np.asarray(directions, dtype=float), axis=1)
        if np.ptp(edges) > 1e-6 * edges.max():
            raise ValueError(f"its voxels are not cubes: {edges} um")
        # Some writers leave unit directions and put the size into the name alone.
        if edges[0] > 1:
            return float(edges[0])
    try:
        return float(file.stem.rpartition("_")[2])
    except ValueError:
        raise ValueError("neither its header nor its name says the resolution") from None


def _write_volume(file: Path, volume: NDArray[Any], resolution_um: float) -> None:
    header = {
        "space": "left-posterior-superior",
        "space directions": np.eye(3) * resolution_um,
        "encoding": "gzip",
    }
    nrrd.write(str(file), volume, header, compression_level=4)


def _read_structures(file: Path) -> list[Structure]:
    if not file.is_file():
        raise FileNotFoundError(f"no structures.json in {file.parent}")
    try:
        records = json.loads(file.read_text("utf-8"))
        # Id 0 is background in the annotation; the API lists a "universe" under it.
        return [_from_record(record) for record in records if record["id"] != 0]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not a list of structures: {error!r}") from error


def _from_record(record: dict[str, Any]) -> Structure:
    """Read a structure as the Allen API sends it, or as allensdk cleans it for its cache."""
    path = record["structure_id_path"]
    color = record.get("rgb_triplet") or tuple(bytes.fromhex(record["color_hex_triplet"]))
    red, green, blue = map(int, color)
    ancestors = path.strip("/").split("/") if isinstance(path, str) else path
    return Structure(
        id=int(record["id"]),
        acronym=str(record["acronym"]).strip(),
        name=str(record["name"]).strip(),
        path=tuple(int(each) for each in ancestors if int(each) != 0),
        color=(red, green, blue),
        graph_order=int(record["graph_order"]),
    )


def _to_record(structure: Structure) -> dict[str, Any]:
    return {
        "id": structure.id,
        "acronym": structure.acronym,
        "name": structure.name,
        "color_hex_triplet": bytes(structure.color).hex().upper(),
        "graph_id": 1,
        "graph_order": structure.graph_order,
        "structure_id_path": "/" + "/".join(map(str, structure.path)) + "/",
        "structure_sets": [],
    }
