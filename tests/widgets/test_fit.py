"""The widget "Fit", in a real napari, with the real command beside it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from html import escape

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from safetensors.numpy import load_file

from napari_brainvae.io.folder_lock import only_one
from napari_brainvae.io.progress import Stopped
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.run_state import LOG, MODEL, run_state
from napari_brainvae.widgets.fit_run import environment
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.windows import LONG, PLUGIN
from training.fit import fit

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def brains(phantom_file, tmp_path):
    shutil.copytree(phantom_file, tmp_path / "p.zarr")
    return tmp_path / "p.zarr"


@pytest.fixture
def opened(make_napari_viewer, brains, qtbot, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    viewer = make_napari_viewer()
    viewer.open(brains, plugin=PLUGIN)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Fit")
    qtbot.waitUntil(lambda: panel.brains.text() != "", timeout=LONG)
    yield viewer, panel
    run = panel.run
    with suppress(RuntimeError):  # it went with its window
        run.kill()
        qtbot.waitUntil(lambda: not run.running, timeout=LONG)


def test_a_fit_is_watched_stopped_found_by_a_reopened_panel_and_resumed(opened, brains, qtbot):
    viewer, panel = opened
    run = panel.run
    panel.choice.plain.set_values({"steps": 100_000, "latent_dim": 2})
    qtbot.mouseClick(panel.fit, LEFT)
    qtbot.waitUntil(lambda: run.state.step > 2, timeout=LONG)
    folder = brains.with_name("p_fit")
    assert run.folder == folder
    # Meanwhile the brain on show is reconstructed by what is saved: the linear start.
    qtbot.waitUntil(lambda: "fit" in panel._made, timeout=LONG)
    shown = workspace_of(viewer).population.ids[int(viewer.dims.point[0])]
    assert panel._made["fit"].name == f"fit, linear start: {shown}"
    # The process belongs to the viewer, not to the panel.
    viewer.window.remove_dock_widget(panel)
    _, again = viewer.window.add_plugin_dock_widget(PLUGIN, "Fit")
    assert again.run is run
    assert again.progress.bar.maximum() == 100_000
    assert not again.fit.isEnabled()
    qtbot.mouseClick(again.progress.stop, LEFT)
    qtbot.waitUntil(lambda: not run.running, timeout=LONG)
    assert run.outcome == "stopped"
    assert run_state(folder).kind == "unfinished"
    assert "saved" in again.progress.text.text()
    # It goes on with its own options, whatever the controls say.
    again.choice.plain.set_values({"latent_dim": 3, "steps": 5})
    assert not again.fit.isEnabled()
    assert again.options(resume=True).latent_dim == 2
    assert again.options(resume=True).steps == 100_000


def begun(panel, qtbot, steps=100_000):
    """Click Fit, and wait for the first steps."""
    panel.choice.plain.set_values({"steps": steps, "latent_dim": 2})
    qtbot.mouseClick(panel.fit, LEFT)
    qtbot.waitUntil(lambda: panel.run.state.step > 2, timeout=LONG)
    return panel.run.folder


def test_end_now_waits_for_nothing_and_keeps_the_last_model(opened, qtbot):
    _, panel = opened
    folder = begun(panel, qtbot)
    process = panel.run._held.process
    # Of a double click the second is no other wish than the first.
    qtbot.mouseClick(panel.progress.stop, LEFT)
    qtbot.mouseClick(panel.progress.stop, LEFT)
    assert panel.progress.stop.text() == "End now"
    qtbot.wait(50)
    assert process.poll() != -9
    qtbot.waitUntil(lambda: not panel.run.running, timeout=LONG)
    assert run_state(folder).kind == "unfinished"
    assert load_checkpoint(folder / MODEL).header.training["step"] > 2


def test_a_fit_that_does_not_stop_is_ended(opened, qtbot, monkeypatch):
    _, panel = opened
    folder = begun(panel, qtbot)
    process = panel.run._held.process
    os.kill(process.pid, signal.SIGSTOP)  # as one whose step takes minutes
    qtbot.mouseClick(panel.progress.stop, LEFT)
    qtbot.wait(QApplication.doubleClickInterval() + 50)
    assert panel.run.running
    assert panel.progress.stop.text() == "End now"
    qtbot.mouseClick(panel.progress.stop, LEFT)
    qtbot.waitUntil(lambda: not panel.run.running, timeout=LONG)
    assert process.returncode == -signal.SIGKILL
    assert panel.run.outcome == "stopped"
    assert load_checkpoint(folder / MODEL).header.training["step"] == 0  # the linear start
    assert panel.resume.isVisibleTo(panel) and panel.resume.isEnabled()


def test_a_second_click_begins_no_second_fit(opened, qtbot):
    _, panel = opened
    panel.choice.plain.set_values({"steps": 100_000, "latent_dim": 2})
    for click in (qtbot.mouseClick, qtbot.mouseClick, qtbot.mouseDClick):
        click(panel.fit, LEFT)
    assert not panel.fit.isEnabled()
    qtbot.waitUntil(lambda: panel.run.state.step > 2, timeout=LONG)
    assert len(list(panel.run.folder.glob(LOG))) == 1
    assert panel.problem.text() == ""
    assert [each.name for each in panel.run.folder.parent.glob("p_fit*")] == ["p_fit"]


def test_a_fit_is_found_again_after_napari_was_closed(opened, brains, make_napari_viewer, qtbot):
    viewer, panel = opened
    folder = begun(panel, qtbot)
    process = panel.run._held.process
    viewer.close()
    assert process.poll() is None
    again = make_napari_viewer()
    again.open(brains, plugin=PLUGIN)
    _, found = again.window.add_plugin_dock_widget(PLUGIN, "Fit")
    assert found.run is not panel.run
    assert found.run.running and found.run.folder == folder
    assert not found.fit.isEnabled()
    step = run_state(folder).step
    qtbot.waitUntil(lambda: found.run.state.step > step, timeout=LONG)
    qtbot.mouseClick(found.progress.stop, LEFT)
    qtbot.waitUntil(lambda: not found.run.running, timeout=LONG)
    assert found.run.outcome == "stopped"
    assert process.wait(10) == 130
    assert load_checkpoint(folder / MODEL).header.training["step"] > 2
    assert found.resume.isEnabled()


def test_a_first_model_that_was_opened_gives_way_to_the_fitted_one(opened, run_folder, qtbot):
    viewer, panel = opened
    folder = begun(panel, qtbot, steps=200)
    process, workspace = panel.run._held.process, workspace_of(viewer)
    os.kill(process.pid, signal.SIGSTOP)
    viewer.open(folder / MODEL, plugin=PLUGIN)
    qtbot.waitUntil(lambda: workspace.ready, timeout=LONG)
    assert workspace.model.header.training["step"] == 0  # the linear start, of the same file
    os.kill(process.pid, signal.SIGCONT)
    qtbot.waitUntil(lambda: not panel.run.running, timeout=LONG)
    qtbot.waitUntil(lambda: workspace.ready, timeout=LONG)
    assert workspace.model.header.training["step"] == 200
    # Once is enough: another model that is chosen then stays when the panel is opened again.
    viewer.open(run_folder / MODEL, plugin=PLUGIN)
    viewer.window.remove_dock_widget(panel)
    viewer.window.add_plugin_dock_widget(PLUGIN, "Fit")
    assert workspace.checkpoint == run_folder / MODEL


@pytest.fixture
def half_done(brains):
    """A run that was stopped after three of its six steps, where the panel would write."""
    options = FitOptions(
        population=brains, out=brains.with_name("p_fit"), latent_dim=2, steps=6, held_out=0.25
    )
    with pytest.raises(Stopped):
        fit(options, progress=lambda done, total: done < 3)
    return options


def test_resume_goes_on_to_the_bits_of_a_fit_that_was_never_stopped(half_done, opened, qtbot):
    viewer, panel = opened
    assert panel.choice.folder == half_done.out
    assert not panel.fit.isEnabled()
    qtbot.mouseClick(panel.resume, LEFT)
    qtbot.waitUntil(lambda: not panel.run.running, timeout=LONG)
    assert panel.run.outcome == "done"
    assert workspace_of(viewer).checkpoint == half_done.out / MODEL
    at_once = half_done.model_copy(update={"out": half_done.out.with_name("at_once")})
    fit(at_once, progress=lambda done, total: True)
    resumed, whole = (load_file(each.out / MODEL) for each in (half_done, at_once))
    assert resumed.keys() == whole.keys()
    assert all(np.array_equal(resumed[name], whole[name]) for name in whole)


def test_what_goes_wrong_is_said_whole_and_with_the_way_out(opened, brains, qtbot):
    _, panel = opened
    (brains / "images" / "zarr.json").write_text("{}")  # damaged after it was opened
    qtbot.mouseClick(panel.fit, LEFT)
    qtbot.waitUntil(lambda: not panel.run.running, timeout=LONG)
    assert panel.run.outcome == "failed"
    assert escape(panel.run.said) in panel.progress.text.text()
    assert "p.zarr" in panel.run.said
    # Nothing was begun: the same folder can be used.
    assert run_state(panel.run.folder).kind == "new"


def test_a_folder_in_which_another_fit_works_or_that_holds_her_work_is_refused(opened, tmp_path):
    _, panel = opened
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").touch()
    panel.choice.out.setText(str(tmp_path / "work"))
    assert not panel.fit.isEnabled()
    assert "not empty" in panel.problem.text()
    with only_one(tmp_path / "other", "fit"):
        panel.choice.out.setText(str(tmp_path / "other"))
        assert not panel.fit.isEnabled()
        assert panel.run.running  # and watched


def test_sections_in_no_file_are_saved_first(make_napari_viewer, population, qtbot, tmp_path):
    viewer = make_napari_viewer()
    viewer.add_image(np.asarray(population.images), name="drawn")
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Fit")
    assert not panel.fit.isEnabled()
    assert "in no file" in panel.problem.text()
    panel.save_sections(tmp_path / "drawn.zarr")
    qtbot.waitUntil(lambda: panel.fit.isEnabled(), timeout=LONG)
    assert panel.file == tmp_path / "drawn.zarr"


def test_a_folder_called_training_does_not_hide_ours(tmp_path, monkeypatch):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").write_text("raise SystemExit('hers')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    words = [sys.executable, "-m", "training.fit", "--help"]
    done = subprocess.run(words, env=environment(), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert "--latent-dim" in done.stdout


def test_the_state_of_odd_folders(tmp_path):
    assert run_state(tmp_path / "none").kind == "new"
    (tmp_path / "record.json").write_text(json.dumps({"status": 3, "options": []}))
    assert run_state(tmp_path).kind == "other"
    (tmp_path / "record.json").write_text("[" * 9999)
    assert run_state(tmp_path).kind == "other"
