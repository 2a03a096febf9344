"""A pipe in the place of any file that is read: one line that names it, and nobody waits.

The files are those of every reader that is tested with files changed by chance, and of commands
that keep a memory of their own.
"""

from __future__ import annotations

import os

import nrrd
import numpy as np
import pytest

from napari_brainvae.data.gather_inputs import find_sources
from napari_brainvae.data.volumes import open_volume
from napari_brainvae.gathering.manifest import Manifest as Gathered
from napari_brainvae.io.errors import InputError
from tests.registered_brains import asymmetric_brain, write_brainreg
from tests.test_mutants import READERS, no_hang
from training import refits
from training.acquisition.fetch_atlas import CHECKSUMS, _read_noted
from training.acquisition.manifest import _read_experiments
from training.sweep import assemble


def pipe(file):
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(file)
    return file


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_for_any_file_of_a_reader_is_not_waited_for(name, tmp_path):
    reader = READERS[name]
    path = reader.make(tmp_path)
    files = sorted(f for f in tmp_path.glob(reader.files) if f.is_file())
    refused = 0
    for file in files:
        content = file.read_bytes()
        pipe(file)
        with no_hang():
            try:
                reader.read(path)
            except (InputError, OSError) as error:
                refused += 1
                assert "\n" not in str(error)
                assert any(n in str(error) for n in (file.name, path.name, "section")), str(error)
        file.unlink()
        file.write_bytes(content)
    assert refused >= len(files) / 2, "the others are not read, or are not needed"
    reader.read(path)


def request_of_a_gathering(folder):
    (folder / "manifest.csv").touch()
    pipe(folder / "request.json")
    Gathered(folder / "manifest.csv").read({})


def another_file_of_voxels(folder, kind):
    """A header that names the file in which its voxels are."""
    if kind == "nhdr":
        nrrd.write(str(folder / "a.nhdr"), asymmetric_brain(), {"encoding": "raw"})
        [raw] = folder.glob("*.raw*")
    else:
        (folder / "a.mhd").write_text(
            "NDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = a.raw\n"
        )
        raw = folder / "a.raw"
    pipe(raw)
    np.asarray(open_volume(folder / f"a.{kind}").voxels[:, :, :])


def fits(folder, name):
    tasks = {"a": {"members": [1]}}
    np.savez(folder / "a.npz", codes=np.zeros(2))
    (folder / "fits.json").write_text('{\n "a": {\n  "members": [\n   1\n  ]\n }\n}\n')
    pipe(folder / name)
    refits.refit(folder, tasks, None, 1)


MEMORIES = {
    "request.json of a gathering": (request_of_a_gathering, "request.json"),
    "experiments": (lambda d: _read_experiments(pipe(d / "ids.csv")), "ids.csv"),
    "a cell of a sweep": (lambda d: assemble(pipe(d / "pca_L-2.json").parent, ["pca_L-2"]), "pca"),
    "fits.json": (lambda d: fits(d, "fits.json"), "fits.json"),
    "a fit": (lambda d: fits(d, "a.npz"), "a.npz"),
    "voxels of an .nhdr": (lambda d: another_file_of_voxels(d, "nhdr"), "raw"),
    "voxels of an .mhd": (lambda d: another_file_of_voxels(d, "mhd"), "raw"),
}


@pytest.mark.parametrize("case", MEMORIES)
def test_a_pipe_in_what_a_command_remembers_is_not_waited_for(case, tmp_path):
    use, named = MEMORIES[case]
    with no_hang(), pytest.raises(InputError, match=named) as error:
        use(tmp_path)
    assert "no regular file" in str(error.value)
    assert "\n" not in str(error.value)


def test_pipes_that_are_only_asked_for_more_are_passed_by(tmp_path):
    """Which atlas a brain was registered to; what of an atlas was fetched before."""
    folder = write_brainreg(tmp_path / "mouse", asymmetric_brain())
    pipe(folder / "brainreg.json")
    with no_hang():
        [found] = find_sources([folder])
        assert found.atlas == ""
        assert _read_noted(pipe(tmp_path / CHECKSUMS)) == {}
