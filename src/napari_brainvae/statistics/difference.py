"""The difference as a picture: what the model says, what the sections say, and where it is sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.data.tissue import brain_mask
from napari_brainvae.factors.shape_and_brightness import ShapeAndBrightness, decomposer
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model
from napari_brainvae.statistics.comparison import adjusted_weights
from napari_brainvae.statistics.design import Design
from napari_brainvae.statistics.permutation import permutation_test

SIZE, BRIGHTNESS = "size", "brightness"
"""What is measured of each region, both in per cent."""


@dataclass(frozen=True, eq=False)
class Difference:
    """Section of A minus section of B, twice.

    Attributes
    ----------
    model
        ``(2, H, W)`` decoded from the adjusted mean codes of A and of B.
    data
        ``(2, H, W)`` adjusted means of the sections themselves.
    model_parts, data_parts
        Their differences as displacement (px) and relative brightness.
    t
        ``(H, W)`` of every pixel of tissue, NaN elsewhere; None if it was not asked for.
    threshold
        Size of t from which on a pixel differs, corrected for all pixels.
    orders
        Number of random orders behind the threshold.
    """

    model: Images
    data: Images
    model_parts: ShapeAndBrightness
    data_parts: ShapeAndBrightness
    t: Images | None
    threshold: float
    orders: int

    @property
    def offset(self) -> float:
        """Relative brightness by which most of the tissue differs, which is nobody's difference.

        Sections are matched by their mean: one region that is brighter makes all others darker. So
        the median over the tissue is taken for no difference.
        """
        return float(np.median(self.data_parts.brightness[brain_mask(self.data.mean(axis=0))]))

    @property
    def found(self) -> Mask:
        """``(H, W)``, where a pixel differs."""
        if self.t is None:
            return np.zeros(self.model.shape[1:], bool)
        return np.asarray(np.abs(np.nan_to_num(self.t)) >= self.threshold)


def measure_difference(
    model: Model,
    codes: npt.NDArray[np.float64],
    sections: Images,
    design: Design,
    *,
    pixel_size_um: float | None = None,
    permutations: int = 1_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Difference:
    """Draw what goes with the tested covariate of a design.

    Parameters
    ----------
    codes
        ``(N, L)`` of all brains that the design was made from.
    sections
        ``(N, H, W)`` of the same, preprocessed.
    permutations
        For the map of pixels; none with 0.

    Raises
    ------
    Stopped
        If ``progress`` asked to stop.
    """
    weights = np.stack(adjusted_weights(design))
    # A brain's weight is its unit's, shared among those of the unit.
    per_brain = (weights / np.bincount(design.unit))[:, design.unit]
    drawn = model.decode((per_brain @ codes[design.brains]).astype(np.float32))
    data = _weighted(per_brain, sections, design)
    level = (data[0] + data[1]) / 2
    solve = decomposer(level, pixel_size_um)
    t, threshold, orders = None, np.inf, 0
    if permutations:
        tissue = brain_mask(level)
        values = design.of_units(_pixels(sections, design, tissue))
        test = permutation_test(values, design, permutations, seed, progress=progress)
        t = np.full(level.shape, np.nan, np.float32)
        t[tissue] = test.t
        threshold, orders = test.critical, test.orders
    return Difference(
        model=drawn,
        data=data,
        model_parts=solve(drawn[0] - drawn[1]),
        data_parts=solve(data[0] - data[1]),
        t=t,
        threshold=threshold,
        orders=orders,
    )


def _weighted(weights: npt.NDArray[np.float64], sections: Images, design: Design) -> Images:
    total = np.zeros((2, *sections.shape[1:]))
    for weight, brain in zip(weights.T, design.brains, strict=True):
        total += weight[:, None, None] * sections[brain]
    return total.astype(np.float32)


def _pixels(sections: Images, design: Design, tissue: Mask) -> Images:
    """Brightness ``(m, P)`` of the tissue, brain by brain: the sections are not copied whole."""
    values = np.empty((len(design.brains), int(tissue.sum())), np.float32)
    for row, brain in zip(values, design.brains, strict=True):
        row[:] = sections[brain][tissue]
    return values


def region_measures(
    sections: Images,
    masks: Mapping[str, Mask],
    *,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Size and brightness of every region in every brain, in per cent of the mean brain's.

    Each brain's deviation from the mean section is told apart into displacement and brightness. A
    region's size is what tissue spreads within it, its brightness what is left when displacement is
    accounted for, so that neither a moved border is taken for another brightness nor the other way.

    Parameters
    ----------
    sections
        ``(N, H, W)`` preprocessed.
    masks
        ``(H, W)`` each, not empty.

    Returns
    -------
    pandas.DataFrame
        ``(N, 2 R)``, columns such as ``SSp brightness`` and ``SSp size``.

    Raises
    ------
    Stopped
        If ``progress`` asked to stop.
    """
    mean = sections.mean(axis=0, dtype=np.float64).astype(np.float32)
    solve = decomposer(mean)
    table = np.empty((len(sections), 2, len(masks)))
    for i, section in enumerate(sections):
        report(progress, i, len(sections))
        parts = solve(section - mean)
        bright = 100 * parts.brightness
        growth = 100 * sum(np.gradient(parts.displacement[axis], axis=axis) for axis in (0, 1))
        for j, mask in enumerate(masks.values()):
            table[i, :, j] = bright[mask].mean(), growth[mask].mean()
    report(progress, len(sections), len(sections))
    columns = [f"{name} {what}" for what in (BRIGHTNESS, SIZE) for name in masks]
    return pd.DataFrame(table.reshape(len(sections), -1), columns=columns)


def region_means(sections: Images, masks: Mapping[str, Mask]) -> npt.NDArray[np.float64]:
    """Mean brightness ``(N, R)`` of regions, as the sections are."""
    means = [[section[mask].mean() for mask in masks.values()] for section in sections]
    return np.array(means, np.float64).reshape(len(sections), len(masks))
