"""Change a region of a section and see which latent factors answer (paper, section 2.2).

How much a whole population's codes answer is measured in `napari_brainvae.factors.impact`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # whose modules are imported when they are first used

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.data.tissue import brain_mask, tissue_level
from napari_brainvae.factors.perturbation import Mode
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model

LEAST_SPREAD = 0.1
"""Spread below which a factor counts as collapsed: Var mu = 0.01 (Burda et al. 2016)."""


class Shift(NamedTuple):
    """How one brain's factors answer to a perturbation."""

    section: Images
    """``(H, W)``, the perturbed section."""
    shift: npt.NDArray[np.float32]
    """``(L,)``, change of the posterior means in units of their spread over the population."""


def perturb(
    images: npt.ArrayLike,
    mask: npt.ArrayLike,
    weight: float,
    mode: Mode = "content",
    *,
    level: float | None = None,
) -> Images:
    """Change a region in every section.

    'content' is the paper's ``x + w p`` with ``p = mask x``; 'fill' is ``(1 - mask) x + mask w t``
    with t the mean brightness of the section's tissue, by Otsu's threshold.

    Parameters
    ----------
    images
        ``(N, H, W)`` or ``(H, W)`` preprocessed sections in [0, 1].
    mask
        ``(H, W)``, boolean or weights in [0, 1]; see `region_weights` for a soft edge.
    weight
        Perturbation weight w.
    mode
        As in `Perturbation`.
    level
        `tissue_level` of one section, if it is known already; 'content' does without.

    Returns
    -------
    numpy.ndarray
        Shape of ``images``, float32, clipped to [0, 1].
    """
    sections, region = np.asarray(images, np.float32), np.asarray(mask, np.float32)
    if mode == "content":
        changed = sections * (1 + np.float32(weight) * region)
    else:
        if level is None:
            levels = np.vectorize(tissue_level, signature="(h,w)->()")(sections)
        else:
            levels = np.asarray(level)
        fill = np.asarray(weight * levels, dtype=np.float32)[..., None, None]
        changed = sections + region * (fill - sections)
    return np.clip(changed, 0, 1)


def region_weights(
    mask: npt.ArrayLike, shape: tuple[int, int], soft_edge: float = 0.0, name: str = "region"
) -> Images:
    """Check a region's mask and give it a soft edge.

    Returns
    -------
    numpy.ndarray
        ``(H, W)`` float32 in [0, 1].

    Raises
    ------
    InputError
        If it is empty, of another shape than the sections, or not within [0, 1].
    """
    weights = np.asarray(mask, dtype=np.float32)
    if weights.shape != shape:
        raise InputError(f"{name} has shape {weights.shape}, the sections have {shape}")
    if not (weights.min() >= 0 and weights.max() <= 1):  # also refuses NaN
        raise InputError(f"{name} must be a mask, with values from 0 to 1")
    if not weights.any():
        raise InputError(f"{name} is empty: no pixel of it lies in the section")
    return scipy.ndimage.gaussian_filter(weights, soft_edge) if soft_edge else weights


class Probe:
    """One brain, to be perturbed again and again: what stays the same is computed once.

    Parameters
    ----------
    section
        ``(H, W)`` preprocessed.

    Attributes
    ----------
    mean
        ``(L,)`` posterior mean of the section as it is.
    """

    def __init__(self, model: Model, section: Images) -> None:
        self._section = section
        self._encode = model.near(section)
        self.mean = self._encode(section[None], [np.zeros(section.shape, bool)])[0][0]
        reference = model.header.reference
        spread = np.ones(model.latent_dim) if reference is None else np.array(reference.code_std)
        self._spread = np.maximum(spread, LEAST_SPREAD)

    @cached_property
    def _tissue(self) -> Mask:
        return brain_mask(self._section)

    @cached_property
    def _level(self) -> float:
        return tissue_level(self._section)

    def check(self, name: str, region: Images) -> None:
        """Refuse a region where there is nothing to perturb, as `check_content`."""
        _check_content(self._section[None], self._tissue, name, region)

    def shift(self, region: Images, weight: float, mode: Mode = "content") -> Shift:
        """Perturb a region and see how the factors shift.

        Parameters
        ----------
        region
            ``(H, W)`` from `region_weights`.
        weight
            Perturbation weight.
        mode
            As in `Perturbation`.

        Returns
        -------
        Shift
            In units of ``header.reference.code_std``; of the prior's, 1, if the checkpoint has
            none. A collapsed factor is measured by `LEAST_SPREAD`, so that it does not seem to
            answer.
        """
        level = self._level if mode == "fill" else None
        changed = perturb(self._section, region, weight, mode, level=level)
        mean = self._encode(changed[None], [region > 0])[0][0]
        return Shift(changed, np.asarray((mean - self.mean) / self._spread, dtype=np.float32))


def check_content(sections: Images, weights: Mapping[str, Images]) -> None:
    """Refuse regions where there is nothing to perturb.

    Parameters
    ----------
    sections
        ``(N, H, W)``, some of the population's.
    weights
        Regions by name, from `region_weights`.

    Raises
    ------
    InputError
        If a region does not touch the tissue, or if all sections are black in it.
    """
    tissue = brain_mask(sections.mean(axis=0))
    for name, region in weights.items():
        _check_content(sections, tissue, name, region)


def _check_content(sections: Images, tissue: Mask, name: str, region: Images) -> None:
    if not tissue[region > 0].any():
        raise InputError(f"region {name!r} lies outside the tissue")
    if not sections[:, region > 0].any():
        raise InputError(f"region {name!r} has no content: the sections are black there")
