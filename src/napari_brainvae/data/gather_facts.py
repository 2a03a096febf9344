"""What is known of a registered brain before a voxel of it is read: how it lies, how large it is.

Its file says so, or the atlas to which it was registered, or the user. Left and right are never
guessed: what nothing says is refused, with the flag that says it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from napari_brainvae.data.gather_inputs import Source, open_population
from napari_brainvae.data.gather_options import GatherOptions
from napari_brainvae.data.orientation import INSIDE, spacing_inside
from napari_brainvae.data.volumes import ALLEN_EXTENT_UM, Volume, open_volume
from napari_brainvae.io.errors import InputError

BRAINGLOBE = "asr"
"""How all atlases of BrainGlobe lie, and what is registered to them."""

NAME = re.compile(r"(.+)_(\d+(?:\.\d+)?)um(?:_v[\d.]+)?")
"""Their names: what of, and the resolution; on disk also the version."""

ALLEN_RESOLUTIONS_UM = (10, 20, 25, 50, 100, 200)

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Space:
    """The space of an atlas, in which brains are registered.

    Attributes
    ----------
    name
        Of the atlas.
    resolution_um
        Side of its pixels.
    spacing_um
        From one of its planes to the next; planes are counted in it.
    extent_um
        (AP, DV, ML), if it is known.
    orientation
        Of files that are registered to it, if that is known.
    """

    name: str
    resolution_um: float
    spacing_um: float
    extent_um: Triple | None = None
    orientation: str | None = None

    @classmethod
    def named(cls, name: str) -> Space | None:
        """What the name of an atlas of BrainGlobe says, which ends in its resolution."""
        match = NAME.fullmatch(name)
        return cls(name, float(match[2]), float(match[2]), None, BRAINGLOBE) if match else None

    @property
    def family(self) -> str:
        """Name without the resolution: BrainGlobe's atlases of one family share their space."""
        match = NAME.fullmatch(self.name)
        return match[1] if match else ""

    @property
    def voxel_um(self) -> Triple:
        """(AP, DV, ML)."""
        return self.spacing_um, self.resolution_um, self.resolution_um


@dataclass(frozen=True)
class Settled:
    """What is known of a brain before a voxel of it is read.

    Attributes
    ----------
    orientation, orientation_by
        How it lies, and what says so.
    voxel_um, scale_by
        (AP, DV, ML), and what says so; AP is 0 for a single section of unknown thickness. None if
        nothing does.
    shape
        (AP, DV, ML).
    plane
        Of the atlas, if a population says so.
    space
        Of the atlas to which it was registered, if something says so.
    """

    orientation: str
    orientation_by: str
    voxel_um: Triple | None
    scale_by: str
    shape: Shape
    plane: int | None = None
    space: Space | None = None

    @property
    def is_section(self) -> bool:
        """Whether it is a single section."""
        return self.shape[0] == 1

    @property
    def extent_um(self) -> Triple:
        """(AP, DV, ML); in voxels if their size is not known."""
        ap, dv, ml = (n * um for n, um in zip(self.shape, self.sizes, strict=True))
        return ap, dv, ml

    @property
    def sizes(self) -> Triple:
        """Size of the voxels, um; 1 if it is not known."""
        return self.voxel_um or (1.0, 1.0, 1.0)


def settle(
    source: Source,
    options: GatherOptions,
    space: Space | None,
    named: Callable[[str], Space | None] = Space.named,
) -> Settled:
    """Find out how a brain lies and how large it is.

    Parameters
    ----------
    source
        The brain.
    options
        What the user says.
    space
        That of the atlas which the user gave.
    named
        Finds the space of an atlas by the name that a brain's own files give.

    Raises
    ------
    InputError
        If there is nothing to read, or if nothing says it: with the flag that does.
    """
    if source.problem:
        raise InputError(source.problem)
    if source.section is not None:
        return _settle_section_of(source, options)
    volume = open_volume(source.path, options.channel if not source.registered else None)
    own = named(source.atlas) if source.atlas else None
    orientation, by = _orientation(source, volume, options, own or space)
    shape = spacing_inside([int(n) for n in volume.voxels.shape], orientation)
    voxel_um, scale_by = _scale(volume, options, orientation, shape, (own, space))
    return Settled(orientation, by, voxel_um, scale_by, shape, space=own or space)


def _settle_section_of(source: Source, options: GatherOptions) -> Settled:
    """A section of a population, whose file says all there is to say."""
    population = open_population(source.path)
    about = population.description
    if about.preprocessing is not None:
        raise InputError("it was preprocessed already: give the sections as they were before")
    size, by = about.pixel_size_um, "its population"
    if (size is None or options.ignore_headers) and options.voxel_sizes_um:
        size, by = options.voxel_sizes_um[2], "--voxel-um"
    voxel_um = None if size is None else (0.0, size, size)
    orientation, said = about.original_orientation or INSIDE, "its population"
    shape = (1, *population.shape)
    space = Space.named(about.atlas)
    return Settled(orientation, said, voxel_um, by if size else "", shape, about.plane, space)


def _orientation(
    source: Source, volume: Volume, options: GatherOptions, space: Space | None
) -> tuple[str, str]:
    """How a volume lies, and what says so: its file, then its atlas, then the user."""
    if options.ignore_headers and options.orientation:
        return options.orientation, "--orientation"
    if volume.orientation:
        return volume.orientation, volume.orientation_by
    if source.registered and space is not None and space.orientation:
        return space.orientation, f"the atlas {space.name}"
    if options.orientation:
        return options.orientation, "--orientation"
    advice = "--orientation asr if its columns begin at the animal's right, asl if at its left"
    if source.registered:
        advice += ", or the atlas it was registered to as --atlas"
    raise InputError(f"nothing says which of its sides is the left one: give {advice}")


def _scale(
    volume: Volume,
    options: GatherOptions,
    orientation: str,
    shape: Shape,
    spaces: Sequence[Space | None],
) -> tuple[Triple | None, str]:
    """Size of the voxels (AP, DV, ML), and what says so: file, user, or the atlas it fills."""
    flag = options.voxel_sizes_um
    told_so = None if flag is None else spacing_inside(flag, orientation)
    if options.ignore_headers and told_so:
        return told_so, "--voxel-um"
    ap, dv, ml = spacing_inside(volume.voxel_um, orientation)
    if dv and ml and (ap or shape[0] == 1):
        return (ap or 0.0, dv, ml), "its file"
    if told_so:
        if dv and ml:  # TIFFs often know the size of a pixel alone
            return (told_so[0], dv, ml), "its file, and between planes --voxel-um"
        return told_so, "--voxel-um"
    for space in spaces:
        if space is not None and (size := _filling(shape, space.extent_um)):
            return (size, size, size), f"the atlas {space.name}, which it fills"
    own = spaces[0]
    if own is not None:
        return own.voxel_um, f"the atlas {own.name}"
    size = _filling(shape, ALLEN_EXTENT_UM)
    if size in ALLEN_RESOLUTIONS_UM:
        return (size, size, size), "its size, that of the Allen Institute's atlas"
    return None, ""


def _filling(shape: Shape, extent_um: Triple | None) -> float | None:
    """Side of the cubes of which so many fill an extent; None if none do."""
    if extent_um is None:
        return None
    first = 1 if shape[0] == 1 else 0  # a section has no extent along AP
    pairs = list(zip(extent_um[first:], shape[first:], strict=True))
    sides = sorted(um / n for um, n in pairs)
    size = round(sides[len(sides) // 2], 6)
    whole = all(round(um / size) == n for um, n in pairs)
    return size if whole else None
