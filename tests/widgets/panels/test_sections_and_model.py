"""The choice of sections and model."""

from __future__ import annotations

import shutil

from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.pca import PCA


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
