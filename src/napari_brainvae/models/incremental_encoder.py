"""Encode a section again where it was changed.

The first layers of the encoder see a few pixels each and cost nearly all of it, the second alone
two thirds. Most of what they give stays as it is when a region changes, so only the outputs that
the region reaches are computed again, as one matrix product a layer. The layers behind see most of
the section at once and are run as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_brainvae.arrays import Images, Latents, Mask
from napari_brainvae.models.network import Network

LAYERS = 3
"""Convolutions computed locally, 94 % of the encoder's work; at any size they have stride 2."""


class IncrementalEncoder:
    """Encode versions of one section that differ from it in regions; on a CPU, for one thread.

    The result is that of encoding the versions as a whole, up to rounding; the smaller the region,
    the faster.

    Parameters
    ----------
    network
        Its weights must not change meanwhile.
    section
        ``(H, W)`` float32, which is encoded once, here.
    """

    @torch.inference_mode()
    def __init__(self, network: Network, section: Images) -> None:
        self._network = network
        # A copy of one that is read-only, which torch warns of.
        section = np.require(section, requirements=["C", "W"])
        centred = torch.from_numpy(section) - network.mean_image
        maps = F.pad(centred, network.padding)
        self._layers = []
        for i in range(LAYERS):
            conv = cast(nn.Conv2d, network.encoder[2 * i])
            self._layers.append(_Layer(conv, maps))
            maps = F.relu_(conv(maps))
        self._maps = maps[0].permute(1, 2, 0).contiguous()

    @torch.inference_mode()
    def __call__(self, versions: Images, regions: Sequence[Mask]) -> tuple[Latents, Latents]:
        """Posterior mean and log-variance, each ``(N, L)``.

        Parameters
        ----------
        versions
            ``(N, H, W)`` float32.
        regions
            N masks ``(H, W)``: outside of it, a version equals the section.
        """
        centred = torch.from_numpy(versions) - self._network.mean_image[0]
        maps = self._maps.repeat(len(versions), 1, 1, 1)
        for version, region, out in zip(centred, regions, maps, strict=True):
            where = reach(region, self._network.padding)
            values = version.flatten().index_select(0, where.pixels)[:, None]
            for layer, step in zip(self._layers, where.steps, strict=True):
                values = layer.again(step, values)
            out.flatten(end_dim=1).index_copy_(0, where.outputs, values)
        deep = self._network.encoder[2 * LAYERS :]
        mean, log_variance = deep(maps.permute(0, 3, 1, 2)).chunk(2, dim=1)
        if self._network.shortcut_in is not None:
            mean = mean + F.linear(centred.flatten(1), self._network.shortcut_in)
        return mean.numpy(), log_variance.numpy()


class Step(NamedTuple):
    """What a region reaches in one layer; positions are in its inputs with their margin of 1."""

    inputs: Tensor
    """``(M,)``, inputs that change."""
    stretches: Tensor
    """``(4 K,)``, where the four rows of the windows of K outputs begin, which therefore change."""


class Reach(NamedTuple):
    """What a region reaches in the local layers."""

    pixels: Tensor
    """``(M,)``, positions in the section."""
    steps: list[Step]
    outputs: Tensor
    """``(K,)``, positions in what the last of the layers gives."""


class _Layer:
    """A convolution and the inputs that the section itself gives it."""

    def __init__(self, conv: nn.Conv2d, inputs: Tensor) -> None:
        if (conv.kernel_size, conv.stride, conv.padding) != ((4, 4), (2, 2), (1, 1)):
            raise NotImplementedError(f"a window of {conv} is not known")
        # Channels last, so that a row of a window is one stretch of memory.
        self._weight, self._bias = conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias
        padded = F.pad(inputs, (1, 1, 1, 1))[0].permute(1, 2, 0).contiguous()
        self._inputs = padded.flatten(end_dim=1)
        count, channels = self._inputs.shape
        self._stretches = self._inputs.as_strided((count - 3, 4 * channels), (channels, 1))

    def again(self, step: Step, values: Tensor) -> Tensor:
        """Outputs ``(K, C)`` that change when the inputs that change become ``values``."""
        before = self._inputs.index_select(0, step.inputs)
        self._inputs.index_copy_(0, step.inputs, values)
        try:
            windows = self._stretches.index_select(0, step.stretches)
        finally:
            self._inputs.index_copy_(0, step.inputs, before)
        return F.relu_(F.linear(windows.view(-1, self._weight.shape[1]), self._weight, self._bias))


def reach(region: Mask, padding: Sequence[int]) -> Reach:
    """Which outputs of the local layers see a region ``(H, W)`` of a section that is padded."""
    return _reach(np.packbits(region).tobytes(), region.shape, tuple(padding))


@lru_cache(maxsize=64)
def _reach(packed: bytes, shape: tuple[int, int], padding: tuple[int, ...]) -> Reach:
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=shape[0] * shape[1])
    left, right, top, bottom = padding
    changed = np.pad(bits.reshape(shape).astype(bool), ((top, bottom), (left, right)))
    steps = []
    for _ in range(LAYERS):
        changed = np.pad(changed, 1)
        height, width = changed.shape
        inputs = _positions(changed)
        # Outputs whose window of 4 x 4 inputs, 2 apart, holds one that changed.
        changed = np.logical_or.reduce([changed[i : height - 2 + i : 2] for i in range(4)])
        changed = np.logical_or.reduce([changed[:, i : width - 2 + i : 2] for i in range(4)])
        row, column = np.nonzero(changed)
        stretches = (2 * row[:, None] + np.arange(4)) * width + 2 * column[:, None]
        steps.append(Step(inputs, torch.from_numpy(stretches.ravel())))
    return Reach(_positions(bits), steps, _positions(changed))


def _positions(mask: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask))
