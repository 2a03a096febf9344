"""The arrays that everything passes around, by name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.float32]
"""Sections, ``(N, H, W)`` or one ``(H, W)``; in [0, 1] once they are preprocessed."""

Mask = npt.NDArray[np.bool_]
"""Which pixels of a section, ``(H, W)``."""

Labels = npt.NDArray[np.uint32]
"""A structure id in every pixel or voxel; 0 is outside the brain."""

Latents = npt.NDArray[np.float32]
"""Values of latent factors, ``(N, L)`` or of one brain ``(L,)``."""
