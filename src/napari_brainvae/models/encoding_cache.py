"""Encode the brains beside the one on show before they are asked for.

Encoding is half of a reconstruction. Sections are known again by their content, so that nothing
stale is shown when a layer's data change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model, RegionEncoder

REACH = 100
"""Brains to either side that are encoded ahead."""


class EncodingCache(Model):
    """A model that encodes each section once; all else is the model's own.

    Parameters
    ----------
    model
        Its weights must not change meanwhile.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model.header)
        self._model = model
        self._known: dict[bytes, tuple[Latents, Latents]] = {}

    @property
    def noise_variance(self) -> float | None:
        """That of the model."""
        return self._model.noise_variance

    @property
    def known(self) -> int:
        """Number of sections that were encoded."""
        return len(self._known)

    def knows(self, image: Images) -> bool:
        """Whether a section ``(H, W)`` was encoded."""
        return _name(image) in self._known

    def _encode(self, images: Images) -> tuple[Latents, Latents]:
        posteriors = np.array([self._posterior(image) for image in images], dtype=np.float32)
        mean, log_variance = posteriors.reshape(-1, 2, self.latent_dim).swapaxes(0, 1)
        return mean, log_variance

    def _posterior(self, image: Images) -> tuple[Latents, Latents]:
        name = _name(image)
        if name not in self._known:
            mean, log_variance = self._model.encode(image[None])
            self._known[name] = mean[0], log_variance[0]
        return self._known[name]

    def _near(self, section: Images) -> RegionEncoder:
        return self._model.near(section)

    def _decode(self, latents: Latents) -> Images:
        return self._model.decode(latents)

    def _tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Those of the model."""
        return self._model.tensors()


def _name(image: Images) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def encode_ahead(model: EncodingCache, population: Population, index: int) -> Iterator[None]:
    """Encode the brains around ``index``, the nearest first, one each time it is asked.

    A section that cannot be used is passed over: it says so when it is its turn to be shown.
    """
    near = range(max(index - REACH, 0), min(index + REACH + 1, len(population)))
    for i in sorted(near, key=lambda i: abs(i - index)):
        with suppress(InputError, OSError):
            model.encode(population.prepared(model.header.preprocessing, [i]))
        yield
