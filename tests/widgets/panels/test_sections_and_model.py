"""The choice of sections and model."""

from __future__ import annotations

import shutil


def test_a_run_that_is_fitted_again_is_loaded_again(reconstruct, qtbot, run_folder, tmp_path):
    _, widget = reconstruct
    file = tmp_path / "model.safetensors"
    shutil.copy(run_folder / "model.safetensors", file)
    widget.source.checkpoint = file
    qtbot.waitUntil(lambda: widget.source.ready, timeout=20_000)
    assert "beta 3" in widget.source._about.text()
    assert "64 x 80 px" in widget.source._about.text()
