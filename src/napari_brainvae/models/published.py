"""The authors' own checkpoint, a pickle of torch's: read without running anything it holds."""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.io.errors import DAMAGED, InputError
from napari_brainvae.models.base import Model
from napari_brainvae.models.header import Header
from napari_brainvae.models.network import Network
from napari_brainvae.models.vae import BetaVAE

SHAPE = (320, 448)

KNOWN = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (\w+Storage|Size)"
)
"""What a file of weights names. Torch runs nothing else either, but for things such as bytearray,
which can be told to fill all memory."""


def import_published(path: str | Path) -> Model:
    """Convert the authors' checkpoint (a torch pickle, 448 x 320) to our orientation.

    Their sections are transposed: both axes of every kernel are swapped, and so are the two axes
    of the 32 x 6 x 4 map that the linear layers next to it see. Nothing of the pickle is executed.

    Raises
    ------
    InputError
        If the file is not laid out as the authors' is.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            # What a damaged pickle is warned of ends in our own message, if it does not open.
            warnings.simplefilter("ignore")
            steps, theirs, network = _read(path)
    except PermissionError:
        raise
    except (pickle.UnpicklingError, OSError, *DAMAGED) as error:
        raise InputError(f"{path.name} is not a published brainsynth checkpoint") from error
    height, width = SHAPE
    header = Header(
        kind="vae",
        height=height,
        width=width,
        latent_dim=len(theirs["encoder.19.bias"]) // 2,
        preprocessing=Preprocessing(height=height, width=width),
        pixel_size_um=25.0,
        plane=286,
        training={"recipe": "published", "steps": steps},
    )
    ours = {name: _transposed(name, tensor).contiguous() for name, tensor in theirs.items()}
    if not all(tensor.isfinite().all() for tensor in ours.values()):
        raise InputError(f"{path.name} holds weights that are not finite")
    neutral = {name: torch.zeros(buffer.shape) for name, buffer in network.named_buffers()}
    network.load_state_dict(neutral | ours, assign=True)
    return BetaVAE(header, network)


def _read(path: Path) -> tuple[int | None, dict[str, Tensor], Network]:
    """Number of steps, weights, and the network that is to have them.

    Raises one of `DAMAGED`, or what unpickling raises, if they are not the authors'.
    """
    _check_pickle(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or not isinstance(content["model_states"], dict):
        raise TypeError("it is no dictionary of weights")
    states, steps = dict(content["model_states"]["net"]), content.get("iter")
    network = _network_of(states, path.stat().st_size)
    return steps if type(steps) is int else None, states, network


def _check_pickle(path: Path) -> None:
    """Refuse archives that unpack to more than they are, and pickles that name odd things."""
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            _check_names(file, 5)  # torch's old format: as many, then the weights
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("torch does not compress")
        if archive.testzip() is not None:
            raise ValueError("a checksum differs")
        [names] = [member for member in members if member.filename.endswith("/data.pkl")]
        with archive.open(names) as file:
            _check_names(file, 1)


def _check_names(file: IO[bytes], pickles: int) -> None:
    for _ in range(pickles):
        for code, argument, _ in pickletools.genops(file):
            # The others that name things take the name from elsewhere; torch does not write them.
            named = argument if code.name == "GLOBAL" else code.name
            if code.name in ("GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4") and (
                not KNOWN.fullmatch(str(named))
            ):
                raise ValueError(f"{named} is no part of weights")


def _network_of(states: Mapping[str, Any], size: int) -> Network:
    """Give the network, without memory, whose weights these are.

    Shapes that the file has no bytes for are refused, too.
    """
    if not all(isinstance(t, Tensor) and t.dtype == torch.float32 for t in states.values()):
        raise TypeError("not all weights are single precision")
    if not all(t.layout == torch.strided and t.device.type == "cpu" for t in states.values()):
        raise TypeError("not all weights are plain tensors")
    if sum(tensor.nbytes for tensor in states.values()) > size:
        raise ValueError("the weights are larger than the file")
    factors = len(states["encoder.19.bias"]) // 2
    if factors < 1:
        raise ValueError("there are no factors")
    with torch.device("meta"):
        network = Network(*SHAPE, factors)
    shapes = {name: tensor.shape for name, tensor in network.named_parameters()}
    if {name: tensor.shape for name, tensor in states.items()} != shapes:
        raise ValueError("the weights are not those of the network")
    return network


def _transposed(name: str, tensor: Tensor) -> Tensor:
    if tensor.ndim == 4:
        return tensor.transpose(2, 3)
    if name == "encoder.15.weight":
        return tensor.view(-1, 32, 6, 4).transpose(2, 3).flatten(1)
    if name == "decoder.4.weight":
        return tensor.view(32, 6, 4, -1).transpose(1, 2).flatten(0, 2)
    if name == "decoder.4.bias":
        return tensor.view(32, 6, 4).transpose(1, 2).flatten()
    return tensor
