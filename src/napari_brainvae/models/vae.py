"""The beta-VAE of the paper with the face that every model has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from napari_brainvae.arrays import Images
from napari_brainvae.models.base import Family, RegionEncoder
from napari_brainvae.models.header import Header
from napari_brainvae.models.incremental_encoder import IncrementalEncoder
from napari_brainvae.models.network import Network
from napari_brainvae.models.network_model import NetworkModel
from napari_brainvae.models.objective import BetaVAEObjective


class BetaVAE(NetworkModel):
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

    network: Network

    def __init__(self, header: Header, network: Network | None = None) -> None:
        if network is None:
            network = Network(
                header.height, header.width, header.latent_dim, shortcut=header.shortcut
            )
        # The stubs of torch do not know this overload.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(header, network)

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

    def _near(self, section: Images) -> RegionEncoder:
        if self.device.type != "cpu":
            return super()._near(section)  # it is faster at whole sections, many at once
        return IncrementalEncoder(self.network, section)

    def _sections(self, latents: Tensor) -> Tensor:
        return torch.sigmoid(self.network.decode(latents).float())
