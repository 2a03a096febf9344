"""All that is to be known of each factor, put together once for the window and the command."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from napari_brainvae.arrays import Images, Labels
from napari_brainvae.atlas.ontology import StructureTree
from napari_brainvae.factors.description import FactorDescription, describe_factors
from napari_brainvae.factors.shape_and_brightness import ShapeAndBrightness, decompose
from napari_brainvae.factors.signed_change import sections_at, signed_change
from napari_brainvae.io.progress import Progress
from napari_brainvae.models.base import Model

REACH = 2.0
"""How far the sections of a card lie from the mean, SD."""


@dataclass(frozen=True, eq=False)
class FactorCard:
    """One factor.

    Attributes
    ----------
    description
        What is said of it.
    change
        ``(H, W)`` float32, change per SD with its sign.
    parts
        The change as displacement and brightness.
    sections
        ``(3, H, W)`` float32 in [0, 1], decoded at ``-REACH`` SD, the mean, and ``+REACH`` SD.
    """

    description: FactorDescription
    change: Images
    parts: ShapeAndBrightness
    sections: Images


def factor_cards(
    model: Model,
    *,
    labels: Labels | None = None,
    tree: StructureTree | None = None,
    pixel_size_um: float | None = None,
    codes: pd.DataFrame | None = None,
    associations: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> list[FactorCard]:
    """Make a card of every factor of a model.

    Parameters
    ----------
    pixel_size_um
        Side of a pixel, um; by default what the model says.
    labels, tree, codes, associations
        As in `describe_factors`, each optional: what is not known is not said.

    Raises
    ------
    InputError
        If anything does not fit the model, or it decodes a mean brain without tissue.
    Stopped
        If ``progress`` asked to stop.
    """
    pixel_size_um = model.pixel_size_um(pixel_size_um)
    changes = signed_change(model)
    sections = [sections_at(model, i, [-REACH, 0, REACH]) for i in range(model.latent_dim)]
    parts = decompose(sections[0][1], changes, pixel_size_um, progress=progress)
    described = describe_factors(
        model,
        changes,
        parts,
        labels=labels,
        tree=tree,
        codes=codes,
        associations=associations,
    )
    return [FactorCard(*each) for each in zip(described, changes, parts, sections, strict=True)]
