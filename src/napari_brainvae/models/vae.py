"""The beta-VAE of the paper with the face that every model has."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.models.base import Family, Model, RegionEncoder
from napari_brainvae.models.header import Header
from napari_brainvae.models.incremental_encoder import IncrementalEncoder
from napari_brainvae.models.network import Network
from napari_brainvae.models.objective import BetaVAEObjective

_PIXELS_AT_ONCE = 600_000


class BetaVAE(Model):
    """A fitted (or fresh) beta-VAE with the face that every model has.

    Attributes
    ----------
    network
        The torch module, in evaluation mode.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_brainvae.data.preprocessing import Preprocessing
    >>> from napari_brainvae.models.header import Header
    >>> done = Preprocessing(height=64, width=80)
    >>> header = Header(kind="vae", height=64, width=80, latent_dim=3, preprocessing=done)
    >>> mean, log_variance = BetaVAE(header).encode(np.zeros((2, 64, 80), np.float32))
    >>> mean.shape
    (2, 3)
    """

    def __init__(self, header: Header, network: Network | None = None) -> None:
        super().__init__(header)
        if network is None:
            network = Network(
                header.height, header.width, header.latent_dim, shortcut=header.shortcut
            )
        # The stubs of torch do not know this overload.
        self.network: Network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def family(self) -> Family | None:
        """By the beta of its fit: VAE at 1, beta-VAE above it; None where that is unknown."""
        beta = self._options.get("beta")
        return None if beta is None or beta < 1 else "VAE" if beta == 1 else "beta-VAE"

    @property
    def label(self) -> str:
        """VAE if its beta is 1, else beta-VAE."""
        return self.family or "beta-VAE"

    @property
    def noise_variance(self) -> float | None:
        """Of the objective of its fit, if that was a squared error and beta not 0."""
        options = self._options
        if options.get("loss") != "gaussian" or not options.get("beta"):
            return None
        return BetaVAEObjective.of({"recipe": "paper", **options}, self.shape).noise_variance

    @property
    def _options(self) -> dict[str, Any]:
        return dict(self.header.training.get("options", {}))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.mean_image.device

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
            part = torch.from_numpy(images[start : start + self._batch, None]).to(self.device)
            parts.append(torch.stack(self.network.encode(part)).float().cpu())
        if not parts:
            empty = np.empty((0, self.latent_dim), dtype=np.float32)
            return empty, empty
        mean, log_variance = torch.cat(parts, dim=1).numpy()
        return mean, log_variance

    def _near(self, section: Images) -> RegionEncoder:
        if self.device.type != "cpu":
            return super()._near(section)  # it is faster at whole sections, many at once
        return IncrementalEncoder(self.network, section)

    @torch.inference_mode()
    def _decode(self, latents: Latents) -> Images:
        images = np.empty((len(latents), *self.shape), dtype=np.float32)
        for start in range(0, len(latents), self._batch):
            part = torch.from_numpy(latents[start : start + self._batch]).to(self.device)
            decoded = torch.sigmoid(self.network.decode(part).float())
            images[start : start + self._batch] = decoded[:, 0].cpu().numpy()
        return images
