"""The widget "Gather", in a real napari."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_brainvae.data.population import Population
from napari_brainvae.widgets.workspace import workspace_of
from tests.registered_brains import asymmetric_brain, write_brainreg
from tests.widgets.windows import LONG, PLUGIN


@pytest.fixture
def brains(tmp_path):
    for name in ("m1", "m2"):
        write_brainreg(tmp_path / "in" / name / "brainreg", asymmetric_brain())
    (tmp_path / "in" / "m3").mkdir()
    (tmp_path / "in" / "m3" / "brainreg.json").write_text("{}")
    (tmp_path / "mice.csv").write_text("ID;sex;flagged\nm1;f;\nm9;m;x\n")
    return tmp_path


def test_brains_that_are_dropped_become_a_population_that_opens(make_napari_viewer, brains, qtbot):
    viewer = make_napari_viewer()
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Gather")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(brains / "in"))])
    left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    panel.dropEvent(QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, left, none))
    qtbot.waitUntil(lambda: panel.preview is not None, timeout=LONG)
    assert panel.preview.brains.index.tolist() == ["m1", "m2", "m3"]
    assert (panel.preview.brains["problem"] != "").tolist() == [False, False, True]
    assert "Plane" in panel.found.text()
    panel.choice.plane.setText("9")
    panel.choice.covariates.setText(str(brains / "mice.csv"))
    panel.choice.plane.editingFinished.emit()
    qtbot.waitUntil(lambda: panel.preview is not None, timeout=LONG)
    assert panel.preview.problem == ""
    assert "m9" in panel.choice.table.text()
    assert "--plane 9" in panel.options().as_command()
    panel._gather.click()
    qtbot.waitUntil(lambda: not panel.job.running, timeout=LONG)
    assert panel.job.message == ""
    written = Population.open(brains / "in_sections.zarr")
    np.testing.assert_array_equal(written.sections()[0], asymmetric_brain()[9])
    assert workspace_of(viewer).population.ids == ["m1", "m2"]
    qtbot.waitUntil(lambda: panel.preview is not None, timeout=LONG)
    assert panel.preview.done == 2


def test_a_folder_dropped_on_the_window_opens_the_panel(make_napari_viewer, brains, qtbot):
    viewer = make_napari_viewer()
    viewer.open(brains / "in", plugin=PLUGIN)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Gather")
    qtbot.waitUntil(lambda: panel.preview is not None, timeout=LONG)
    assert panel.inputs == [brains / "in"]
