"""What a fit minimises: an objective is given what the network returns and what it should have.

Another objective is another class here that keeps to `Objective`, and a way to ask for it in
``models.fit_options``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_brainvae.models.network import Output

FULL_SIZE = 320 * 448
"""Pixels of the paper's sections, at which its beta was chosen."""


class Objective(Protocol):
    """What the loop asks of an objective."""

    @property
    def separable(self) -> bool:
        """Whether the loss of a batch is the mean of the losses of its sections.

        Then a CPU takes a batch in parts. Devices that share a batch each take the loss of their
        own part, whatever this says.
        """

    @property
    def noise_variance(self) -> float:
        """Variance of a pixel's noise under which the loss is a negative ELBO.

        Recipe fast starts its posteriors from it.
        """

    def __call__(self, output: Output, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss to minimise, and the terms by name that the history shows, ``()`` or ``(L,)``."""


@dataclass(frozen=True)
class BetaVAEObjective:
    """Equation 2 of the paper: reconstruction term plus beta times the KL divergence.

    Attributes
    ----------
    beta
        Weight of the KL divergence.
    loss
        See `reconstruction_loss`.
    pixel_weight
        Weight of the reconstruction term, 1 in the paper.
    """

    beta: float = 3.0
    loss: Literal["gaussian", "bernoulli"] = "gaussian"
    pixel_weight: float = 1.0
    separable: ClassVar[bool] = True

    @classmethod
    def of(cls, options: Mapping[str, Any], shape: tuple[int, int]) -> BetaVAEObjective:
        """The objective that the options of a fit mean at sections of ``(H, W)`` px.

        Recipe fast weighs the error up to the size at which the paper's beta was chosen.
        """
        weight = FULL_SIZE / (shape[0] * shape[1]) if options["recipe"] == "fast" else 1.0
        return cls(options["beta"], options["loss"], weight)

    @property
    def noise_variance(self) -> float:
        """``beta / 2`` over the weight of the squared error."""
        return self.beta / 2 / self.pixel_weight

    def __call__(self, output: Output, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss, and its terms ``reconstruction``, ``kl`` ``(L,)`` and ``rate``, their sum."""
        reconstruction = reconstruction_loss(output.logits.float(), images, self.loss)
        kl = batch_kl_divergence(output.mean.float(), output.log_variance.float())
        rate = kl.sum()
        loss = self.pixel_weight * reconstruction + self.beta * rate
        return loss, {"reconstruction": reconstruction, "kl": kl, "rate": rate}


def reconstruction_loss(
    logits: Tensor, images: Tensor, kind: Literal["gaussian", "bernoulli"]
) -> Tensor:
    """Reconstruction term of equation 2, summed over pixels, averaged over the batch.

    'gaussian' is the squared error of ``sigmoid(logits)``: with ``beta`` times the KL divergence
    it is the negative ELBO of a Gaussian of variance ``beta / 2``. 'bernoulli' is the cross
    entropy.
    """
    if kind == "gaussian":
        total = F.mse_loss(torch.sigmoid(logits), images, reduction="sum")
    else:
        total = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    return total / images.shape[0]


def batch_kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """`models.measures.kl_divergence` of each factor, averaged over the batch, ``(L,)``, nats."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).mean(dim=0)
