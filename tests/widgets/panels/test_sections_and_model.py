"""The choice of sections and model."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.pca import PCA
from tests.widgets.windows import add_atlas, open_widget


def test_a_run_that_is_fitted_again_is_loaded_again(
    reconstruct, population, qtbot, run_folder, tmp_path
):
    _, widget = reconstruct
    file = tmp_path / "model.safetensors"
    shutil.copy(run_folder / "model.safetensors", file)
    widget.source.checkpoint = file
    qtbot.waitUntil(lambda: widget.source.ready, timeout=20_000)
    assert "beta 3" in widget.source._about.text()
    assert "64 x 80 px" in widget.source._about.text()
    # The same file, written again, is chosen again.
    file.unlink()
    preprocessing = widget.source.model.header.preprocessing
    sections = population.prepared(preprocessing, range(6))
    save_checkpoint(PCA.fit(sections, 2, preprocessing=preprocessing), file)
    widget.source.checkpoint = file
    qtbot.waitUntil(lambda: "PCA, 2 factors" in widget.source._about.text(), timeout=20_000)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)


@pytest.mark.parametrize("name", ["Receptive field", "Factors", "Compare", "Projective field"])
def test_another_plane_of_the_atlas_is_said_in_every_panel(viewer, atlas, qtbot, name):
    widget = open_widget(viewer, qtbot, name)
    known = widget.workspace.population
    about = known.description.model_copy(update={"plane": 1})
    widget.workspace.give(replace(known, description=about))
    assert "plane 1, the atlas" not in widget.source._about.text()
    add_atlas(viewer, atlas)
    assert "of plane 1, the atlas shows 2." in widget.source._about.text()
