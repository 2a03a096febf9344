"""The populations that an acquisition writes: what was fetched, and what a person made of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.data.covariates import write_covariates
from napari_brainvae.data.kept_covariates import with_hers
from napari_brainvae.data.population import Description, Population
from napari_brainvae.data.population_files import creating
from napari_brainvae.data.section_quality import LIMITS, measure_quality
from napari_brainvae.io.errors import InputError
from training.acquisition.manifest import Manifest
from training.acquisition.volumes import Grid

log = logging.getLogger(__name__)

SOURCE = (
    "Allen Mouse Brain Connectivity Atlas, Allen Institute for Brain Science, "
    "connectivity.brain-map.org: red channel (autofluorescence) on the CCFv3 grid, cropped to "
    "ML {0}..{1}. Oh et al., Nature 508, 207 (2014). Attribution, non-commercial: "
    "alleninstitute.org/terms-of-use"
)


def write_population(
    path: Path,
    plane: int,
    done: Sequence[int],
    fetched: Callable[[int], npt.NDArray[np.uint16]],
    manifest: Manifest,
    grid: Grid,
) -> None:
    """Write one plane of the brains that are done, with covariates and quality columns.

    A population that is there already loses nothing by it, neither a brain nor what a person wrote
    into its covariates.

    Parameters
    ----------
    fetched
        Gives the section ``(H, W)`` of a brain that is done.

    Raises
    ------
    InputError
        If the plane holds nothing of any brain, or the population holds brains that are not in the
        manifest.
    """
    before = _open(path) if path.exists() else None
    places = {} if before is None else {name: k for k, name in enumerate(before.ids)}
    _check_known(path, places, manifest)
    new = _with_content(plane, done, fetched)
    kept = [int(i) for i in manifest.table.index if i in new or str(i) in places]
    if not kept:
        raise InputError(f"plane {plane} holds nothing of any brain")
    ids = [str(i) for i in kept]
    if before is not None and before.ids == ids:
        return

    def section(experiment: int) -> npt.NDArray[np.uint16]:
        if experiment in new or before is None:
            return fetched(experiment)
        return np.asarray(before.images[places[str(experiment)]], dtype=np.uint16)

    description = Description(
        pixel_size_um=grid.spacing_um,
        plane=plane,
        preprocessing=None,
        source=SOURCE.format(grid.columns[0], grid.columns[1] - 1),
    )
    quality = []
    with creating(path, ids, grid.shape, np.uint16, description, overwrite=True) as group:
        for k, experiment in enumerate(kept):
            group["images"][k] = image = section(experiment)
            quality.append(measure_quality(image[None]))
        covariates = manifest.covariates(kept).set_axis(ids, axis=0)
        covariates = covariates.join(pd.concat(quality, ignore_index=True).set_axis(ids, axis=0))
        write_covariates(
            group, covariates if before is None else with_hers(before.covariates, covariates)
        )


def _with_content(
    plane: int, done: Sequence[int], fetched: Callable[[int], npt.NDArray[np.uint16]]
) -> set[int]:
    """Leave out, aloud, what is no section: far from the middle some brains end."""
    empty = [i for i in done if np.ptp(fetched(i)) == 0]
    if empty:
        names = ", ".join(map(str, empty))
        log.info("plane %d holds nothing of %d brains, left out: %s", plane, len(empty), names)
    return set(done).difference(empty)


def _open(path: Path) -> Population:
    try:
        return Population.open(path)
    except InputError as error:
        raise InputError(
            f"{error}; move {path} away and give the command again: it is written anew"
        ) from error


def _check_known(path: Path, names: Sequence[str] | dict[str, int], manifest: Manifest) -> None:
    """Refuse to overwrite brains that would then be gone."""
    known = {str(i) for i in manifest.table.index}
    strange = [name for name in names if name not in known]
    if strange:
        raise InputError(
            f"{path} holds {len(strange)} brains that {manifest.path} does not name (such as "
            f"{strange[0]}); put the manifest back from a copy, or move {path} away"
        )


def contents(path: Path) -> str:
    """One line about a population."""
    population = Population.open(path)
    table = population.covariates
    parts = ", ".join(
        f"{int((table[name] > limit).sum())} {name}" for name, limit in LIMITS.items()
    )
    return f"{len(population)} sections, {int(population.flagged.sum())} flagged: {parts}"
