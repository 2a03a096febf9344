"""Projective fields ever more exact, in steps that can be given up: from options to tables.

`napari_brainvae.factors.projective_field` has the method; here is who wants it: a factor, a start,
a plane of an atlas to count its field by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.atlas.atlas_section import AtlasRegion, AtlasSection
from napari_brainvae.data.population import Population
from napari_brainvae.data.tissue import brain_mask
from napari_brainvae.factors.field_colours import (
    Pixels,
    change_limit,
    overlay,
    panel,
    signed_overlay,
    signed_panel,
)
from napari_brainvae.factors.field_options import MEAN, FieldOptions
from napari_brainvae.factors.projective_field import (
    PARTS,
    field_by_region,
    population_mean,
    projective_field,
    refine,
)
from napari_brainvae.factors.projective_field import Field as Estimate
from napari_brainvae.factors.signed_change import change_by_region, signed_change
from napari_brainvae.io.errors import present
from napari_brainvae.io.progress import Progress, Stopped
from napari_brainvae.models.base import Model

ELSEWHERE = "elsewhere"
"""Name of the tissue that no region holds."""

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

    @property
    def z0_index(self) -> int | None:
        """Which brain the factor is moved from; None for the population's mean."""
        return None if self.options.start == MEAN or self.population is None else self.index

    def like(self, other: FieldJob) -> bool:
        """Whether all factors would be computed from the same, and counted by the same regions."""
        mine = self.options, self.regions, self.z0_index
        return mine == (other.options, other.regions, other.z0_index) and all(
            getattr(self, name) is getattr(other, name)
            for name in ("model", "population", "section")
        )

    @cached_property
    def z0(self) -> npt.NDArray[np.float32]:
        """Codes ``(L,)`` from which the factor is moved."""
        if self.population is None or self.z0_index is None:
            return population_mean(self.model)
        section = self.population.prepared(self.model.header.preprocessing, [self.z0_index])
        mean, _ = self.model.encode(section)
        return np.asarray(mean[0])

    @property
    def start(self) -> str:
        """From what the factor is moved: the population's mean, or a brain by its id."""
        if self.options.start == MEAN or self.population is None:
            return MEAN
        return self.population.ids[self.index]

    @cached_property
    def unmoved(self) -> Images:
        """Section ``(H, W)`` from which the factor is moved."""
        return np.asarray(self.model.decode(self.z0[None])[0])

    @cached_property
    def bright(self) -> float:
        """How bright that section is at most."""
        return max(float(np.percentile(self.unmoved, 99.8)), 1e-3)

    @cached_property
    def level(self) -> float:
        """How bright that section's tissue is on average."""
        section = self.unmoved
        tissue = section[brain_mask(section)] if np.ptp(section) else section
        return max(float(tissue.mean()), 1e-3)

    @cached_property
    def change(self) -> Images:
        """Change ``(H, W)`` per SD of the factor, with its sign."""
        return np.asarray(signed_change(self.model, self.factor, z0=self.z0)[0])

    def percent(self, change: Any) -> Any:
        """Express changes in percent of the tissue's mean brightness."""
        return 100 * change / self.level

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
        _ = self.change, self.change_shares, self.level  # not to be computed in the GUI thread
        return FieldStep(self, estimate, overlay(estimate.maps), table, self._shares(estimate.maps))

    def table(self, maps: Images, factors: list[int]) -> pd.DataFrame | None:
        """Share of fields ``(F, 3, H, W)`` in each region; None where there is none."""
        if self.section is None or not self._masks:
            return None
        return field_by_region(maps, self._masks, factors, tissue=self.section.tissue)

    def _shares(self, maps: Images) -> Shares | None:
        """Shares of the variance ``(3, H, W)``, percent of each of its parts."""
        if self.section is None or not self._masks:
            return None
        masks, tissue = {**self._masks, **self._elsewhere}, self.section.tissue
        table = field_by_region(maps[None], masks, [self.factor], tissue=tissue)
        wide = table.pivot(index="region", columns="part", values="share")[list(PARTS)]
        area = table.drop_duplicates("region").set_index("region")["area"]
        return self._named(100 * wide.assign(area=area).loc[list(masks)])

    @cached_property
    def change_shares(self) -> Shares | None:
        """Shares of the signed change, percent, and its mean in percent of the brightness."""
        if self.section is None or not self._masks:
            return None
        masks, tissue = {**self._masks, **self._elsewhere}, self.section.tissue
        table = change_by_region(self.change, masks, tissue=tissue)
        mean = self.percent(table.pop("mean"))
        return self._named((100 * table).assign(mean=mean))

    def _named(self, table: pd.DataFrame) -> Shares:
        rest = cast("pd.Series[float]", table.loc[ELSEWHERE]) if self._elsewhere else None
        listed = table.drop(index=list(self._elsewhere))
        names = self._names
        return Shares(listed.assign(structure=[names[name] for name in listed.index]), rest)

    @property
    def counted(self) -> Sequence[AtlasRegion]:
        """The regions that the field is counted by."""
        if self.section is None or self.regions is not None:
            return self.regions or ()
        return [AtlasRegion(acronym) for acronym in self.section.structures]

    @property
    def _counted_on(self) -> AtlasSection:
        return present(self.section, "an atlas to count by")

    @property
    def _names(self) -> dict[str, str]:
        """Full names of the regions."""
        atlas, sides = self._counted_on.atlas, {"both": "", "left": ", left", "right": ", right"}
        return {
            region.name: atlas.structure(region.acronym).name + sides[region.side]
            for region in self.counted
        }

    @cached_property
    def _elsewhere(self) -> dict[str, Mask]:
        """The tissue that no region holds, if there is any."""
        rest = self._counted_on.tissue & ~np.any(list(self._masks.values()), axis=0)
        return {ELSEWHERE: rest} if rest.any() else {}

    @cached_property
    def _masks(self) -> dict[str, Mask]:
        if self.section is None:
            return {}
        if self.regions is None:
            return self.section.structures
        return self.section.regions_here(self.regions)


class Shares(NamedTuple):
    """What of one factor's field lies where, as it is read: percent by region.

    Attributes
    ----------
    listed
        A row per region: its full name as ``structure``, and the numbers.
    rest
        The numbers of all tissue that no listed region holds; None if there is none.
    """

    listed: pd.DataFrame
    rest: pd.Series[float] | None


@dataclass(frozen=True, eq=False)
class FieldStep:
    """An estimate, as a picture and as tables: one to be written, one to be read."""

    job: FieldJob
    estimate: Estimate
    rgba: Pixels
    table: pd.DataFrame | None
    shares: Shares | None

    @property
    def done(self) -> bool:
        """Whether it is as near to the dense map as can be seen."""
        return self.estimate.error < TOLERANCE

    def sentence(self, *, signed: bool) -> str:
        """Say how the signed change is made, or how exact the variance is."""
        error, decoded = self.estimate.error, f"{self.estimate.points} sections decoded"
        if signed:
            text = f"half the difference of 1 SD more and 1 SD less, from the {self.job.start}."
        elif self.done:
            text = f"{decoded}; exact to {error:.2%} of the maximum."
        elif np.isinf(error):
            text = f"{decoded} (coarse); refining …"
        else:
            text = f"{decoded} (last change {error:.1%}); refining …"
        return f"F{self.job.factor + 1}: {text}"


@dataclass(frozen=True, eq=False)
class AllFields:
    """Every factor's field.

    Attributes
    ----------
    maps
        ``(L, 3, H, W)``.
    changes
        ``(L, H, W)``, signed, per SD.
    pictures
        L pictures of the signed changes (True) or of the variances (False), each first to lie over
        a section and then to stand alone.
    """

    job: FieldJob
    maps: Images
    changes: Images
    pictures: dict[bool, list[tuple[Pixels, Pixels]]]
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
    changes = signed_change(watched, z0=job.z0)
    factors = list(range(job.model.latent_dim))
    borders = job.section.borders if job.section else None
    signed = [
        (_pixels(each), signed_panel(each, job.unmoved, 1.3 * job.bright, borders))
        for each in changes
    ]
    variances = [(overlay(each), panel(each, borders)) for each in maps]
    pictures = {True: signed, False: variances}
    return AllFields(job, maps, changes, pictures, job.table(maps, factors))


def _pixels(change: Images) -> Pixels:
    """Signed change ``(H, W)`` to lie over a section."""
    return np.asarray(signed_overlay(change, change_limit(change)) * 255, dtype=np.uint8)


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
