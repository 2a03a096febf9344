"""What a layer leaves in OpenGL when it is removed."""

from __future__ import annotations

from typing import Any
from weakref import ref


def free_in_own_context(viewer: Any) -> None:
    """Free what removed layers leave in the OpenGL context that they were drawn in.

    napari frees their programs in whichever context is current, mostly that of the window. Mesa's
    software OpenGL then ends the process as soon as the canvas is drawn again: the program that was
    used last is gone, and the canvas's context does not know of it.
    """
    window = getattr(viewer, "window", None)
    if window is None:
        return
    known = ref(window._qt_window)

    def make_current(event: Any) -> None:
        if (open_window := known()) is not None:
            open_window._qt_viewer.canvas.native.makeCurrent()

    viewer.layers.events.removing.connect(make_current)
