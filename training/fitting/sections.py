"""The sections that a run is fitted on: in the device's memory, or read as they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from napari_brainvae.arrays import Images
from napari_brainvae.data.marks import NONE
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing

IN_MEMORY = 2048
"""Sections, at most, that what looks at many at once (start, stability) holds in memory."""


class Sections(Protocol):
    """Training sections, which come in batches of any order."""

    def __len__(self) -> int: ...

    def batches(self, order: Iterable[Tensor]) -> Iterator[Tensor]:
        """Sections ``(n, 1, H, W)`` on the device, for each list ``(n,)`` of their positions."""

    def read(self, positions: Sequence[int]) -> Images:
        """Some of them, as ``(n, H, W)`` in this process's memory."""


class Resident:
    """Sections ``(N, H, W)`` that stay in the memory of the device: a step never waits for them."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self.images = torch.from_numpy(images[:, None]).to(device)

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, order: Iterable[Tensor]) -> Iterator[Tensor]:
        """Sections ``(n, 1, H, W)`` for each list ``(n,)`` of their positions."""
        for batch in order:
            yield self.images[to_device(batch, self.images.device)]

    def read(self, positions: Sequence[int]) -> Images:
        """Some of them, ``(n, H, W)``."""
        return self.images[list(positions), 0].cpu().numpy()


class Streamed(Dataset[Tensor]):
    """Sections read from their file, ahead of the steps by ``readers`` processes.

    Memory does not grow with the population. Without readers, each step waits for its sections.
    """

    def __init__(
        self,
        path: Path,
        preprocessing: Preprocessing,
        positions: Sequence[int],
        device: torch.device,
        readers: int = 0,
    ) -> None:
        self.path, self.preprocessing = path, preprocessing
        self.positions, self.device, self.readers = np.asarray(positions), device, readers

    @cached_property
    def population(self) -> Population:
        """The population, which every reader opens for itself; who counts is decided."""
        return Population.open(self.path, NONE)

    def __getstate__(self) -> dict[str, Any]:
        # What is opened here stays here: an array in memory would be copied to every reader.
        return {name: value for name, value in vars(self).items() if name != "population"}

    def __len__(self) -> int:
        return len(self.positions)

    def __getitems__(self, batch: list[int]) -> Tensor:
        """Read one batch ``(n, 1, H, W)``."""
        return torch.from_numpy(self.read(batch)[:, None])

    def read(self, positions: Sequence[int]) -> Images:
        """Some of them, ``(n, H, W)``."""
        return self.population.prepared(self.preprocessing, self.positions[list(positions)])

    def batches(self, order: Iterable[Tensor]) -> Iterator[Tensor]:
        """Sections ``(n, 1, H, W)`` for each list ``(n,)`` of their positions."""
        loader = DataLoader(
            self,
            batch_sampler=(batch.tolist() for batch in order),
            collate_fn=_as_it_is,
            num_workers=self.readers,
            # A fork would take the threads of Zarr and CUDA along, half alive.
            multiprocessing_context="spawn" if self.readers else None,
            prefetch_factor=4 if self.readers else None,
            pin_memory=self.device.type == "cuda",
        )
        for images in loader:
            yield images.to(self.device, non_blocking=True)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to a device, without waiting for the steps that a GPU has yet to do."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _as_it_is(batch: Any) -> Any:
    return batch


def evenly(positions: Sequence[int], count: int) -> list[int]:
    """``count`` of the positions at most, evenly spread."""
    chosen = np.linspace(0, len(positions) - 1, min(count, len(positions))).astype(int)
    return [positions[i] for i in chosen]
