"""The two complex wavelet transforms beneath CW-SSIM, batched in torch.

Both return oriented complex bands in units of image intensity and leave the image mean out, so that
a constant added to an image changes nothing.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch


def steerable_bands(images: torch.Tensor, level: int, orientations: int) -> list[torch.Tensor]:
    """One scale of a complex steerable pyramid.

    The filters are those of ``buildSCFpyr`` (Portilla & Simoncelli, Int. J. Comput. Vis. 2000), on
    which ``cwssim_index.m`` stands. In the frequency domain a band of scale ``level`` is a half
    cosine in log2 radius, one octave to either side, times ``cos(angle) ** (orientations - 1)`` on
    a half plane. It is zero beyond the spectrum that is kept, hence the subsampling by
    ``2 ** (level - 1)`` is free of aliasing.

    Parameters
    ----------
    images : torch.Tensor, shape (N, H, W), float
    level : int
        Scale, 1 being the finest.
    orientations : int
        Number of orientations over half a turn.

    Returns
    -------
    list of one torch.Tensor, shape (N, orientations, ceil(H / 2**(level-1)), likewise W), complex
        A grating of amplitude A at the centre of a band has coefficients of modulus A. The pyramid
        of the MATLAB code differs from this by a constant factor, which cancels in CW-SSIM.
    """
    height, width = images.shape[-2:]
    rows, columns = (_kept_frequencies(n, level, images.device) for n in (height, width))

    # Only the kept columns are carried into the second, complex transform; the negative ones are
    # the conjugates of the positive ones because the rows are real.
    count = len(columns)
    half = torch.fft.rfft(images - images.mean((-2, -1), keepdim=True), dim=-1)
    positive, negative = half[..., : (count + 1) // 2], half[..., 1 : count // 2 + 1]
    spectrum = torch.cat([positive, negative.conj().flip(-1)], dim=-1)
    spectrum = torch.fft.fft(spectrum, dim=-2)[..., rows.long() % height, :]

    y, x = rows[:, None] / (height / 2), columns[None, :] / (width / 2)
    octave = torch.log2(torch.hypot(y, x)) + level
    radial = torch.cos(math.pi / 2 * octave.clamp(-1, 1))  # exactly no DC, where octave is -inf
    turn = torch.arange(orientations, device=images.device, dtype=torch.float64)
    cosine = torch.cos(torch.atan2(y, x) - math.pi / orientations * turn[:, None, None])
    angular = torch.where(cosine > 0, cosine ** (orientations - 1), 0)
    filters = (2 * radial * angular).to(images.dtype)
    bands = torch.fft.ifft2(spectrum[:, None] * filters)
    return [bands * (len(rows) * len(columns) / (height * width))]


def _kept_frequencies(n: int, level: int, device: torch.device) -> torch.Tensor:
    """Integer frequencies, in FFT order, left of ``n`` after ``level - 1`` halvings."""
    kept = math.ceil(n / 2 ** (level - 1))
    return torch.fft.fftfreq(kept, d=1 / kept, device=device, dtype=torch.float64).round()


def dtcwt_bands(level: int, like: torch.Tensor) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """Dual-tree complex wavelet transform: all scales 1 to ``level``, six orientations each.

    Filters near_sym_b and qshift_b of Kingsbury, by pytorch-wavelets.

    Parameters
    ----------
    level : int
        Number of scales.
    like : torch.Tensor
        Gives the dtype and the device.

    Returns
    -------
    callable
        From images (N, H, W) to one complex tensor (N, 6, about H / 2**j, about W / 2**j) for each
        scale j.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports pkg_resources, which warns of its own end
        from pytorch_wavelets import DTCWTForward

    forward = DTCWTForward(J=level, biort="near_sym_b", qshift="qshift_b").to(like)

    def transform(images: torch.Tensor) -> list[torch.Tensor]:
        images = images - images.mean((-2, -1), keepdim=True)
        # Images as channels: the same coefficients as images as a batch, several times faster.
        _, scales = forward(images[None])
        # The low pass doubles amplitudes at every scale.
        return [torch.view_as_complex(c[0].contiguous()) / 2**j for j, c in enumerate(scales, 1)]

    return transform
