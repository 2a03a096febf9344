"""What the manifest offers besides widgets: readers and sample data."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from napari_brainvae.checkpoint import DEMO_MODEL, load_checkpoint
from napari_brainvae.model import Model
from napari_brainvae.population import Population
from napari_brainvae.widgets.layers import ATLAS_FOLDER, AXES, CHECKPOINT, population_layer

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
    return [model_layer(load_checkpoint(file), file, name)]


def model_layer(model: Model, file: Path, name: str) -> LayerData:
    """Show a model by the section that it draws at the population's mean; it carries the path."""
    reference = model.header.reference
    centre = reference.code_mean if reference else np.zeros(model.latent_dim)
    section = model.decode(np.asarray(centre, dtype=np.float32)[None])[0]
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


def demo_population() -> list[LayerData]:
    """Draw 48 phantom brains like those that the demo model was fitted on, but none of them."""
    from napari_brainvae.phantom import demo_population

    return [population_layer(demo_population(), "Demo population")]


def demo_model() -> list[LayerData]:
    """Open the small model that ships with the plugin."""
    return [model_layer(load_checkpoint(DEMO_MODEL), DEMO_MODEL, "Demo")]


def demo_atlas() -> list[LayerData]:
    """Show the atlas of the demo brains by its template; the layer carries the folder.

    The widget "Atlas", open or to be opened, takes it from there.
    """
    from napari_brainvae.atlas import Atlas
    from napari_brainvae.phantom import DRAWN_PLANE

    atlas = Atlas.open(_demo_atlas_folder())
    size = atlas.resolution_um
    options = {
        "name": "Demo: template of the atlas",
        "scale": (size, size),
        "units": ("um", "um"),
        "axis_labels": AXES[1:],
        "metadata": {ATLAS_FOLDER: str(atlas.directory)},
        "visible": False,
    }
    return [(atlas.template(DRAWN_PLANE)[0], options, "image")]


@cache
def _demo_atlas_folder() -> Path:
    """Write the atlas that the demo brains were drawn from, for as long as napari runs."""
    from napari_brainvae.phantom import DEMO, draw_section, write_phantom_atlas

    parent = Path(tempfile.mkdtemp(prefix="napari-brainvae-"))
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    folder = parent / "Demo atlas"
    write_phantom_atlas(draw_section(DEMO.height, DEMO.width), folder)
    return folder
