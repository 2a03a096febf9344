"""What every reader of an atlas gives; `atlas.Atlas` is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from napari_brainvae.atlas.ontology import Structure

Template = Callable[[int], tuple[npt.NDArray[Any], int]]
"""Gives the template's plane (DV, ML), or the nearest that is there, and which one it is."""


@dataclass(frozen=True)
class StoredAtlas:
    """An atlas in files, turned to how everything lies in this program.

    Attributes
    ----------
    name
        To show.
    directory
        Where it is.
    structures
        All of them, ancestors included.
    annotation
        (AP, DV, ML) structure ids: an array, or what gives planes when it is indexed and the whole
        when NumPy asks for it.
    resolution_um
        Edge of a pixel of a plane; planes have square pixels.
    spacing_um
        From one plane to the next.
    template
        Its planes.
    left
        The same grid, 1 where the left of the animal is; None where the midline is the middle.
    orientation
        Of the files, before they were turned.
    """

    name: str
    directory: Path
    structures: list[Structure]
    annotation: Any
    resolution_um: float
    spacing_um: float
    template: Template
    left: Any = None
    orientation: str = "asl"
