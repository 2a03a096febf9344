"""Sections on another grid: other pixels, other numbers of rows and columns, the same middle.

A section and what is made of it share their centre, as `Atlas.section` has it: the midline stays
where it is. At the same pixel size whole pixels are cropped or padded, and not one value changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def misfit(population: Population, shape: tuple[int, int], pixel_size_um: float | None) -> str:
    """Say why a model cannot take sections as they are though `fit_sections` can make them fit.

    Looks at the pixels of a few brains only.

    Parameters
    ----------
    shape, pixel_size_um
        Of the model's sections.

    Returns
    -------
    str
        A sentence; empty if they fit, or nothing is known of it.
    """
    said = []
    size = population.description.pixel_size_um
    is_other = bool(size and pixel_size_um and not is_same(size, pixel_size_um))
    try:
        crop_to(np.empty((0, *population.shape)), shape)
    except InputError:
        is_other = pixel_size_um is not None
    if is_other:
        have = f"{population.shape[0]} x {population.shape[1]} px"
        have += f" of {size:g} µm" if size else " of unknown size"
        said.append(f"They have {have}, the model's {shape[0]} x {shape[1]} of {pixel_size_um:g}")
    if population.description.preprocessing is None:
        few = np.unique(np.linspace(0, len(population) - 1, FEW).astype(int))
        low = [population.ids[k] for k in few if (np.asarray(population.images[k]) < 0).any()]
        if low:
            said.append(f"There are negative values, such as in {low[0]}")
    return "; ".join(said)


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
    size = population.description.pixel_size_um or pixel_size_um
    if size is None:
        raise InputError("nothing says how large the pixels are: give their size in um")
    about = population.description
    done_to_them = (
        f"made {grid} from {population.shape[0]} x {population.shape[1]} px of {size:g} um"
    )
    if negatives != "refuse":
        done_to_them += f"; negative values: {NEGATIVES[negatives]}"
    source = "; ".join(filter(None, (about.source, done_to_them)))
    changed: dict[str, Any] = {"pixel_size_um": grid.pixel_size_um, "source": source}
    if (done := population.description.preprocessing) is not None:
        height, width = grid.shape
        changed["preprocessing"] = done.model_copy(update={"height": height, "width": width})
    return Population(
        ResampledSections(population.images, size, grid, negatives),
        population.ids,
        population.covariates,
        population.description.model_copy(update=changed),
    )
