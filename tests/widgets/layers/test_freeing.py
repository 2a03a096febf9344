"""Layers are removed without harm to what is drawn after them, in a real window."""

from __future__ import annotations

import numpy as np
from qtpy.QtGui import QOpenGLContext

from napari_brainvae.widgets.workspace import workspace_of


def test_what_a_removed_layer_leaves_is_freed_where_it_was_drawn(make_napari_viewer, qtbot):
    """In the window's context it ended the process, where OpenGL is software, two frames later."""
    viewer = make_napari_viewer(show=True)
    workspace_of(viewer)
    picture = np.random.default_rng(0).random((64, 80), dtype=np.float32)
    canvas = viewer.window._qt_viewer.canvas.native
    viewer.add_image(picture, name="below")
    contexts = []
    viewer.layers.events.removed.connect(lambda _: contexts.append(QOpenGLContext.currentContext()))
    for name in ("one", "two"):
        viewer.add_image(picture, name=name, blending="translucent")
    qtbot.waitUntil(lambda: viewer.screenshot(flash=False).any())
    canvas.doneCurrent()
    with viewer.layers.batched_update():
        for name in ("one", "two"):
            viewer.layers.remove(name)
    assert contexts == [canvas.context()] * 2
    for _ in range(3):
        assert viewer.screenshot(flash=False).any()
