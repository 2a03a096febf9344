"""What the manifest's readers take."""

from __future__ import annotations

from napari_brainvae.widgets import readers as contributions
from napari_brainvae.widgets.layers.section_layers import (
    CHECKPOINT,
)


def test_readers_know_their_files(phantom_file, run_folder, tmp_path):
    other = tmp_path / "other.zarr"
    other.mkdir()
    assert contributions.population_reader(str(other)) is None
    assert contributions.population_reader([str(phantom_file)]) is None
    [(data, options, kind)] = contributions.population_reader(str(phantom_file))(str(phantom_file))
    assert kind == "image"
    assert data.shape == (24, 64, 80)
    assert options["units"] == ("pixel", "um", "um")
    path = str(run_folder / "model.safetensors")
    [(data, options, _)] = contributions.checkpoint_reader(path)(path)
    assert data.shape == (64, 80)
    assert options["metadata"][CHECKPOINT] == path
    assert options["name"].startswith("small")
