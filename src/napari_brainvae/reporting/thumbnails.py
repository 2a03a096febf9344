"""Small pictures of sections with what a model leaves of them: to look over many brains at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_brainvae.data.population import Population
from napari_brainvae.data.resampling import Grid, resample
from napari_brainvae.factors.projective_field import population_mean
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model

Picture = npt.NDArray[np.uint8]

BRIGHTER, DARKER = (1.0, 0.55, 0.15), (0.25, 0.65, 1.0)
"""Colours of what is brighter and darker than the model has it, as in the residual's layer."""

MOST_OPAQUE = 0.9

STRONG = 3.0
"""Residuals, in root-mean-square errors of a typical brain, from which on they are opaque; averaged
over a pixel of a thumbnail those of an intact brain are small."""

UNKNOWN_ERROR = 1e-3
"""Squared error of a typical brain where the checkpoint does not say it."""


@dataclass(frozen=True)
class Thumbnails:
    """Makes the thumbnails of a population, all on one scale, so that they can be compared.

    Attributes
    ----------
    population
        The brains.
    model
        Whose residual lies over the sections; None: sections alone, as they were stored.
    white
        What is shown white, in the units of what is shown.
    height
        Of a thumbnail, px.
    """

    population: Population
    model: Model | None
    white: float
    height: int = 96

    @classmethod
    def of(cls, population: Population, model: Model | None, white: float) -> Thumbnails:
        """Scale sections as a model has them by its mean section, others by ``white``."""
        if model is not None:
            mean = model.decode(population_mean(model)[None])[0]
            white = float(np.percentile(mean, 99.8))
        return cls(population, model, max(white, 1e-6))

    @property
    def shape(self) -> tuple[int, int]:
        """``(h, w)`` of each, px."""
        high, wide = self.population.shape if self.model is None else self.model.shape
        return self.height, max(1, round(self.height * wide / high))

    @property
    def pixel_size_um(self) -> float | None:
        """Side of a pixel of a thumbnail; None where nobody knows that of the sections."""
        known = self.population.description.pixel_size_um
        size = known if self.model is None else self.model.pixel_size_um(known)
        high = (self.population if self.model is None else self.model).shape[0]
        return None if size is None else size * high / self.height

    def make(self, position: int) -> Picture:
        """Draw one brain, ``(h, w, 3)``; black with a cross where it cannot be used."""
        try:
            return self._draw(position)
        except InputError:
            return _cross(self.shape)

    def _draw(self, position: int) -> Picture:
        if self.model is None:
            section, residual = self.population.sections([position])[0], None
        else:
            preprocessing = self.model.header.preprocessing
            sections = self.population.prepared(preprocessing, [position])
            mean, _ = self.model.encode(sections)
            section, residual = sections[0], (sections - self.model.decode(mean))[0]
        gray = np.clip(self._small(section) / self.white, 0, 1)
        picture = np.repeat(gray[..., None], 3, axis=-1)
        if residual is not None:
            small = self._small(residual)
            opacity = MOST_OPAQUE * np.clip(np.abs(small) / self._limit, 0, 1)[..., None] ** 2
            colours = np.where(small[..., None] > 0, BRIGHTER, DARKER)
            picture = (1 - opacity) * picture + opacity * colours
        return np.asarray(np.round(255 * picture), dtype=np.uint8)

    @property
    def _limit(self) -> float:
        reference = None if self.model is None else self.model.header.reference
        error = UNKNOWN_ERROR if reference is None else reference.error_median
        return STRONG * float(np.sqrt(max(error, 1e-8)))

    def _small(self, section: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        return resample(section, (1, 1), Grid(self.shape, section.shape[0] / self.height))


def _cross(shape: tuple[int, int]) -> Picture:
    picture = np.zeros((*shape, 3), dtype=np.uint8)
    for i in range(shape[0]):
        at = round(i * (shape[1] - 1) / max(shape[0] - 1, 1))
        picture[i, [at, shape[1] - 1 - at]] = 128
    return picture
