"""One file in, one model out; never a pickle that could run code."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import ROTATION, Header, Model

HEADER_KEY = "napari_brainvae"
DEMO_MODEL = Path(__file__).parents[1] / "demo_model.safetensors"
"""A small model fitted on phantom brains, which ships with the plugin."""
PUBLISHED_SUFFIXES = (".pth", ".pt", "")
PUBLISHED_SHAPE = (320, 448)


def check_new(path: Path, *, overwrite: bool) -> None:
    """Refuse a name that a command may not write a checkpoint to, before it computes anything.

    Raises
    ------
    InputError, OSError
        If it does not end in ``.safetensors``, is a folder, or exists and is not to be replaced.
    """
    if path.suffix != ".safetensors":
        raise InputError(f"a checkpoint ends in .safetensors: {path.name}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give another name")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already: give another name, or --overwrite")


def save_checkpoint(model: Model, path: str | Path) -> None:
    """Write a model to one ``.safetensors`` file, its header as JSON inside, in one step.

    Examples
    --------
    >>> import tempfile
    >>> model = load_checkpoint(DEMO_MODEL)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(model, Path(folder) / "copy.safetensors")
    """
    with replacing(path) as beside:
        write_tensors(beside, model.tensors(), model.header)


def write_tensors(path: Path, tensors: dict[str, npt.NDArray[Any]], header: Header) -> None:
    """Write tensors and header, readable by whom the user's umask says."""
    path.write_bytes(save(tensors, {HEADER_KEY: header.model_dump_json()}))


def load_checkpoint(path: str | Path) -> Model:
    """Open a checkpoint of this project, or the published brainsynth checkpoint.

    Parameters
    ----------
    path
        ``.safetensors``; or ``.pth``, ``.pt`` or a name without suffix for a published one,
        which is read without running anything it holds.

    Returns
    -------
    Model
        A `BetaVAE` or a `PCA`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputError
        If it is no checkpoint, truncated, or of a kind this version does not know.

    Examples
    --------
    >>> load_checkpoint(DEMO_MODEL).latent_dim
    8
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    if path.suffix in PUBLISHED_SUFFIXES:
        return import_published(path)
    header, tensors = _read(path)
    rotation = tensors.pop(ROTATION, None)
    try:
        if (rotation is None) != (header.rotation is None):
            raise KeyError(ROTATION)
        return _build(header, tensors).with_rotation(rotation, header.rotation)
    except (RuntimeError, KeyError) as error:
        raise InputError(f"{path.name}: the tensors are not those its header promises") from error


def read_header(path: str | Path) -> Header:
    """Read what a checkpoint says of itself, without its tensors.

    Raises
    ------
    InputError
        If the file is no checkpoint of this project.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {})[HEADER_KEY]
        return Header.model_validate_json(text)
    except KeyError:
        raise InputError(f"{path.name} is a safetensors file but none of this project") from None
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise InputError(f"{path.name}: its header is wrong at {place}: {problem['msg']}") from None
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path.name} is no checkpoint: not a whole safetensors file ({error})"
        ) from None


def fingerprint(model: Model) -> str:
    """Short hash of a model's tensors; the same one means the same numbers."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.tensors().items()):
        digest.update(name.encode() + np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[Header, dict[str, npt.NDArray[Any]]]:
    header = read_header(path)
    with safe_open(path, framework="numpy") as file:
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _build(header: Header, tensors: dict[str, npt.NDArray[Any]]) -> Model:
    if header.kind == "pca":
        from napari_brainvae.models.pca import PCA

        return PCA(header, tensors["mean"], tensors["components"], tensors["eigenvalues"])
    import torch

    from napari_brainvae.models.vae import BetaVAE

    model = BetaVAE(header)
    model.network.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()})
    return model


def import_published(path: str | Path) -> Model:
    """Convert the authors' checkpoint (a torch pickle, 448 x 320) to our orientation.

    Their sections are transposed: both axes of every kernel are swapped, and so are the two axes
    of the 32 x 6 x 4 map that the linear layers next to it see. Nothing of the pickle is executed.

    Raises
    ------
    InputError
        If the file is not laid out as the authors' is.
    """
    import torch

    from napari_brainvae.models.vae import BetaVAE

    path = Path(path)
    try:
        with warnings.catch_warnings():
            # An unexpected pickle protocol ends in our own message, if it does not open.
            warnings.simplefilter("ignore", UserWarning)
            theirs = torch.load(path, map_location="cpu", weights_only=True)
        states = theirs["model_states"]["net"]
        latent_dim = states["encoder.19.weight"].shape[0] // 2
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError) as e:
        raise InputError(f"{path.name} is not a published brainsynth checkpoint") from e
    height, width = PUBLISHED_SHAPE
    header = Header(
        kind="vae",
        height=height,
        width=width,
        latent_dim=latent_dim,
        preprocessing=Preprocessing(height=height, width=width),
        pixel_size_um=25.0,
        plane=286,
        training={"recipe": "published", "steps": theirs.get("iter")},
    )
    model = BetaVAE(header)
    ours = model.network.state_dict()
    try:
        for name, tensor in states.items():
            ours[name] = _transposed(name, tensor)
        model.network.load_state_dict(ours)
    except RuntimeError as error:
        raise InputError(f"{path.name} is not a published brainsynth checkpoint") from error
    return model


def _transposed(name: str, tensor: Any) -> Any:
    if tensor.ndim == 4:
        return tensor.transpose(2, 3)
    if name == "encoder.15.weight":
        return tensor.view(-1, 32, 6, 4).transpose(2, 3).flatten(1)
    if name == "decoder.4.weight":
        return tensor.view(32, 6, 4, -1).transpose(1, 2).flatten(0, 2)
    if name == "decoder.4.bias":
        return tensor.view(32, 6, 4).transpose(1, 2).flatten()
    return tensor
