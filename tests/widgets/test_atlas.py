"""The widget "Atlas": the layers of a plane, the tree, and structures that become regions."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_brainvae.atlas.atlas import Atlas, outlines
from napari_brainvae.atlas.ontology import Structure
from napari_brainvae.atlas.regions import polygons_to_mask
from napari_brainvae.phantom.phantom import draw_section, write_phantom_atlas
from napari_brainvae.widgets.layers.atlas_layers import (
    ATLAS,
    AtlasPlane,
    AtlasRegion,
    add_plane,
    draw_plane,
    structure_mask,
    update_plane,
)
from napari_brainvae.widgets.layers.section_layers import section_geometry, shapes_in_pixels
from tests.listeners import callbacks

PLUGIN = "napari-brainvae"
FAR = 614_454_277  # the greatest id of the real ontology


@pytest.fixture
def lopsided(tmp_path) -> Atlas:
    """Three planes of 12 x 16 voxels: dorsal left, dorsal right and ventral differ."""
    volume = np.zeros((3, 12, 16), np.uint32)
    volume[1, 1:6, 1:8], volume[1, 1:6, 8:15], volume[1, 6:11, 1:15] = 10, FAR, 30
    volume[2, 4:8, 4:12] = 999  # not in the ontology
    structures = [
        Structure(1, "root", "whole brain", (1,), (255, 255, 255), 0),
        Structure(2, "TOP", "upper half", (1, 2), (200, 0, 0), 1),
        Structure(10, "LEFT", "upper left", (1, 2, 10), (0, 200, 0), 2),
        Structure(FAR, "RIGHT", "upper right", (1, 2, FAR), (0, 0, 200), 3),
        Structure(30, "LOW", "lower half", (1, 30), (9, 8, 7), 4),
        Structure(40, "ELSE", "elsewhere", (1, 40), (1, 1, 1), 5),
    ]
    Atlas.write(tmp_path / "lopsided", volume, structures, 25.0)
    return Atlas.open(tmp_path / "lopsided")


@pytest.mark.parametrize("first", ["sample", "widget"])
def test_the_demo_atlas_is_opened_by_the_widget_and_fits_the_demo_brains(
    make_napari_viewer, qtbot, tmp_path, first
):
    viewer = make_napari_viewer()
    viewer.open_sample(PLUGIN, "demo_population")
    if first == "sample":
        viewer.open_sample(PLUGIN, "demo_atlas")
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Atlas")
    if first == "widget":
        viewer.open_sample(PLUGIN, "demo_atlas")
    qtbot.waitUntil(lambda: "atlas: Demo atlas, plane 2" in viewer.layers, timeout=20_000)
    population, atlas = viewer.layers["Demo population"], widget._drawn.atlas
    assert widget.sections.layer is population, "the template is no population"
    template = viewer.layers["Demo: template of the atlas"]
    assert np.array_equal(template.scale, population.scale[1:])
    assert template.units == population.units[1:]
    tissue = atlas.mask("root", widget.plane)
    assert tissue.shape == population.data.shape[1:]
    mean = population.data.mean(axis=0)
    assert mean[tissue].mean() > 5 * mean[~tissue].mean(), "one anatomy"
    write_phantom_atlas(draw_section(64, 80), tmp_path / "other")
    widget.open_atlas(tmp_path / "other")
    qtbot.waitUntil(lambda: widget._drawn.atlas.directory.name == "other", timeout=20_000)
    viewer.open_sample(PLUGIN, "demo_atlas")
    assert widget._opened.name == "other", "what the user chose stays"


@pytest.fixture
def sections():
    """A viewer with sections of 10 x 16 px, 25 um, somewhere else than at the origin."""
    viewer = ViewerModel()
    viewer.add_image(
        np.zeros((4, 10, 16)),
        scale=(1, 25, 25),
        translate=(0, 500, -300),
        units=("pixel", "um", "um"),
        axis_labels=("brain", "DV", "ML"),
        name="mice",
    )
    return viewer


def test_left_is_left_and_up_is_up_in_the_viewer(lopsided, sections):
    image = sections.layers["mice"]
    drawn = draw_plane(lopsided, 1, (10, 16), 25.0)
    made = add_plane(sections, drawn, section_geometry(image, (10, 16)), "lopsided")
    labels = made["atlas"]
    for (row, column), name in {
        (1, 2): "LEFT: upper left",
        (1, 13): "RIGHT: upper right",
        (8, 2): "LOW: lower half",
    }.items():
        world = image.data_to_world((2, row, column))
        value = labels.get_value(world, world=True)
        assert drawn.name(drawn.ids[value - 1]) == name
        # What napari shows in its status bar and tool tip.
        assert name in labels.get_status(world, world=True)["value"]
        official = lopsided.colors[int(drawn.ids[value - 1])]
        assert np.allclose(labels.get_color(value), official, atol=1 / 255)
    assert labels.units == image.units[1:]
    assert labels.axis_labels == ("DV", "ML")
    assert np.array_equal(made["outlines"].data > 0, outlines(lopsided.section(1, (10, 16), 25)))


def test_another_plane_replaces_the_first(lopsided, sections):
    geometry = section_geometry(sections.layers["mice"], (10, 16))
    made = add_plane(sections, draw_plane(lopsided, 1, (10, 16), 25.0), geometry, "x")
    plane = made["atlas"].metadata[ATLAS]
    told = []
    plane.changed.connect(lambda: told.append(plane.plane))
    update_plane(made, draw_plane(lopsided, 2, (10, 16), 25.0), geometry, "y")
    assert told == [2]
    [value] = np.unique(made["atlas"].data[made["atlas"].data > 0])
    assert "999" in made["atlas"].features["structure"][value - 1]
    assert made["atlas"].get_color(value)[3] > 0, "unknown structures are not hidden"


def test_without_sections_the_whole_plane_is_drawn(lopsided):
    drawn = draw_plane(lopsided, 1, None, 25.0)
    assert drawn.labels.shape == (12, 16)
    assert drawn.present() == {1, 2, 10, FAR, 30}


def test_regions_are_chosen_once_and_forgotten_with_their_atlas(lopsided, tmp_path):
    plane = AtlasPlane(lopsided, 1, 25.0)
    assert plane.regions == [], "none of the paper's six is in this atlas"
    plane.add(AtlasRegion("TOP", "left"))
    plane.add(AtlasRegion("TOP", "left"))
    assert [region.name for region in plane.regions] == ["TOP (left)"]
    mask = plane.mask(plane.regions[0], (10, 16))
    plane.show(lopsided, 2, 25.0)
    assert mask().sum() == 5 * 7, "the plane of then, not of now"
    write_phantom_atlas(draw_section(64, 80), tmp_path / "other")
    plane.show(Atlas.open(tmp_path / "other"), 2, 200.0)
    assert plane.regions == []


def test_a_structure_outside_the_plane_is_said_so(lopsided):
    with pytest.raises(ValueError, match="ELSE is not in this section: plane 1"):
        structure_mask(lopsided, 1, 25.0, AtlasRegion("ELSE"), (10, 16))


def test_the_paper_s_plane_of_the_real_annotation(shared_data):
    atlas = Atlas.open(shared_data / "ccf")
    drawn = draw_plane(atlas, 286, (320, 448), 25.0)
    cut = atlas.plane(286)[:, 4:452]
    assert np.array_equal(np.r_[np.uint32(0), drawn.ids][drawn.labels], cut)
    viewer = ViewerModel()
    labels = add_plane(viewer, drawn, {"scale": (25, 25)}, "ccf")["atlas"]
    row, column = np.argwhere(atlas.within(cut, "SSp-bfd") & (np.arange(448) < 224))[0]
    status = labels.get_status((25 * row, 25 * column), world=True)
    assert "Primary somatosensory area, barrel field" in status["value"]


# In a real napari


@pytest.fixture
def opened(make_napari_viewer, phantom_file, atlas_folder, qtbot):
    viewer = make_napari_viewer()
    viewer.open(phantom_file, plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Atlas")
    widget.open_atlas(atlas_folder)
    qtbot.waitUntil(lambda: "atlas" in widget._made, timeout=20_000)
    return viewer, widget


def choose(widget, acronym):
    widget.tree.choose(widget._drawn.atlas.structure(acronym).id)


def test_the_population_s_plane_is_opened(opened, atlas_folder):
    viewer, widget = opened
    atlas = Atlas.open(atlas_folder)
    assert widget.plane == 2, "the population says it"
    labels, sections = viewer.layers["atlas: p.atlas, plane 2"], viewer.layers["phantom"]
    assert np.array_equal(labels.data > 0, atlas.plane(2) > 0)
    assert np.array_equal(labels.scale, sections.scale[1:])
    assert viewer.layers.selection.active is sections

    # The name under the cursor, whichever layer is active.
    row, column = np.argwhere(atlas.mask("RSP", 2, "left"))[0]
    viewer.cursor.position = sections.data_to_world((0, row, column))
    assert "RSP: Retrosplenial area" in widget._cursor.text()
    viewer.cursor.position = sections.data_to_world((0, 0, 0))
    assert widget._cursor.text() == ""

    # Search shows what matches and what it is part of.
    widget.tree.search("barrel")
    names = [atlas.structure(key).acronym for key in widget.tree.visible()]
    assert {"SSp", "SSp-bfd"} <= set(names)
    assert "HPF" not in names
    widget.tree.search("")
    assert set(map(int, widget._drawn.ids)) <= set(widget.tree.visible())


def test_a_structure_becomes_shapes_and_a_region(opened, qtbot):
    viewer, widget = opened
    choose(widget, "HPF")
    for side in ("left", "right", "both"):
        widget.side = side
        shapes = widget.edit_as_shapes()
        assert shapes.mode == "direct"
        outlines = shapes_in_pixels(shapes, viewer.layers["phantom"], (64, 80))
        drawn = polygons_to_mask(outlines, (64, 80))
        mask = widget._drawn.atlas.mask("HPF", 2, side)
        # The outline is simplified, by less than a pixel at the border.
        assert (drawn & mask).sum() / (drawn | mask).sum() > 0.85
        assert drawn[:, :40].any() == (side != "right")
        assert drawn[:, 40:].any() == (side != "left")

    choose(widget, "CA1")
    widget.side = "left"
    plane = viewer.layers["atlas: p.atlas, plane 2"].metadata[ATLAS]
    before = [region.name for region in plane.regions]
    assert before == ["SSp", "RSP", "HPF", "STR", "TH", "HY"], "the paper's six"
    widget.add_region()
    assert plane.regions[-1] == ("CA1", "left")
    assert "structure: CA1" in viewer.layers

    # A plane without structures offers nothing.
    widget.plane = 0
    qtbot.waitUntil(lambda: "atlas: p.atlas, plane 0" in viewer.layers, timeout=20_000)
    assert not widget._edit.isEnabled()
    assert not viewer.layers["atlas: p.atlas, plane 0"].data.any()


def test_layers_come_and_go_and_what_is_no_atlas_leaves_nothing_stale(opened, qtbot, tmp_path):
    viewer, widget = opened
    viewer.layers.remove("outlines: p.atlas, plane 2")
    viewer.layers.remove("atlas: p.atlas, plane 2")
    widget.refresh()
    qtbot.waitUntil(lambda: "atlas: p.atlas, plane 2" in viewer.layers, timeout=20_000)
    viewer.layers.remove("phantom")
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)
    labels = viewer.layers["atlas: p.atlas, plane 2"]
    assert np.array_equal(labels.scale, [widget._drawn.atlas.resolution_um] * 2)
    del labels
    with qtbot.captureExceptions() as exceptions:
        widget.open_atlas(tmp_path)
        qtbot.waitUntil(lambda: len(viewer.layers) == 0, timeout=20_000)
    assert "structures.json" in str(exceptions[0][1])
    assert "cannot be shown" in widget._about.text()


def test_closing_leaves_no_callback(make_napari_viewer, phantom_file, atlas_folder, qtbot):
    viewer = make_napari_viewer()
    viewer.open(phantom_file, plugin=PLUGIN)
    before = callbacks(viewer)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Atlas")
    widget.open_atlas(atlas_folder)  # and closed while it is being opened
    assert callbacks(viewer) != before
    viewer.window.remove_dock_widget(widget)
    assert callbacks(viewer) == before
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)
    assert len(viewer.layers) == 1
