"""The sample data of the plugin: a small phantom, drawn in memory."""

from __future__ import annotations

import numpy as np

from napari_brainvae.data.population import Population
from napari_brainvae.phantom.phantom import (
    DRAWN_PLANE,
    Phantom,
    PhantomOptions,
    covariates_of,
    draw_section,
)

DEMO = PhantomOptions(count=48, seed=2, height=160, width=224, plane=DRAWN_PLANE)
"""The sample data of the plugin; the demo model was fitted on other brains of the same kind."""


def demo_population() -> Population:
    """Draw the plugin's sample data in memory: 48 sections of 160 x 224 px."""
    phantom = Phantom(draw_section(DEMO.height, DEMO.width), DEMO)
    brains = [phantom.brain(i) for i in range(len(phantom))]
    images = np.stack([brain.image for brain in brains])
    return Population(images, phantom.ids, covariates_of(brains), phantom.description)
