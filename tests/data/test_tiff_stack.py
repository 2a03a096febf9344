"""TIFFs as microscopes and their programs compress them."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_brainvae.data.population import Population

ROWS, COLUMNS = np.mgrid[:64, :80]
SECTIONS = np.stack([40 + step + ROWS + COLUMNS for step in (0, 20, 40)])
"""(3, 64, 80) smooth sections, of which JPEG loses little; 40 to 222."""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("tile", [None, (32, 48)])
@pytest.mark.parametrize("compression", ["lzw", "deflate", "adobe_deflate", "zstd", "packbits"])
def test_what_is_packed_without_loss_comes_out_as_it_was(tmp_path, compression, tile, dtype):
    images = SECTIONS.astype(dtype)
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, images, compression=compression, tile=tile, photometric="minisblack")
    opened = Population.open(file)
    assert opened.images.dtype == dtype
    np.testing.assert_array_equal(opened.sections(), images)


@pytest.mark.parametrize("predictor", [True, "floatingpoint"])
def test_predictors_are_undone(tmp_path, predictor):
    images = SECTIONS.astype(np.float32 if predictor is not True else np.uint16)
    options = {"compression": "lzw", "predictor": predictor, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", images, **options)
    np.testing.assert_array_equal(Population.open(tmp_path / "a.tif").sections(), images)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "jpegxl"])
def test_what_is_packed_with_loss_comes_out_nearly_so(tmp_path, compression):
    images = SECTIONS.astype(np.uint8)
    level = {"jpeg": 95, "jpeg2000": 60, "jpegxl": 90}[compression]  # per cent, dB, per cent
    options = {"compression": compression, "compressionargs": {"level": level}}
    tifffile.imwrite(tmp_path / "a.tif", images, photometric="minisblack", **options)
    difference = np.abs(Population.open(tmp_path / "a.tif").sections() - images)
    assert difference.max() <= 4, "grey levels of 256"
