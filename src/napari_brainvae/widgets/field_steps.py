"""What the widget "Projective field" asks the core for, in steps that can be given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from napari_brainvae.arrays import Images, Labels, Mask
from napari_brainvae.atlas.atlas import Atlas, outlines
from napari_brainvae.data.population import Population
from napari_brainvae.factors.field_options import MEAN, FieldOptions
from napari_brainvae.factors.projective_field import (
    PARTS,
    compose_rgb,
    field_by_region,
    population_mean,
    projective_field,
    refine,
)
from napari_brainvae.factors.projective_field import Field as Estimate
from napari_brainvae.io.progress import Progress, Stopped
from napari_brainvae.models.base import Model
from napari_brainvae.widgets.layers.atlas_layers import AtlasPlane

TOLERANCE = 1e-3
DIMMED = 0.65
"""How much a field's layer darkens the section beneath it."""
Pixels = npt.NDArray[np.uint8]


class FieldControls(FieldOptions):
    """How a factor is moved; the brain to start from is the one on show."""

    start: Literal["population mean", "brain on show"] = Field(
        "population mean", description="Codes from which the factor is moved."
    )


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Where structures lie in the model's sections, as the atlas layer said when asked."""

    atlas: Atlas
    plane: int
    pixel_size_um: float
    shape: tuple[int, int]
    makers: Mapping[str, Callable[[], Mask]]
    every: bool

    @classmethod
    def of(cls, plane: AtlasPlane, shape: tuple[int, int], *, every: bool) -> Anatomy:
        """Note the plane on show, and its chosen regions or every structure in it."""
        makers = {region.name: plane.mask(region, shape) for region in plane.regions}
        return cls(plane.atlas, plane.plane, plane.pixel_size_um, shape, makers, every)

    @cached_property
    def labels(self) -> Labels:
        """``(H, W)`` structure ids."""
        return self.atlas.section(self.plane, self.shape, self.pixel_size_um)

    @cached_property
    def borders(self) -> Mask:
        """``(H, W)``, borders between structures."""
        return outlines(self.labels)

    @cached_property
    def regions(self) -> dict[str, Mask]:
        """Masks by name; structures that are not in the section are left out."""
        if self.every:
            here = set(self.labels.ravel().tolist())
            return {s.acronym: self.labels == s.id for s in self.atlas if s.id in here}
        masks = {}
        for name, make in self.makers.items():
            try:
                masks[name] = make()
            except ValueError:
                continue
        return masks

    def table(self, maps: Images, factors: list[int]) -> pd.DataFrame | None:
        """Share of fields ``(F, 3, H, W)`` in each region."""
        if not self.regions:
            return None
        return field_by_region(maps, self.regions, factors, tissue=self.labels > 0)


@dataclass(eq=False)
class FieldJob:
    """One factor's field, ever more exact; given up as soon as ``wanted()`` says so."""

    model: Model
    population: Population | None
    index: int
    factor: int
    options: FieldControls
    anatomy: Anatomy | None
    wanted: Callable[[], bool] = lambda: True
    _steps: Iterator[Estimate] | None = field(default=None, repr=False)

    @cached_property
    def z0(self) -> npt.NDArray[np.float32]:
        """Codes ``(L,)`` from which the factor is moved."""
        if self.options.start == MEAN or self.population is None:
            return population_mean(self.model)
        section = self.population.prepared(self.model.header.preprocessing, [self.index])
        return self.model.encode(section)[0][0]

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
        table = self.anatomy.table(estimate.maps[None], [self.factor]) if self.anatomy else None
        return FieldStep(self, estimate, overlay(estimate.maps), table)


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
    borders = job.anatomy.borders if job.anatomy else None
    table = job.anatomy.table(maps, factors) if job.anatomy else None
    return AllFields(
        job, maps, [overlay(each) for each in maps], [panel(each, borders) for each in maps], table
    )


def overlay(maps: Images) -> Pixels:
    """Colours of three maps ``(3, H, W)`` to lie over a section, which they dim, ``(H, W, 4)``.

    Where all three overlap the colour is white, which would not be seen on bright tissue.
    """
    rgb = compose_rgb(maps)
    opacity = np.maximum(rgb.max(axis=-1, keepdims=True), DIMMED)
    return np.asarray(np.concatenate([rgb / opacity, opacity], axis=-1) * 255, dtype=np.uint8)


def panel(maps: Images, borders: Mask | None) -> Pixels:
    """Colours of three maps on black, with borders, ``(H, W, 4)``."""
    rgb = compose_rgb(maps)
    if borders is not None:
        rgb[borders] = 0.55 * rgb[borders] + 0.25
    opaque = np.ones((*rgb.shape[:2], 1), rgb.dtype)
    return np.asarray(np.concatenate([rgb, opaque], axis=-1) * 255, dtype=np.uint8)


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
