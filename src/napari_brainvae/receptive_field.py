"""Change a region of a section and see which latent factors answer (paper, section 2.2).

How much a whole population's codes answer is measured in `napari_brainvae.impact`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_brainvae.model import Model
from napari_brainvae.perturbation import Mode, Perturbation
from napari_brainvae.preprocess import Images

Mask = npt.NDArray[np.bool_]

LEAST_SPREAD = 0.1
"""Spread below which a factor counts as collapsed: Var mu = 0.01 (Burda et al. 2016)."""


class Shift(NamedTuple):
    """How one brain's factors answer to a perturbation."""

    section: Images
    """``(H, W)``, the perturbed section."""
    shift: npt.NDArray[np.float32]
    """``(L,)``, change of the posterior means in units of their spread over the population."""


def perturb(
    images: npt.ArrayLike, mask: npt.ArrayLike, weight: float, mode: Mode = "content"
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

    Returns
    -------
    numpy.ndarray
        Shape of ``images``, float32, clipped to [0, 1].
    """
    sections, region = np.asarray(images, np.float32), np.asarray(mask, np.float32)
    if mode == "content":
        changed = sections * (1 + np.float32(weight) * region)
    else:
        level = np.vectorize(tissue_level, signature="(h,w)->()")(sections)
        fill = np.asarray(weight * level, dtype=np.float32)[..., None, None]
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
    ValueError
        If it is empty, of another shape than the sections, or not within [0, 1].
    """
    weights = np.asarray(mask, dtype=np.float32)
    if weights.shape != shape:
        raise ValueError(f"{name} has shape {weights.shape}, the sections have {shape}")
    if not (weights.min() >= 0 and weights.max() <= 1):  # also refuses NaN
        raise ValueError(f"{name} must be a mask, with values from 0 to 1")
    if not weights.any():
        raise ValueError(f"{name} is empty: no pixel of it lies in the section")
    return ndimage.gaussian_filter(weights, soft_edge) if soft_edge else weights


def tissue_level(section: npt.NDArray[Any]) -> float:
    """Mean brightness of a section's tissue ``(H, W)``: above Otsu's threshold."""
    return float(section[section > threshold_otsu(section)].mean()) if np.ptp(section) else 0.0


def tissue_mask(section: npt.NDArray[Any]) -> Mask:
    """Where a section ``(H, W)`` shows the brain, ventricles and dark tracts included."""
    if not np.ptp(section):
        return np.asarray(section > 0)
    return np.asarray(ndimage.binary_fill_holes(section > threshold_otsu(section) / 2))


def factor_shift(
    model: Model,
    section: Images,
    mask: npt.ArrayLike,
    weight: float,
    options: Perturbation | None = None,
    *,
    unperturbed: npt.ArrayLike | None = None,
) -> Shift:
    """Perturb one brain and see how its factors shift.

    Parameters
    ----------
    section
        ``(H, W)`` preprocessed.
    mask
        ``(H, W)``.
    weight
        Perturbation weight.
    options
        Mode and soft edge.
    unperturbed
        ``(L,)`` posterior mean of ``section``, if it is known already: saves one of two encodes.

    Returns
    -------
    Shift
        In units of ``header.reference.code_std``; of the prior's, 1, if the checkpoint has none. A
        collapsed factor is measured by `LEAST_SPREAD`, so that it does not seem to answer.

    Raises
    ------
    ValueError
        As `region_weights` and `Model.encode`.
    """
    options = options or Perturbation()
    region = region_weights(mask, model.shape, options.soft_edge)
    changed = perturb(section, region, weight, options.mode)
    before = model.encode(section[None])[0][0] if unperturbed is None else unperturbed
    reference = model.header.reference
    spread = np.ones(model.latent_dim) if reference is None else np.array(reference.code_std)
    shift = (model.encode(changed[None])[0][0] - before) / np.maximum(spread, LEAST_SPREAD)
    return Shift(changed, np.asarray(shift, dtype=np.float32))


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
    ValueError
        If a region does not touch the tissue, or if all sections are black in it.
    """
    tissue = tissue_mask(sections.mean(axis=0))
    for name, region in weights.items():
        if not tissue[region > 0].any():
            raise ValueError(f"region {name!r} lies outside the tissue")
        if not sections[:, region > 0].any():
            raise ValueError(f"region {name!r} has no content: the sections are black there")
