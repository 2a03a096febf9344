from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from napari_brainvae.models.checkpoint import (
    fingerprint,
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from napari_brainvae.models.header import Reference
from napari_brainvae.models.pca import PCA
from tests.models.test_vae import fresh


@pytest.fixture
def images(rng):
    return rng.random((6, 64, 72), dtype=np.float32)


@pytest.mark.parametrize("kind", ["vae", "vae with shortcut", "pca"])
def test_a_model_comes_back_as_it_was(tmp_path, images, kind):
    model = PCA.fit(images, 3) if kind == "pca" else fresh(shortcut="shortcut" in kind)
    model.header.pixel_size_um, model.header.plane = 25.0, 286
    model.header.training = {"options": {"beta": 3.0}, "held_out": ["a"]}
    mean, log_variance = model.encode(images)
    model.header.reference = Reference.measure(np.arange(6), mean, log_variance)
    save_checkpoint(model, tmp_path / "m.safetensors")
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert loaded.header == model.header
    assert fingerprint(loaded) == fingerprint(model)
    assert np.array_equal(loaded.encode(images)[0], mean)
    assert np.array_equal(loaded.decode(mean), model.decode(mean))


def test_the_header_is_plain_json_in_the_file(tmp_path):
    save_checkpoint(fresh(), tmp_path / "m.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    assert json.loads(metadata["napari_brainvae"])["preprocessing"]["clip"] == 3.8
    assert read_header(tmp_path / "m.safetensors").latent_dim == 3


class Armed:
    """A pickle that would leave a trace if anything loaded it."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def pickled(path, trace):
    path.write_bytes(pickle.dumps(Armed(trace)))


def torch_pickled(path, trace):
    torch.save({"model_states": {"net": Armed(trace)}}, path)


def foreign(path, trace):
    save_file({"weight": np.zeros(3)}, path)


def truncated(path, trace):
    save_checkpoint(fresh(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def wrong_header(path, trace):
    save_file({"weight": np.zeros(3)}, path, {"napari_brainvae": '{"kind": "gan"}'})


def wrong_tensors(path, trace):
    save_file({"a": np.zeros(3)}, path, {"napari_brainvae": fresh().header.model_dump_json()})


def empty(path, trace):
    path.touch()


@pytest.mark.parametrize("name", ["m.safetensors", "m.pth", "checkpoint"])
@pytest.mark.parametrize(
    "write", [pickled, torch_pickled, foreign, truncated, wrong_header, wrong_tensors, empty]
)
def test_what_is_no_checkpoint_is_refused_and_never_executed(tmp_path, write, name):
    trace = tmp_path / "executed"
    write(tmp_path / name, trace)
    with pytest.raises(ValueError, match=name):
        load_checkpoint(tmp_path / name)
    assert not trace.exists()


def test_a_missing_checkpoint_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "m.safetensors")


def published_network(latent_dim: int) -> nn.ModuleDict:
    """Build the network as nerdslab/brainsynth lays it out: 448 x 320, columns first."""
    torch.manual_seed(3)
    convolutions, transposed = [], []
    for i in range(7):
        stride = 2 if i < 6 else 1
        convolutions += [nn.Conv2d(32 if i else 1, 32, 4, stride, 1), nn.ReLU()]
        transposed += [nn.ConvTranspose2d(32, 32 if i < 6 else 1, 4, 2 if i else 1, 1), nn.ReLU()]
    encoder = nn.Sequential(
        *convolutions,
        nn.Flatten(),
        nn.Linear(768, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, 2 * latent_dim),
    )
    decoder = nn.Sequential(
        nn.Linear(latent_dim, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, 768),
        nn.ReLU(),
        nn.Unflatten(1, (32, 6, 4)),
        *transposed[:-1],
    )
    return nn.ModuleDict({"encoder": encoder, "decoder": decoder})


@pytest.mark.parametrize("latent_dim", [8, 5])
def test_the_published_checkpoint_is_converted_exactly(tmp_path, rng, latent_dim):
    theirs = published_network(latent_dim)
    net = {"iter": 10000, "model_states": {"net": theirs.state_dict()}}
    torch.save(net, tmp_path / "last")
    ours = load_checkpoint(tmp_path / "last")
    assert ours.shape == (320, 448)
    images = rng.random((2, 320, 448), dtype=np.float32)
    latents = rng.normal(size=(2, latent_dim)).astype(np.float32)
    with torch.no_grad():
        turned = torch.from_numpy(images.transpose(0, 2, 1)[:, None].copy())
        mean, log_variance = theirs["encoder"](turned).chunk(2, dim=1)
        drawn = torch.sigmoid(theirs["decoder"](torch.from_numpy(latents)))[:, 0]
    our_mean, our_log_variance = ours.encode(images)
    assert np.allclose(our_mean, mean, atol=1e-5)
    assert np.allclose(our_log_variance, log_variance, atol=1e-5)
    assert np.allclose(ours.decode(latents), drawn.numpy().transpose(0, 2, 1), atol=1e-5)
    save_checkpoint(ours, tmp_path / "ours.safetensors")
    again = load_checkpoint(tmp_path / "ours.safetensors")
    assert np.array_equal(again.decode(latents), ours.decode(latents))


@pytest.mark.parametrize("command", ["pca", "rotate"])
def test_no_command_writes_a_checkpoint_over_a_folder(command, run_folder, phantom_file, tmp_path):
    from training.pca import PCAOptions, fit_pca
    from training.rotate import RotateOptions, rotate

    out = tmp_path / "d.safetensors"
    out.mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        if command == "pca":
            fit_pca(PCAOptions(population=phantom_file, out=out, overwrite=True))
        else:
            model = run_folder / "model.safetensors"
            rotate(RotateOptions(model=model, population=phantom_file, out=out, overwrite=True))
