"""The sample data that the manifest offers: brains, model and atlas of the demo."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from napari_brainvae.models.checkpoint import DEMO_MODEL, load_checkpoint
from napari_brainvae.widgets.readers import (
    LayerData,
    atlas_layer,
    model_layer,
    population_data,
)


def demo_population() -> list[LayerData]:
    """Draw 48 phantom brains like those that the demo model was fitted on, but none of them."""
    from napari_brainvae.phantom.demo import demo_population

    return [population_data(demo_population(), "Demo population")]


def demo_model() -> list[LayerData]:
    """Open the small model that ships with the plugin."""
    return [model_layer(load_checkpoint(DEMO_MODEL), DEMO_MODEL, "Demo")]


def demo_atlas() -> list[LayerData]:
    """Show the atlas of the demo brains by its template; the layer carries the folder.

    The widget "Atlas", open or to be opened, takes it from there.
    """
    from napari_brainvae.atlas.atlas import Atlas
    from napari_brainvae.phantom.phantom import DRAWN_PLANE

    return [atlas_layer(Atlas.open(_demo_atlas_folder()), "Demo", DRAWN_PLANE)]


@cache
def _demo_atlas_folder() -> Path:
    """Write the atlas that the demo brains were drawn from, for as long as napari runs."""
    from napari_brainvae.phantom.demo import DEMO
    from napari_brainvae.phantom.phantom import draw_section, write_phantom_atlas

    parent = Path(tempfile.mkdtemp(prefix="napari-brainvae-"))
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    folder = parent / "Demo atlas"
    write_phantom_atlas(draw_section(DEMO.height, DEMO.width), folder)
    return folder
