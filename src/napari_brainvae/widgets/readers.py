"""What the manifest offers besides widgets: readers and sample data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_brainvae.data.population import Population
from napari_brainvae.factors.projective_field import population_mean
from napari_brainvae.io.file_stamp import file_stamp
from napari_brainvae.models.base import Model
from napari_brainvae.widgets.layers.section_layers import (
    AXES,
    CHECKPOINT,
    population_layer,
)
from napari_brainvae.widgets.workspace import load_once

LayerData = tuple[Any, dict[str, Any], str]


def population_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Give the reader of a population, or None for what cannot be one.

    A Zarr store that holds no array ``images`` is left to other readers.
    """
    if isinstance(path, list):
        return None
    if Path(path).suffix == ".zarr" and not (Path(path) / "images").is_dir():
        return None
    return _read_population


def _read_population(path: str) -> list[LayerData]:
    return [population_layer(Population.open(path), Path(path).stem)]


def checkpoint_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Give the reader of a checkpoint."""
    return None if isinstance(path, list) else _read_checkpoint


def _read_checkpoint(path: str) -> list[LayerData]:
    file = Path(path)
    # Runs call their file model.safetensors; their folder has the name that tells them apart.
    name = file.parent.name if file.stem == "model" else file.stem
    _, model = load_once(file, file_stamp([file]))
    return [model_layer(model, file, name)]


def model_layer(model: Model, file: Path, name: str) -> LayerData:
    """Show a model by the section that it draws at the population's mean; it carries the path."""
    section = model.decode(population_mean(model)[None])[0]
    size = model.header.pixel_size_um
    options = {
        "name": f"{name}: mean section of the model",
        "scale": (size or 1, size or 1),
        "units": ("um" if size else "pixel",) * 2,
        "axis_labels": AXES[1:],
        "metadata": {CHECKPOINT: str(file)},
        "visible": False,
    }
    return section, options, "image"
