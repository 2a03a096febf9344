"""What the tests of several widgets do in a real window."""

from __future__ import annotations

from itertools import count

import numpy as np
from napari.layers import Image

from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.io.progress import report
from napari_brainvae.widgets.layers.atlas_layers import add_plane
from napari_brainvae.widgets.layers.section_layers import section_geometry

PLUGIN, RECONSTRUCT = "napari-brainvae", "Reconstruct and denoise"
LONG = 30_000
RECTANGLE = np.array([[9.6, 19.6], [9.6, 40.4], [30.4, 40.4], [30.4, 19.6]])


def add_atlas(viewer, atlas):
    """Add the atlas's layers as its widget does."""
    sections = viewer.layers["phantom"]
    section = AtlasSection.lay(atlas, 2, (64, 80))
    return add_plane(viewer, section, section_geometry(sections, (64, 80)), "p")["atlas"]


def open_widget(viewer, qtbot, name):
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    qtbot.waitUntil(lambda: widget.source.ready, timeout=LONG)
    return widget


def finish(widget, qtbot):
    qtbot.waitUntil(lambda: widget.latest.idle and widget._shown is not None, timeout=LONG)
    qtbot.waitUntil(lambda: widget._shown.done and widget.latest.idle, timeout=LONG)


def done(widget, qtbot):
    bar = getattr(widget, "job", None) or widget.population.job
    qtbot.waitUntil(lambda: not bar.running, timeout=LONG)


def reconstruction_of(viewer) -> Image | None:
    """Give the reconstruction that is to be seen."""
    named = [layer for layer in viewer.layers if layer.name.startswith("reconstruction: ")]
    return named[0] if named and named[0].visible else None


def show(viewer, widget, qtbot, brain):
    viewer.dims.set_point(0, brain)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)


def endless(progress):
    """A job that only ends when it is cancelled."""
    for i in count():
        report(progress, i, 1_000_000)
