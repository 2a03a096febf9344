"""A factor's signed change over the sections, in every widget that shows one."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Layer
from napari.utils import Colormap

from napari_brainvae.arrays import Images
from napari_brainvae.factors.field_colours import change_limit, signed_overlay
from napari_brainvae.widgets.layers.atlas_layers import hide_colours
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers, below_line_drawings

SIGNED = Colormap(
    signed_overlay(np.linspace(-1, 1, 255)[None], 1)[0],
    name="signed change",  # short: napari's layer controls are as wide as the longest name
)
"""As on the cards: blue is darker, red brighter, and where nothing changes it is transparent."""


def show_change(
    made: PluginLayers, viewer: Any, change: Images, sections: Layer, name: str
) -> None:
    """Show a change ``(H, W)`` as the layer "change"; its contrast is the user's while its name is.

    The atlas's colours are hidden when the layer is made: they would mix with those of the change.
    """
    before = made.get("change")
    limit = change_limit(change)
    if before is None:
        hide_colours(viewer)
    elif before.name != name:
        before.contrast_limits_range = before.contrast_limits = (-limit, limit)
    made.show(
        "change",
        change,
        sections,
        name,
        below_line_drawings(viewer),
        colormap=SIGNED,
        contrast_limits=(-limit, limit),
        blending="translucent",
    )
