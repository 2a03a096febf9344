"""Sections that do not fit the model are made to fit by a button, in a real window."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_brainvae.data.population import Description, Population
from napari_brainvae.data.preprocessing import without_negatives
from napari_brainvae.data.resampling import Grid, resample
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.windows import LONG, PLUGIN, open_widget, reconstruction_of


def click(note, qtbot):
    qtbot.mouseClick(note.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not note.job.running, timeout=LONG)


def whole(label):
    return label.isVisible() and label.height() >= label.heightForWidth(label.width())


@pytest.fixture
def widget(viewer, qtbot):
    widget = open_widget(viewer, qtbot, "Reconstruct and denoise")
    qtbot.waitUntil(lambda: reconstruction_of(viewer) is not None, timeout=LONG)
    return widget


@pytest.fixture
def finer(population):
    """Two brains of half the pixel size, with a background below 0."""
    images = np.kron(population.sections([0, 1]), np.ones((1, 2, 2), np.float32))
    return images - 0.01, population.description.pixel_size_um / 2


def test_all_that_is_said_of_a_misfit_can_be_read(viewer, widget, finer, tmp_path, qtbot):
    np.save(tmp_path / "f.npy", finer[0])
    viewer.window._qt_window.resize(1366, 768)
    viewer.open(tmp_path / "f.npy", plugin=PLUGIN)
    labels = widget.source._about, widget.source.misfit.why
    qtbot.waitUntil(lambda: all(map(whole, labels)), timeout=LONG)


def test_sections_of_other_pixels_are_made_to_fit(viewer, widget, finer, tmp_path, qtbot):
    workspace, note = workspace_of(viewer), widget.source.misfit
    assert note.isHidden()
    images, size = finer
    Population(images, ["a", "b"], description=Description(pixel_size_um=size)).save(
        tmp_path / "f.zarr"
    )
    viewer.open(tmp_path / "f.zarr", plugin=PLUGIN)
    assert not note.isHidden() and not workspace.ready
    assert "128 x 160 px" in note.why.text() and "negative values" in note.why.text()
    assert note.size.isHidden(), "its file says the size of its pixels"
    click(note, qtbot)
    assert workspace.ready and note.isHidden()
    assert workspace.sections.name == "f, fitted" and workspace.population.ids == ["a", "b"]
    tissue = [without_negatives(image, "subtract")[0] for image in images]
    expected = [resample(image, (size, size), Grid((64, 80), 2 * size)) for image in tissue]
    assert np.array_equal(workspace.population.sections(), expected)
    assert np.allclose(workspace.sections.scale, (1, 2 * size, 2 * size))
    assert not viewer.layers["f"].visible and viewer.layers["f"].data.shape == (2, 128, 160)
    assert "background subtracted" in workspace.said and "128 x 160 px" in workspace.said
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert reconstruction_of(viewer).name == "reconstruction: f, fitted"
    for brain in (1, 0):  # it is drawn, and goes on being drawn
        viewer.dims.set_point(0, brain)
        qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
        assert viewer.screenshot(flash=False)[..., :3].max() > 100


def test_the_size_of_pixels_is_asked_for_where_no_file_says_it(viewer, widget, finer, qtbot):
    note, (images, size) = widget.source.misfit, finer
    viewer.add_image(images, name="mine")
    assert not note.size.isHidden() and not note.button.isEnabled()
    note.size.setValue(size)
    note.negatives.setCurrentIndex(1)
    click(note, qtbot)
    fitted = workspace_of(viewer).population
    assert fitted.shape == (64, 80) and fitted.sections().min() >= 0
    assert "0 instead" in fitted.description.source


def test_negative_values_alone_are_taken_away_and_nothing_else(viewer, widget, population, qtbot):
    below = population.sections([0, 1]) - 0.01
    viewer.add_image(below, name="mine")
    click(widget.source.misfit, qtbot)
    fitted = workspace_of(viewer).population
    assert fitted.description.pixel_size_um is None, "nobody knows it"
    tissue = [without_negatives(image, "subtract")[0] for image in below]
    assert np.array_equal(fitted.sections(), tissue)
