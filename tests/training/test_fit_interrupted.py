"""Ctrl-C on a fit: it saves, says so, and goes on to the bits of one that was left in peace."""

from __future__ import annotations

import signal
import subprocess
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.run_state import MODEL, PROGRESS, STOP, ask_to_stop, run_state
from tests.training.test_fit import FLAGS, ROOT, command


def begun(population, out, *more):
    """Start the command as from a terminal, and wait until it has done some steps."""
    process = subprocess.Popen(
        command(population, out, *FLAGS, *more),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell runs in the background ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while run_state(out).step < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    return process


def stopped_by_ctrl_c(process, out):
    process.send_signal(signal.SIGINT)


def stopped_by_a_file(process, out):
    ask_to_stop(out)


@pytest.fixture(scope="module")
def whole(phantom_file, tmp_path_factory):
    """The tensors of a fit that was left in peace."""
    out = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(command(phantom_file, out, *FLAGS), check=True, cwd=ROOT, capture_output=True)
    return load_file(out / MODEL)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="another way of Ctrl-C")
@pytest.mark.parametrize("stop", [stopped_by_ctrl_c, stopped_by_a_file])
def test_stopped_it_saves_and_goes_on_to_the_same_bits(stop, whole, phantom_file, tmp_path):
    out = tmp_path / "run"
    with begun(phantom_file, out) as process:
        stop(process, out)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "--resume" in said.splitlines()[-1]
    assert run_state(out).kind == "unfinished"
    assert not (out / PROGRESS).exists() and not (out / STOP).exists()
    at = load_checkpoint(out / MODEL).header.training["step"]
    assert 2 <= at < 60
    more = command(phantom_file, out, *FLAGS, "--resume")
    subprocess.run(more, check=True, cwd=ROOT, capture_output=True)
    ours = load_file(out / MODEL)
    assert ours.keys() == whole.keys()
    assert all(np.array_equal(ours[name], whole[name]) for name in ours)
