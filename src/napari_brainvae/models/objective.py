"""What a fit minimises: an objective is given what the network returns and what it should have.

Another objective is another class here that keeps to `Objective`, and a way to ask for it in
``training.fitting.options``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_brainvae.io.errors import InputError
from napari_brainvae.models.displacing_network import Displaced
from napari_brainvae.models.network import Output
from napari_brainvae.models.residual_spread import TO_DEVIATION

FULL_SIZE = 320 * 448
"""Pixels of the paper's sections, at which its beta was chosen."""

SPREADS = 3.0
"""Above the median of a batch, from which on an error is that of an artifact."""


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

    def __call__(self, output: Any, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
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


@dataclass(frozen=True)
class DisplacingObjective:
    """Squared error plus beta times the KL divergence, as recipe fast, without artifacts.

    Sections whose error is more than `SPREADS` above the median of their batch have no say, as in
    `pca.trimmed_components`.

    Attributes
    ----------
    beta
        Weight of the KL divergence.
    pixel_weight
        Of the squared error: that up to the size at which the paper's beta was chosen.
    """

    beta: float
    pixel_weight: float
    separable: ClassVar[bool] = False

    @classmethod
    def of(cls, options: Mapping[str, Any], shape: tuple[int, int]) -> DisplacingObjective:
        """The objective that the options of a fit mean at sections of ``(H, W)`` px.

        Raises
        ------
        InputError
            For a loss that is no squared error.
        """
        if options["loss"] != "gaussian":
            raise InputError(f"--loss {options['loss']}: recipe displacing fits the squared error")
        return cls(options["beta"], FULL_SIZE / (shape[0] * shape[1]))

    @property
    def noise_variance(self) -> float:
        """``beta / 2`` over the weight of the squared error."""
        return self.beta / 2 / self.pixel_weight

    def __call__(self, output: Displaced, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss, and its terms ``reconstruction``, ``kl`` ``(L,)`` and ``rate``, their sum."""
        errors = (output.decoded - images).square().sum(dim=(1, 2, 3))
        reconstruction = errors[usual(errors.detach())].mean()
        kl = batch_kl_divergence(output.mean, output.log_variance)
        rate = kl.sum()
        loss = self.pixel_weight * reconstruction + self.beta * rate
        return loss, {"reconstruction": reconstruction, "kl": kl, "rate": rate}


def usual(errors: Tensor) -> Tensor:
    """Which of the errors ``(N,)`` are no more than `SPREADS` spreads above their median."""
    median = errors.quantile(0.5)
    spread = TO_DEVIATION * (errors - median).abs().quantile(0.5)
    return errors <= median + SPREADS * spread


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
