"""Gathering that is killed, at any moment, goes on to the same file."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest

from napari_brainvae.gathering.options import GatherCommand
from tests.registered_brains import asymmetric_brain, write_nifti

BRAINS = 14


def gather_here(options: GatherCommand) -> None:
    from napari_brainvae.gathering.run import gather

    gather(options)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_at_ten_moments_it_goes_on_to_the_same_file(tmp_path):
    children = multiprocessing.get_context("forkserver")
    children.set_forkserver_preload(["napari_brainvae.gathering.run"])
    inputs = tmp_path / "in"
    inputs.mkdir()
    for i in range(BRAINS):
        write_nifti(inputs / f"m{i}.nii.gz", asymmetric_brain(i), "pir")
    whole, out = tmp_path / "whole.zarr", tmp_path / "killed.zarr"
    gather_here(GatherCommand(inputs=[inputs], out=whole, plane="9"))
    options = GatherCommand(inputs=[inputs], out=out, plane="9")
    work, moments = Path(f"{out}.work"), random.Random(3)

    def is_there(sections: int) -> bool:
        return len(list((work / "sections").glob("m*.npy"))) >= sections

    def is_writing(_: int) -> bool:
        return any(tmp_path.glob(".killed.*.partial.zarr/**/images"))

    steps = [*((is_there, k) for k in (0, 1, 2, 4, 7, 9, 12)), *((is_writing, 0),) * 3]
    for reached, sections in steps:
        child = children.Process(target=gather_here, args=(options,))
        child.start()
        while child.is_alive() and not reached(sections):
            time.sleep(0.0005)
        time.sleep(moments.uniform(0, 0.003))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL, "it was over before it could be killed"
        assert not out.exists()
    gather_here(options)
    assert contents(out) == contents(whole)
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]
