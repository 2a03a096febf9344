"""What a fit minimises: equation 2 of the paper."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


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


def kl_per_factor(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence from the prior of each factor, averaged over the batch, ``(L,)``, nats."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).mean(dim=0)
