"""What the population that is gathered will be: pixels, planes, and who belongs in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_brainvae.data.gather_facts import Settled, Shape, Space, Triple
from napari_brainvae.data.gather_options import GatherOptions
from napari_brainvae.data.resampling import Grid, is_same
from napari_brainvae.io.errors import InputError


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
    shape, voxel_um
        Of the brain that the others go by. A brain of which nothing says how large its voxels are
        may have as many voxels, and then has these.
    is_scaled
        Whether the size of the voxels is known; else everything is in voxels, not in um.
    family
        Of the atlas, if anything says so.
    """

    grid: Grid
    is_told: bool
    plane_um: float
    extent_um: Triple
    shape: Shape
    voxel_um: Triple
    is_scaled: bool = True
    family: str = ""


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
    if volumes and not options.slabs:
        raise InputError("which plane of the brains is wanted? give --plane, such as --plane 286")
    if len(options.slabs) > 1 and len(volumes) < len(brains):
        raise InputError("a single section is of one plane: give one with --plane")
    alike = volumes or brains
    first = next((brain for brain in alike if brain.voxel_um), alike[0])
    if first.voxel_um is None and (space or like or options.pixel_size_um):
        raise InputError("nothing says how large the voxels of these brains are: give --voxel-um")
    if volumes and space is None:
        _check_count_alike(volumes)
    counted = space or first.space
    plane_um = counted.spacing_um if counted and volumes else first.sizes[0]
    of_atlas = counted.extent_um if counted else None
    extent = of_atlas or (first.extent_um if volumes else (0.0, 0.0, 0.0))
    if volumes:
        _check_planes(options, round(extent[0] / plane_um))
    pixel = options.pixel_size_um or (like.pixel_size_um if like else min(first.sizes[1:]))
    shape = (
        like.shape
        if like
        else Grid.spanning((extent if volumes else first.extent_um)[1:], pixel).shape
    )
    return Plan(
        grid=Grid((options.height or shape[0], options.width or shape[1]), pixel),
        is_told=like is not None or options.height is not None or options.width is not None,
        plane_um=plane_um,
        extent_um=extent,
        shape=first.shape,
        voxel_um=first.sizes,
        is_scaled=first.voxel_um is not None,
        family=counted.family if counted else "",
    )


def scaled(brain: Settled, plan: Plan) -> Settled:
    """Give a brain the size of its voxels if nothing else does: that of the others, if it can be.

    Raises
    ------
    InputError
        If it has another number of voxels than they.
    """
    if brain.voxel_um is not None:
        if plan.is_scaled:
            return brain
        raise InputError("it says how large its voxels are, the others do not: give --voxel-um")
    axes = slice(1, 3) if brain.is_section else slice(3)
    if brain.shape[axes] != plan.shape[axes]:
        raise InputError("nothing says how large its voxels are: give --voxel-um")
    by = "the others, of as many voxels" if plan.is_scaled else "nothing"
    return replace(brain, voxel_um=plan.voxel_um, scale_by=by)


def _check_count_alike(volumes: Sequence[Settled]) -> None:
    """Refuse volumes whose planes are of several sizes, unless an atlas is given to count in."""
    sizes = {v.space.spacing_um if v.space else v.sizes[0] for v in volumes if v.voxel_um}
    if sizes and not is_same(min(sizes), max(sizes)):
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
    allowed = 1.01 * np.maximum(brain.sizes, plan.plane_um)
    if (np.abs(np.subtract(brain.extent_um, plan.extent_um)) > allowed).any():
        raise InputError(
            f"it spans {_mm(brain.extent_um)} (AP, DV, ML) as {brain.orientation} by "
            f"{brain.orientation_by}, not {_mm(plan.extent_um)}: it is not in the same space, or "
            "lies otherwise (--ignore-headers takes --orientation and --voxel-um instead)"
        )


def _spanned(grid: Grid) -> tuple[float, float]:
    return grid.shape[0] * grid.pixel_size_um, grid.shape[1] * grid.pixel_size_um


def _mm(extent_um: Sequence[float]) -> str:
    return " x ".join(f"{um / 1000:.4g}" for um in extent_um) + " mm"
