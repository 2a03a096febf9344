"""The widget "Gather", in a real napari."""

from __future__ import annotations

import json
from html import unescape
from threading import Event

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.gather import gather_brain
from napari_brainvae.data.population import Population
from napari_brainvae.gathering.run import gather
from napari_brainvae.models.checkpoint import fingerprint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.widgets.panels.gather_choice import in_words
from napari_brainvae.widgets.workspace import workspace_of
from tests.registered_brains import asymmetric_brain, write_brainreg, write_nifti, write_tiff
from tests.training.test_folders_to_report import PLANE
from tests.training.test_folders_to_report import brains as phantoms  # noqa: F401 - a fixture
from tests.training.test_gather_killed import contents
from tests.widgets.windows import LONG, PLUGIN, done, open_widget
from training.fit import fit


@pytest.fixture
def brains(tmp_path):
    for name in ("m1", "m2"):
        write_brainreg(tmp_path / "in" / name / "brainreg", asymmetric_brain())
    (tmp_path / "in" / "m3").mkdir()
    (tmp_path / "in" / "m3" / "brainreg.json").write_text("{}")
    (tmp_path / "mice.csv").write_text("ID;sex;flagged\nm1;f;\nm9;m;x\n")
    return tmp_path


def drop(panel, folder, qtbot):
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(folder))])
    left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    panel.dropEvent(QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, left, none))
    qtbot.waitUntil(lambda: panel.preview is not None, timeout=LONG)


def choose(panel, plane, table, qtbot):
    panel.choice.plane.setText(str(plane))
    panel.choice.covariates.setText(str(table))
    panel.choice.plane.editingFinished.emit()
    qtbot.waitUntil(lambda: panel.preview is not None, timeout=LONG)


def test_brains_that_are_dropped_become_a_population_that_opens(make_napari_viewer, brains, qtbot):
    viewer = make_napari_viewer()
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Gather")
    drop(panel, brains / "in", qtbot)
    assert panel.preview.brains.index.tolist() == ["m1", "m2", "m3"]
    assert (panel.preview.brains["problem"] != "").tolist() == [False, False, True]
    assert "Plane" in panel.found.text()
    choose(panel, 9, brains / "mice.csv", qtbot)
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


def test_why_nothing_can_be_gathered_is_said_once(make_napari_viewer, tmp_path, qtbot):
    """Though it is why each of the brains is left out, too."""
    viewer = make_napari_viewer()
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Gather")
    (tmp_path / "in").mkdir()
    write_tiff(tmp_path / "in" / "m1.tiff", asymmetric_brain(), "asl")
    drop(panel, tmp_path / "in", qtbot)
    [reason] = {in_words(text) for text in panel.preview.brains["problem"]}
    assert reason and in_words(panel.preview.problem).count(reason) == 1
    assert unescape(panel.found.text()).count(reason) == 1


def test_a_folder_dropped_on_the_window_opens_the_panel(make_napari_viewer, brains, qtbot):
    viewer = make_napari_viewer()
    viewer.open(brains / "in", plugin=PLUGIN)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Gather")
    qtbot.waitUntil(lambda: panel.preview is not None, timeout=LONG)
    assert panel.inputs == [brains / "in"]


def test_what_is_cancelled_half_way_goes_on_to_the_same_file(
    make_napari_viewer, tmp_path, qtbot, monkeypatch
):
    """Brains that were done are not done again, and what is half-written has no name of ours."""
    for i in range(6):
        write_nifti(tmp_path / f"m{i}.nii", asymmetric_brain(i), "pir")
    (tmp_path / "mice.csv").write_text("id,age\n" + "".join(f"m{i},{i}\n" for i in range(6)))
    viewer = make_napari_viewer()
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Gather")
    panel.add(sorted(tmp_path.glob("*.nii")))
    choose(panel, 9, tmp_path / "mice.csv", qtbot)
    out, whole = panel.options().out, tmp_path / "whole.zarr"
    gather(panel.options().model_copy(update={"out": whole}))
    begun, at_third, go_on = [], Event(), Event()

    def gather_and_wait(source, *rest):
        begun.append(source.id)
        if len(begun) == 3:
            at_third.set()
            assert go_on.wait(30)
        return gather_brain(source, *rest)

    monkeypatch.setattr("napari_brainvae.gathering.run.gather_brain", gather_and_wait)
    panel._gather.click()
    qtbot.waitUntil(at_third.is_set, timeout=LONG)
    qtbot.mouseClick(panel.job._cancel, Qt.MouseButton.LeftButton)
    go_on.set()
    qtbot.waitUntil(lambda: not panel.job.running, timeout=LONG)
    qtbot.waitUntil(lambda: panel.preview is not None, timeout=LONG)
    assert begun == ["m0", "m1", "m2"]
    assert not out.exists()
    assert not viewer.layers
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]
    assert "3 were gathered before: Gather goes on" in panel.found.text()
    panel._gather.click()
    qtbot.waitUntil(lambda: not panel.job.running, timeout=LONG)
    assert begun == [f"m{i}" for i in range(6)]
    assert contents(out) == contents(whole)
    assert workspace_of(viewer).population.ids == begun


def test_by_hand_from_folders_to_what_the_factors_are(
    make_napari_viewer,
    phantoms,  # noqa: F811
    qtbot,
):
    """The guide's way, in a window: only the fit is done by the engine itself."""
    folder, name, _ = phantoms
    viewer = make_napari_viewer(show=True)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Gather")
    drop(panel, folder / "brains", qtbot)
    choose(panel, PLANE, folder / "mice.csv", qtbot)
    out = panel.options().out
    panel._gather.click()
    qtbot.waitUntil(lambda: not panel.job.running, timeout=LONG)
    viewer.window.remove_dock_widget(panel)
    mice = workspace_of(viewer).population
    assert mice.covariates["sex"].tolist() == ["m", "f"] * (len(mice) // 2)

    fit(FitOptions(population=out, out=folder / "run", latent_dim=2, steps=5, batch_size=8))
    viewer.open(folder / "run", plugin=PLUGIN)
    _, atlas = viewer.window.add_plugin_dock_widget(PLUGIN, "Atlas")
    names = atlas.choice.names
    qtbot.waitUntil(lambda: names.findText(name) > 0, timeout=LONG)
    names.setCurrentText(name)
    names.activated.emit(names.currentIndex())
    qtbot.waitUntil(lambda: atlas.section is not None, timeout=LONG)
    assert atlas.section.plane == PLANE, "the plane that was gathered"

    factors = open_widget(viewer, qtbot, "Factors")
    factors._describe.click()
    done(factors, qtbot)
    factors.export(folder / "factors")
    done(factors, qtbot)
    assert factors.job.message == ""
    table = pd.read_csv(folder / "factors" / "factors.csv")
    assert table["factor"].tolist() == ["F1", "F2"]
    assert set(table["checkpoint"]) == {fingerprint(workspace_of(viewer).model)}
    structures = {each.name.lower() for each in Atlas.open(name)}
    assert set(table["name"].str.lower()) <= structures, "each lies in a structure of that atlas"
    assert "hippocampal formation" in set(table["name"]), "whose brightness the phantom varies"
    assert (folder / "factors" / "report.html").is_file()
    record = json.loads((folder / "factors" / "record.json").read_text())
    assert record["data"]["fingerprint"] == mice.fingerprint()
    assert record["data"]["measured"] == mice.ids
    assert (record["plane"], record["pixel_size_um"]) == (PLANE, mice.description.pixel_size_um)
    assert record["atlas"] == str(Atlas.open(name).directory)
