"""Bad input and what Python calls it: a notebook may catch either."""

from __future__ import annotations

import pytest

from napari_brainvae import Atlas, InputError, Population, load_checkpoint


@pytest.mark.parametrize("error", [InputError, FileNotFoundError])
@pytest.mark.parametrize("open_it", [Population.open, load_checkpoint, Atlas.open])
def test_a_file_that_is_not_there_is_bad_input_and_not_found(tmp_path, open_it, error):
    with pytest.raises(error, match="nowhere"):
        open_it(tmp_path / "nowhere.zarr")
