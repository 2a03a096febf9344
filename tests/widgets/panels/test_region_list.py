"""The list of regions follows its layers, and keeps regions in files."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_brainvae.atlas.regions import Region
from napari_brainvae.widgets.layers.atlas_layers import ATLAS, AtlasRegion
from napari_brainvae.widgets.layers.region_layers import shapes_in_pixels
from napari_brainvae.widgets.panels.region_list import RegionList
from tests.widgets.windows import LONG, RECTANGLE


def test_drawn_regions_follow_their_layer_and_are_kept_in_files(viewer, receptive, qtbot, tmp_path):
    widget = receptive
    widget.weight.setValue(-1)
    layer = widget.regions.new()
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert "'region' is empty: draw a polygon" in widget._message.text()
    perturbed = viewer.layers["perturbed: phantom"]
    assert not perturbed.visible, "nothing stale is seen"
    layer.add_rectangles(RECTANGLE)
    qtbot.waitUntil(lambda: perturbed.visible, timeout=LONG)
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


# On a bare viewer


@pytest.fixture
def listed(qtbot):
    """A list of one drawn region, over sections of 64 x 80 px."""
    viewer = ViewerModel()
    sections = viewer.add_image(np.zeros((3, 64, 80)), scale=(1, 25, 25), name="mice")
    regions = RegionList(viewer)
    qtbot.addWidget(regions)
    regions.lie_on(sections, (64, 80))
    regions.new().add_rectangles(RECTANGLE)
    yield viewer, regions
    regions.release()


MOVES = {
    "data": [RECTANGLE + 5],
    "scale": (30, 20),
    "translate": (200, -100),
    "rotate": 10,
    "shear": [0.3],
    "affine": [[1, 0, 90], [0, 1, 0], [0, 0, 1]],
}


@pytest.mark.parametrize("how", MOVES)
def test_a_region_that_was_moved_is_noticed(listed, how):
    viewer, regions = listed
    before, told = regions.current(), []
    regions.changed.connect(lambda: told.append(how))
    setattr(viewer.layers["region"], how, MOVES[how])
    assert told
    after = regions.current()
    assert after is not before
    assert not np.array_equal(after.mask, before.mask)


def test_a_mask_is_made_once_for_all_that_is_computed_with_it(listed, monkeypatch):
    viewer, regions = listed
    made, to_mask = [], Region.to_mask
    monkeypatch.setattr(Region, "to_mask", lambda self: made.append(self) or to_mask(self))
    first = regions.current()
    for step in range(10):
        viewer.dims.set_point(0, step % 3)
        assert regions.current() is first
        assert regions.current().mask is first.mask
    viewer.add_image(np.zeros((64, 80)), name="another layer")
    assert regions.current() is first
    assert regions.checked() == [first]
    assert len(made) == 1
    regions.new()
    regions.select("region")
    assert regions.current() is first, "as before, though another was added"
    viewer.layers["mice"].translate = (0, 100, 0)
    assert regions.current() is not first, "the sections lie elsewhere"
    assert np.array_equal(regions.current().mask[6:30], first.mask[10:34])
