"""Between layers and populations: what a layer holds, and layers that lie exactly on another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import numpy.typing as npt
from napari.layers import Image
from napari.utils.notifications import show_warning

from napari_brainvae.data.lazy_sections import LazySections, SectionError
from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

POPULATION = "brainvae_population"
CHECKPOINT = "brainvae_checkpoint"
ATLAS_FOLDER = "brainvae_atlas_folder"
MADE_HERE = "brainvae_made_here"
"""Metadata key of layers that the widgets make, with what they show; no sections are among them."""
MADE_BY = "brainvae_made_by"
"""Metadata key with the panel that made a layer, and finds it again when it is reopened."""
PLACE = ("scale", "translate", "rotate", "shear", "affine", "units")
"""Properties that say where in the world a layer's pixels or vertices lie."""
AXES = ("brain", "DV", "ML")
"""Axis names of a population: one brain after the other, dorsal to ventral, left to right."""
_populations: WeakKeyDictionary[Layer, tuple[Any, Population]] = WeakKeyDictionary()
"""By layer, with its data of then: what `population_of` gave, to be given again."""

made_here: WeakSet[Layer] = WeakSet()
"""Layers that were added here; napari's copies of them have the same metadata."""


def population_layer(population: Population, name: str) -> tuple[Any, dict[str, Any], str]:
    """Layer data of a population: micrometres in the section; napari reads those it shows."""
    size = population.description.pixel_size_um
    images = population.images
    return (
        ShownSections(images) if isinstance(images, LazySections) else images,
        {
            "name": name,
            "scale": (1, size or 1, size or 1),
            "units": ("pixel", *("um" if size else "pixel",) * 2),
            "axis_labels": AXES,
            "contrast_limits": (0, _bright(population)),
            "metadata": {POPULATION: population},
        },
        "image",
    )


def _bright(population: Population) -> float:
    """What is shown white: nearly the brightest of some brains that can be used."""
    samples = []
    for i in np.unique(np.linspace(0, len(population) - 1, 8).astype(int)):
        with suppress(InputError):  # the list of brains will say what is wrong with it
            samples.append(population.sections([i]))
    if not samples:
        return 1.0
    return max(float(np.percentile(np.concatenate(samples), 99.8)), 1e-6)


class ShownSections(LazySections):
    """Sections of a file as a layer holds them: black where one cannot be read, which is said once.

    An exception while napari draws would leave a layer that cannot be removed.
    """

    def __init__(self, sections: LazySections) -> None:
        super().__init__(sections.path, sections.shape, sections.dtype)
        self.sections = sections
        self._said: set[int] = set()

    def read(self, index: int) -> npt.NDArray[Any]:
        """Read one section, ``(H, W)``."""
        try:
            return self.sections.read(index)
        except SectionError as error:
            if index not in self._said:
                self._said.add(index)
                show_warning(str(error))
            return np.zeros(self.shape[1:], self.dtype)


def lay_on(layer: Layer, sections: Image, *, always: bool = False) -> None:
    """Lay a picture ``(H, W)`` on sections where it is in other units than they are, or always."""
    if always or layer.units != sections.units[-2:]:
        geometry = section_geometry(sections, layer.data.shape[:2])
        update_layer(layer, layer.data, layer.name, geometry)


def has_sections(layer: Layer) -> bool:
    """Whether a layer may show sections: a gray image, not made here nor of a model or atlas."""
    return (
        isinstance(layer, Image)
        and not layer.rgb
        and layer.ndim in (2, 3)
        and not layer.metadata.keys() & {MADE_HERE, CHECKPOINT, ATLAS_FOLDER}
    )


def share_units(layer: Image, others: Sequence[Image], size_um: float | None) -> str:
    """Lay sections in the units of others, and say so: napari draws no pixels beside micrometres.

    Parameters
    ----------
    others
        Sections that are there already, and stay as they are.
    size_um
        How large pixels are of which nothing says it; by default as large as those of the others.
    """
    if not others or layer.units[-1].dimensionality == others[-1].units[-1].dimensionality:
        return ""
    before = np.asarray(layer.scale)[-2:]
    if str(others[-1].units[-1]) == "pixel":
        times, unit = 1 / before[-1], "pixel"
        said = (
            f"It is shown in pixels, as “{others[-1].name}” is, of which nothing says their size."
        )
    else:
        size = size_um or float(others[-1].scale[-1])
        times, unit = size / before[-1], "um"
        said = f"Nothing says how large its pixels are: it is shown as if they had {size:g} µm."
    translate = np.asarray(layer.translate)
    layer.scale = (*layer.scale[:-2], *before * times)
    layer.translate = (*translate[:-2], *translate[-2:] * times)
    layer.units = (*layer.units[:-2], unit, unit)
    return said


def population_of(layer: Image) -> Population:
    """Population that an image layer shows: the same object as long as the layer's data are.

    Raises
    ------
    InputError
        If the layer is no stack of sections, nor one section.
    """
    opened: Population | None = layer.metadata.get(POPULATION)
    if opened is not None and _read_from(layer) is opened.images:
        return opened
    if layer.rgb:
        raise InputError(f"layer '{layer.name}' is in colour: sections have one channel")
    if layer.multiscale:
        raise InputError(f"layer '{layer.name}' is multiscale: give the full resolution alone")
    if layer.ndim not in (2, 3):
        raise InputError(
            f"layer '{layer.name}' has {layer.ndim} axes: sections are (N, H, W) or (H, W)"
        )
    data, known = _populations.get(layer, (None, None))
    if known is None or data is not layer.data:
        known = _population_of_now(opened, layer.data if layer.ndim == 3 else layer.data[None])
        _populations[layer] = layer.data, known
    return known


def tell_population(layer: Image, population: Population) -> None:
    """Say what an image layer shows."""
    if layer.ndim == 3:
        layer.metadata[POPULATION] = replace(population, images=_read_from(layer))
    else:
        _populations[layer] = layer.data, population


def _read_from(layer: Image) -> Any:
    """What a layer holds, or the sections of a file that it shows."""
    return layer.data.sections if isinstance(layer.data, ShownSections) else layer.data


def _population_of_now(opened: Population | None, images: Any) -> Population:
    """Make a population of a layer's data; other pixels of the same brains keep their ids."""
    if opened is not None and images.shape == opened.images.shape:
        return replace(opened, images=images)
    return Population(images)


def place_events(layer: Layer) -> list[Any]:
    """Events of a layer after which its data lie elsewhere, or are others."""
    return [layer.events.data, *(getattr(layer.events, name) for name in PLACE)]


def shown_index(layer: Layer, point: Sequence[float]) -> int:
    """Position along a layer's first axis of the brain that the viewer shows.

    Parameters
    ----------
    layer
        A stack, or one section, which is brain 0.
    point
        The viewer's ``dims.point``.
    """
    if layer.ndim < 3:
        return 0
    position = layer.world_to_data(list(point)[-layer.ndim :])[0]
    return int(np.clip(round(float(position)), 0, layer.data.shape[0] - 1))


def show_index(viewer: ViewerModel, layer: Layer, index: int) -> None:
    """Move the viewer to a brain of a stack."""
    if layer.ndim >= 3:
        position = layer.data_to_world((index,) + (0,) * (layer.ndim - 1))[0]
        viewer.dims.set_point(viewer.dims.ndim - layer.ndim, position)


def section_geometry(layer: Layer, shape: tuple[int, int]) -> dict[str, Any]:
    """Place a section ``(H, W)`` exactly on ``layer``, even if the model cropped it."""
    last = slice(-2, None)
    full = np.asarray(layer.data.shape[last])
    offset = (full - np.asarray(shape)) // 2
    # Rotation and shear of the section's own axes come with the affine part of the transform.
    matrix = layer.affine.affine_matrix
    affine = np.eye(3)
    affine[:2, :2], affine[:2, 2] = matrix[-3:-1, -3:-1], matrix[-3:-1, -1]
    scale = np.asarray(layer.scale)[last]
    rotate = np.asarray(layer.rotate)[-2:, -2:]
    translate = np.asarray(layer.translate)[last] + rotate @ (offset * scale)
    return {
        "scale": scale,
        "translate": translate,
        "rotate": rotate,
        "shear": np.asarray(layer.shear)[-1:],
        "affine": affine,
        "units": layer.units[last],
        "axis_labels": layer.axis_labels[last],
    }


def add_quietly(viewer: Any, layer: Layer, position: int | None = None) -> None:
    """Add a layer, on top or where it is told, and leave the active layer active.

    ``viewer.add_image`` and its like give widgets a proxy, which is not the layer in the list.
    """
    active = viewer.layers.selection.active
    made_here.add(layer)
    viewer.layers.insert(len(viewer.layers) if position is None else position, layer)
    viewer.layers.selection.active = next((each for each in viewer.layers if each == active), layer)


def update_layer(layer: Layer, data: Any, name: str, geometry: dict[str, Any]) -> None:
    """Show other data in a layer; what is as before is not set again, which would cost time."""
    layer.data = data
    if layer.name != name:
        layer.name = name
    for key, value in geometry.items():
        now = layer.affine.affine_matrix if key == "affine" else getattr(layer, key)
        if not np.array_equal(now, value):
            setattr(layer, key, value)
