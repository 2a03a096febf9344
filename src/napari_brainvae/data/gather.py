"""From a registered brain, however it lies, to its sections in a population."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images
from napari_brainvae.data.gather_facts import Settled
from napari_brainvae.data.gather_inputs import Source, open_population
from napari_brainvae.data.gather_options import GatherOptions, Slab
from napari_brainvae.data.gather_plan import Plan
from napari_brainvae.data.orientation import INSIDE, read_planes
from napari_brainvae.data.preprocessing import check_sections, without_negatives
from napari_brainvae.data.resampling import is_same, overlap, resample
from napari_brainvae.data.volumes import UNREADABLE, open_volume, told
from napari_brainvae.io.errors import InputError


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
        sections.append(resample(plane, brain.sizes[1:], plan.grid))
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
    count, ratio = brain.shape[0], plan.plane_um / brain.sizes[0]
    planes = np.arange(slab.first, slab.last + 1, dtype=np.float64)
    positions: npt.NDArray[np.float64] = (planes + 0.5) * ratio - 0.5
    if is_same(ratio, 1):
        positions, ratio = planes, 1.0
    weights = overlap(positions, count, ratio).mean(axis=0)
    used = np.flatnonzero(weights)
    if not used.size:
        raise InputError(f"it does not reach plane {slab}")
    part = read_planes(voxels, orientation, int(used[0]), int(used[-1]))
    return np.tensordot(weights[used[0] : used[-1] + 1], part.astype(np.float32), axes=1)
