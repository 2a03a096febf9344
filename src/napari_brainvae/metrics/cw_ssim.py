"""Complex wavelet structural similarity (CW-SSIM) and the two transforms beneath it, in torch.

In each 7 x 7 window of each oriented complex band ``c`` of two images,

    (2 |sum c_a conj(c_b)| + K) / (sum |c_a|^2 + sum |c_b|^2 + K),

then the weighted mean over windows, then the mean over orientations (Sampat et al., IEEE Trans.
Image Process. 2009); the steerable transform by the convention of ``cwssim_index.m``. Windows that
are silent in both images, that is with coefficients below the rounding error of the images' peak,
have nothing to compare and take no part in the mean; so a x against x gives 2 a / (1 + a^2)
whatever x is, and x against nothing gives 0. If all are silent (two constant images) it is 1.

Both transforms return oriented complex bands in units of image intensity and leave the image mean
out, so that a constant added to an image changes nothing.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch

from napari_brainvae.io.errors import InputError
from napari_brainvae.metrics.inputs import Array, ImageStack, image_stack, to_tensor

_WINDOW = 7
_PIXELS_AT_ONCE = 2**20  # of each of the two sets: bounds memory, and larger is not faster


def cw_ssim(
    a: ImageStack,
    b: ImageStack,
    *,
    transform: Literal["steerable", "dtcwt"] = "steerable",
    level: int = 4,
    orientations: int = 8,
    weights: Literal["gaussian", "uniform"] | ImageStack = "gaussian",
    K: float = 0.0,
) -> float | Array:
    """Complex wavelet structural similarity of images, pair by pair (formula: top of this file).

    It forgives small shifts, and does not see a constant added to an image. The two transforms
    give different values: name the transform with every number.

    Parameters
    ----------
    a, b : numpy.ndarray or torch.Tensor, shape (H, W) or (N, H, W)
        The two sets. Computed on the device of ``a``; in float64 if one is float64, else float32.
    transform : {"steerable", "dtcwt"}
        "steerable": scale ``level`` alone of a complex steerable pyramid. "dtcwt": the dual-tree
        complex wavelet transform, the plain mean over scales 1 to ``level``.
    level : int
        Scale, or number of scales.
    orientations : int
        Of the steerable pyramid; the dual-tree transform always has six.
    weights : {"gaussian", "uniform"} or array, shape (H, W)
        Of the windows. "gaussian" is centred on the image, with a sigma of a quarter of the band's
        height: in a coronal section of 320 x 448 the lateral cortex then hardly counts. An array of
        non-negative weights (a mask) is averaged down to the band and read at windows' centres.
    K : float
        Damps windows of low energy: a squared intensity, summed over a window. At 0 the faint noise
        outside tissue counts as much as tissue, most of all at the fine scales of "dtcwt".

    Returns
    -------
    float or numpy.ndarray, shape (N,)
        1 for equal images; at least 0; never NaN: see the top of this file for silent windows.

    Raises
    ------
    InputError
        For shapes that differ, too small images, NaN or infinite values, unusable weights.

    Examples
    --------
    >>> round(cw_ssim(np.eye(128), 0.5 * np.eye(128) + 0.2), 6)
    0.8
    """
    a, b = image_stack(a), image_stack(b)
    _check(a, b, level, orientations, transform, K)
    dtype = torch.float64 if "float64" in f"{a.dtype} {b.dtype}" else torch.float32
    device = a.device if isinstance(a, torch.Tensor) else torch.device("cpu")
    checked = _checked_weights(weights, (a.shape[-2], a.shape[-1]), device, dtype)
    bands_of = _bands(transform, level, orientations, torch.empty(0, dtype=dtype, device=device))
    stack_a, stack_b = (x[None] if x.ndim == 2 else x for x in (a, b))
    scores = np.empty(len(stack_a))
    for part in _batches(len(stack_a), a.shape[-2] * a.shape[-1]):
        x, y = (to_tensor(s[part], dtype).to(device) for s in (stack_a, stack_b))
        scores[part] = _similarity(x, y, bands_of, checked, K).cpu().numpy()
    return float(scores[0]) if a.ndim == 2 else scores


def _bands(
    transform: str, level: int, orientations: int, like: torch.Tensor
) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """Give the transform: images (N, H, W) to the complex bands of every scale that is compared."""
    if transform == "dtcwt":
        return dtcwt_bands(level, like)
    return lambda images: steerable_bands(images, level, orientations)


@torch.no_grad()
def _similarity(
    x: torch.Tensor,
    y: torch.Tensor,
    bands_of: Callable[[torch.Tensor], list[torch.Tensor]],
    weights: str | torch.Tensor,
    k: float,
) -> torch.Tensor:
    """CW-SSIM of pairs (N, H, W): the mean over the scales that ``bands_of`` gives."""
    peak = torch.maximum(x.abs().amax((-2, -1)), y.abs().amax((-2, -1)))[:, None, None, None]
    if not torch.isfinite(peak).all():
        raise InputError("images contain NaN or infinite values")
    # In units of the peak, so that no square overflows or vanishes.
    scale = peak.clamp(min=math.sqrt(k))
    scale = torch.where(scale > 0, scale, 1)
    x, y, k_scaled = x / scale[..., 0], y / scale[..., 0], (math.sqrt(k) / scale) ** 2
    rounding = (_WINDOW * 4 * torch.finfo(x.dtype).eps * peak / scale) ** 2

    sums = []
    for bands in bands_of(torch.cat([x, y])):
        c_x, c_y = bands[: len(x)], bands[len(x) :]
        cross = c_x * c_y.conj()
        energy = torch.view_as_real(torch.stack([c_x, c_y])).square().sum((0, -1))
        real, imaginary, total = (_window_sums(t) for t in (cross.real, cross.imag, energy))
        ratio = (2 * torch.hypot(real, imaginary) + k_scaled) / (total + k_scaled)
        counted = (total > rounding) * _window_weights(weights, (*bands.shape[-2:],), x)
        similar = torch.where(counted > 0, ratio * counted, 0)
        sums.append(torch.stack([similar.sum((1, 2, 3)), counted.sum((1, 2, 3))]))
    values, weight = torch.stack(sums, dim=1)
    heard = weight > 0
    mean = torch.where(heard, values / weight, 0).sum(0) / heard.sum(0)
    return torch.where(heard.any(0), mean, 1)


def _window_sums(values: torch.Tensor) -> torch.Tensor:
    """Sum over every 7 x 7 window within the band: on a CPU a tenth of the time of pooling."""
    return values.unfold(-2, _WINDOW, 1).sum(-1).unfold(-1, _WINDOW, 1).sum(-1)


def _window_weights(
    weights: str | torch.Tensor, band: tuple[int, int], like: torch.Tensor
) -> torch.Tensor:
    """Weights of the windows of a band."""
    margin = _WINDOW // 2
    height, width = (n - 2 * margin for n in band)
    if isinstance(weights, torch.Tensor):
        small = torch.nn.functional.adaptive_avg_pool2d(weights[None, None], band)[0, 0]
        chosen = small[margin:-margin, margin:-margin]
        if chosen.sum() == 0:
            raise InputError("weights are zero at the centre of every window")
    elif weights == "uniform":
        chosen = like.new_ones(height, width)
    else:
        y, x = (torch.arange(n).to(like) - (n - 1) / 2 for n in (height, width))
        sigma = band[0] / 4
        chosen = torch.exp(-(y[:, None] ** 2 + x**2) / (2 * sigma**2))
    return chosen


def _check(
    a: ImageStack, b: ImageStack, level: int, orientations: int, transform: str, k: float
) -> None:
    if a.shape != b.shape:
        raise InputError(f"images of different shapes: {tuple(a.shape)} and {tuple(b.shape)}")
    if a.ndim not in (2, 3):
        raise InputError(f"images must be (H, W) or (N, H, W), not {tuple(a.shape)}")
    if transform not in ("steerable", "dtcwt"):
        raise InputError(f"transform must be 'steerable' or 'dtcwt', not {transform!r}")
    if level < 1 or orientations < 1:
        raise InputError("level and orientations must be at least 1")
    if not 0 <= k < math.inf:
        raise InputError(f"K must be finite and not negative, not {k}")
    step = 2**level if transform == "dtcwt" else 2 ** (level - 1)
    if min(a.shape[-2:]) <= (_WINDOW - 1) * step:
        raise InputError(
            f"images of {a.shape[-2]} x {a.shape[-1]} are too small for level {level} "
            f"({transform}): more than {(_WINDOW - 1) * step} pixels each way are needed"
        )


def _checked_weights(
    weights: str | ImageStack, shape: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> str | torch.Tensor:
    if isinstance(weights, str):
        if weights not in ("gaussian", "uniform"):
            raise InputError(f"weights must be 'gaussian', 'uniform' or an array, not {weights!r}")
        return weights
    if tuple(weights.shape) != shape:
        raise InputError(f"weights must have the images' shape {shape}, not {weights.shape}")
    values = to_tensor(weights, torch.float64)
    if not torch.isfinite(values).all() or (values < 0).any():
        raise InputError("weights must be finite and not negative")
    return values.to(device, dtype)


def _batches(count: int, pixels: int) -> Iterator[slice]:
    step = max(1, _PIXELS_AT_ONCE // pixels)
    return (slice(start, start + step) for start in range(0, count, step))


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
    rows, columns = (_kept_frequencies(n, level) for n in (height, width))

    # Only the kept columns are carried into the second, complex transform; the negative ones are
    # the conjugates of the positive ones because the rows are real.
    count = len(columns)
    half = torch.fft.rfft(images - images.mean((-2, -1), keepdim=True), dim=-1)
    positive, negative = half[..., : (count + 1) // 2], half[..., 1 : count // 2 + 1]
    spectrum = torch.cat([positive, negative.conj().flip(-1)], dim=-1)
    spectrum = torch.fft.fft(spectrum, dim=-2)[..., rows % height, :]

    y, x = rows[:, None].double() / (height / 2), columns.double() / (width / 2)
    octave = torch.log2(torch.hypot(y, x)) + level
    radial = torch.cos(math.pi / 2 * octave.clamp(-1, 1))  # exactly no DC, where octave is -inf
    turn = math.pi / orientations * torch.arange(orientations).double()
    cosine = torch.cos(torch.atan2(y, x) - turn[:, None, None])
    angular = torch.where(cosine > 0, cosine ** (orientations - 1), 0)
    filters = (2 * radial * angular).to(images)
    bands = torch.fft.ifft2(spectrum[:, None] * filters)
    return [bands * (len(rows) * len(columns) / (height * width))]


def _kept_frequencies(n: int, level: int) -> torch.Tensor:
    """Give the integer frequencies, in FFT order, left of ``n`` after ``level - 1`` halvings."""
    kept: int = math.ceil(n / 2 ** (level - 1))
    return (torch.arange(kept) + kept // 2) % kept - kept // 2


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
        # The low pass of each scale doubles amplitudes.
        return [torch.view_as_complex(c[0].contiguous()) / 2**j for j, c in enumerate(scales, 1)]

    return transform
