"""Sections on another grid: other pixels, other numbers of rows and columns, the same middle.

A section and what is made of it share their centre, as `Atlas.section` has it: the midline stays
where it is. At the same pixel size whole pixels are cropped or padded, and not one value changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images
from napari_brainvae.data.lazy_sections import MOST_PIXELS, LazySections
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Negatives, crop_to, without_negatives
from napari_brainvae.io.errors import InputError

SAME = 1e-4
"""Pixel sizes that differ by no more than this share are the same: files round them."""

NEGATIVES = {"subtract": "background subtracted", "clip": "0 instead"}

FEW = 8
"""Brains that are looked at for negative values before one is shown."""

FLOAT32 = np.dtype(np.float32)

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """The pixels of a section: how many, and how large.

    Attributes
    ----------
    shape
        ``(H, W)``.
    pixel_size_um
        Side of a pixel.
    """

    shape: tuple[int, int]
    pixel_size_um: float

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not 0 < self.pixel_size_um < np.inf:
            raise InputError(f"there are no sections of {self}")
        if self.shape[0] * self.shape[1] > MOST_PIXELS:
            raise InputError(f"sections of {self} are too large: at most {MOST_PIXELS:,} px")

    def __str__(self) -> str:
        return f"{self.shape[0]} x {self.shape[1]} px of {self.pixel_size_um:g} um"

    @classmethod
    def spanning(cls, extent_um: tuple[float, float], pixel_size_um: float) -> Grid:
        """Give the grid of these pixels that covers ``(DV, ML)`` um."""
        high, wide = (max(1, round(side / pixel_size_um)) for side in extent_um)
        return cls((high, wide), pixel_size_um)


def is_same(one: float, other: float) -> bool:
    """Whether two sizes are the same, as files round them."""
    return abs(one - other) <= SAME * max(one, other)


def overlap(positions: npt.NDArray[np.float64], available: int, ratio: float) -> Weights:
    """Give the share that each sample of an axis has in each new one, ``(n, available)``.

    Between samples they are interpolated linearly. New ones that lie further apart than the old
    are the mean over the stretch that each stands for, so that nothing is skipped, and what is
    linear stays in its place. To the edge of the first and the last sample the axis goes on as
    they are; beyond, there is nothing: 0.

    Parameters
    ----------
    positions
        ``(n,)`` centres of the new samples, 0 being the centre of the first old one.
    available
        Number of old samples.
    ratio
        Distance of the new samples / distance of the old.

    Examples
    --------
    >>> overlap(np.array([1.0, 2.5, 3.4, 4.0]), 4, 1).tolist()
    [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    pad = int(np.ceil(max(ratio, 1) / 2)) + 1
    away = positions[:, None] - np.arange(-pad, available + pad)
    if ratio <= 1:
        share = np.maximum(0, 1 - np.abs(away))
    else:
        share = (_hat_below(away + ratio / 2) - _hat_below(away - ratio / 2)) / ratio
    share[:, pad] += share[:, :pad].sum(axis=1)
    share[:, -pad - 1] += share[:, -pad:].sum(axis=1)
    edge = 0.5 + SAME * available
    share[(positions < -edge) | (positions > available - 1 + edge)] = 0
    return np.asarray(share[:, pad:-pad], dtype=np.float32)


def _hat_below(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Area below ``x`` of the hat 1 - |x|, which is how a sample fades to its neighbours."""
    x = np.clip(x, -1, 1)
    return np.where(x < 0, (x + 1) ** 2, 2 - (1 - x) ** 2) / 2


def resample(
    section: npt.NDArray[Any], pixel_um: tuple[float, float], grid: Grid
) -> npt.NDArray[np.float32]:
    """Bring a section to a grid with the same centre; 0 where the section does not reach.

    Parameters
    ----------
    section
        ``(H', W')``, any real type.
    pixel_um
        Height and width of its pixels, um.

    Returns
    -------
    numpy.ndarray
        ``(H, W)`` float32, in the units of the section.
    """
    image = np.asarray(section, dtype=np.float32)
    for axis, size in enumerate(grid.shape):
        ratio = grid.pixel_size_um / pixel_um[axis]
        image = _along(image, axis, size, ratio)
    return image


def _along(
    image: npt.NDArray[np.float32], axis: int, size: int, ratio: float
) -> npt.NDArray[np.float32]:
    available = image.shape[axis]
    if is_same(ratio, 1):
        start = (available - size) // 2  # as `preprocessing.crop_to` has it
        kept = np.arange(start, start + size)
        inside = (kept >= 0) & (kept < available)
        shape = [size if i == axis else n for i, n in enumerate(image.shape)]
        cropped = np.zeros(shape, dtype=np.float32)
        to: list[Any] = [slice(None)] * image.ndim
        to[axis] = inside
        cropped[tuple(to)] = np.take(image, kept[inside], axis=axis)
        return cropped
    positions = (np.arange(size) + 0.5 - size / 2) * ratio + (available - 1) / 2
    weights = overlap(positions, available, ratio)
    return weights @ image if axis == 0 else np.asarray(image @ weights.T)


class ResampledSections(LazySections):
    """Sections on another grid, each made when it is read.

    Parameters
    ----------
    sections
        ``(N, H', W')``, NumPy's or such as stay in their file.
    pixel_size_um
        Side of their pixels.
    grid
        What they become.
    negatives
        What is done to negative values; see `without_negatives`.
    """

    def __init__(
        self, sections: Any, pixel_size_um: float, grid: Grid, negatives: Negatives
    ) -> None:
        path = getattr(sections, "path", None)
        shape = (len(sections), *grid.shape)
        super().__init__(path if isinstance(path, Path) else Path("sections"), shape, FLOAT32)
        self._sections, self._pixel_um = sections, (pixel_size_um, pixel_size_um)
        self._grid, self._negatives = grid, negatives

    def _read(self, index: int) -> Images:
        section, _ = without_negatives(self._sections[index], self._negatives)
        return resample(section, self._pixel_um, self._grid)


class Misfit(NamedTuple):
    """Why a model cannot take sections as they are though they can be made to fit.

    Attributes
    ----------
    sizes
        A sentence, where they have another number or another size of pixels.
    negatives
        A sentence, where there are negative values.
    """

    sizes: str
    negatives: str

    def __str__(self) -> str:
        return "; ".join(filter(None, self))


def misfit(population: Population, shape: tuple[int, int], pixel_size_um: float | None) -> Misfit:
    """Say why a model cannot take sections as they are though `fit_to_model` makes them fit.

    Looks at the pixels of a few brains only. What is not so, or not known, is an empty sentence.

    Parameters
    ----------
    shape, pixel_size_um
        Of the model's sections.
    """
    size = population.description.pixel_size_um
    is_other = bool(size and pixel_size_um and not is_same(size, pixel_size_um))
    try:
        crop_to(np.empty((0, *population.shape)), shape)
    except InputError:
        is_other = pixel_size_um is not None
    sizes = negatives = ""
    if is_other:
        have = f"{population.shape[0]} x {population.shape[1]} px"
        have += f" of {size:g} µm" if size else " of unknown size"
        sizes = f"They have {have}, the model's {shape[0]} x {shape[1]} of {pixel_size_um:g}"
    if population.description.preprocessing is None:
        few = np.unique(np.linspace(0, len(population) - 1, FEW).astype(int))
        low = [population.ids[k] for k in few if (np.asarray(population.images[k]) < 0).any()]
        if low:
            negatives = f"There are negative values, such as in {low[0]}"
    return Misfit(sizes, negatives)


def fit_to_model(
    population: Population,
    why: Misfit,
    shape: tuple[int, int],
    pixel_size_um: float | None,
    *,
    own_um: float | None = None,
    negatives: Negatives = "subtract",
) -> Population:
    """Take away what keeps a model from taking sections, and change nothing else of them.

    Parameters
    ----------
    why
        What `misfit` found.
    shape, pixel_size_um
        Of the model's sections.
    own_um
        Size of the population's pixels, if it does not say so itself.
    negatives
        What is done to negative values; see `without_negatives`.

    Raises
    ------
    InputError
        If the sizes differ, and nothing says how large the population's pixels are.
    """
    size = population.description.pixel_size_um
    if why.sizes:
        grid = Grid(shape, pixel_size_um or size or own_um or 1.0)
        return fit_sections(population, grid, pixel_size_um=own_um, negatives=negatives)
    grid = Grid(population.shape, size or 1.0)
    fitted = fit_sections(population, grid, pixel_size_um=grid.pixel_size_um, negatives=negatives)
    about = fitted.description.model_copy(update={"pixel_size_um": size})
    return replace(fitted, description=about)


def fit_sections(
    population: Population,
    grid: Grid,
    *,
    pixel_size_um: float | None = None,
    negatives: Negatives = "refuse",
) -> Population:
    """Make the sections of a population fit a model: resampled by their um, cropped or padded.

    Parameters
    ----------
    population
        Stays as it is; what comes out reads from it.
    grid
        That of the model's sections.
    pixel_size_um
        Of the population, if it does not say so itself.
    negatives
        What is done to negative values; see `without_negatives`.

    Raises
    ------
    InputError
        If nothing says how large the population's pixels are.

    Examples
    --------
    >>> from napari_brainvae.data.population import Description
    >>> mice = Population(np.ones((2, 320, 456)), description=Description(pixel_size_um=25))
    >>> fit_sections(mice, Grid((160, 224), 50)).shape
    (160, 224)
    """
    about = population.description
    size = about.pixel_size_um or pixel_size_um
    if size is None:
        raise InputError("nothing says how large the pixels are: give their size in um")
    done_to_them = []
    if grid.shape != population.shape or not is_same(size, grid.pixel_size_um):
        height, width = population.shape
        done_to_them.append(f"made {grid} from {height} x {width} px of {size:g} um")
    if negatives != "refuse":
        done_to_them.append(f"negative values: {NEGATIVES[negatives]}")
    changed: dict[str, Any] = {"pixel_size_um": grid.pixel_size_um}
    changed["source"] = "; ".join(filter(None, (about.source, *done_to_them)))
    if (done := about.preprocessing) is not None:
        height, width = grid.shape
        changed["preprocessing"] = done.model_copy(update={"height": height, "width": width})
    return Population(
        ResampledSections(population.images, size, grid, negatives),
        population.ids,
        population.covariates,
        about.model_copy(update=changed),
    )
