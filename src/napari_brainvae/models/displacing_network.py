"""A decoder that displaces tissue beside changing its brightness, and how its codes are found.

A section is the mean, changed and then displaced, each in proportion to the codes z:

    section(p) = (mean + sum_l z_l change_l)(p + sum_l z_l displacement_l(p)),

an active appearance model (Cootes, Edwards and Taylor 2001) whose shape and appearance share their
factors and are fitted together. With no displacement it is a linear model. A linear model needs
several factors for tissue that moves further than its edges are wide; this one needs one.

There is no encoder to learn: the codes of a section are those of largest posterior probability, by
damped Gauss-Newton steps, and their variance is Laplace's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_brainvae.io.errors import InputError

NODES = 24
"""Nodes of the displacement fields along the side of a section (the root of its area)."""

MOST_PIXELS = 40_000
"""Pixels on which codes are sought: of larger sections means of 2 x 2, 3 x 3, ... pixels."""

ROUNDS = 12
"""Gauss-Newton steps, at most, to a code; most sections need four."""

SETTLED = 1e-3
"""Standard deviations of the prior: a code that moves by less has been found."""

NUMBERS_AT_ONCE = 6_000_000
"""Derivatives of pixels by codes that are held at a time."""


class Displaced(NamedTuple):
    """All of a forward pass that the objective needs."""

    decoded: Tensor
    """``(N, 1, H, W)`` sections, not clipped."""
    mean: Tensor
    """``(N, L)`` of the posteriors."""
    log_variance: Tensor
    """``(N, L)`` of the posteriors."""


class DisplacingNetwork(nn.Module):
    """The decoder, and the search for codes.

    Parameters
    ----------
    height, width
        Size of a section, px, each at least 64.
    latent_dim
        Number of latent factors L.

    Attributes
    ----------
    mean_image
        ``(H, W)``.
    change
        ``(L, H, W)``, what a standard deviation of a factor adds before tissue is displaced.
    displacement
        ``(L, 2, h, w)`` px of the section, rows and columns from where a standard deviation of a
        factor takes what it shows, on a coarse grid.
    noise_variance
        ``()``, of a pixel, under which codes are sought.
    """

    def __init__(self, height: int, width: int, latent_dim: int) -> None:
        super().__init__()
        if min(height, width) < 64:
            raise InputError(f"sections must be at least 64 x 64 px, not {height} x {width}")
        self.shape, self.latent_dim = (height, width), latent_dim
        self.mean_image = nn.Parameter(torch.zeros(height, width))
        self.change = nn.Parameter(torch.zeros(latent_dim, height, width))
        self.displacement = nn.Parameter(torch.zeros(latent_dim, 2, *grid_of(self.shape)))
        self.register_buffer("noise_variance", torch.ones(()))
        self.noise_variance: Tensor

    @torch.no_grad()
    def start_from(self, mean: Tensor, loadings: Tensor, displacement: Tensor) -> None:
        """Begin at linear factors, part of whose change is seen as displacement.

        Parameters
        ----------
        mean
            ``(H, W)``.
        loadings
            ``(L, H, W)``, what a standard deviation of each factor adds.
        displacement
            ``(L, 2, H, W)`` px, as in `displacement`; what it draws to first order is taken from
            the loadings.
        """
        self.mean_image.copy_(mean)
        self.displacement.copy_(F.interpolate(displacement, grid_of(self.shape), mode="area"))
        down, across = torch.gradient(mean)
        moved = fine(self.displacement, self.shape)
        self.change.copy_(loadings - moved[:, 0] * down - moved[:, 1] * across)

    def decode(self, latents: Tensor) -> Tensor:
        """Sections ``(N, 1, H, W)``, not clipped, of latents ``(N, L)``."""
        with torch.autocast(latents.device.type, enabled=False):
            fields = fine(self.displacement, self.shape)
            where = _places(latents, fields)
            changed = self.mean_image + torch.tensordot(latents, self.change, 1)
            return _sample(changed[:, None], where)

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log-variance, each ``(N, L)``, of sections ``(N, 1, H, W)``."""
        side = math.ceil(math.sqrt(math.prod(self.shape) / MOST_PIXELS))
        with torch.autocast(images.device.type, enabled=False):
            search = _Search(self, side)
            seen = _pooled(images.float(), side)[:, 0]
            count = max(1, NUMBERS_AT_ONCE // (search.change.numel() + 3 * search.mean.numel()))
            found = [search(part) for part in torch.split(seen, count)]
        mean, log_variance = (torch.cat(parts) for parts in zip(*found, strict=True))
        return mean, log_variance

    def forward(self, images: Tensor, noise: Tensor) -> Displaced:
        """Seek codes, sample around them with ``noise`` ``(N, L)`` from N(0, 1), and decode.

        At the optimum of the posterior the gradient of the ELBO has no part that goes through it
        (the envelope theorem): that of the decoder at the samples is all of it.
        """
        mean, log_variance = self.encode(images)
        latents = mean + torch.exp(0.5 * log_variance) * noise
        return Displaced(self.decode(latents), mean, log_variance)


class _Search:
    """Damped Gauss-Newton steps (Levenberg and Marquardt) to the codes of many sections."""

    def __init__(self, network: DisplacingNetwork, side: int) -> None:
        self.mean = _pooled(network.mean_image[None, None], side)[0, 0]
        self.change = _pooled(network.change[None], side)[0]
        # Fields in pixels of the grid on which codes are sought.
        self.fields = fine(network.displacement, tuple(self.mean.shape)) / side
        self.noise = network.noise_variance / side**2

    def __call__(self, sections: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and log-variances ``(N, L)``; each section is sought for itself."""
        count, size = len(sections), len(self.change)
        code = sections.new_zeros(count, size)
        cost, normal, right = self._equations(sections, code)
        damping = sections.new_full((count,), 1e-3)
        going = torch.arange(count, device=sections.device)
        for _ in range(ROUNDS):
            damped = normal[going]
            diagonal = damped.diagonal(dim1=1, dim2=2)
            diagonal.mul_(1 + damping[going, None])
            step = torch.linalg.solve_ex(damped, right[going])[0]
            tried = self._equations(sections[going], code[going] + step)
            better = tried[0] < cost[going]
            won = going[better]
            code[won] += step[better]
            cost[won], normal[won], right[won] = (each[better] for each in tried)
            damping[going] *= torch.where(better, 0.2, 10.0)
            going = going[step.abs().amax(dim=1) > SETTLED]
            if not len(going):
                break
        precision = normal.diagonal(dim1=1, dim2=2)
        # Weights that have diverged give no posterior, rather than one that is all too sure.
        return code, -torch.log(precision.where(precision.isfinite(), torch.nan))

    def _equations(self, sections: Tensor, code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Twice the negative log-posterior, and the equations of a step, at a code."""
        slopes, decoded = self._slopes(code)
        residual = (sections - decoded).flatten(1)
        cost = residual.square().sum(dim=1) / self.noise + code.square().sum(dim=1)
        normal = slopes @ slopes.mT / self.noise
        normal.diagonal(dim1=1, dim2=2).add_(1.0)  # the prior
        right = (slopes @ residual[..., None])[..., 0] / self.noise - code
        return cost, normal, right

    def _slopes(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives ``(N, L, P)`` of the pixels by the codes, and sections ``(N, h, w)``."""
        where = _places(code, self.fields)
        changed = self.mean + torch.tensordot(code, self.change, 1)
        padded = F.pad(changed[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
        down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
        across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
        drawn = _sample(torch.stack([changed, down, across], dim=1), where)
        slopes = _sample(self.change.expand(len(code), -1, -1, -1), where)
        slopes.addcmul_(drawn[:, 1, None], self.fields[:, 0])
        slopes.addcmul_(drawn[:, 2, None], self.fields[:, 1])
        return slopes.flatten(2), drawn[:, 0]


def grid_of(shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the displacement fields of sections ``(H, W)``."""
    step = math.sqrt(shape[0] * shape[1]) / NODES
    return max(2, round(shape[0] / step)), max(2, round(shape[1] / step))


def fine(displacement: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Fields ``(L, 2, h, w)`` on the pixels ``(H, W)``."""
    return F.interpolate(displacement, size=shape, mode="bicubic", align_corners=False)


def _places(latents: Tensor, fields: Tensor) -> Tensor:
    """Where pixels are taken from, ``(N, H, W, 2)``, in the units of `grid_sample`."""
    moved = torch.tensordot(latents, fields, 1)
    rows, columns = (
        (2 * torch.arange(size, device=fields.device) + 1) / size - 1 for size in fields.shape[2:]
    )
    down, across = (2 * moved[:, i] / size for i, size in enumerate(fields.shape[2:]))
    return torch.stack([columns + across, rows[:, None] + down], dim=-1)


def _sample(images: Tensor, where: Tensor) -> Tensor:
    """Images ``(N, C, H, W)`` at other places; NaN where a place is no number."""
    lost = None
    # On a CPU torch would look for such a place outside of its memory, and end the process.
    if where.device.type == "cpu" and where.detach().sum().isnan():
        lost = where.isnan().any(dim=-1)[:, None]
        where = where.nan_to_num(nan=0.0)
    sampled = F.grid_sample(images, where, padding_mode="border", align_corners=False)
    return sampled if lost is None else sampled.masked_fill(lost, math.nan)


def _pooled(images: Tensor, side: int) -> Tensor:
    """Means of squares of pixels of images ``(N, C, H, W)``; what sticks out is repeated."""
    height, width = images.shape[2:]
    return F.avg_pool2d(F.pad(images, (0, -width % side, 0, -height % side), "replicate"), side)
