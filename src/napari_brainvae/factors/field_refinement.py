"""Projective fields ever more exact, in steps that can be given up: from options to tables.

`napari_brainvae.factors.projective_field` has the method; here is who wants it: a factor, a start,
a plane of an atlas to count its field by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.atlas.atlas_section import AtlasRegion, AtlasSection
from napari_brainvae.data.population import Population
from napari_brainvae.factors.field_colours import Pixels, overlay, panel
from napari_brainvae.factors.field_options import MEAN, FieldOptions
from napari_brainvae.factors.projective_field import (
    PARTS,
    field_by_region,
    population_mean,
    projective_field,
    refine,
)
from napari_brainvae.factors.projective_field import Field as Estimate
from napari_brainvae.io.progress import Progress, Stopped
from napari_brainvae.models.base import Model

TOLERANCE = 1e-3
"""Largest change of a map, as a share of its maximum, that cannot be seen."""


class FieldControls(FieldOptions):
    """How a factor is moved; the brain to start from is the one on show."""

    start: Literal["population mean", "brain on show"] = Field(
        "population mean", description="Codes from which the factor is moved."
    )


@dataclass(eq=False)
class FieldJob:
    """One factor's field, ever more exact; given up as soon as ``wanted()`` says so.

    Attributes
    ----------
    population, index
        Which brain the factor is moved from, if the options say so.
    factor
        Index, from 0.
    section, regions
        The plane of an atlas, and those of its structures that the field is counted by; without
        regions every structure that the annotation shows. Those not in the section are left out.
    """

    model: Model
    population: Population | None
    index: int
    factor: int
    options: FieldControls
    section: AtlasSection | None = None
    regions: Sequence[AtlasRegion] | None = None
    wanted: Callable[[], bool] = lambda: True
    _steps: Iterator[Estimate] | None = field(default=None, repr=False)

    @cached_property
    def z0(self) -> npt.NDArray[np.float32]:
        """Codes ``(L,)`` from which the factor is moved."""
        if self.options.start == MEAN or self.population is None:
            return population_mean(self.model)
        section = self.population.prepared(self.model.header.preprocessing, [self.index])
        mean, _ = self.model.encode(section)
        return np.asarray(mean[0])

    @property
    def start(self) -> str:
        """From what the factor is moved: the population's mean, or a brain by its id."""
        if self.options.start == MEAN or self.population is None:
            return MEAN
        return self.population.ids[self.index]

    @cached_property
    def bright(self) -> float:
        """How bright the section is from which the factor is moved."""
        return max(float(np.percentile(self.model.decode(self.z0[None]), 99.8)), 1e-3)

    def step(self) -> FieldStep | None:
        """Compute the next, better estimate; None at the end or when given up."""
        if self._steps is None:
            watched = cast(Model, _Watched(self.model, self.wanted))
            limit = self.options.limit
            self._steps = refine(watched, self.factor, z0=self.z0, limit=limit)
        try:
            estimate = next(self._steps, None)
        except Stopped:
            return None
        if estimate is None:
            return None
        table = self.table(estimate.maps[None], [self.factor])
        return FieldStep(self, estimate, overlay(estimate.maps), table)

    def table(self, maps: Images, factors: list[int]) -> pd.DataFrame | None:
        """Share of fields ``(F, 3, H, W)`` in each region; None where there is none."""
        if self.section is None or not self._masks:
            return None
        return field_by_region(maps, self._masks, factors, tissue=self.section.tissue)

    @cached_property
    def _masks(self) -> dict[str, Mask]:
        if self.section is None:
            return {}
        if self.regions is None:
            return self.section.structures
        return self.section.regions_here(self.regions)


@dataclass(frozen=True, eq=False)
class FieldStep:
    """An estimate, as a picture and as a table."""

    job: FieldJob
    estimate: Estimate
    rgba: Pixels
    table: pd.DataFrame | None

    @property
    def done(self) -> bool:
        """Whether it is as near to the dense map as can be seen."""
        return self.estimate.error < TOLERANCE


@dataclass(frozen=True, eq=False)
class AllFields:
    """Every factor's field.

    Attributes
    ----------
    maps
        ``(L, 3, H, W)``.
    overlays, panels
        L pictures: to lie over a section, and to stand alone, with borders.
    """

    job: FieldJob
    maps: Images
    overlays: list[Pixels]
    panels: list[Pixels]
    table: pd.DataFrame | None


def all_fields(job: FieldJob, progress: Progress) -> AllFields:
    """Compute the fields of all factors.

    Raises
    ------
    Stopped
        If ``progress`` asked to stop.
    """
    limit = job.options.limit
    last = [0, 1]

    def note(done: int, total: int) -> bool | None:
        last[:] = done, total
        return progress(done, total)

    # Asked at every decode, too: the later steps of a refinement are long.
    watched = cast(Model, _Watched(job.model, lambda: progress(*last) is not False))
    maps = projective_field(watched, z0=job.z0, limit=limit, tolerance=TOLERANCE, progress=note)
    factors = list(range(job.model.latent_dim))
    borders = job.section.borders if job.section else None
    overlays, panels = [overlay(each) for each in maps], [panel(each, borders) for each in maps]
    return AllFields(job, maps, overlays, panels, job.table(maps, factors))


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """One factor's table as it is read: a row per region, percent in a column per part."""
    wide = table.pivot(index="region", columns="part", values="share")[list(PARTS)] * 100
    area = table.drop_duplicates("region").set_index("region")["area"] * 100
    return wide.assign(area=area).loc[list(dict.fromkeys(table["region"]))]


class _Watched:
    """A model that decodes only as long as the result is wanted."""

    def __init__(self, model: Model, wanted: Callable[[], bool]) -> None:
        self._model, self._wanted = model, wanted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def decode(self, latents: npt.ArrayLike) -> Images:
        if not self._wanted():
            raise Stopped("no longer wanted")
        return self._model.decode(latents)
