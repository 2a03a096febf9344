"""The widget "Atlas": the layers of a plane, the tree, and structures that become regions."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.ontology import Structure
from napari_brainvae.atlas.regions import polygons_to_mask
from napari_brainvae.data.population import Population
from napari_brainvae.phantom.phantom import draw_section, write_phantom_atlas
from napari_brainvae.widgets.layers.atlas_layers import ATLAS
from napari_brainvae.widgets.layers.plugin_layers import camera
from napari_brainvae.widgets.layers.region_layers import shapes_in_pixels
from napari_brainvae.widgets.layers.section_layers import population_layer
from tests.listeners import callbacks

PLUGIN = "napari-brainvae"
FAR = 614_454_277  # the greatest id of the real ontology


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
    population, atlas = viewer.layers["Demo population"], widget.section.atlas
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
    qtbot.waitUntil(lambda: widget.section.atlas.directory.name == "other", timeout=20_000)
    viewer.open_sample(PLUGIN, "demo_atlas")
    assert widget._opened.name == "Demo atlas", "what was opened last"


@pytest.fixture
def opened(make_napari_viewer, phantom_file, atlas_folder, qtbot):
    viewer = make_napari_viewer()
    viewer.open(phantom_file, plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Atlas")
    widget.open_atlas(atlas_folder)
    qtbot.waitUntil(lambda: "atlas" in widget._made, timeout=20_000)
    return viewer, widget


def test_an_atlas_without_sections_looks_alike_on_any_canvas(
    make_napari_viewer, atlas_folder, phantom_file, qtbot
):
    """White outlines on pale colours were hardly to be seen on white."""
    viewer = make_napari_viewer(show=True)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Atlas")
    widget.open_atlas(atlas_folder)
    qtbot.waitUntil(lambda: "atlas" in widget._made, timeout=20_000)
    viewer.reset_view()
    pictures = []
    for theme in ("dark", "light"):
        viewer.theme = theme
        qtbot.wait(100)
        pictures.append(viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int))
    dark, light = pictures
    drawn = dark.max(axis=-1) > 40
    assert drawn.mean() > 0.1
    assert np.abs(dark - light)[drawn].max() < 10
    viewer.open(phantom_file, plugin=PLUGIN)
    qtbot.waitUntil(lambda: widget._made["atlas"].blending == "translucent", timeout=20_000)


def choose(widget, acronym):
    widget.tree.choose(widget.section.atlas.structure(acronym).id)


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
    assert set(map(int, widget.section.ids)) <= set(widget.tree.visible())


def test_a_structure_becomes_shapes_and_a_region(opened, qtbot):
    viewer, widget = opened
    choose(widget, "HPF")
    for side in ("left", "right", "both"):
        widget.side = side
        shapes = widget.edit_as_shapes()
        assert shapes.mode == "direct"
        outlines = shapes_in_pixels(shapes, viewer.layers["phantom"], (64, 80))
        drawn = polygons_to_mask(outlines, (64, 80))
        mask = widget.section.atlas.mask("HPF", 2, side)
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
    assert "structure: CA1 (left)" in viewer.layers

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
    assert np.array_equal(labels.scale, [widget.section.atlas.resolution_um] * 2)
    del labels
    widget.open_atlas(tmp_path)
    qtbot.waitUntil(lambda: len(viewer.layers) == 0, timeout=20_000)
    assert "structures.json" in widget._about.text()
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


def test_an_atlas_that_was_written_again_is_opened_again(opened, qtbot, atlas_folder, tmp_path):
    """And a structure that was selected is one of the new atlas's, or none."""
    viewer, widget = opened
    folder = tmp_path / "mine.atlas"
    shutil.copytree(atlas_folder, folder)
    widget.open_atlas(folder)
    qtbot.waitUntil(lambda: "atlas: mine.atlas, plane 2" in viewer.layers, timeout=20_000)
    before = widget.section
    choose(widget, "HPF")
    assert "structure: HPF" in viewer.layers
    shutil.rmtree(folder)
    one = [Structure(5, "ALL", "everything", (5,), (1, 2, 3), 0)]
    Atlas.write(folder, 5 * (before.atlas.annotation > 0), one, before.atlas.resolution_um)
    widget.open_atlas(folder)
    qtbot.waitUntil(lambda: widget.section is not before, timeout=20_000)
    assert np.array_equal(widget.section.ids, [5])
    assert widget.tree.visible() == [5]
    assert "structure: HPF" not in viewer.layers
    assert not widget._add.isEnabled()


def test_the_plane_follows_sections_that_are_moved(opened, qtbot):
    viewer, widget = opened
    sections = viewer.layers["phantom"]
    sections.scale = (1, 50, 50)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)
    assert np.array_equal(viewer.layers["atlas: p.atlas, plane 2"].scale, (50, 50))


def acronyms(widget, keys):
    return [widget.section.atlas.structure(key).acronym for key in keys]


def test_a_search_shows_what_is_found_with_its_parts_and_says_what_lies_elsewhere(opened, qtbot):
    viewer, widget = opened
    widget.tree.search("hippo")
    found = acronyms(widget, widget.tree.visible())
    assert {"HPF", "CA1", "CA3"} <= {*found}, "with the parts, which are called otherwise"
    assert "TH" not in found
    widget.plane = 0
    qtbot.waitUntil(lambda: "atlas: p.atlas, plane 0" in viewer.layers, timeout=20_000)
    assert not widget.section.present
    assert {"HPF", "CA1"} <= {*acronyms(widget, widget.tree.visible())}
    assert "Not in this plane; 1 elsewhere in the atlas" in widget.tree._found.text()
    item = widget.tree._by_id[widget.section.atlas.structure("HPF").id]
    assert item.font().italic()
    widget.tree.search("no such thing")
    assert widget.tree.visible() == [] and "no such thing" in widget.tree._found.text()
    widget.tree.search("")
    assert widget.tree.visible() == [] and "Nothing of this atlas" in widget.tree._found.text()
    widget.plane = 2
    qtbot.waitUntil(lambda: "atlas: p.atlas, plane 2" in viewer.layers, timeout=20_000)
    assert widget.tree._found.isHidden()


def test_another_plane_than_the_sections_say_is_warned_of(opened, qtbot):
    viewer, widget = opened
    assert "\u26a0" not in widget._about.text()
    widget.plane = 1
    qtbot.waitUntil(lambda: "atlas: p.atlas, plane 1" in viewer.layers, timeout=20_000)
    assert "The sections are of plane 2, this is plane 1." in widget._about.text()
    choose(widget, "root")
    assert "The sections are of plane 2, this is plane 1." in widget._about.text(), "still"
    widget.plane = 2
    qtbot.waitUntil(lambda: "atlas: p.atlas, plane 2" in viewer.layers, timeout=20_000)
    assert "\u26a0" not in widget._about.text()


@pytest.mark.parametrize(
    ("size_um", "said"),
    [(140, ""), (40, "of this plane's brain lie outside"), (1000, "this plane's brain fills")],
)
def test_an_atlas_of_another_size_than_the_sections_is_warned_of(
    opened, population, qtbot, size_um, said
):
    viewer, widget = opened
    description = population.description.model_copy(update={"pixel_size_um": size_um})
    other = Population(population.sections(range(3)), description=description)
    images, options, _ = population_layer(other, "other")
    viewer.add_image(images, **options)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=20_000)
    height, width = 64 * size_um / 1000, 80 * size_um / 1000
    assert (f"{height:.3g} x {width:.3g} mm, and" in widget._about.text()) == bool(said)
    assert said in widget._about.text()


@pytest.mark.parametrize("shared", [True, False], ids=["with its id", "without its id"])
def test_a_selected_structure_does_not_go_to_another_atlas(opened, qtbot, tmp_path, shared):
    viewer, widget = opened
    choose(widget, "HPF")
    key = widget.section.atlas.structure("HPF").id if shared else 5
    stranger = [Structure(key, "X", "something else", (key,), (1, 2, 3), 0)]
    before = widget.section.atlas
    other = key * (before.annotation > 0).astype(np.uint32)
    Atlas.write(tmp_path / "other.atlas", other, stranger, before.resolution_um)
    widget.open_atlas(tmp_path / "other.atlas")
    qtbot.waitUntil(lambda: "atlas: other.atlas, plane 2" in viewer.layers, timeout=20_000)
    assert not [layer for layer in viewer.layers if layer.name.startswith("structure")]
    assert widget.add_region() is None and widget.edit_as_shapes() is None
    assert not widget._add.isEnabled() and not widget._edit.isEnabled()
    assert "HPF" not in widget._about.text() and "Hippo" not in widget._about.text()
    choose(widget, "X")
    assert "structure: X" in viewer.layers


@pytest.fixture
def on_screen(make_napari_viewer, phantom_file, atlas_folder, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.open(phantom_file, plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Atlas")
    widget.open_atlas(atlas_folder)
    qtbot.waitUntil(lambda: "atlas" in widget._made, timeout=20_000)
    qtbot.waitExposed(viewer.window._qt_window)
    viewer.reset_view()
    return viewer, widget


def on_canvas(viewer, row, column):
    """Where a pixel of the sections is seen in the window."""
    native, view = viewer.window._qt_viewer.canvas.native, camera(viewer)
    world = np.array(viewer.layers["phantom"].data_to_world((0, row, column))[1:])
    offset = (world - view.center[-2:]) * view.zoom
    return native, QPoint(
        round(native.width() / 2 + offset[1]), round(native.height() / 2 + offset[0])
    )


def colourful(viewer):
    """How many pixels of the canvas are neither black nor gray nor white."""
    shown = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    return (np.ptp(shown, axis=-1) > 100).sum()


def test_a_structure_is_named_by_hovering_and_picked_by_a_click(on_screen, qtbot):
    viewer, widget = on_screen
    viewer.layers["atlas: p.atlas, plane 2"].visible = False
    row, column = np.argwhere(widget.section.mask("RSP", "left"))[10]
    native, where = on_canvas(viewer, row, column)
    assert colourful(viewer) == 0, "sections and outlines are gray"
    qtbot.mouseMove(native, where)
    qtbot.waitUntil(lambda: "RSP: Retrosplenial area" in widget._cursor.text(), timeout=5000)
    qtbot.mouseClick(native, Qt.MouseButton.LeftButton, pos=where)
    qtbot.waitUntil(lambda: "structure: RSP" in viewer.layers, timeout=5000)
    assert "Retrosplenial area" in widget._about.text()
    assert widget.tree._tree.currentIndex().data().startswith("RSP")
    assert widget._add.isEnabled()
    assert colourful(viewer) > 100, "not white on white"

    # A drag moves the view, and picks nothing.
    inside = np.argwhere(widget.section.mask("TH", "left"))
    native, where = on_canvas(viewer, *inside[len(inside) // 2])
    qtbot.mousePress(native, Qt.MouseButton.LeftButton, pos=where)
    for step in (5, 20, 30):
        qtbot.mouseMove(native, where + QPoint(step, step))
        qtbot.wait(30)
    qtbot.mouseRelease(native, Qt.MouseButton.LeftButton, pos=where + QPoint(30, 30))
    assert "structure: RSP" in viewer.layers

    # Neither does a click that draws.
    shapes = viewer.add_shapes(ndim=2, name="mine")
    shapes.mode = "add_polygon"
    native, where = on_canvas(viewer, *inside[len(inside) // 2])
    qtbot.mouseClick(native, Qt.MouseButton.LeftButton, pos=where)
    assert "structure: RSP" in viewer.layers
