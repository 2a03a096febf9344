"""Sections that cannot be used, in a real window: that is said, and nothing crashes or sticks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import zarr
from napari.utils.notifications import notification_manager

from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.windows import PLUGIN, RECONSTRUCT, reconstruction_of

BAD = 5
LONG = 20_000


def chunk(path, brain):
    return path / "images" / "c" / str(brain) / "0" / "0"


def cut(file):
    file.write_bytes(file.read_bytes()[:20])


def loop(file):
    file.unlink()
    file.symlink_to(file)


DAMAGE = {
    "a damaged chunk": cut,
    "a missing chunk": lambda file: file.unlink(),
    "a pipe for a chunk": lambda file: (file.unlink(), os.mkfifo(file)),
    "a symlink loop": loop,
    "a folder for a chunk": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def path(phantom_file, tmp_path):
    return shutil.copytree(phantom_file, tmp_path / "mice.zarr")


@pytest.mark.parametrize("brain", [0, BAD], ids=["on show first", "reached later"])
@pytest.mark.parametrize("case", DAMAGE)
def test_a_section_that_cannot_be_read_leaves_a_layer_that_works(
    viewer, path, phantom_file, case, brain
):
    """It is black, and why is said once; the others are shown, and the layer can be removed."""
    DAMAGE[case](chunk(path, brain))
    notification_manager.records.clear()
    [layer] = viewer.open(path, plugin=PLUGIN)
    assert list(viewer.layers) == [layer]
    for shown in (brain, 7, brain):
        viewer.dims.set_point(0, shown)
        assert bool(np.asarray(layer._slice.image.raw).any()) == (shown != brain)
    [said] = notification_manager.records
    assert "mice.zarr" in said.message
    assert f"section {brain}" in said.message
    assert "\n" not in said.message
    layer.visible = False
    [other] = viewer.open(phantom_file, plugin=PLUGIN)
    layer.visible = True
    assert workspace_of(viewer).sections is other
    viewer.layers.remove(layer)
    assert list(viewer.layers) == [other]
    viewer.dims.set_point(0, brain)
    assert np.asarray(other._slice.image.raw).any()


def test_a_pixel_size_that_is_no_number_is_said_and_sticks_to_nothing(viewer, path, phantom_file):
    zarr.open_group(path).attrs["pixel_size_um"] = float("nan")
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, RECONSTRUCT)
    with pytest.raises(InputError, match=r"mice\.zarr.*pixel_size_um") as refused:
        viewer.open(path, plugin=PLUGIN)
    assert not viewer.layers
    assert str(refused.value) in workspace_of(viewer).said
    [layer] = viewer.open(phantom_file, plugin=PLUGIN)
    assert panel.workspace.sections is layer


def test_a_tiff_with_such_a_size_is_shown_in_pixels(viewer, phantom_file, tmp_path, caplog):
    sizes = {"PhysicalSizeX": float("nan"), "PhysicalSizeY": float("nan")}
    images = Population.open(phantom_file).sections()
    tifffile.imwrite(tmp_path / "mice.ome.tif", images, metadata={"axes": "ZYX", **sizes})
    [layer] = viewer.open(tmp_path / "mice.ome.tif", plugin=PLUGIN)
    assert "mice.ome.tif states a pixel size of nan um, which is ignored" in caplog.text
    assert {str(unit) for unit in layer.units} == {"pixel"}
    assert layer.scale.tolist() == [1, 1, 1]
    viewer.layers.remove(layer)
    [other] = viewer.open(phantom_file, plugin=PLUGIN)
    assert workspace_of(viewer).sections is other


def test_all_of_eight_that_give_the_contrast_may_be_bad_but_one(viewer, phantom_file, tmp_path):
    images = Population.open(phantom_file).sections()
    images[::2, 0, 0] = np.nan
    images[1] = images[1].mean()
    np.save(tmp_path / "mice.npy", images)
    [layer] = viewer.open(tmp_path / "mice.npy", plugin=PLUGIN)
    low, high = layer.contrast_limits
    assert low < high < 10 * np.nanmax(images)
    np.save(tmp_path / "none.npy", np.full_like(images, np.nan))
    [layer] = viewer.open(tmp_path / "none.npy", plugin=PLUGIN)
    viewer.layers.remove(layer)


@pytest.mark.parametrize("fate", ["vanishes", "changes"])
def test_a_file_that_vanishes_or_changes_while_it_is_on_show(viewer, phantom_file, tmp_path, fate):
    images = Population.open(phantom_file).sections()
    file = tmp_path / "mice.npy"
    np.save(file, images)
    [layer] = viewer.open(file, plugin=PLUGIN)
    file.unlink()
    if fate == "changes":
        np.save(file, images[:10, :, ::-1])
    viewer.dims.set_point(0, 20)
    assert not np.asarray(layer._slice.image.raw).any(), "nothing is shown for what is not there"
    viewer.layers.remove(layer)


def test_the_reconstruction_of_an_unusable_section_is_out_of_sight(
    viewer, phantom_file, run_folder, tmp_path, qtbot
):
    """And in sight again at the next one; what the user had hidden stays hidden."""
    images = Population.open(phantom_file).sections()
    images[BAD, 3, 3] = np.nan
    np.save(tmp_path / "mice.npy", images)
    viewer.open(tmp_path / "mice.npy", plugin=PLUGIN)
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, RECONSTRUCT)
    qtbot.waitUntil(lambda: reconstruction_of(viewer) is not None, timeout=LONG)
    made = [reconstruction_of(viewer), viewer.layers["residual: mice"]]
    made[1].visible = False
    for _ in range(2):
        with qtbot.captureExceptions():  # napari's notification
            viewer.dims.set_point(0, BAD)
            qtbot.waitUntil(lambda: not made[0].visible, timeout=LONG)
        assert "typical" not in widget._readout.text(), "nothing stale"
        qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
        viewer.dims.set_point(0, BAD + 1)
        qtbot.waitUntil(lambda: made[0].visible, timeout=LONG)
        assert not made[1].visible
    assert all(layer in viewer.layers for layer in made)


THERE_AND_BACK = """
import sys
import napari
import numpy as np
from qtpy.QtCore import QTimer

images = np.random.default_rng(0).random((8, 160, 224))
images[5, 0, 0] = np.nan
viewer = napari.Viewer()
viewer.open_sample("napari-brainvae", "demo_model")
viewer.add_image(images, name="mice", contrast_limits=(0, 1))
names = ("Reconstruct and denoise", "Receptive field")
widgets = [viewer.window.add_plugin_dock_widget("napari-brainvae", name)[1] for name in names]
steps = [0, 5, 6, 5, 7, 5, 4, 5, 3, 5]

def move():
    if not all(widget.source.ready and widget.latest.idle for widget in widgets):
        return QTimer.singleShot(20, move)
    if not steps:
        print("there and back")
        return viewer.close()
    viewer.dims.set_point(0, steps.pop())
    QTimer.singleShot(20, move)

QTimer.singleShot(300, move)
napari.run()
"""


def test_the_slider_passes_over_an_unusable_section_and_the_process_lives(tmp_path):
    """Where OpenGL is software, removing layers then ended it: drawn once more after that."""
    run = subprocess.run(
        [sys.executable, "-c", THERE_AND_BACK], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "there and back" in run.stdout
