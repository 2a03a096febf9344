"""Every reader, given files changed by chance: they are read, or refused in one line. Nothing else.

No other exception, no hang, no memory asked for in vain, no warning on the terminal. ``make fuzz``
goes on with the same mutators for an hour; the counts stand at the end of what pytest prints.
"""

from __future__ import annotations

import json
import signal
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.regions import Region
from napari_brainvae.data.population import Population
from napari_brainvae.data.volumes import UNREADABLE, open_volume, told
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.checkpoint import load_checkpoint, save_checkpoint
from napari_brainvae.models.header import Reference, Rotation
from napari_brainvae.models.pca import PCA
from napari_brainvae.phantom.phantom import draw_section, write_phantom_atlas
from tests import registered_brains as brains
from tests.atlas.brainglobe_cache import write_version_2, write_version_3
from tests.data import test_population_files as populations
from tests.memory import peak_memory
from tests.models.test_checkpoint import published_network
from tests.models.test_displacing import fresh as fresh_displacing
from tests.models.test_vae import fresh
from tests.mutators import mutant
from training.acquisition.manifest import Manifest
from training.fitting.run_folder import RunFolder

SECONDS = 20
"""That one file may take, on a machine that is busy."""
MEGABYTES = 256


class Reader(NamedTuple):
    make: Callable[[Path], Path]
    """Write a valid file or folder."""
    read: Callable[[Path], Any]
    """Do with it all that a reader does."""
    files: str = "*"
    """Which of what was written are changed."""


def sections(path: Path) -> np.ndarray:
    return Population.open(path).sections()


def population(make: Callable[[Path], Path], files: str = "*") -> Reader:
    return Reader(make, sections, files)


def table(folder: Path) -> Path:
    text = b"id,age,sex\n1,2,F\n2,3,M\n3,,F\n4,5,M\n5,6,F\n"
    return populations.beside(populations.npy(folder / "a.npy"), text)


def vae(folder: Path) -> Path:
    model = fresh(64, 64)
    model.header.training = {"options": {"beta": 3.0, "loss": "gaussian"}, "held_out": ["a", "b"]}
    save_checkpoint(model, folder / "a.safetensors")
    return folder / "a.safetensors"


def pca(folder: Path) -> Path:
    images = np.random.default_rng(0).random((6, 64, 64), np.float32)
    model = PCA.fit(images, 3)
    mean, log_variance = model.encode(images)
    model.header.reference = Reference.measure(np.arange(6), mean, log_variance)
    turned = model.with_rotation(np.eye(3)[::-1], Rotation(method="varimax", sections=6))
    save_checkpoint(turned, folder / "a.safetensors")
    return folder / "a.safetensors"


def displacing(folder: Path) -> Path:
    save_checkpoint(fresh_displacing((64, 64)), folder / "a.safetensors")
    return folder / "a.safetensors"


def published(folder: Path, **options: Any) -> Path:
    content = {"iter": 7, "model_states": {"net": published_network(3).state_dict()}}
    torch.save(content, folder / "a.pt", **options)
    return folder / "a.pt"


def use_model(path: Path) -> None:
    model = load_checkpoint(path)
    section = model.decode(np.zeros((1, model.latent_dim), np.float32))
    assert not (section < 0).any()
    assert model.label in ("PCA", "VAE", "beta-VAE", "Displacing")
    assert model.family in (None, "PCA", "VAE", "beta-VAE")
    assert model.noise_variance is None or model.noise_variance > 0
    model.encode(section)
    if model.header.reference is not None:
        model.header.reference.deviation([1.0], [1.0])


def atlas(folder: Path) -> Path:
    write_phantom_atlas(draw_section(64, 80), folder / "a")
    return folder / "a"


def use_atlas(folder: Path) -> None:
    opened = Atlas.open(folder)
    opened.template(0)
    assert opened.colors
    assert opened.names
    for structure in list(opened)[:3]:
        opened.mask(structure.id, plane=0, side="left")
        opened.children(structure.id)


def region(folder: Path) -> Path:
    corners = [[9.5, 9.5], [9.5, 40], [30, 40], [30.5, 9]]
    Region.from_polygons("drawn", [corners, np.add(corners, 20)], (64, 80), 25).save(
        folder / "a.json"
    )
    return folder / "a.json"


def manifest(folder: Path) -> Path:
    table = pd.DataFrame({"strain": ["x", "y", ""]}, index=pd.Index([11, 12, 13], name="id"))
    Manifest(folder / "manifest.csv").begin({"plane": 286, "limit": None}, table)
    return folder / "manifest.csv"


def use_manifest(path: Path) -> None:
    opened = Manifest(path)
    opened.read({"plane": 286, "limit": None})
    for status in ("waiting", "done", "failed"):
        opened.covariates(opened.ids(status))


def run(folder: Path) -> Path:
    opened = RunFolder(folder / "a")
    opened.folder.mkdir()
    opened.rows = [{"step": 1, "reconstruction": 2.0, "kl_1": 0.1}, {"step": 2, "kl_1": 0.2}]
    opened.write_history()
    opened.write_record(
        {
            "status": "running",
            "options": {"beta": 3.0, "steps": 3, "seed": 0},
            "data": {"sections": 3, "shape": [64, 80], "fingerprint": "ab"},
        }
    )
    opened.save_state({"step": 2, "network": {"weight": torch.zeros(3)}, "optimizer": {}})
    return opened.folder


def old_run(folder: Path) -> Path:
    """Where no checksum tells that the state is another."""
    opened = run(folder)
    (opened / "state" / "checksums.json").unlink()
    return opened


def use_run(folder: Path) -> None:
    opened = RunFolder(folder)
    record = opened.read_record()
    opened.check_same({"options": {**record["options"]}, "data": record["data"]})
    opened.check(resume=True)
    opened.read_history(2)
    opened.load_state(3)


def volume(name: str, write: brains.Writer) -> Reader:
    """A registered brain, as `gather` reads it: what is wrong is said without its name."""

    def use(path: Path) -> None:
        try:
            opened = open_volume(path)
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from error
        try:
            opened.voxels[:, :, :]
        except UNREADABLE as error:
            raise InputError(f"{path.name}: {told(error)}") from error

    brain = brains.asymmetric_brain(shape=(6, 10, 14))
    return Reader(lambda d: write(d / name, brain, "lpi"), use, "**/*")


def brainglobe(folder: Path, write: Callable[..., Path]) -> Path:
    drawn = draw_section(64, 80)
    labels = np.repeat(drawn.annotation[None], 5, axis=0)
    return write(folder, "phantom_25um", drawn.tree, labels)


READERS = {
    ".npy": population(lambda d: populations.npy(d / "a.npy")),
    ".npz": population(lambda d: populations.npz(d / "a.npz", ids=populations.names())),
    ".npz, compressed": population(
        lambda d: populations.npz(d / "a.npz", compressed=True, ids=populations.names())
    ),
    "TIFF": population(lambda d: populations.tiff(d / "a.tif")),
    "TIFF, page by page": population(
        lambda d: populations.pages(d / "a.tif", populations.IMAGES, compression="zlib")
    ),
    "TIFF, LZW": population(lambda d: populations.tiff(d / "a.tif", compression="lzw")),
    "OME-TIFF": population(lambda d: populations.ome(d / "a.ome.tif", PhysicalSizeX=25.0)),
    ".zarr": population(lambda d: populations.ours(d / "a.zarr"), "a.zarr/**/*"),
    "table beside": population(table, "a.csv"),
    "VAE .safetensors": Reader(vae, use_model),
    "PCA .safetensors": Reader(pca, use_model),
    "displacing .safetensors": Reader(displacing, use_model),
    "published .pt": Reader(published, load_checkpoint),
    "published .pt, old format": Reader(
        lambda d: published(d, _use_new_zipfile_serialization=False), load_checkpoint
    ),
    "atlas": Reader(atlas, use_atlas, "**/*"),
    "atlas of BrainGlobe": Reader(
        lambda d: brainglobe(d, partial(write_version_3, chunks=(1, 64, 80))), use_atlas, "**/*"
    ),
    "atlas of BrainGlobe, version 2": Reader(
        lambda d: brainglobe(d, write_version_2), use_atlas, "**/*"
    ),
    "NIfTI": volume("a.nii", brains.write_nifti),
    "NIfTI, packed": volume("a.nii.gz", brains.write_nifti),
    "NRRD": volume("a.nrrd", brains.write_nrrd),
    "MetaImage": volume("a.mha", brains.write_mhd),
    "MetaImage of two files": volume("a.mhd", brains.write_mhd),
    "OME-Zarr": volume("a.zarr", brains.write_ome_zarr),
    "volume in a TIFF": volume("a.tif", brains.write_tiff),
    "region": Reader(region, lambda path: Region.load(path).to_mask()),
    "manifest": Reader(manifest, use_manifest, "*"),
    "run": Reader(run, use_run, "**/*"),
    "run without checksums": Reader(old_run, use_run, "**/*"),
}


class Hang(BaseException):
    """Not an Exception: nothing that is tested may catch it."""


@contextmanager
def no_hang() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(reader: Reader, path: Path, names: set[str]) -> str:
    """Read a mutant; anything but a result or one line that names a file is a failure."""
    with warnings.catch_warnings(record=True) as noise, no_hang(), peak_memory() as peak:
        warnings.simplefilter("always")
        try:
            reader.read(path)
            what, message = "opened", ""
        except (ValueError, OSError) as error:
            assert type(error).__name__ != "ValueError", f"no InputError: {error!r}"
            what, message = "refused", str(error)
    assert not noise, f"on the terminal: {noise[0].message}"
    assert peak.mb < MEGABYTES, f"{peak.mb:.0f} MB"
    assert "\n" not in message, message
    assert what == "opened" or any(name in message for name in names), f"of what? {message}"
    return what


@pytest.mark.parametrize("name", READERS)
def test_a_changed_file_is_read_or_refused(name, tmp_path, mutants, record_property, caplog):
    reader = READERS[name]
    path = reader.make(tmp_path)
    files = sorted(f for f in tmp_path.glob(reader.files) if f.is_file())
    valid = {file: file.read_bytes() for file in files}
    # What a section, region or request is called tells as well where to look.
    names = {file.name for file in files} | {path.name, "section", "region 'drawn'", "was begun"}
    reader.read(path)
    until = time.monotonic() + 60 * mutants.minutes / len(READERS)
    seed, number, counts = mutants.seed + zlib.crc32(name.encode()), 0, {"opened": 0, "refused": 0}
    while number < mutants.count or time.monotonic() < until:
        file = files[number % len(files)]
        file.write_bytes(mutant(valid[file], seed, number))
        try:
            counts[outcome(reader, path, names)] += 1
        except BaseException as error:
            error.add_note(f"mutant {number} of seed {seed}, {file.name}")
            raise
        file.write_bytes(valid[file])
        number += 1
    reader.read(path)
    record_property("mutants", json.dumps({"reader": name, "mutants": number, **counts}))
    others = {
        r.name for r in caplog.records if not r.name.startswith(("napari_brainvae", "training"))
    }
    assert not others, f"what is logged by {others} stands on the terminal"
