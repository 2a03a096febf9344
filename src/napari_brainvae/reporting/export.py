"""What the plugin and `training.interpret` both write: maps in micrometres, and the figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_brainvae.arrays import Images
from napari_brainvae.denoising.reconstruction import ome_metadata
from napari_brainvae.factors.cards import FactorCard
from napari_brainvae.factors.impact import Impact
from napari_brainvae.factors.projective_field import PARTS
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.reporting import paper_figures as figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_maps(
    path: str | Path,
    maps: Images,
    factors: Sequence[int],
    pixel_size_um: float | None,
    about: Mapping[str, Any],
    *,
    title: str = "Projective fields",
    channels: Sequence[str] = PARTS,
) -> None:
    """Write maps of factors ``(F, C, H, W)`` as an OME-TIFF in micrometres: time is the factor.

    Parameters
    ----------
    factors
        Indices of the F factors, from 0.
    about
        What the maps were made from and how; goes into the file as JSON.
    title
        What they are.
    channels
        Names of the C maps of a factor.
    """
    names = ", ".join(f"F{factor + 1}" for factor in factors)
    text = f"{title}; T is the factor: {names}. {json.dumps(about, sort_keys=True)}"
    metadata = ome_metadata(pixel_size_um, text, axes="TCYX") | {"Channel": {"Name": channels}}
    with replacing(path) as beside:
        tifffile.imwrite(beside, maps, ome=True, metadata=metadata)


def write_card_maps(
    path: str | Path,
    cards: Sequence[FactorCard],
    pixel_size_um: float | None,
    about: Mapping[str, Any],
) -> None:
    """Write signed change, brightness and displacement of every factor as `write_maps` does."""
    maps = np.stack(
        [[card.change, card.parts.brightness, *card.parts.displacement] for card in cards]
    )
    write_maps(
        path,
        maps,
        range(len(cards)),
        pixel_size_um,
        about,
        title="Change per SD",
        channels=(
            "signed change",
            "relative brightness",
            "displacement in rows, px",
            "displacement in columns, px",
        ),
    )


def impact_figures(impacts: Mapping[str, Impact]) -> dict[str, Callable[[], Figure]]:
    """Give what draws each figure of measured impacts, by the name of its file.

    Of each region the codes are shown of the factor that it has most impact on.

    Parameters
    ----------
    impacts
        By the name of the model. The first is shown in full, the others in the comparison.
    """
    impact = next(iter(impacts.values()))
    draw: dict[str, Callable[[], Figure]] = {"impact": partial(figures.impact_heatmap, impact)}
    for region, factor in zip(impact.regions, impact.matrix().argmax(axis=1), strict=True):
        name = f"codes_{file_name(region)}_F{factor + 1}"
        draw[name] = partial(figures.impact_distributions, impact, region, int(factor))
    if min(impact.matrix().shape) > 1:
        draw["factor_covariance"] = partial(figures.factor_covariance, impact)
        draw["disentanglement"] = partial(figures.disentanglement_bars, impacts)
    return draw


def file_name(name: str) -> str:
    """Give a name that every file system takes."""
    return "".join(c if c.isalnum() or c in " -_()" else "_" for c in name).strip()
