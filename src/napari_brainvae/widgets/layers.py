"""Between layers and populations: what a layer holds, and layers that lie exactly on another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_brainvae.population import Population

if TYPE_CHECKING:
    from napari.layers import Image, Layer

POPULATION = "brainvae_population"
CHECKPOINT = "brainvae_checkpoint"
AXES = ("brain", "DV", "ML")
"""Axis names of a population: one brain after the other, dorsal to ventral, left to right."""


def population_layer(population: Population, name: str) -> tuple[Any, dict[str, Any], str]:
    """Layer data of a population: micrometres in the section, lazily read if it lies in Zarr."""
    images = population.images
    if isinstance(images, zarr.Array):
        import dask.array

        images = dask.array.from_zarr(images)
    sample = population.sections(np.unique(np.linspace(0, len(population) - 1, 8).astype(int)))
    size = population.description.pixel_size_um
    return (
        images,
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
        raise ValueError(f"layer '{layer.name}' is in colour: sections have one channel")
    if layer.multiscale:
        raise ValueError(f"layer '{layer.name}' is multiscale: give the full resolution alone")
    data = layer.data if layer.ndim == 3 else layer.data[None] if layer.ndim == 2 else None
    if data is None:
        raise ValueError(
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
