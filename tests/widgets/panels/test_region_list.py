"""The list of regions follows its layers, and keeps regions in files."""

from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.atlas.regions import Region
from napari_brainvae.widgets.layers.atlas_layers import ATLAS, AtlasRegion
from napari_brainvae.widgets.layers.section_layers import (
    shapes_in_pixels,
)
from tests.widgets.windows import LONG, RECTANGLE


def test_drawn_regions_follow_their_layer_and_are_kept_in_files(viewer, receptive, qtbot, tmp_path):
    widget = receptive
    widget.weight.setValue(-1)
    layer = widget.regions.new()
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert "'region' is empty: draw a polygon" in widget._message.text()
    assert "perturbed: phantom" not in viewer.layers, "nothing stale stays"
    layer.add_rectangles(RECTANGLE)
    qtbot.waitUntil(lambda: "perturbed: phantom" in viewer.layers, timeout=LONG)
    before = viewer.layers["perturbed: phantom"].data
    layer.data = [RECTANGLE + 5]
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert not np.array_equal(viewer.layers["perturbed: phantom"].data, before)
    layer.name = "barrel"
    assert widget.regions.names[-1] == "barrel"

    file = tmp_path / "barrel.json"
    widget.regions.save(file)
    assert Region.load(file).pixel_size_um == pytest.approx(140)
    again = widget.regions.load(file)
    stack = viewer.layers["phantom"]
    assert np.allclose(shapes_in_pixels(again, stack, (64, 80)), [RECTANGLE + 5])
    assert again.name == "barrel [1]"
    viewer.layers.remove("barrel")
    assert widget.regions.names[-1] == "barrel [1]"

    widget.regions.select("TH")
    widget.regions.save(tmp_path / "th.json")
    inside = Region.load(tmp_path / "th.json").to_mask()
    assert inside.any()
    widget.regions.remove()
    assert "TH" not in widget.regions.names
    viewer.layers["atlas: p"].metadata[ATLAS].add(AtlasRegion("CA1", "left"))
    assert "CA1 (left)" in widget.regions.names
