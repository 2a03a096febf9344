"""The populations that gathering writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.data.brain_manifest import DONE
from napari_brainvae.data.covariates import write_covariates
from napari_brainvae.data.gather_inputs import Source, open_population
from napari_brainvae.data.gather_options import Slab
from napari_brainvae.data.gather_plan import Plan
from napari_brainvae.data.kept_covariates import with_hers
from napari_brainvae.data.orientation import is_turned
from napari_brainvae.data.population import Description, Population
from napari_brainvae.data.population_files import creating
from napari_brainvae.gathering.manifest import Manifest
from napari_brainvae.io.errors import InputError


def write_population(
    path: Path,
    slab: Slab | None,
    section: Callable[[str], npt.NDArray[np.float32]],
    manifest: Manifest,
    plan: Plan,
    sources: dict[str, Source],
    given: pd.DataFrame | None,
) -> None:
    """Write one plane of the brains that are done, unless it is written so already.

    A population that is there loses nothing by it, neither a brain nor what a person wrote into
    its covariates; of the columns of ``--covariates`` the table given last counts.

    Parameters
    ----------
    section
        Gives the section ``(H, W)`` of a brain that is done.
    given
        What the table of ``--covariates`` says of the brains, indexed by id.

    Raises
    ------
    InputError
        If the population holds brains that are not in the manifest.
    """
    before = Population.open(path) if path.exists() else None
    places = {} if before is None else {name: k for k, name in enumerate(before.ids)}
    strange = [name for name in places if name not in manifest.table.index]
    if strange:
        raise InputError(
            f"{path} holds brains that {manifest.path} does not name, such as {strange[0]}: move "
            "it away, or give another name"
        )
    done = set(manifest.ids(DONE))
    ids = [brain for brain in manifest.table.index if brain in done or brain in places]

    def image(brain: str) -> npt.NDArray[np.float32]:
        if brain in done or before is None:
            return section(brain)
        return np.asarray(before.images[places[brain]], dtype=np.float32)

    covariates = _covariates(ids, sources, given, before)
    if before is not None and _is_written(before, ids, image, covariates):
        return
    description = _description(manifest, slab, plan, ids)
    with creating(path, ids, plan.grid.shape, np.float32, description, overwrite=True) as group:
        for k, brain in enumerate(ids):
            group["images"][k] = image(brain)
        write_covariates(group, covariates)


def _covariates(
    ids: list[str],
    sources: dict[str, Source],
    given: pd.DataFrame | None,
    before: Population | None,
) -> pd.DataFrame:
    """What the sources, the table given and the population of before say of these brains."""
    table = pd.DataFrame(index=pd.Index(ids, name="id"))
    parts = {}
    for brain in ids:
        source = sources.get(brain)
        if source is not None and source.section is not None:
            parts[brain] = open_population(source.path).covariates.iloc[source.section]
    if parts:
        table = table.join(pd.DataFrame(parts).T.infer_objects())
    if given is not None:
        table = table.drop(columns=given.columns, errors="ignore").join(given.loc[ids])
        if before is not None:
            hers = before.covariates.drop(columns=given.columns, errors="ignore")
            return with_hers(hers, table)
    return table if before is None else with_hers(before.covariates, table)


def _is_written(
    before: Population,
    ids: list[str],
    image: Callable[[str], npt.NDArray[np.float32]],
    covariates: pd.DataFrame,
) -> bool:
    if before.ids != ids or list(before.covariates.columns) != [str(c) for c in covariates]:
        return False
    same = before.covariates.astype(object).where(before.covariates.notna(), "")
    if not (same == covariates.astype(object).where(covariates.notna(), "")).to_numpy().all():
        return False
    return all(np.array_equal(before.images[k], image(brain)) for k, brain in enumerate(ids))


def _description(manifest: Manifest, slab: Slab | None, plan: Plan, ids: list[str]) -> Description:
    known = manifest.table.loc[ids]
    turned = sorted({text for text in known["orientation"] if text and is_turned(text)})
    planes = {text for text in known["plane"] if text}
    plane = slab.middle if slab else int(planes.pop()) if len(planes) == 1 else None
    atlases = {text for text in known["atlas"] if text}
    mean = f", mean over planes {slab}" if slab and slab.first < slab.last else ""
    return Description(
        pixel_size_um=plan.grid.pixel_size_um if plan.is_scaled else None,
        plane=plane,
        preprocessing=None,
        original_orientation=", ".join(turned),
        atlas=min(atlases, default=""),
        source=f"gathered from {len(ids)} registered brains{mean}; see {manifest.path.name} beside",
    )
