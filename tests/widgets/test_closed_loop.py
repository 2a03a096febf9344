"""From an empty napari to a model fitted again without three brains, by mouse and keys alone."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from napari_brainvae.data.population import Population
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.run_state import MODEL
from napari_brainvae.widgets.fit_run import environment, fit_run_of
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.hands import Hands
from tests.widgets.loop_by_hand import walk
from tests.widgets.windows import LONG


@pytest.fixture
def phantom(phantom_file, tmp_path):
    """24 brains, of which nobody has said yet which are not in order."""
    population = Population.open(phantom_file)
    population.covariates = population.covariates.drop(columns="flagged")
    population.save(tmp_path / "mice.zarr")
    return tmp_path / "mice.zarr"


@pytest.fixture
def people(shared_data, tmp_path):
    """200 real people."""
    return shutil.copy(shared_data / "oasis" / "oasis200_level32.npz", tmp_path / "oasis.npz")


@pytest.fixture
def hands(make_napari_viewer, qtbot, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1366, 768)
    hands = Hands(viewer)
    yield hands
    run = fit_run_of(viewer)
    run.kill()
    qtbot.waitUntil(lambda: not run.running, timeout=LONG)
    hands.viewer = hands.window = None  # napari's test looks who still holds its window


@pytest.mark.parametrize(
    ("sections", "options"),
    [
        ("phantom", {"latent_dim": "2", "steps": "4"}),
        ("people", {"latent_dim": "4", "steps": "6"}),
    ],
)
def test_the_loop_is_closed_by_hand_and_by_command(sections, options, hands, request, tmp_path):
    file = request.getfixturevalue(sections)
    walked = walk(hands, file, options)
    workspace = workspace_of(hands.viewer)
    ids = workspace.population.ids
    assert np.flatnonzero(workspace.population.excluded).tolist() == walked.excluded
    assert len(walked.excluded) == 3

    # What is explored from now on is the new model, which knows nothing of the excluded brains.
    assert workspace.checkpoint == walked.second / MODEL != walked.first / MODEL
    training = workspace.model.header.training
    fitted_on, excluded = {*training["data"]["measured"]}, {ids[i] for i in walked.excluded}
    assert not fitted_on & excluded
    # Which brains are held out depends on no mark: it may be one of the excluded.
    assert fitted_on | excluded | {*training["held_out"]} == {*ids}
    generated = next(layer for layer in hands.viewer.layers if layer.name == "generated")
    codes, model = walked.explorer.sliders.codes, load_checkpoint(walked.second / MODEL)
    assert generated.visible
    np.testing.assert_array_equal(generated.data, model.decode(codes[None])[0])
    mean, _ = model.encode(workspace.population.prepared(model.header.preprocessing, slice(None)))
    distance = np.linalg.norm(mean - codes, axis=1)
    assert int(hands.viewer.dims.point[0]) == distance.argmin()

    # The command that the panel gave does the same, to the bit.
    brainvae, *words = shlex.split(walked.command)
    assert brainvae == "brainvae"
    words[words.index("--out") + 1] = str(tmp_path / "elsewhere")
    command = [sys.executable, "-m", "training", *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours, theirs = (load_file(each / MODEL) for each in (walked.second, tmp_path / "elsewhere"))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    before = load_file(walked.first / MODEL)
    assert any(not np.array_equal(ours[name], before[name]) for name in ours)
