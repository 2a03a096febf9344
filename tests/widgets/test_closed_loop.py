"""From an empty napari to a model fitted again without three brains, by clicks and keys alone."""

from __future__ import annotations

import shlex
import subprocess
import sys

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDockWidget, QTabBar, QToolButton
from safetensors.numpy import load_file

from napari_brainvae.data.population import Population
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.run_state import MODEL
from napari_brainvae.widgets.fit_run import environment, fit_run_of
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.windows import LONG, PLUGIN, RECONSTRUCT

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def mice(phantom_file, tmp_path):
    """24 brains, of which nobody has said yet which are not in order."""
    population = Population.open(phantom_file)
    population.covariates = population.covariates.drop(columns="flagged")
    population.save(tmp_path / "mice.zarr")
    return tmp_path / "mice.zarr"


@pytest.fixture
def viewer(make_napari_viewer, qtbot, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1366, 768)
    yield viewer
    run = fit_run_of(viewer)
    run.kill()
    qtbot.waitUntil(lambda: not run.running, timeout=LONG)


def opened(viewer, qtbot, name):
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    qtbot.waitUntil(panel.isVisible)
    return panel


def go_to(viewer, qtbot, panel):
    """Click the tab of a panel that lies behind another."""
    window, dock = viewer.window._qt_window, panel
    while not isinstance(dock, QDockWidget):
        dock = dock.parent()
    for bar in window.findChildren(QTabBar):
        for i in range(bar.count()):
            if bar.tabText(i) == dock.windowTitle():
                qtbot.mouseClick(bar, LEFT, pos=bar.tabRect(i).center())
    qtbot.waitUntil(lambda: panel.isVisible())


def click(qtbot, button):
    """Click what can be seen and clicked."""
    assert button.isVisible() and button.isEnabled()
    qtbot.mouseClick(button, LEFT, pos=button.rect().center())


def enter(qtbot, box, text):
    """Type over what stands in a box."""
    box.selectAll()
    qtbot.keyClicks(box, text)
    qtbot.keyClick(box, Qt.Key.Key_Tab)


def fitted(panel, qtbot):
    """Click Fit, and wait until the model is that of all panels."""
    folder = panel.choice.folder
    click(qtbot, panel.fit)
    qtbot.waitUntil(lambda: not panel.run.running, timeout=2 * LONG)
    assert panel.run.outcome == "done", panel.run.said
    workspace = workspace_of(panel.viewer)
    assert workspace.checkpoint == folder / MODEL
    qtbot.waitUntil(lambda: workspace.ready, timeout=LONG)
    return folder


def exclude(viewer, brains, qtbot, row, *, by_key):
    """Click a row of the list of brains, and mark the brain that is then on show."""
    view, (_accept, mark, *_) = brains._view, brains.marks.marking
    view.scrollTo(view.table.index(row, 0))
    qtbot.mouseClick(view.viewport(), LEFT, pos=view.visualRect(view.table.index(row, 0)).center())
    brain = view.table.position(row)
    assert int(viewer.dims.point[0]) == brain
    if by_key:
        QTest.keyClick(viewer.window._qt_window, Qt.Key.Key_E, Qt.KeyboardModifier.AltModifier)
    else:
        buttons = brains.marks.findChildren(QToolButton)
        click(qtbot, next(each for each in buttons if each.defaultAction() is mark))
    return brain


def as_copied(out):
    """Run the command line that is on the clipboard, into another folder."""
    brainvae, *words = shlex.split(QGuiApplication.clipboard().text())
    assert brainvae == "brainvae"
    words[words.index("--out") + 1] = str(out)
    command = [sys.executable, "-m", "training", *words]
    return subprocess.Popen(command, env=environment()), out


def test_from_sections_to_a_model_without_three_brains(viewer, mice, qtbot, tmp_path):
    viewer.open(mice, plugin=PLUGIN)
    workspace = workspace_of(viewer)
    fit = opened(viewer, qtbot, "Fit")
    qtbot.waitUntil(lambda: "24 of 24 brains" in fit.brains.text(), timeout=LONG)
    for name, number in {"steps": "4", "latent_dim": "2"}.items():
        enter(qtbot, fit.choice.plain.widgets[name].native, number)
    first = fitted(fit, qtbot)

    denoise = opened(viewer, qtbot, RECONSTRUCT)
    click(qtbot, denoise.brains._list)
    qtbot.waitUntil(lambda: denoise.brains.listed is not None, timeout=LONG)
    worst = [exclude(viewer, denoise.brains, qtbot, row, by_key=row > 0) for row in range(3)]
    assert np.flatnonzero(workspace.population.excluded).tolist() == sorted(worst)

    go_to(viewer, qtbot, fit)
    qtbot.waitUntil(lambda: fit.brains.text().startswith("21 of 24 brains"), timeout=LONG)
    assert "3 marked or flagged are left out" in fit.brains.text()
    click(qtbot, fit.copy)
    command, elsewhere = as_copied(tmp_path / "elsewhere")
    second = fitted(fit, qtbot)
    assert second != first and (first / MODEL).exists()

    # What is explored from now on is the new model, which knows nothing of the excluded brains.
    ids, training = workspace.population.ids, workspace.model.header.training
    fitted_on = [*training["data"]["measured"], *training["held_out"]]
    assert sorted(fitted_on) == [ids[i] for i in range(24) if i not in worst]
    assert denoise.brains.listed is None  # the list was of the model before
    brains = opened(viewer, qtbot, "Map of brains")
    click(qtbot, brains._measure)
    qtbot.waitUntil(lambda: brains.table is not None, timeout=LONG)
    images = workspace.population.prepared(workspace.model.header.preprocessing, slice(None))
    codes, _ = load_checkpoint(second / MODEL).encode(images)
    np.testing.assert_allclose(brains.table[["F1", "F2"]], codes, rtol=1e-4, atol=1e-4)

    assert command.wait(60) == 0
    ours, theirs = load_file(second / MODEL), load_file(elsewhere / MODEL)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    before = load_file(first / MODEL)
    assert any(not np.array_equal(ours[name], before[name]) for name in ours)
