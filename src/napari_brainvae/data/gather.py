"""From registered brains, however they lie, to sections of one population.

`settle` finds out of each brain what its file, its atlas or the options say of it; `make_plan`
decides from all of them what the population will be; `gather_brain` makes the sections of one.
Nothing is guessed: what is not said is refused, with the flag that says it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images
from napari_brainvae.data.gather_inputs import Source, open_population
from napari_brainvae.data.gather_options import GatherOptions, Slab
from napari_brainvae.data.orientation import INSIDE, axis_of, read_planes, spacing_inside
from napari_brainvae.data.preprocessing import check_sections, without_negatives
from napari_brainvae.data.resampling import SAME, Grid, overlap, resample
from napari_brainvae.data.volumes import UNREADABLE, Volume, open_volume, told
from napari_brainvae.io.errors import InputError

BRAINGLOBE = "asr"
"""How all atlases of BrainGlobe lie, and what is registered to them."""

NAME = re.compile(r"(.+)_(\d+(?:\.\d+)?)um(?:_v[\d.]+)?")
"""Their names: what of, and the resolution; on disk also the version."""

Triple = tuple[float, float, float]


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
        (AP, DV, ML), and what says so; AP is 0 for a single section of unknown thickness.
    shape
        (AP, DV, ML).
    plane
        Of the atlas, if a population says so.
    space
        Of the atlas to which it was registered, if something says so.
    """

    orientation: str
    orientation_by: str
    voxel_um: Triple
    scale_by: str
    shape: tuple[int, int, int]
    plane: int | None = None
    space: Space | None = None

    @property
    def is_section(self) -> bool:
        """Whether it is a single section."""
        return self.shape[0] == 1

    @property
    def extent_um(self) -> Triple:
        """(AP, DV, ML)."""
        ap, dv, ml = (n * um for n, um in zip(self.shape, self.voxel_um, strict=True))
        return ap, dv, ml


@dataclass(frozen=True)
class Plan:
    """What a population is to be, the same for all its brains.

    Attributes
    ----------
    grid
        Pixels of its sections.
    is_told
        Whether number of rows and columns were asked for, so that sections may be cropped.
    plane_um
        Distance of the planes as they are counted; 0 if there are only sections.
    extent_um
        (AP, DV, ML) of every volume; 0 0 0 if there is none.
    family
        Of the atlas, if anything says so.
    """

    grid: Grid
    is_told: bool
    plane_um: float
    extent_um: Triple
    family: str = ""


@dataclass(frozen=True)
class Gathered:
    """The sections of one brain.

    Attributes
    ----------
    sections
        ``(S, H, W)`` float32, one for each slab.
    notes
        What was done to them that the next brain may not need.
    """

    sections: Images
    notes: list[str] = field(default_factory=list)


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
    voxel_um, scale_by = _scale(volume, options, orientation, shape, own, space)
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
    if size is None:
        raise InputError("its population says no pixel size: give --voxel-um")
    orientation, said = about.original_orientation or INSIDE, "its population"
    shape = (1, *population.shape)
    space = Space.named(about.atlas)
    return Settled(orientation, said, (0, size, size), by, shape, about.plane, space)


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
    shape: tuple[int, int, int],
    own: Space | None,
    space: Space | None,
) -> tuple[Triple, str]:
    """Size of the voxels (AP, DV, ML), and what says so: file, atlas, or user."""
    flag = options.voxel_sizes_um
    told_so = None if flag is None else spacing_inside(flag, orientation)
    if options.ignore_headers and told_so:
        return told_so, "--voxel-um"
    ap, dv, ml = spacing_inside(volume.voxel_um, orientation)
    if dv and ml and (ap or shape[0] == 1):
        return (ap or 0.0, dv, ml), "its file"
    if dv and ml and told_so:  # TIFFs often know the size of a pixel alone
        return (told_so[0], dv, ml), "its file, and between planes --voxel-um"
    if own is not None:
        return own.voxel_um, f"the atlas {own.name}"
    if told_so:
        return told_so, "--voxel-um"
    if space is not None and space.extent_um:
        sides = zip(space.extent_um, space.voxel_um, strict=True)
        expected = [round(extent / size) for extent, size in sides]
        if list(shape) == expected or (shape[0] == 1 and list(shape[1:]) == expected[1:]):
            return space.voxel_um, f"the atlas {space.name}"
    raise InputError("nothing says how large its voxels are: give --voxel-um")


def make_plan(
    brains: Sequence[Settled], options: GatherOptions, space: Space | None, like: Grid | None
) -> Plan:
    """Decide what the population will be, by the options, the atlas, and else the first brain.

    Parameters
    ----------
    brains
        What is known of them, in their order.
    space
        That of the atlas, if one is given.
    like
        The pixels of a model's sections, if they are to fit one.

    Raises
    ------
    InputError
        If the planes are not said, or cannot be counted.
    """
    volumes = [brain for brain in brains if not brain.is_section]
    first = volumes[0] if volumes else brains[0]
    if volumes and not options.slabs:
        raise InputError("which plane of the brains is wanted? give --plane, such as --plane 286")
    if len(options.slabs) > 1 and len(volumes) < len(brains):
        raise InputError("a single section is of one plane: give one with --plane")
    counted = space or first.space
    plane_um = counted.spacing_um if counted and volumes else first.voxel_um[0]
    if volumes and space is None:
        _check_count_alike(volumes)
    of_atlas = counted.extent_um if counted else None
    extent = of_atlas or (first.extent_um if volumes else (0.0, 0.0, 0.0))
    if volumes:
        _check_planes(options, round(extent[0] / plane_um))
    pixel = options.pixel_size_um or (like.pixel_size_um if like else min(first.voxel_um[1:]))
    whole = Grid.spanning((extent[1:] if volumes else first.extent_um[1:]), pixel)
    shape = like.shape if like else whole.shape
    grid = Grid((options.height or shape[0], options.width or shape[1]), pixel)
    is_told = like is not None or options.height is not None or options.width is not None
    return Plan(grid, is_told, plane_um, extent, counted.family if counted else "")


def _check_count_alike(volumes: Sequence[Settled]) -> None:
    """Refuse volumes whose planes are of several sizes, unless an atlas is given to count in."""
    sizes = {(v.space.spacing_um if v.space else v.voxel_um[0]): v for v in volumes}
    first, *others = sorted(sizes)
    if any(not _same(first, other) for other in others):
        raise InputError(
            f"planes are {', '.join(f'{um:g}' for um in sorted(sizes))} um apart in these brains: "
            "give the atlas in which --plane counts as --atlas"
        )


def _check_planes(options: GatherOptions, count: int) -> None:
    for slab in options.slabs:
        if slab.last >= count:
            raise InputError(f"there is no plane {slab.last} in these brains: 0 to {count - 1}")


def check_brain(brain: Settled, plan: Plan, options: GatherOptions) -> None:
    """Refuse a brain that does not belong with the others of a plan.

    Raises
    ------
    InputError
        If it is in another space, of another plane, or would have to be cropped without being told.
    """
    own = brain.space
    if own and own.family and plan.family and own.family != plan.family:
        raise InputError(f"it is registered to {own.name}, the others to {plan.family}")
    if brain.is_section:
        planes = [slab.middle for slab in options.slabs]
        if brain.plane is not None and planes and planes != [brain.plane]:
            raise InputError(f"it is of plane {brain.plane}, not {options.plane}")
        if (
            not plan.is_told
            and Grid.spanning(brain.extent_um[1:], plan.grid.pixel_size_um) != plan.grid
        ):
            raise InputError(
                f"it spans {_mm(brain.extent_um[1:])}, the others {_mm(_spanned(plan.grid))}: give "
                "--height and --width to crop or pad about the midline"
            )
        return
    allowed = 1.01 * np.maximum(brain.voxel_um, plan.plane_um)
    if (np.abs(np.subtract(brain.extent_um, plan.extent_um)) > allowed).any():
        raise InputError(
            f"it spans {_mm(brain.extent_um)} (AP, DV, ML) as {brain.orientation} by "
            f"{brain.orientation_by}, not {_mm(plan.extent_um)}: it is not in the same space, or "
            "lies otherwise (--ignore-headers takes --orientation and --voxel-um instead)"
        )


def gather_brain(source: Source, brain: Settled, plan: Plan, options: GatherOptions) -> Gathered:
    """Make the sections of one brain; memory of no more than that brain.

    Raises
    ------
    InputError
        If it cannot be read, has no such plane, or its section cannot be used.
    """
    slabs = options.slabs or (Slab(0, 0),)
    voxels, orientation = _voxels(source, brain, options)
    sections, notes = [], []
    for slab in slabs:
        try:
            plane = _cut(voxels, orientation, brain, slab, plan)
        except UNREADABLE as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"it cannot be read: {told(error)}") from error
        plane, said = without_negatives(plane, options.negatives)
        notes += [said] if said else []
        sections.append(resample(plane, brain.voxel_um[1:], plan.grid))
    names = [source.id if len(slabs) == 1 else f"{source.id}, plane {slab}" for slab in slabs]
    return Gathered(check_sections(np.stack(sections), names), notes)


def _voxels(source: Source, brain: Settled, options: GatherOptions) -> tuple[Any, str]:
    if source.section is None:
        opened = open_volume(source.path, options.channel if not source.registered else None)
        return opened.voxels, brain.orientation
    return open_population(source.path).images[source.section][None], INSIDE


def _cut(
    voxels: Any, orientation: str, brain: Settled, slab: Slab, plan: Plan
) -> npt.NDArray[np.float32]:
    """The mean of a brain over a slab of planes, ``(DV, ML)`` in its own pixels."""
    if brain.is_section:
        return np.asarray(read_planes(voxels, orientation, 0, 0)[0], dtype=np.float32)
    count, ratio = brain.shape[0], plan.plane_um / brain.voxel_um[0]
    planes = np.arange(slab.first, slab.last + 1, dtype=np.float64)
    positions: npt.NDArray[np.float64] = (planes + 0.5) * ratio - 0.5
    if _same(ratio, 1):
        positions, ratio = planes, 1.0
    weights = overlap(positions, count, ratio).mean(axis=0)
    used = np.flatnonzero(weights)
    part = read_planes(voxels, orientation, int(used[0]), int(used[-1]))
    return np.tensordot(weights[used[0] : used[-1] + 1], part.astype(np.float32), axes=1)


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= SAME * max(one, other)


def _spanned(grid: Grid) -> tuple[float, float]:
    return grid.shape[0] * grid.pixel_size_um, grid.shape[1] * grid.pixel_size_um


def _mm(extent_um: Sequence[float]) -> str:
    return " x ".join(f"{um / 1000:.4g}" for um in extent_um) + " mm"


def is_turned(orientation: str) -> bool:
    """Whether sections of this orientation are turned on their way in."""
    return any(axis_of(orientation, letter) != (i, False) for i, letter in enumerate(INSIDE))
