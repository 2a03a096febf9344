"""The layers of an atlas's plane, on a bare viewer."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers._layer_actions import _duplicate_layer

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.atlas_section import AtlasRegion, AtlasSection
from napari_brainvae.atlas.ontology import Structure
from napari_brainvae.phantom.phantom import draw_section, write_phantom_atlas
from napari_brainvae.widgets.layers.atlas_layers import (
    ATLAS,
    AtlasSelection,
    add_plane,
    hide_colours,
    outline_picked,
    structure_at,
    update_plane,
)
from napari_brainvae.widgets.layers.region_layers import RequestedRegion
from napari_brainvae.widgets.layers.section_layers import MADE_BY, section_geometry
from napari_brainvae.widgets.workspace import workspace_of

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
    section = AtlasSection.lay(lopsided, 1, (10, 16), 25.0)
    made = add_plane(sections, section, section_geometry(image, (10, 16)), "lopsided")
    labels = made["atlas"]
    for (row, column), name in {
        (1, 2): "LEFT: upper left",
        (1, 13): "RIGHT: upper right",
        (8, 2): "LOW: lower half",
    }.items():
        world = image.data_to_world((2, row, column))
        value = labels.get_value(world, world=True)
        assert section.name(section.ids[value - 1]) == name
        # What napari shows in its status bar and tool tip.
        assert name in labels.get_status(world, world=True)["value"]
        official = lopsided.colors[int(section.ids[value - 1])]
        assert np.allclose(labels.get_color(value), official, atol=1 / 255)
    assert labels.units == image.units[1:]
    assert labels.axis_labels == ("DV", "ML")
    lines = made["outlines"]
    assert section.fineness > 10, "thin: much less than a pixel"
    assert np.array_equal(lines.data > 0, section.thin(section.labels))
    assert np.allclose(
        lines.extent.world[0] - np.array(lines.scale) / 2,
        labels.extent.world[0] - np.array(labels.scale) / 2,
    )
    assert np.allclose(
        lines.extent.world[1] + np.array(lines.scale) / 2,
        labels.extent.world[1] + np.array(labels.scale) / 2,
    )


def test_another_plane_replaces_the_first(lopsided, sections):
    geometry = section_geometry(sections.layers["mice"], (10, 16))
    made = add_plane(sections, AtlasSection.lay(lopsided, 1, (10, 16), 25.0), geometry, "x")
    selection = made["atlas"].metadata[ATLAS]
    told = []
    selection.changed.connect(lambda: told.append(selection.section.plane))
    update_plane(made, AtlasSection.lay(lopsided, 2, (10, 16), 25.0), geometry, "y")
    assert told == [2]
    [value] = np.unique(made["atlas"].data[made["atlas"].data > 0])
    assert "999" in made["atlas"].features["structure"][value - 1]
    assert made["atlas"].get_color(value)[3] > 0, "unknown structures are not hidden"


def test_a_copy_of_an_atlas_is_not_chosen_since_it_stays_as_it_is(lopsided, sections, qtbot):
    workspace = workspace_of(sections)
    geometry = section_geometry(sections.layers["mice"], (10, 16))
    made = add_plane(sections, AtlasSection.lay(lopsided, 1, (10, 16), 25.0), geometry, "x")
    sections.layers.selection = {made["atlas"]}
    _duplicate_layer(sections.layers)
    assert workspace.chosen("atlas").layers == [made["atlas"]] and workspace.said == ""


def test_without_sections_the_whole_plane_is_drawn(lopsided):
    section = AtlasSection.lay(lopsided, 1)
    assert section.numbers.shape == (12, 16)
    assert section.present == {1, 2, 10, FAR, 30}


def test_regions_are_chosen_once_and_forgotten_with_their_atlas(lopsided, tmp_path):
    selection = AtlasSelection(AtlasSection.lay(lopsided, 1, (12, 18), 25.0))
    assert selection.regions == [], "none of the paper's six is in this atlas"
    selection.add(AtlasRegion("TOP", "left"))
    selection.add(AtlasRegion("TOP", "left"))
    assert [region.name for region in selection.regions] == ["TOP (left)"]
    asked = RequestedRegion.chosen(selection.regions[0], selection.cropped((10, 16)))
    assert selection.cropped((10, 16)) is selection.cropped((10, 16)), "cut once"
    selection.show(AtlasSection.lay(lopsided, 2, (12, 18), 25.0))
    assert asked.mask.sum() == 5 * 7, "the plane of then, not of now"
    write_phantom_atlas(draw_section(64, 80), tmp_path / "other")
    selection.show(AtlasSection.lay(Atlas.open(tmp_path / "other"), 2))
    assert selection.regions == []


def test_a_structure_outside_the_plane_is_said_so(lopsided):
    with pytest.raises(ValueError, match="ELSE is not in this section: plane 1"):
        _ = RequestedRegion.chosen(AtlasRegion("ELSE"), AtlasSection.lay(lopsided, 1)).mask


def test_the_paper_s_plane_of_the_real_annotation(shared_data):
    atlas = Atlas.open(shared_data / "ccf")
    section = AtlasSection.lay(atlas, 286, (320, 448), 25.0)
    cut = atlas.plane(286)[:, 4:452]
    assert np.array_equal(np.r_[np.uint32(0), section.ids][section.numbers], cut)
    viewer = ViewerModel()
    labels = add_plane(viewer, section, {"scale": (25, 25)}, "ccf")["atlas"]
    row, column = np.argwhere(atlas.within(cut, "SSp-bfd") & (np.arange(448) < 224))[0]
    status = labels.get_status((25 * row, 25 * column), world=True)
    assert "Primary somatosensory area, barrel field" in status["value"]


def test_the_picked_structure_is_outlined_and_follows_the_plane(lopsided, sections):
    geometry = section_geometry(sections.layers["mice"], (10, 16))
    section = AtlasSection.lay(lopsided, 1, (10, 16), 25.0)
    made = add_plane(sections, section, geometry, "x")
    selection = made["atlas"].metadata[ATLAS]
    outline_picked(sections, made["atlas"])
    assert len(sections.layers) == 3, "nothing is picked"
    for region in (AtlasRegion("TOP"), AtlasRegion("LEFT")):
        selection.pick(region)
        outline_picked(sections, made["atlas"])
        layer = sections.layers[f"structure: {region.name}"]
        assert layer.data[section.thin(section.mask(*region))].all()
        assert np.allclose(np.array(layer.scale) * section.fineness, (25, 25))
        assert layer.units == made["atlas"].units
        assert np.allclose(layer.translate, made["outlines"].translate)
    assert len(sections.layers) == 4, "one at a time"
    white = made["outlines"].colormap.map(np.array([1.0]))
    assert not np.allclose(layer.colormap.map(np.array([1.0])), white), "not white on white"
    selection.pick(None)
    outline_picked(sections, made["atlas"])
    assert len(sections.layers) == 3


def test_another_atlas_has_none_of_the_picked_structure(lopsided, tmp_path):
    selection = AtlasSelection(AtlasSection.lay(lopsided, 1, (10, 16), 25.0))
    selection.pick(AtlasRegion("LEFT"))
    selection.show(AtlasSection.lay(lopsided, 2, (10, 16), 25.0))
    assert selection.picked == AtlasRegion("LEFT"), "another plane still knows it"
    write_phantom_atlas(draw_section(64, 80), tmp_path / "other")
    selection.show(AtlasSection.lay(Atlas.open(tmp_path / "other"), 2))
    assert selection.picked is None


def test_structures_have_names_though_their_colours_are_hidden(lopsided, sections):
    image = sections.layers["mice"]
    section = AtlasSection.lay(lopsided, 1, (10, 16), 25.0)
    made = add_plane(sections, section, section_geometry(image, (10, 16)), "x")
    hide_colours(sections)
    assert made["atlas"].opacity == 0 and made["outlines"].opacity > 0
    for (row, column), key in {(1, 2): 10, (1, 13): FAR, (8, 2): 30, (-3, 2): None}.items():
        sections.cursor.position = image.data_to_world((2, row, column))
        assert structure_at(sections, made["atlas"]) == key


def test_an_atlas_that_is_opened_after_a_field_does_not_colour_it(lopsided, sections):
    image = sections.layers["mice"]
    sections.add_image(np.zeros((10, 16)), metadata={MADE_BY: "Factors"}, name="change")
    section = AtlasSection.lay(lopsided, 1, (10, 16), 25.0)
    made = add_plane(sections, section, section_geometry(image, (10, 16)), "x")
    assert made["atlas"].opacity == 0 and made["outlines"].opacity > 0
