"""A model whose factors displace tissue, with the face that every model has."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from napari_brainvae.models.displacing_network import DisplacingNetwork
from napari_brainvae.models.header import Header
from napari_brainvae.models.network_model import NetworkModel


class Displacing(NetworkModel):
    """A fitted (or fresh) model of factors that displace tissue and change its brightness.

    See `models.displacing_network` for what it decodes, and how it encodes.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_brainvae.data.preprocessing import Preprocessing
    >>> from napari_brainvae.models.header import Header
    >>> done = Preprocessing(height=64, width=80)
    >>> header = Header(kind="displacing", height=64, width=80, latent_dim=3, preprocessing=done)
    >>> Displacing(header).decode(np.zeros((2, 3))).shape
    (2, 64, 80)
    """

    label = "Displacing"
    network: DisplacingNetwork

    def __init__(self, header: Header, network: DisplacingNetwork | None = None) -> None:
        if network is None:
            network = DisplacingNetwork(header.height, header.width, header.latent_dim)
        super().__init__(header, network)

    @property
    def noise_variance(self) -> float | None:
        """That under which codes are sought."""
        return float(self.network.noise_variance)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Pixels of mean and change by 2e-3 a step of Adam's 2e-4, fields by 4e-4 of the side."""
        network = self.network
        return [
            {"params": [network.mean_image, network.change], "pace": 10.0},
            {"params": [network.displacement], "pace": 2.0 * math.sqrt(math.prod(self.shape))},
        ]

    def _sections(self, latents: Tensor) -> Tensor:
        return self.network.decode(latents).clamp(0, 1)
