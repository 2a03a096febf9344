"""The network of the paper at any section size: encoder and decoder, in torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_brainvae.io.errors import InputError, present

CHANNELS = 32
HIDDEN = 256

SMALLEST_MAP = 4
"""Rows or columns, at least, of the last map of the stride-2 layers."""


class Output(NamedTuple):
    """All of a forward pass that an objective may need."""

    logits: Tensor
    """``(N, 1, H, W)`` of the decoded sections."""
    mean: Tensor
    """``(N, L)`` of the posteriors."""
    log_variance: Tensor
    """``(N, L)`` of the posteriors."""
    latents: Tensor
    """``(N, L)`` samples of the posteriors, which were decoded."""


class Network(nn.Module):
    """Encoder and decoder, mirrored (paper, section 2.1, after DC-GAN).

    At 320 x 448 px: six Conv2d(k4, s2, p1) and one Conv2d(k4, s1, p1) of 32 channels, three
    linear layers, ReLU between; the decoder returns logits. Other sizes change the number of
    stride-2 layers; sections are padded to a multiple of their total stride and cropped again.

    Two additions to the paper's network, both neutral until given values:

    - ``mean_image`` is subtracted from the input and its logit, ``mean_logit``, added to the
      output, so that the network only has to learn how brains differ from it.
    - ``shortcut`` adds a fixed linear map from pixels to posterior means and one from factors to
      logits, which PCA provides (see `start_from_pca`): the network learns what PCA leaves.

    Parameters
    ----------
    height, width
        Size of a section, px, each at least 64.
    latent_dim
        Number of latent factors L.
    shortcut
        Whether to have the linear path.
    """

    def __init__(self, height: int, width: int, latent_dim: int, *, shortcut: bool = False) -> None:
        super().__init__()
        if min(height, width) < 64:
            raise InputError(f"sections must be at least 64 x 64 px, not {height} x {width}")
        self.shape = (height, width)
        self.latent_dim = latent_dim
        depth = int(math.log2(min(height, width) / SMALLEST_MAP))
        stride = 2**depth
        rows, columns = math.ceil(height / stride), math.ceil(width / stride)
        self.padding = _centred(columns * stride - width) + _centred(rows * stride - height)
        flat = (rows - 1) * (columns - 1) * CHANNELS

        self.encoder = nn.Sequential(
            *_with_relu(
                nn.Conv2d(1 if i == 0 else CHANNELS, CHANNELS, 4, 2 if i < depth else 1, 1)
                for i in range(depth + 1)
            ),
            nn.Flatten(),
            *_with_relu([nn.Linear(flat, HIDDEN), nn.Linear(HIDDEN, HIDDEN)]),
            nn.Linear(HIDDEN, 2 * latent_dim),
        )
        self.decoder = nn.Sequential(
            *_with_relu(
                [nn.Linear(latent_dim, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, flat)]
            ),
            nn.Unflatten(1, (CHANNELS, rows - 1, columns - 1)),
            *_with_relu(
                nn.ConvTranspose2d(CHANNELS, CHANNELS, 4, 1 if i == 0 else 2, 1)
                for i in range(depth)
            ),
            ToPixels(CHANNELS, 1, 4, 2, 1),
        )
        self.register_buffer("mean_image", torch.zeros(1, 1, height, width))
        self.register_buffer("mean_logit", torch.zeros(1, 1, height, width))
        self.mean_image: Tensor
        self.mean_logit: Tensor
        pixels = height * width
        self.register_buffer("shortcut_in", torch.zeros(latent_dim, pixels) if shortcut else None)
        self.register_buffer("shortcut_out", torch.zeros(pixels, latent_dim) if shortcut else None)
        self.shortcut_in: Tensor | None
        self.shortcut_out: Tensor | None
        self._initialise()

    def _initialise(self) -> None:
        """Kaiming-normal weights and zero biases, but torch's default for transposed convolutions.

        As the authors' code does.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(present(module.bias, "biases"))

    def set_mean_image(self, mean: Tensor) -> None:
        """Centre inputs and outputs on the mean section ``(H, W)`` in [0, 1]."""
        self.mean_image.copy_(mean.view_as(self.mean_image))
        self.mean_logit.copy_(torch.logit(mean.view_as(self.mean_logit), eps=1e-3))

    @torch.no_grad()
    def start_from_pca(
        self,
        components: Tensor,
        scales: Tensor,
        noise_variance: float,
        rotation: Tensor | None = None,
    ) -> None:
        """Make the shortcut the principal components, and the network silent beside it.

        The model then is probabilistic PCA seen through the first-order logit: its posterior
        mean is the whitened score, its posterior variance ``v / (scale^2 + v)`` with ``v`` the
        noise variance (Tipping and Bishop 1999), which is the optimum of the objective.

        Parameters
        ----------
        components
            ``(L, H, W)`` orthonormal principal components.
        scales
            ``(L,)`` standard deviations of the scores.
        noise_variance
            Variance per pixel under which the objective is the negative ELBO: ``beta / 2``
            over the weight of the squared error.
        rotation
            ``(L, L)`` orthogonal: codes are the whitened scores times this. The posterior variance
            then is that of the best posterior without correlations, ``1 / diag(R^T D R)`` with
            ``D`` the precisions of the scores.
        """
        if self.shortcut_in is None or self.shortcut_out is None:
            raise InputError("this network has no shortcut to start from PCA")
        flat = components.reshape(self.latent_dim, -1)
        mean = self.mean_image.flatten().clamp(0.02, 0.98)
        self.shortcut_in.copy_(flat / scales[:, None])
        self.shortcut_out.copy_((flat * scales[:, None] / (mean * (1 - mean))).T)
        head, draw = cast(nn.Linear, self.encoder[-1]), cast(ToPixels, self.decoder[-1])
        head.weight.mul_(0.01)
        head.bias[self.latent_dim :] = torch.log(noise_variance / (scales**2 + noise_variance))
        if rotation is not None:
            self.shortcut_in.copy_(rotation.T @ self.shortcut_in)
            self.shortcut_out.copy_(self.shortcut_out @ rotation)
            precision = (scales**2 + noise_variance) / noise_variance
            head.bias[self.latent_dim :] = -torch.log(precision @ rotation.square())
        draw.weight.mul_(0.01)
        present(draw.bias, "biases").zero_()

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log-variance, each ``(N, L)``, of sections ``(N, 1, H, W)``."""
        centred = images - self.mean_image
        mean, log_variance = self.encoder(F.pad(centred, self.padding)).chunk(2, dim=1)
        if self.shortcut_in is not None:
            mean = mean + F.linear(centred.flatten(1), self.shortcut_in)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Logits ``(N, 1, H, W)`` of the sections drawn from latents ``(N, L)``."""
        left, _, top, _ = self.padding
        logits: Tensor = self.decoder(latents)
        logits = logits[..., top : top + self.shape[0], left : left + self.shape[1]]
        if self.shortcut_out is not None:
            logits = logits + F.linear(latents, self.shortcut_out).view_as(logits)
        return logits + self.mean_logit

    def forward(self, images: Tensor, noise: Tensor) -> Output:
        """Encode, sample with ``noise`` ``(N, L)`` from N(0, 1), and decode."""
        mean, log_variance = self.encode(images)
        latents = mean + torch.exp(0.5 * log_variance) * noise
        return Output(self.decode(latents), mean, log_variance, latents)


def _centred(excess: int) -> tuple[int, int]:
    return excess // 2, excess - excess // 2


def _with_relu(layers: Any) -> Iterator[nn.Module]:
    for layer in layers:
        yield layer
        # In place: maps that are allocated anew each time cost as much as the arithmetic.
        yield nn.ReLU(inplace=True)


class ToPixels(nn.ConvTranspose2d):
    """The decoder's last layer, from 32 channels to one, which is slow as it stands on a CPU.

    A square of 2 x 2 output pixels, its corner one pixel up and to the left of an input pixel,
    depends on 2 x 2 input pixels: a convolution gives the four pixels of each square as four
    channels. Training does not gain from it.
    """

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Give ``(N, 1, 2 H, 2 W)`` of ``(N, C, H, W)``."""
        if torch.is_grad_enabled() or maps.device.type != "cpu":
            return super().forward(maps, output_size)
        bias = present(self.bias, "biases")
        # Row 2 i + p of the kernel reaches row p of the square, from the input row i before it.
        kernel = self.weight.view(-1, 2, 2, 2, 2).flip(1, 3).permute(2, 4, 0, 1, 3).flatten(0, 1)
        squares = F.conv2d(maps, kernel, bias.expand(4), padding=1)
        count, _, rows, columns = squares.shape
        pixels = squares.view(count, 2, 2, rows, columns).permute(0, 3, 1, 4, 2)
        return pixels.reshape(count, 1, 2 * rows, 2 * columns)[..., 1:-1, 1:-1]
