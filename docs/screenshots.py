"""Take the pictures of the README from real windows: ``make screenshots``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication

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


def demo_viewer() -> napari.Viewer:
    """Open the sample data in a window of 1400 x 850 px."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1400, 760)
    viewer.open_sample(PLUGIN, "demo_population")
    viewer.open_sample(PLUGIN, "demo_model")
    return viewer


def save(viewer: napari.Viewer, name: str) -> None:
    """Write the whole window."""
    viewer.reset_view()
    settle()
    IMAGES.mkdir(exist_ok=True)
    viewer.screenshot(IMAGES / f"{name}.png", canvas_only=False, flash=False)
    print(IMAGES / f"{name}.png")
    viewer.close()


def reconstruct() -> None:
    """A brain with leaking fluorescence, side by side with its reconstruction."""
    from napari_brainvae.phantom import DEMO, Phantom, draw_section

    phantom = Phantom(draw_section(DEMO.height, DEMO.width), DEMO)
    leaking = next(i for i in range(len(phantom)) if phantom.brain(i).artifact == "leakage")
    viewer = demo_viewer()
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Reconstruct and denoise")
    wait(lambda: widget.source.ready)
    viewer.dims.set_point(0, leaking)
    wait(lambda: widget.latest.idle)
    widget._side_by_side.setChecked(True)
    save(viewer, "reconstruct")


if __name__ == "__main__":
    reconstruct()
