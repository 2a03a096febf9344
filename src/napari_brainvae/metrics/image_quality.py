"""What is measured: image quality, distance of distributions, use of the latent space.

Images are ``(N, H, W)`` and codes ``(N, L)``, as NumPy arrays or torch tensors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from napari_brainvae.io.errors import InputError
from napari_brainvae.metrics.inputs import Array, ImageStack, image_pairs, image_stack, to_tensor

_VALUES_AT_ONCE = 2**23  # of the images, in float64, while their Gram matrix is summed up


def image_quality(a: ImageStack, b: ImageStack) -> dict[str, Array]:
    """Mean squared error, PSNR and SSIM of each pair of images, by scikit-image.

    Parameters
    ----------
    a, b : array or tensor, shape (N, H, W)
        Intensities in [0, 1].

    Returns
    -------
    dict of numpy.ndarray, shape (N,)
        "mse"; "psnr" in dB for a peak of 1, infinite for equal images; "ssim" with the Gaussian
        window of Wang et al. (IEEE Trans. Image Process. 2004).

    Raises
    ------
    InputError
        For other shapes than (N, H, W) twice, or values that are not finite.
    """
    wang: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    rows = []
    for x, y in image_pairs(a, b):
        with np.errstate(divide="ignore"):
            psnr = peak_signal_noise_ratio(x, y, data_range=1.0)
        ssim = structural_similarity(x, y, data_range=1.0, **wang)
        rows.append((mean_squared_error(x, y), psnr, ssim))
    return dict(zip(("mse", "psnr", "ssim"), np.array(rows).T, strict=True))


def pca_frechet_distance(
    real: ImageStack, generated: ImageStack, *, components: int = 100
) -> float:
    r"""PCA-based Frechet distance between two sets of images (paper, section 3.2).

    Both sets are projected on the first principal components of ``real``; with means m and
    covariances S there, the distance is \|m1 - m2\|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    Parameters
    ----------
    real, generated : array or tensor, shapes (N, H, W) and (M, H, W)
        Computed in float64 on the device of ``real``. Everything comes from the two Gram matrices,
        summed over blocks of pixels, so that the components themselves are never formed.
    components : int
        Capped by the rank of ``real``, hence by N - 1.

    Returns
    -------
    float
        In squared intensity summed over pixels; 0 for equal sets, never negative. Differences
        outside the components are not seen. See `split_half_floor` for what to compare it with.

    Raises
    ------
    InputError
        For unequal sizes, fewer than 2 images in a set, ``real`` all equal, values not finite.

    Examples
    --------
    >>> import numpy as np
    >>> sections = np.random.default_rng(0).random((12, 64, 80), dtype=np.float32)
    >>> round(pca_frechet_distance(sections, sections), 6)
    0.0
    """
    return _frechet(*_principal_scores(image_stack(real), image_stack(generated), components))


def split_half_floor(real: ImageStack, *, components: int = 100, seed: int = 0) -> float:
    """Give the PCA-Frechet distance between two random halves of the real images.

    It is the floor of `pca_frechet_distance`: what sampling alone makes between two sets of one
    population. Halves are smaller than the whole, so it errs on the high side. Reconstructions of
    the real images themselves share their sampling and can lie below it.

    Parameters
    ----------
    real : array or tensor, shape (N, H, W)
        At least 4 images.
    components : int
        Capped by the rank of a half.
    seed : int
        Of the split.

    Raises
    ------
    InputError
        For fewer than 4 images, a half that is all equal, or values not finite.
    """
    if len(real) < 4:
        raise InputError(f"two halves need at least 4 images, not {len(real)}")
    order, half = np.random.default_rng(seed).permutation(len(real)), len(real) // 2
    return pca_frechet_distance(real[order[:half]], real[order[half:]], components=components)


@torch.no_grad()
def _principal_scores(
    real: ImageStack, other: ImageStack, components: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (N, k) and (M, k) on the principal components of ``real``."""
    if real.ndim != 3 or other.ndim != 3 or real.shape[1:] != other.shape[1:]:
        raise InputError(
            f"two sets (N, H, W) of one size are needed, not {(*real.shape,)} and {(*other.shape,)}"
        )
    if len(real) < 2:
        raise InputError(f"a covariance needs at least 2 images, not {len(real)}")
    if components < 1:
        raise InputError(f"components must be at least 1, not {components}")

    device = real.device if isinstance(real, torch.Tensor) else torch.device("cpu")
    n = len(real)
    flat = [x.reshape(len(x), math.prod(x.shape[1:])) for x in (real, other)]
    gram = torch.zeros(n + len(other), n, dtype=torch.float64, device=device)
    step = max(1, _VALUES_AT_ONCE // len(gram))
    for start in range(0, flat[0].shape[1], step):
        block = [to_tensor(x[:, start : start + step], torch.float64).to(device) for x in flat]
        joint = torch.cat(block) - block[0][0]  # first of all exactly zero where images are equal
        joint -= joint[:n].mean(0)
        gram += joint @ joint[:n].T
    if not torch.isfinite(gram).all():
        raise InputError("images contain NaN or infinite values")

    power, vectors = torch.linalg.eigh(gram[:n])
    power, vectors = power.flip(0), vectors.flip(1)
    if power[0] <= 0:
        raise InputError("the real images are all equal: they have no principal components")
    rank = int((power > n * torch.finfo(power.dtype).eps * power[0]).sum())
    k = min(components, rank)
    scores = gram @ (vectors[:, :k] / power[:k].sqrt())
    return scores[:n], scores[n:]


def _frechet(a: torch.Tensor, b: torch.Tensor) -> float:
    """Frechet distance between the Gaussians fitted to two sets of points (N, k) and (M, k)."""
    if min(len(a), len(b)) < 2:
        raise InputError("a covariance needs at least 2 images in each set")
    means = a.mean(0), b.mean(0)
    # Factors R with R'R = S. Tr (S1 S2)^(1/2) is the sum of the singular values of R2 R1', which
    # keeps the digits that the square roots of the eigenvalues of a product would lose: singular
    # covariances are the rule here.
    roots = [
        torch.linalg.qr((x - mean) / math.sqrt(len(x) - 1), mode="r").R
        for x, mean in zip((a, b), means, strict=True)
    ]
    spread = sum(root.square().sum() for root in roots)
    shared = torch.linalg.svdvals(roots[1] @ roots[0].T).sum()
    return max(0.0, float((means[0] - means[1]).square().sum() + spread - 2 * shared))
