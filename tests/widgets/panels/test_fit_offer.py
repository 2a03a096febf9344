"""The offer to make sections fit the model."""

from __future__ import annotations

import numpy as np

from napari_brainvae.data.population import Description, Population
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.windows import LONG, PLUGIN, RECONSTRUCT


def test_sections_of_another_size_are_made_to_fit(viewer, population, tmp_path, qtbot):
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, RECONSTRUCT)
    workspace, offer = workspace_of(viewer), widget.source.offer
    qtbot.waitUntil(lambda: workspace.model is not None, timeout=LONG)
    assert offer.isHidden()
    size = workspace.model.header.pixel_size_um
    finer = np.kron(population.sections([0, 1]), np.ones((1, 2, 2), np.float32)) - 0.01
    Population(finer, description=Description(pixel_size_um=size / 2)).save(tmp_path / "f.zarr")
    viewer.open(tmp_path / "f.zarr", plugin=PLUGIN)
    assert not offer.isHidden() and "negative values" in offer.why.text()
    offer.button.click()
    assert workspace.population.shape == workspace.model.shape
    assert workspace.population.sections().min() >= 0
    assert workspace.ready and offer.isHidden()
    assert "background subtracted" in workspace.said
    assert "made" in viewer.layers[workspace.sections.name].name
