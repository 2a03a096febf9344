"""Between layers and populations: what a layer holds, and layers that lie exactly on another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer, Shapes

POPULATION = "brainvae_population"
CHECKPOINT = "brainvae_checkpoint"
ATLAS_FOLDER = "brainvae_atlas_folder"
MADE_HERE = "brainvae_made_here"
"""Metadata key of layers that the widgets make; they are not offered as sections."""
AXES = ("brain", "DV", "ML")
"""Axis names of a population: one brain after the other, dorsal to ventral, left to right."""


def population_layer(population: Population, name: str) -> tuple[Any, dict[str, Any], str]:
    """Layer data of a population: micrometres in the section; napari reads those it shows."""
    sample = population.sections(np.unique(np.linspace(0, len(population) - 1, 8).astype(int)))
    size = population.description.pixel_size_um
    return (
        population.images,
        {
            "name": name,
            "scale": (1, size or 1, size or 1),
            "units": ("pixel", *("um" if size else "pixel",) * 2),
            "axis_labels": AXES,
            "contrast_limits": (0, float(np.percentile(sample, 99.8))),
            "metadata": {POPULATION: population},
        },
        "image",
    )


def population_of(layer: Image) -> Population:
    """Population that an image layer shows.

    Raises
    ------
    ValueError
        If the layer is no stack of sections, nor one section.
    """
    if POPULATION in layer.metadata:
        population: Population = layer.metadata[POPULATION]
        return population
    if layer.rgb:
        raise InputError(f"layer '{layer.name}' is in colour: sections have one channel")
    if layer.multiscale:
        raise InputError(f"layer '{layer.name}' is multiscale: give the full resolution alone")
    data = layer.data if layer.ndim == 3 else layer.data[None] if layer.ndim == 2 else None
    if data is None:
        raise InputError(
            f"layer '{layer.name}' has {layer.ndim} axes: sections are (N, H, W) or (H, W)"
        )
    return Population(data)


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


def shapes_in_pixels(
    shapes: Shapes, sections: Layer, shape: tuple[int, int]
) -> list[npt.NDArray[np.float64]]:
    """Outlines of a Shapes layer's shapes, in pixels of the sections that they lie over.

    Scale, translation, rotation and affine transform of both layers are respected; all shapes
    count, on whichever brain they were drawn. A path is closed; a line has no inside.

    Parameters
    ----------
    shapes
        With two or more axes; the last two are those of the section.
    sections
        The image layer that the region is meant for.
    shape
        ``(H, W)`` of the model, which may have cropped the sections about their centre.

    Returns
    -------
    list of numpy.ndarray
        ``(n, 2)`` rows and columns; pixel centres are at whole numbers.
    """
    offset = (np.asarray(sections.data.shape[-2:]) - np.asarray(shape)) // 2
    to_world, from_world = _affine(shapes.data_to_world, shapes.ndim), _inverse(sections)
    outlines = []
    for kind, vertices in zip(shapes.shape_type, shapes.data, strict=True):
        corners = _apply(from_world, _apply(to_world, np.asarray(vertices))[:, -2:]) - offset
        if kind == "ellipse":
            corners = _ellipse(corners)
        if len(corners) > 2:
            outlines.append(corners)
    return outlines


def _ellipse(corners: npt.NDArray[np.float64], count: int = 96) -> npt.NDArray[np.float64]:
    """Outline of the ellipse that touches the sides of a parallelogram ``(4, 2)``."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, None]
    first, second = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    ellipse = corners.mean(axis=0) + np.cos(angle) * first + np.sin(angle) * second
    return np.asarray(ellipse)


def _affine(transform: Any, size: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Matrix and offset of an affine function of points, from what it does to the unit vectors."""
    offset = np.asarray(transform(np.zeros(size)))
    columns = [np.asarray(transform(unit)) - offset for unit in np.eye(size)]
    return np.stack(columns, axis=1), offset


def _inverse(layer: Layer) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """World to pixels, of a layer's last two axes."""
    matrix, offset = _affine(layer.data_to_world, layer.ndim)
    inverse = np.linalg.inv(matrix[-2:, -2:])
    return inverse, -inverse @ offset[-2:]


def _apply(
    affine: tuple[npt.NDArray[Any], npt.NDArray[Any]], points: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    matrix, offset = affine
    return np.asarray(points @ matrix.T + offset, dtype=np.float64)
