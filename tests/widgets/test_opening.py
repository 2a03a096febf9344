"""Whatever of hers is opened or dropped, in any order, is seen, named and placed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.settings import get_settings
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_brainvae.atlas.regions import Region
from napari_brainvae.data.population import Population
from napari_brainvae.widgets.layers.region_layers import shapes_in_pixels
from napari_brainvae.widgets.layers.section_layers import ATLAS_FOLDER, population_of
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.windows import LONG, PLUGIN, RECTANGLE

GRAY = "minisblack"


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def tiff(population, tmp_path):
    """Her stack, with what its software says of the pixels and a table beside it."""
    file = tmp_path / "mine.tif"
    images = (255 * population.sections(range(6))).astype(np.uint8)
    size = {"PhysicalSizeX": 140.0, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(file, images, ome=True, photometric=GRAY, metadata={"axes": "ZYX", **size})
    table = pd.DataFrame({"id": [f"mouse {i}" for i in range(6)], "age": range(6)})
    table.to_csv(file.with_suffix(".csv"), index=False)
    return file


def drop(viewer, qtbot, *paths):
    """Drop files on the canvas, as a file manager does."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    none = Qt.KeyboardModifier.NoModifier
    event = QDropEvent(
        QPointF(50, 50), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, none
    )
    viewer.window._qt_viewer.dropEvent(event)


@pytest.fixture
def ours(monkeypatch):
    """As after "always open with Brain VAE" in napari's own question, which is asked no more."""

    def asked(paths, *given, **_):
        error = next((each for each in given if isinstance(each, Exception)), None)
        raise AssertionError(f"napari asks how to open {paths}") from error

    monkeypatch.setattr("napari._qt.qt_viewer.handle_gui_reading", asked)
    settings = get_settings().plugins
    before = settings.extension2reader
    names = ("*.tif", "*.json", "*.csv", "*/small/", "*/p.atlas/")
    settings.extension2reader = {**before, **dict.fromkeys(names, PLUGIN)}
    yield
    settings.extension2reader = before


def bright(viewer):
    """Share of the canvas that is not black."""
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3]
    return float((picture.max(axis=-1) > 25).mean())


def test_all_that_is_hers_can_be_dropped(
    viewer, ours, qtbot, tiff, run_folder, atlas_folder, tmp_path, population
):
    workspace = workspace_of(viewer)
    drop(viewer, qtbot, tiff)
    layer = viewer.layers["mine"]
    assert [str(unit) for unit in layer.units] == ["pixel", "micrometer", "micrometer"]
    assert np.allclose(layer.scale, (1, 140, 140))
    assert population_of(layer).ids[3] == "mouse 3"
    assert list(population_of(layer).covariates["age"]) == list(range(6))

    assert run_folder.name == "small"
    drop(viewer, qtbot, run_folder)
    assert workspace.checkpoint == run_folder / "model.safetensors"
    drop(viewer, qtbot, atlas_folder)
    assert workspace.atlas_folder == atlas_folder
    [template] = [each for each in viewer.layers if ATLAS_FOLDER in each.metadata]
    assert not template.visible

    Region.from_polygons("barrel", [RECTANGLE], (64, 80), 140).save(tmp_path / "barrel.json")
    drop(viewer, qtbot, tmp_path / "barrel.json")
    assert np.allclose(shapes_in_pixels(viewer.layers["barrel"], layer, (64, 80)), [RECTANGLE])

    table = pd.DataFrame({"id": ["mouse 0", "mouse 5"], "sex": ["f", "m"]})
    table.to_csv(tmp_path / "more.csv", index=False)
    before = workspace.population
    drop(viewer, qtbot, tmp_path / "more.csv")
    assert workspace.population is not before
    assert list(workspace.population.covariates["sex"].dropna()) == ["f", "m"]
    assert "age" in workspace.population.covariates
    assert "sex of 6 brains, from more.csv" in workspace.said
    qtbot.waitUntil(lambda: workspace.ready, timeout=LONG)


BAD = {
    "colour.tif": "one channel",
    "other.json": "is no region file",
    "other.csv": "names none of the brains",
    "folder": "is no run",
}


@pytest.mark.parametrize("name", BAD)
def test_why_something_cannot_be_opened_is_said_in_the_panels(viewer, tiff, tmp_path, name):
    viewer.open(tiff, plugin=PLUGIN)
    file = tmp_path / name
    if name.endswith("tif"):
        tifffile.imwrite(file, np.zeros((64, 80, 3), np.uint8), photometric="rgb")
    elif name == "folder":
        file.mkdir()
    else:
        file.write_text('{"a": 1}' if name.endswith("json") else "id,age\nunknown,3\n")
    with pytest.raises(Exception, match=BAD[name]):
        viewer.open(file, plugin=PLUGIN)
    said = workspace_of(viewer).said
    assert said.startswith(f"{name} was not opened: ") and BAD[name] in said


@pytest.mark.parametrize("first", ["model", "sections"])
@pytest.mark.parametrize("reader", [PLUGIN, "napari"])
def test_the_canvas_is_never_black_in_either_order(
    viewer, qtbot, tmp_path, population, run_folder, first, reader
):
    """Her stack says no pixel size; the model's mean section, in micrometres, is hidden."""
    file = tmp_path / "pixels.tif"
    tifffile.imwrite(file, (255 * population.sections(range(4))).astype(np.uint8), photometric=GRAY)
    notification_manager.records.clear()
    openings = {"model": (run_folder, PLUGIN), "sections": (file, reader)}
    for what in (first, *(openings.keys() - {first})):
        path, plugin = openings[what]
        viewer.open(path, plugin=plugin)
        qtbot.wait(50)
        assert bright(viewer) > 0.2, f"after {what}"
    assert workspace_of(viewer).sections.name == "pixels"
    viewer.reset_view()
    qtbot.wait(50)
    assert bright(viewer) > 0.2, "after Home"
    assert not [each for each in notification_manager.records if "units" in str(each)]


@pytest.mark.parametrize("reader", [PLUGIN, "napari"])
@pytest.mark.parametrize("first", ["pixels", "micrometres"])
def test_two_populations_are_drawn_in_the_same_units(
    viewer, qtbot, tmp_path, tiff, population, run_folder, first, reader
):
    """One whose file says the size of its pixels, and one of which nothing says it."""
    file = tmp_path / "pixels.tif"
    tifffile.imwrite(file, (255 * population.sections(range(4))).astype(np.uint8), photometric=GRAY)
    notification_manager.records.clear()
    openings = {"pixels": file, "micrometres": tiff}
    for path in (openings.pop(first), run_folder, *openings.values()):
        viewer.open(path, plugin=reader if path is file else PLUGIN)
        qtbot.wait(50)
        assert bright(viewer) > 0.2, f"after {path.name}"
    viewer.reset_view()
    qtbot.wait(50)
    assert bright(viewer) > 0.2, "after Home"
    if reader == PLUGIN:  # napari draws its own before anyone hears of them
        assert not [each for each in notification_manager.records if "units" in str(each)]
    assert viewer.layers.extent.units is not None
    said = workspace_of(viewer).said
    unit, size = {"pixels": ("pixel", 1), "micrometres": ("micrometer", 140)}[first]
    for name in ("pixels", "mine"):
        assert str(viewer.layers[name].units[-1]) == unit
        assert np.allclose(viewer.layers[name].scale[-2:], size)
    assert ("in pixels" in said) if first == "pixels" else ("as if they had 140 µm" in said)
    mine = population_of(viewer.layers["mine"]).description
    assert mine.pixel_size_um == 140, "whatever it is shown in"


def test_a_blank_section_keeps_nobody_from_opening_the_others(viewer, tmp_path, population):
    images = population.sections()
    images[0] = 0
    Population(images).save(tmp_path / "one blank.zarr")
    [layer] = viewer.open(tmp_path / "one blank.zarr", plugin=PLUGIN)
    assert layer.contrast_limits[1] > 0.1
