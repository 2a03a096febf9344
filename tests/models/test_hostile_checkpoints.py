"""Checkpoints that are damaged, made up or made to do harm: refused in one line, in little memory.

What is no checkpoint at all is in test_checkpoint.py.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from napari_brainvae.io.errors import InputError
from napari_brainvae.models.checkpoint import load_checkpoint, read_header, save_checkpoint
from napari_brainvae.models.pca import PCA
from tests.memory import peak_memory
from tests.models.test_checkpoint import published_network
from tests.models.test_displacing import fresh as displacing
from tests.models.test_vae import fresh

REFERENCE = {
    "error_median": 0.1,
    "error_spread": 0.1,
    "kl_median": 1.0,
    "kl_spread": 0.1,
    "code_mean": [0.0] * 3,
    "code_std": [1.0] * 3,
    "kl_per_factor": [0.5] * 3,
}


def vae():
    return fresh()


def pca():
    return PCA.fit(np.random.default_rng(0).random((6, 64, 72), np.float32), 3)


def write(path, tensors, header, save=safetensors.numpy.save_file):
    """Write a checkpoint without a word on whether the two belong together."""
    save(tensors, path, {"napari_brainvae": json.dumps(header)})


def header(path, make=vae, **changes):
    """A model whose header says something else."""
    model = make()
    write(path, model.tensors(), json.loads(model.header.model_dump_json()) | changes)


def tensor(path, make=vae, name="encoder.0.weight", change=None):
    """A model one of whose tensors is another."""
    model = make()
    tensors = model.tensors()
    changed = change(tensors.pop(name))
    if changed is not None:
        tensors[name] = np.asarray(changed, order="C")
    write(path, tensors, json.loads(model.header.model_dump_json()))


def cast(path, kind):
    """A model whose numbers are of another type."""
    model = vae()
    tensors = {k: torch.from_numpy(v).to(kind) for k, v in model.tensors().items()}
    write(path, tensors, json.loads(model.header.model_dump_json()), safetensors.torch.save_file)


def reference(path, **changes):
    header(path, reference=REFERENCE | changes)


def trained(path, **record):
    header(path, training=record)


def turned(path, matrix, record=True):
    rotation = {"method": "varimax", "sections": 6}
    model = vae()
    said = json.loads(model.header.model_dump_json()) | ({"rotation": rotation} if record else {})
    write(path, model.tensors() | {"rotation": np.asarray(matrix, float)}, said)


def with_(array, value):
    array = array.copy()
    array.flat[0] = value
    return array


NOT_PROMISED = "the tensors are not those its header promises"
SAFETENSORS = {
    # Sizes, compared before anything is made
    "10^6 factors": (lambda p: header(p, latent_dim=10**6), "promises"),
    "10^18 factors": (lambda p: header(p, latent_dim=10**18), "latent_dim"),
    "20,000 px": (
        lambda p: header(
            p, height=20_000, width=20_000, preprocessing={"height": 20_000, "width": 20_000}
        ),
        "height",
    ),
    "8,192 px": (
        lambda p: header(p, height=8192, width=8192, preprocessing={"height": 8192, "width": 8192}),
        "promises",
    ),
    "PCA of 10^6 factors": (lambda p: header(p, pca, latent_dim=10**6), "promises"),
    # Types
    **{
        f"tensors of {kind}": (lambda p, kind=kind: cast(p, kind), "numbers")
        for kind in (
            torch.bfloat16,
            torch.float8_e4m3fn,
            torch.float8_e5m2,
            torch.int8,
            torch.int64,
            torch.bool,
            torch.complex64,
        )
    },
    # Shapes
    "a mean that would be broadcast": (
        lambda p: tensor(p, pca, "mean", lambda a: a[:1]),
        "promises",
    ),
    "components that would be broadcast": (
        lambda p: tensor(p, pca, "components", lambda a: a[:, :1, :1]),
        "promises",
    ),
    "one eigenvalue for all": (
        lambda p: tensor(p, pca, "eigenvalues", lambda a: a[:1]),
        NOT_PROMISED,
    ),
    "no eigenvalues": (lambda p: tensor(p, pca, "eigenvalues", lambda a: None), NOT_PROMISED),
    "a weight turned": (lambda p: tensor(p, change=lambda a: a.T), NOT_PROMISED),
    "a weight missing": (lambda p: tensor(p, change=lambda a: None), NOT_PROMISED),
    "a bias that would be broadcast": (
        lambda p: tensor(p, name="encoder.0.bias", change=lambda a: a[:1]),
        NOT_PROMISED,
    ),
    "a tensor too many": (
        lambda p: write(
            p, vae().tensors() | {"x": np.zeros(3)}, json.loads(vae().header.model_dump_json())
        ),
        NOT_PROMISED,
    ),
    "a PCA with a tensor too many": (
        lambda p: write(
            p, pca().tensors() | {"x": np.zeros(3)}, json.loads(pca().header.model_dump_json())
        ),
        NOT_PROMISED,
    ),
    "a VAE called PCA": (lambda p: header(p, kind="pca"), NOT_PROMISED),
    "a PCA called VAE": (lambda p: header(p, pca, kind="vae"), NOT_PROMISED),
    "a displacing model called VAE": (lambda p: header(p, displacing, kind="vae"), NOT_PROMISED),
    "a VAE called displacing": (lambda p: header(p, kind="displacing"), NOT_PROMISED),
    "a displacing model of 10^6 factors": (
        lambda p: header(p, displacing, latent_dim=10**6),
        NOT_PROMISED,
    ),
    "displacement on another grid": (
        lambda p: tensor(p, displacing, "displacement", lambda a: a[..., :-1]),
        NOT_PROMISED,
    ),
    "displacement that would be broadcast": (
        lambda p: tensor(p, displacing, "displacement", lambda a: a[:1]),
        NOT_PROMISED,
    ),
    "no changes": (lambda p: tensor(p, displacing, "change", lambda a: None), NOT_PROMISED),
    # Values
    "infinite displacement": (
        lambda p: tensor(p, displacing, "displacement", lambda a: with_(a, np.inf)),
        "not finite",
    ),
    "no noise": (
        lambda p: tensor(p, displacing, "noise_variance", lambda a: 0 * a),
        "noise_variance",
    ),
    "negative noise": (
        lambda p: tensor(p, displacing, "noise_variance", lambda a: -a),
        "noise_variance",
    ),
    "NaN weights": (lambda p: tensor(p, change=lambda a: with_(a, np.nan)), "not finite"),
    "infinite weights": (lambda p: tensor(p, change=lambda a: with_(a, np.inf)), "not finite"),
    "NaN components": (
        lambda p: tensor(p, pca, "components", lambda a: with_(a, np.nan)),
        "not finite",
    ),
    "negative eigenvalues": (
        lambda p: tensor(p, pca, "eigenvalues", lambda a: with_(a, -1)),
        "eigenvalues",
    ),
    "an eigenvalue 0": (lambda p: tensor(p, pca, "eigenvalues", lambda a: 0 * a), "eigenvalues"),
    # What the header says
    **{
        f"{name} {value}": (lambda p, name=name, value=value: header(p, **{name: value}), name)
        for name, values in {
            "pixel_size_um": (-1, 0, float("nan"), float("inf"), "x", [25]),
            "plane": (-3, 2.5, "x", 10**30),
            "latent_dim": (0, -1, None, "x"),
            "height": (63, -64, None),
            "kind": ("gan", None),
            "format": (2, "x"),
            "preprocessing": (None, {}, {"height": 64, "width": 72, "clip": float("inf")}),
        }.items()
        for value in values
    },
    "preprocessing for another size": (
        lambda p: header(p, preprocessing={"height": 128, "width": 72}),
        "preprocessing",
    ),
    "codes too short": (lambda p: reference(p, code_mean=[0.0]), "reference"),
    "spreads too short": (lambda p: reference(p, code_std=[1.0] * 2), "reference"),
    "KL too long": (lambda p: reference(p, kl_per_factor=[1.0] * 4), "reference"),
    "NaN codes": (lambda p: reference(p, code_mean=[0, float("nan"), 0]), "reference"),
    "a NaN median": (lambda p: reference(p, error_median=float("nan")), "reference"),
    "an infinite spread": (lambda p: reference(p, kl_spread=float("inf")), "reference"),
    "a negative spread": (lambda p: reference(p, error_spread=-1), "reference"),
    "a reference of text": (lambda p: reference(p, code_mean="abc"), "reference"),
    # What the training says, as far as anything is made of it
    "training is a list": (lambda p: header(p, training=[]), "training"),
    "options are a list": (lambda p: trained(p, options=[1]), "training"),
    "options are text": (lambda p: trained(p, options="beta"), "training"),
    "a beta of text": (lambda p: trained(p, options={"beta": "3"}), "training"),
    "a beta NaN": (lambda p: trained(p, options={"beta": float("nan")}), "training"),
    "a beta below 0": (lambda p: trained(p, options={"beta": -1}), "training"),
    "a loss of another kind": (lambda p: trained(p, options={"loss": []}), "training"),
    "a recipe of another kind": (lambda p: trained(p, options={"recipe": 3}), "training"),
    "held out: a number": (lambda p: trained(p, held_out=5), "training"),
    "held out: a number in the list": (lambda p: trained(p, held_out=["a", [1]]), "training"),
    "data: text": (lambda p: trained(p, data="x"), "training"),
    # Rotations
    "a rotation of NaN": (lambda p: turned(p, np.full((3, 3), np.nan)), "finite"),
    "a rotation that is none": (lambda p: turned(p, np.ones((3, 3))), "orthogonal"),
    "a rotation of 2 factors": (lambda p: turned(p, np.eye(2)), "promises"),
    "a rotation unheard of": (lambda p: turned(p, np.eye(3), record=False), NOT_PROMISED),
    "a rotation that is missing": (
        lambda p: header(p, rotation={"method": "varimax", "sections": 6}),
        NOT_PROMISED,
    ),
    # Files
    "a header that is no JSON": (
        lambda p: safetensors.numpy.save_file(vae().tensors(), p, {"napari_brainvae": "{"}),
        "header",
    ),
    "a header nested deeply": (
        lambda p: safetensors.numpy.save_file(
            vae().tensors(), p, {"napari_brainvae": '{"training":' + "[" * 10**5}
        ),
        "header",
    ),
    "a header as long as 2^60": (
        lambda p: p.write_bytes(struct.pack("<Q", 2**60) + b"{}"),
        "not a whole safetensors file",
    ),
    "a folder": (lambda p: p.mkdir(), "no regular file"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_a_hostile_checkpoint_is_refused_in_one_line_and_little_memory(tmp_path, case):
    make, message = SAFETENSORS[case]
    path = tmp_path / "m.safetensors"
    make(path)
    with peak_memory() as peak, pytest.raises((InputError, OSError), match=message) as refused:
        load_checkpoint(path)
    assert "m.safetensors" in str(refused.value), "the file is named"
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500
    assert peak.mb < 100


def test_a_byte_that_changed_on_disk_is_told_wherever_it_is(tmp_path):
    """One bit, also where it leaves the header's JSON and every number as good as before."""
    path = tmp_path / "m.safetensors"
    model = fresh()
    model.header.pixel_size_um = 25.0
    save_checkpoint(model, path)
    valid = path.read_bytes()
    size = 8 + int.from_bytes(valid[:8], "little")
    places = [*range(0, size, 37), valid.index(b"25.0") + 1, *range(size, len(valid), 100_003)]
    for place in [*places, len(valid) - 10]:
        path.write_bytes(valid[:place] + bytes([valid[place] ^ 1]) + valid[place + 1 :])
        with pytest.raises(InputError, match=r"m\.safetensors"):
            load_checkpoint(path)
    path.write_bytes(valid.replace(b"25.0", b"24.0"))
    with pytest.raises(InputError, match=r"m\.safetensors: .*header.* changed"):
        load_checkpoint(path)


def test_a_checkpoint_from_before_there_were_checksums_opens(tmp_path):
    path = tmp_path / "m.safetensors"
    header(path)
    assert load_checkpoint(path).header.header_checksum is None


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.safetensors")
    for open_ in (load_checkpoint, read_header):
        with pytest.raises(InputError, match=r"m\.safetensors is no regular file"):
            open_(tmp_path / "m.safetensors")


def test_a_record_of_training_may_hold_more_and_less(tmp_path):
    path = tmp_path / "m.safetensors"
    for record in (
        {},
        {"options": {}},
        {"options": {"beta": None, "loss": "gaussian"}, "steps": None},
        {"options": {"beta": 3, "later": [1]}, "held_out": [], "data": {}, "new": "x"},
    ):
        trained(path, **record)
        assert load_checkpoint(path).label in ("beta-VAE", "VAE")


# The authors' checkpoint, a torch pickle.


def published(latent_dim=3):
    return {"iter": 10000, "model_states": {"net": published_network(latent_dim).state_dict()}}


def save(path, content, **options):
    torch.save(content, path, **options)


def net(path, **changes):
    content = published()
    states = content["model_states"]["net"]
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del states[name]
        else:
            states[name] = value(states[name]) if callable(value) else value
    save(path, content)


def squeezed(path):
    """A pickle whose archive unpacks to a hundred times its size."""
    content = published()
    content["model_states"]["net"]["blank"] = torch.zeros(4 * 10**7)
    save(path, content)
    with zipfile.ZipFile(path) as plain:
        parts = {i.filename: plain.read(i) for i in plain.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as small:
        for name, part in parts.items():
            small.writestr(name, part)


class Filler:
    """A pickle that fills memory, and that torch itself takes to be safe."""

    def __reduce__(self):
        return bytearray, (10**9,)


def another(path):
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(3))


def numbered(path):
    """Weights whose names are numbers."""
    states = published()["model_states"]["net"]
    save(path, {"model_states": {"net": dict(enumerate(states.values()))}})


def stretched(path):
    """A hundred bytes that pose as the weights of 10^6 factors."""
    content = published()
    states = content["model_states"]["net"]
    states["encoder.19.weight"] = torch.zeros(1).expand(2 * 10**6, 256)
    states["encoder.19.bias"] = torch.zeros(1).expand(2 * 10**6)
    states["decoder.0.weight"] = torch.zeros(1).expand(256, 10**6)
    save(path, content)


NONE = "is not a published brainsynth checkpoint"
PUBLISHED = {
    "10^6 factors": (stretched, NONE),
    "a bomb": (squeezed, NONE),
    "a filler": (lambda p: save(p, {"model_states": Filler()}), NONE),
    "a filler in the old format": (
        lambda p: save(p, {"model_states": Filler()}, _use_new_zipfile_serialization=False),
        NONE,
    ),
    "a list": (lambda p: save(p, [1, 2]), NONE),
    "a number": (lambda p: save(p, 3), NONE),
    "a tensor": (lambda p: save(p, torch.zeros(3)), NONE),
    "weights alone": (lambda p: save(p, published()["model_states"]["net"]), NONE),
    "states that are a list": (lambda p: save(p, {"model_states": [1]}), NONE),
    "a net that is a tensor": (lambda p: save(p, {"model_states": {"net": torch.zeros(3)}}), NONE),
    "a net of numbers": (
        lambda p: save(p, {"model_states": {"net": {"encoder.19.weight": 3}}}),
        NONE,
    ),
    "an empty net": (lambda p: save(p, {"model_states": {"net": {}}}), NONE),
    "numbers for names": (numbered, NONE),
    "a scalar for a weight": (lambda p: net(p, encoder__19__weight=torch.tensor(3.0)), NONE),
    "a weight of text": (lambda p: net(p, encoder__0__weight="x"), NONE),
    "a weight too few": (lambda p: net(p, encoder__0__weight=None), NONE),
    "a weight too many": (lambda p: net(p, extra=torch.zeros(3)), NONE),
    "a weight of another shape": (lambda p: net(p, decoder__4__weight=torch.zeros(7, 3)), NONE),
    "a sparse weight": (lambda p: net(p, encoder__0__bias=lambda t: t.to_sparse()), NONE),
    "a quantised weight": (
        lambda p: net(
            p, encoder__0__bias=lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)
        ),
        NONE,
    ),
    "a weight of no memory": (lambda p: net(p, encoder__0__bias=lambda t: t.to("meta")), NONE),
    "complex weights": (lambda p: net(p, encoder__0__bias=lambda t: t.to(torch.complex64)), NONE),
    "whole numbers": (lambda p: net(p, encoder__0__bias=lambda t: t.long()), NONE),
    "NaN weights": (lambda p: net(p, encoder__0__bias=lambda t: t * float("nan")), "not finite"),
    "an odd number of outputs": (
        lambda p: net(
            p,
            encoder__19__weight=torch.zeros(7, 256),
            encoder__19__bias=torch.zeros(7),
        ),
        NONE,
    ),
    "no factors": (
        lambda p: net(
            p,
            encoder__19__weight=torch.zeros(0, 256),
            encoder__19__bias=torch.zeros(0),
            decoder__0__weight=torch.zeros(256, 0),
        ),
        NONE,
    ),
    "the old format, cut": (
        lambda p: (
            save(p, published(), _use_new_zipfile_serialization=False),
            p.write_bytes(p.read_bytes()[:5000]),
        ),
        NONE,
    ),
    "an empty archive": (lambda p: zipfile.ZipFile(p, "w").close(), NONE),
    "another archive": (another, NONE),
    "a script": (lambda p: torch.jit.script(torch.nn.Linear(2, 2)).save(p), NONE),
    "a pickle of protocol 5": (
        lambda p: p.write_bytes(pickle.dumps({"model_states": {}}, 5)),
        NONE,
    ),
    "a pickle cut short": (lambda p: p.write_bytes(pickle.dumps({"a": [1] * 99})[:-20]), NONE),
    "noise": (lambda p: p.write_bytes(np.random.default_rng(0).bytes(5000)), NONE),
    "a bit flipped": (
        lambda p: (save(p, published()), flip(p, len(p.read_bytes()) // 2)),
        NONE,
    ),
}


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantiz:UserWarning")
@pytest.mark.parametrize("case", PUBLISHED)
def test_what_poses_as_the_authors_checkpoint_is_refused(tmp_path, case):
    make, message = PUBLISHED[case]
    path = tmp_path / "last.pt"
    make(path)
    with peak_memory() as peak, pytest.raises(InputError, match=message) as refused:
        load_checkpoint(path)
    assert "last.pt" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert peak.mb < 100


def test_the_authors_checkpoint_opens_in_the_old_format_and_without_a_step(tmp_path):
    content = published()
    save(tmp_path / "new", content)
    del content["iter"]
    save(tmp_path / "old.pth", content, _use_new_zipfile_serialization=False)
    images = np.random.default_rng(0).random((1, 320, 448), np.float32)
    new, old = load_checkpoint(tmp_path / "new"), load_checkpoint(tmp_path / "old.pth")
    np.testing.assert_array_equal(new.encode(images)[0], old.encode(images)[0])
    assert (new.header.training["steps"], old.header.training["steps"]) == (10000, None)
