"""Time and peak memory of ten split halves of 1,723 sections of 320 x 448 px, at L = 8."""

from __future__ import annotations

import resource
import time

import numpy as np

from napari_brainvae import factor_stability

BRAINS, SHAPE, PLANTED = 1723, (320, 448), 8


def sections() -> np.ndarray:
    """Noise, and eight squares of which each is as bright as its code says."""
    rng = np.random.default_rng(0)
    images = np.empty((BRAINS, *SHAPE), dtype=np.float32)
    codes = rng.standard_normal((BRAINS, PLANTED), dtype=np.float32)
    for image, code in zip(images, codes, strict=True):
        image[:] = 0.5 + 0.05 * rng.standard_normal(SHAPE, dtype=np.float32)
        for i, value in enumerate(code):
            top, left = 40 + 140 * (i // 4), 20 + 110 * (i % 4)
            image[top : top + 60, left : left + 60] += 0.05 * value
    return images


if __name__ == "__main__":
    images = sections()
    began = time.monotonic()
    found = factor_stability(images, PLANTED)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{time.monotonic() - began:.0f} s, peak {peak:.1f} GB with the sections")
    print(f"{found.replicated.sum()} of {PLANTED} replicate")
