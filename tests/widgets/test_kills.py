"""Killed at any moment: no model is half-written, and no mark is lost that was shown as set.

``--kills 40`` kills each program twenty times; the suite does it once. What writes marks alone is
killed twenty times in `tests/data/test_marks.py`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from qtpy.QtCore import Qt
from safetensors.numpy import load_file

from napari_brainvae.data.marks import marks_beside, read_marks
from napari_brainvae.data.population import Population
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.run_state import MODEL, run_state
from napari_brainvae.widgets.fit_run import environment, fit_run_of
from tests.widgets.windows import LONG, PLUGIN

LEFT = Qt.MouseButton.LeftButton

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")


@pytest.fixture
def kills(pytestconfig):
    """Half as often as where nothing has to start first."""
    return -(-pytestconfig.getoption("--kills") // 2)


@pytest.fixture
def brains(phantom_file, tmp_path):
    shutil.copytree(phantom_file, tmp_path / "p.zarr")
    return tmp_path / "p.zarr"


@pytest.fixture
def fitting(make_napari_viewer, brains, qtbot, monkeypatch):
    """The panel Fit, which asks for a short fit that saves at every fifth step."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    viewer = make_napari_viewer()
    viewer.open(brains, plugin=PLUGIN)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Fit")
    chosen = panel.choice.options
    more = {"latent_dim": 2, "steps": 60, "batch_size": 4, "checkpoint_every": 5, "log_every": 1}
    monkeypatch.setattr(panel.choice, "options", lambda p: chosen(p).model_copy(update=more))
    qtbot.waitUntil(lambda: panel.brains.text() != "", timeout=LONG)
    yield panel
    run = fit_run_of(viewer)
    run.kill()
    qtbot.waitUntil(lambda: not run.running, timeout=LONG)


def go_on(panel, qtbot):
    """Click what goes on: Fit, or Resume."""
    there = [each for each in (panel.fit, panel.resume) if each.isVisibleTo(panel)]
    [button] = [each for each in there if each.isEnabled()]
    qtbot.mouseClick(button, LEFT)
    assert panel.run.running


def ended(panel, qtbot):
    qtbot.waitUntil(lambda: not panel.run.running, timeout=4 * LONG)
    return panel.run.outcome


def test_a_killed_fit_leaves_whole_models_and_goes_on_to_the_same_bits(fitting, qtbot, kills):
    chance, began = random.Random(7), time.monotonic()
    go_on(fitting, qtbot)
    assert ended(fitting, qtbot) == "done"
    whole, lasts = fitting.run.folder, time.monotonic() - began
    done, models, steps = 0, 0, []
    while done < kills:
        go_on(fitting, qtbot)
        folder, process = fitting.run.folder, fitting.run._held.process
        qtbot.wait(round(1000 * chance.uniform(0, lasts)))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            done += 1
        if ended(fitting, qtbot) == "failed":
            assert "-9" in fitting.run.said
            assert run_state(folder).kind in ("new", "unfinished")
        if (folder / MODEL).exists():
            models += 1
            steps.append(load_checkpoint(folder / MODEL).header.training["step"])
    while run_state(folder).kind != "complete":
        go_on(fitting, qtbot)
        ended(fitting, qtbot)
    print(f"{done} kills of a fit of {lasts:.1f} s: {models} times a model, of steps {steps}")
    for run in whole.parent.glob("p_fit*"):
        if run_state(run).kind == "complete":
            ours, theirs = load_file(run / MODEL), load_file(whole / MODEL)
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


MARKING = """
import itertools, json, sys
import napari
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from napari_brainvae.widgets.workspace import workspace_of

viewer = napari.Viewer()
viewer.open(sys.argv[1], plugin="napari-brainvae")
_, gallery = viewer.window.add_plugin_dock_widget("napari-brainvae", "Gallery")
QApplication.processEvents()
window, marks = viewer.window._qt_window, workspace_of(viewer).marks
keys = {"accept": Qt.Key.Key_A, "exclude": Qt.Key.Key_E, "unsure": Qt.Key.Key_U}
print(json.dumps(marks.of_brains), flush=True)
brains = len(marks.of_brains)
first = int(sys.argv[2])
for turn in itertools.count():
    brain, mark = (5 * turn) % brains, list(keys)[(first + turn // brains) % 3]
    viewer.dims.set_point(0, brain)
    QTest.keyClick(window, keys[mark], Qt.KeyboardModifier.AltModifier)
    QApplication.processEvents()
    if marks.of_brains[brain] == mark and marks.path.name in gallery.marks._about.text():
        print(f"{brain} {mark}", flush=True)
"""


def test_no_mark_that_a_window_showed_is_lost_when_it_is_killed(brains, tmp_path, kills):
    ids, chance = Population.open(brains).ids, random.Random(7)
    known, said = [""] * len(ids), 0
    for turn in range(kills):
        words = [sys.executable, "-c", MARKING, str(brains), str(turn)]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
        ) as process:
            shown = json.loads(process.stdout.readline())
            assert shown == known  # a window that is opened again shows what the file says
            time.sleep(chance.uniform(0.0, 2.0))
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().splitlines()
        assert process.returncode == -signal.SIGKILL
        lines = [line for line in lines if len(line.split()) == 2]
        said += len(lines)
        for line in lines:
            brain, mark = line.split()
            known[int(brain)] = mark
        now = read_marks(marks_beside(brains), ids).of(ids)
        # The one that was being marked may be written and not yet shown.
        assert sum(a != b for a, b in zip(now, known, strict=True)) <= 1
        last = dict(line.split() for line in lines)
        assert all(now[int(b)] == m for b, m in list(last.items())[:-1])
        known = now
    print(f"{kills} kills of napari: {said} marks shown, none lost")
    assert said > 0
