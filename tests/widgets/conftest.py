"""What the tests of several widgets open."""

from __future__ import annotations

import gc

import pytest

from napari_brainvae.atlas.atlas import Atlas
from tests.widgets.windows import (
    LONG,
    PLUGIN,
    RECONSTRUCT,
    add_atlas,
    finish,
    open_widget,
    reconstruction_of,
)


@pytest.fixture(scope="module", autouse=True)
def frozen():
    """Keep what is imported from being looked through whenever a window or a layer goes.

    napari collects garbage then, each time among all objects there are: a third of all the time.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def atlas(atlas_folder):
    return Atlas.open(atlas_folder)


@pytest.fixture
def viewer(make_napari_viewer, phantom_file, run_folder):
    viewer = make_napari_viewer(show=True)  # figures are drawn where they can be seen
    viewer.open(phantom_file, plugin=PLUGIN)
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    return viewer


@pytest.fixture
def receptive(viewer, atlas, qtbot):
    add_atlas(viewer, atlas)
    widget = open_widget(viewer, qtbot, "Receptive field")
    widget.population.controls.widgets["resamples"].value = 20
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    return widget


@pytest.fixture
def projective(viewer, atlas, qtbot):
    add_atlas(viewer, atlas)
    widget = open_widget(viewer, qtbot, "Projective field")
    finish(widget, qtbot)
    return widget


@pytest.fixture
def reconstruct(make_napari_viewer, phantom_file, run_folder, qtbot):
    """Open population, checkpoint and widget, as drag and drop and the menu do."""
    viewer = make_napari_viewer()
    viewer.open(phantom_file, plugin=PLUGIN)
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, RECONSTRUCT)
    qtbot.waitUntil(lambda: reconstruction_of(viewer) is not None, timeout=20_000)
    qtbot.waitUntil(lambda: widget.latest.idle)
    return viewer, widget
