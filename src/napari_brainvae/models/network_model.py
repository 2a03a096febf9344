"""What models have in common beneath which lies a torch module."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.models.base import Model
from napari_brainvae.models.header import Header

_PIXELS_AT_ONCE = 600_000


class NetworkModel(Model):
    """A model with a torch module, which it keeps in evaluation mode.

    Attributes
    ----------
    network
        The torch module.
    """

    network: Any

    def __init__(self, header: Header, network: nn.Module) -> None:
        super().__init__(header)
        self.network = network.eval()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.mean_image.device
        return device

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What a fit changes: ``params``, and ``pace``, a factor of their learning rate."""
        return [{"params": list(self.network.parameters()), "pace": 1.0}]

    @property
    def _batch(self) -> int:
        if self.device.type != "cpu":
            return 64
        # So many that their maps stay in the cache, and in memory that is used again each time.
        return max(1, _PIXELS_AT_ONCE // (self.shape[0] * self.shape[1]))

    def _tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Every weight and buffer of the network, by its name in the state dict."""
        state = self.network.state_dict()
        return {k: v.detach().cpu().contiguous().numpy() for k, v in state.items()}

    @torch.inference_mode()
    def _encode(self, images: Images) -> tuple[Latents, Latents]:
        parts = []
        for start in range(0, len(images), self._batch):
            part = _tensor(images[start : start + self._batch, None]).to(self.device)
            parts.append(torch.stack(self.network.encode(part)).float().cpu())
        if not parts:
            empty = np.empty((0, self.latent_dim), dtype=np.float32)
            return empty, empty
        mean, log_variance = torch.cat(parts, dim=1).numpy()
        return mean, log_variance

    @torch.inference_mode()
    def _decode(self, latents: Latents) -> Images:
        images = np.empty((len(latents), *self.shape), dtype=np.float32)
        for start in range(0, len(latents), self._batch):
            part = _tensor(latents[start : start + self._batch]).to(self.device)
            images[start : start + self._batch] = self._sections(part)[:, 0].cpu().numpy()
        return images

    @abstractmethod
    def _sections(self, latents: Tensor) -> Tensor:
        """Sections ``(N, 1, H, W)`` in [0, 1]."""


def _tensor(array: npt.NDArray[np.float32]) -> Tensor:
    """Share memory, except with read-only arrays and reversed views, which torch does not take."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
