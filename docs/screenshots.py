"""Take the pictures of the README from real windows: ``make screenshots``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
from qtpy.QtWidgets import QApplication

from napari_brainvae.phantom.demo import DEMO
from napari_brainvae.phantom.phantom import Phantom, draw_section

IMAGES = Path(__file__).parent / "images"
PLUGIN = "napari-brainvae"


def wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Let the window work until something has happened."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the window did not get there")
        settle(0.02)


def settle(seconds: float = 1.0) -> None:
    """Let the window draw."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def opened(name: str, *, atlas: bool = True) -> tuple[napari.Viewer, Any]:
    """Open the sample data and a widget in a window of 1400 x 760 px."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1400, 760)
    viewer.open_sample(PLUGIN, "demo_population")
    viewer.open_sample(PLUGIN, "demo_model")
    if atlas:
        viewer.open_sample(PLUGIN, "demo_atlas")
        _, planes = viewer.window.add_plugin_dock_widget(PLUGIN, "Atlas")
        wait(lambda: any(layer.name.startswith("outlines") for layer in viewer.layers))
        wait(lambda: planes.latest.idle)
        if name == "Atlas":
            return viewer, planes
        viewer.window.remove_dock_widget(planes)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    wait(lambda: widget.source.ready)
    wait(lambda: not hasattr(widget, "latest") or widget.latest.idle)
    return viewer, widget


def save(viewer: napari.Viewer, name: str, *, keep: bool = False) -> None:
    """Write the whole window, and close it unless it is to be kept."""
    viewer.reset_view()
    settle()
    IMAGES.mkdir(exist_ok=True)
    viewer.screenshot(IMAGES / f"{name}.png", canvas_only=False, flash=False)
    print(IMAGES / f"{name}.png")
    if not keep:
        viewer.close()


def reconstruct() -> None:
    """A brain with leaking fluorescence, side by side with its reconstruction; the outliers."""
    phantom = Phantom(draw_section(DEMO.height, DEMO.width), DEMO)
    leaking = next(i for i in range(len(phantom)) if phantom.brain(i).artifact == "leakage")
    viewer, widget = opened("Reconstruct and denoise", atlas=False)
    viewer.dims.set_point(0, leaking)
    wait(lambda: widget.latest.idle)
    widget._side_by_side.setChecked(True)
    widget.brains.measure()
    wait(lambda: not widget.job.running)
    save(viewer, "reconstruct")


def atlas() -> None:
    """The structure tree, and the hippocampal formation as shapes to edit."""
    viewer, widget = opened("Atlas")
    widget.tree.choose(widget.section.atlas.structure("HPF").id)
    widget.side = "left"
    widget.edit_as_shapes()
    save(viewer, "atlas")


def receptive_field() -> None:
    """The population measured: regions x factors."""
    viewer, widget = opened("Receptive field")
    widget.regions.select("HPF")
    widget.weight.setValue(-1)
    wait(lambda: widget.latest.idle)
    for layer in viewer.layers:
        layer.visible = layer.name.startswith(("perturbed", "outlines"))
    save(viewer, "receptive_field", keep=True)
    widget.tabs.setCurrentIndex(1)
    widget.population.measure()
    wait(lambda: not widget.population.job.running)
    settle(5)  # the figures are drawn in the background
    save(viewer, "impact")


def projective_field() -> None:
    """Where every factor acts, over the outlines of the atlas."""
    viewer, widget = opened("Projective field")
    widget.compute_all()
    wait(lambda: not widget.job.running)
    widget._grid.setChecked(True)
    save(viewer, "projective_field")


def factors() -> None:
    """A sentence for each factor, and what one of them does over a section."""
    viewer, widget = opened("Factors")
    widget.describe()
    wait(lambda: widget.described is not None)
    widget.factors.setCurrentRow(1)
    for layer in viewer.layers:
        if isinstance(layer, napari.layers.Labels):
            layer.visible = False
    save(viewer, "factors")


if __name__ == "__main__":
    for picture in (reconstruct, atlas, receptive_field, projective_field, factors):
        picture()
