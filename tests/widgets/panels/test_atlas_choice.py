"""Atlases of BrainGlobe in the window: those that are there, one that is fetched, or how to."""

from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.widgets.panels import atlas_choice
from tests.atlas.brainglobe_cache import write_version_3
from tests.atlas.test_brainglobe import home  # noqa: F401 - a fixture

PLUGIN = "napari-brainvae"


def write_drawn(root, atlas_folder, name="drawn_mouse"):
    """The small phantom's atlas, as BrainGlobe would have it."""
    drawn = Atlas.open(atlas_folder)
    return write_version_3(
        root,
        name,
        list(drawn),
        drawn.annotation[:, :, ::-1],
        resolution=(drawn.resolution_um,) * 3,
    )


@pytest.fixture
def widget(home, atlas_folder, phantom_file, make_napari_viewer, qtbot):  # noqa: F811
    write_drawn(home, atlas_folder)
    viewer = make_napari_viewer()
    viewer.open(phantom_file, plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Atlas")
    qtbot.waitUntil(lambda: widget.choice.names.count() == 2, timeout=20_000)
    return widget


def test_an_atlas_is_chosen_by_its_name(widget, atlas_folder, qtbot):
    names = widget.choice.names
    assert [names.itemText(i) for i in range(2)] == ["choose one …", "drawn_mouse"]
    names.activated.emit(0)
    assert widget.section is None
    names.setCurrentIndex(1)
    names.activated.emit(1)
    qtbot.waitUntil(lambda: widget.section is not None, timeout=20_000)
    layers = [layer.name for layer in widget.viewer.layers]
    assert "atlas: drawn_mouse, plane 2" in layers
    ours = Atlas.open(atlas_folder)
    for side in ("left", "right"):
        np.testing.assert_array_equal(widget.section.mask("HPF", side), ours.mask("HPF", 2, side))


def test_without_the_package_the_button_says_how(widget, monkeypatch):
    said = []
    monkeypatch.setattr(atlas_choice, "notify", said.append)
    monkeypatch.setattr(atlas_choice, "known_atlases", list)
    widget.choice.button.click()
    assert "pip install 'napari-brainvae[brainglobe]'" in said[0]


def test_what_is_fetched_is_opened(widget, home, atlas_folder, monkeypatch, qtbot):  # noqa: F811
    choice = widget.choice

    def fetch(name):
        return write_drawn(home, atlas_folder, name)

    monkeypatch.setattr(choice.fetching, "_compute", fetch)
    monkeypatch.setattr(atlas_choice, "known_atlases", lambda: ["drawn_mouse", "drawn_rat"])
    asked = []

    def answer(parent, title, label, names):
        asked.extend(names)
        return "drawn_rat", True

    monkeypatch.setattr(atlas_choice.QInputDialog, "getItem", answer)
    choice.button.click()
    assert asked == ["drawn_rat"], "what is there is not offered"
    assert not choice.button.isEnabled() and "drawn_rat" in choice.button.text()
    qtbot.waitUntil(lambda: choice.names.count() == 3 and choice.listing.idle, timeout=20_000)
    qtbot.waitUntil(lambda: widget.section is not None, timeout=20_000)
    assert widget.section.atlas.name == "drawn_rat"
    assert choice.button.isEnabled()
