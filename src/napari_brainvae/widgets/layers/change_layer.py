"""A factor's signed change over the sections, in every widget that shows one."""

from __future__ import annotations

import numpy as np
from napari.layers import Layer
from napari.utils import Colormap

from napari_brainvae.arrays import Images
from napari_brainvae.factors.field_colours import change_limit, signed_overlay
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers

SIGNED = Colormap(
    signed_overlay(np.linspace(-1, 1, 255)[None], 1)[0],
    name="signed change",  # short: napari's layer controls are as wide as the longest name
)
"""As on the cards: blue is darker, red brighter, and where nothing changes it is transparent."""


def show_change(
    made: PluginLayers, change: Images, sections: Layer, name: str, limit: float | None = None
) -> None:
    """Show a change ``(H, W)`` as the layer "change"; under the same name its contrast stays.

    Parameters
    ----------
    limit
        Change from which on a colour is full; by default `change_limit`.
    """
    before = made.get("change")
    limit = change_limit(change) if limit is None else limit
    if before is not None and before.name != name:
        before.contrast_limits_range = before.contrast_limits = (-limit, limit)
    made.show(
        "change",
        change,
        sections,
        name,
        colormap=SIGNED,
        contrast_limits=(-limit, limit),
        blending="translucent",
    )
