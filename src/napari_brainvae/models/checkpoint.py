"""One file in, one model out; never a pickle that could run code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.io.errors import InputError, MissingFileError
from napari_brainvae.io.regular_files import regular_file
from napari_brainvae.models.base import ROTATION, Model
from napari_brainvae.models.header import Header

if TYPE_CHECKING:
    from torch import nn

HEADER_KEY = "napari_brainvae"
UNSEALED = "0" * 16
"""In the place of a header's own checksum while that is computed."""
NUMBERS = {"F16", "F32", "F64"}
"""Types of tensors; half precision is how the model that ships with the plugin is kept."""
DEMO_MODEL = Path(__file__).parents[1] / "demo_model.safetensors"
"""A small model fitted on phantom brains, which ships with the plugin."""
PUBLISHED_SUFFIXES = (".pth", ".pt", "")


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
    sums = {"checksum": _digest(tensors), "header_checksum": UNSEALED}
    text = header.model_copy(update=sums).model_dump_json()
    sealed = text.replace(_sealed(UNSEALED), _sealed(_short_hash([text.encode()])))
    path.write_bytes(save(tensors, {HEADER_KEY: sealed}))


def _sealed(checksum: str) -> str:
    return f'"header_checksum":"{checksum}"'


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
        A `BetaVAE`, a `Displacing` or a `PCA`.

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
    if not path.exists():
        raise MissingFileError(f"no such checkpoint: {path}")
    regular_file(path)
    if path.suffix in PUBLISHED_SUFFIXES:
        from napari_brainvae.models.published import import_published

        return import_published(path)
    header = read_header(path)
    try:
        tensors = _read_tensors(path, header)
        return _build(header.model_copy(update={"checksum": None}), tensors)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def read_header(path: str | Path) -> Header:
    """Read what a checkpoint says of itself, without its tensors.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputError
        If the file is no checkpoint of this project.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"no such checkpoint: {path}")
    regular_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {})[HEADER_KEY]
        header = Header.model_validate_json(text)
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
    # None in what was written before there was one.
    if (noted := header.header_checksum) is not None:
        text = text.replace(_sealed(noted), _sealed(UNSEALED))
        if noted != _short_hash([text.encode()]):
            raise InputError(f"{path.name}: its header has changed since it was written")
    return header.model_copy(update={"header_checksum": None})


def fingerprint(model: Model) -> str:
    """Short hash of a model's tensors; the same one means the same numbers."""
    return _digest(model.tensors())


def _digest(tensors: dict[str, npt.NDArray[Any]]) -> str:
    named = sorted(tensors.items())
    return _short_hash(name.encode() + np.ascontiguousarray(t).tobytes() for name, t in named)


def _short_hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _read_tensors(path: Path, header: Header) -> dict[str, npt.NDArray[Any]]:
    """Read the tensors, if they are those that the header promises and what was written."""
    with safe_open(path, framework="numpy") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        odd = {part.get_dtype() for part in parts.values()} - NUMBERS
        if odd:
            raise InputError(f"its numbers are {odd.pop()}, which is none of {sorted(NUMBERS)}")
        if {name: tuple(part.get_shape()) for name, part in parts.items()} != _promised(header):
            raise InputError("the tensors are not those its header promises")
        tensors = {name: file.get_tensor(name) for name in parts}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise InputError(f"the tensor {name} holds numbers that are not finite")
    if header.checksum not in (None, _digest(tensors)):
        raise InputError("its tensors have changed since it was written: take it from a copy")
    return tensors


def _promised(header: Header) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's tensors, known without making it."""
    factors, section = header.latent_dim, (header.height, header.width)
    if header.kind == "pca":
        shapes = {"mean": section, "components": (factors, *section), "eigenvalues": (factors,)}
    else:
        shapes = {name: tuple(t.shape) for name, t in _unmade(header).state_dict().items()}
    return shapes | ({} if header.rotation is None else {ROTATION: (factors, factors)})


def _unmade(header: Header) -> nn.Module:
    """The network of a header, without memory for its weights."""
    import torch

    from napari_brainvae.models.displacing_network import DisplacingNetwork
    from napari_brainvae.models.network import Network

    with torch.device("meta"):
        if header.kind == "displacing":
            return DisplacingNetwork(header.height, header.width, header.latent_dim)
        return Network(header.height, header.width, header.latent_dim, shortcut=header.shortcut)


def _build(header: Header, tensors: dict[str, npt.NDArray[Any]]) -> Model:
    rotation = tensors.pop(ROTATION, None)
    make = {"pca": _pca, "vae": _vae, "displacing": _displacing}[header.kind]
    model: Model = make(header, tensors)
    return model.with_rotation(rotation, header.rotation)


def _pca(header: Header, tensors: dict[str, npt.NDArray[Any]]) -> Model:
    from napari_brainvae.models.pca import PCA

    if (tensors["eigenvalues"] <= 0).any():
        raise InputError("its eigenvalues, which are variances, are not all above 0")
    return PCA(header, tensors["mean"], tensors["components"], tensors["eigenvalues"])


def _vae(header: Header, tensors: dict[str, npt.NDArray[Any]]) -> Model:
    from napari_brainvae.models.vae import BetaVAE

    return BetaVAE(header, _made(header, tensors))


def _displacing(header: Header, tensors: dict[str, npt.NDArray[Any]]) -> Model:
    from napari_brainvae.models.displacing import Displacing

    if not tensors["noise_variance"] > 0:
        raise InputError("its noise_variance is not above 0")
    return Displacing(header, _made(header, tensors))


def _made(header: Header, tensors: dict[str, npt.NDArray[Any]]) -> Any:
    import torch

    network = _unmade(header)
    states = {name: torch.from_numpy(tensor).float() for name, tensor in tensors.items()}
    network.load_state_dict(states, assign=True)
    return network


def run_name(path: Path) -> str:
    """Name a model by its file, or by its run folder where files are all called 'model'."""
    folder = path.resolve().parent.name
    return folder if path.stem == "model" and folder else path.stem
