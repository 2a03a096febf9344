"""The sections of brains that are done, beside the population that is to be made of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from napari_brainvae.io.atomic_files import remove_leftovers, replacing
from napari_brainvae.io.file_stamp import sha256_of
from napari_brainvae.io.regular_files import regular_file


@dataclass(frozen=True)
class SectionStore:
    """A folder with a file a brain: its planes ``(P, H, W)``."""

    folder: Path

    def path(self, brain: Any) -> Path:
        """File of a brain."""
        return self.folder / f"{quote(str(brain), safe=' ')}.npy"

    def save(self, brain: Any, planes: npt.NDArray[Any]) -> str:
        """Write the planes of a brain in one step; gives their SHA-256."""
        with replacing(self.path(brain)) as beside:
            np.save(beside, planes)
            return sha256_of(beside)

    def section(self, brain: Any, position: int) -> npt.NDArray[Any]:
        """One plane ``(H, W)`` of a brain that is done."""
        stored = np.load(regular_file(self.path(brain)), mmap_mode="r", allow_pickle=False)
        return np.asarray(stored[position])

    def is_kept(self, brain: Any, sha256: str) -> bool:
        """Whether the planes of a brain lie there as they were written."""
        path = self.path(brain)
        return path.is_file() and sha256_of(path) == sha256


def remove_half_written(population: Path) -> None:
    """Remove what a killed run left of a population, and of what it keeps beside it."""
    work = Path(f"{population}.work")
    for folder in (work, work / "sections"):
        remove_leftovers(folder)
    for half in population.parent.glob(f".{population.stem}.*.partial.zarr"):
        shutil.rmtree(half)
