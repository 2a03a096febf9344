"""What the metrics take: arrays or tensors, checked and brought to one form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.real_numbers import real_numbers

ImageStack = NDArray[Any] | torch.Tensor
"""Images ``(N, H, W)`` or codes ``(N, L)``, as an array or as a tensor on any device."""

Array = NDArray[np.float64]


def checked_values(data: ArrayLike, rank: int, name: str) -> Array:
    """As float64, of the rank asked for, not empty and finite; also from a torch tensor."""
    array = real_numbers(data.detach().cpu() if hasattr(data, "detach") else data, name)
    array = array.astype(np.float64, copy=False)
    if array.ndim != rank or array.size == 0:
        raise InputError(f"{name} must have {rank} axes and not be empty, not shape {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} contain NaN or infinite values")
    return array


def image_stack(images: ArrayLike | torch.Tensor) -> ImageStack:
    """Give images as what has a shape: nested lists become an array."""
    if isinstance(images, np.ndarray | torch.Tensor):
        return images
    return real_numbers(images, "images")


def image_pairs(a: ImageStack, b: ImageStack) -> Iterator[tuple[Array, Array]]:
    """Images (N, H, W) one pair at a time, since float64 copies of all would fill the memory."""
    if a.shape != b.shape or a.ndim != 3 or 0 in a.shape:
        raise InputError(
            f"two sets of images (N, H, W) of one shape are needed, not {(*a.shape,)} and "
            f"{(*b.shape,)}"
        )
    return (
        (checked_values(x, 2, "images"), checked_values(y, 2, "images"))
        for x, y in zip(a, b, strict=True)
    )


def to_tensor(images: ImageStack, dtype: torch.dtype) -> torch.Tensor:
    """Give images as a tensor; arrays are copied, since they may be read-only or reversed views."""
    if isinstance(images, torch.Tensor):
        return images.detach().to(dtype)
    return torch.from_numpy(np.array(images, dtype=str(dtype).removeprefix("torch."), order="C"))
