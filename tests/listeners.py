"""Who listens to a viewer: a widget that is closed leaves nobody behind."""

from __future__ import annotations

from napari.layers import Image, Shapes

from napari_brainvae.widgets.layers.atlas_layers import ATLAS
from napari_brainvae.widgets.layers.section_layers import place_events
from napari_brainvae.widgets.workspace import workspace_of


def callbacks(viewer) -> list[int]:
    """How many callbacks every event has that the widgets listen to."""
    workspace_of(viewer)  # it stays as long as the viewer
    emitters = [
        viewer.cursor.events.position,
        viewer.dims.events.point,
        viewer.layers.events.inserted,
        viewer.layers.events.removed,
    ]
    for layer in viewer.layers:
        emitters.append(layer.events.name)
        if isinstance(layer, (Image, Shapes)):
            emitters += place_events(layer)
        if ATLAS in layer.metadata:
            emitters.append(layer.metadata[ATLAS].changed)
    return [len(getattr(emitter, "callbacks", emitter)) for emitter in emitters]
