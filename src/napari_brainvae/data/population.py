"""A population: one registered section per brain, its id and its covariates, from any file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from napari_brainvae.arrays import Images
from napari_brainvae.data.covariates import flags_of, write_covariates
from napari_brainvae.data.lazy_sections import BLOCK, SectionError, check_stack
from napari_brainvae.data.marks import Marks, open_marks
from napari_brainvae.data.population_files import Description, creating, read_population
from napari_brainvae.data.preprocessing import Preprocessing, check_sections
from napari_brainvae.io.errors import InputError

__all__ = ["BLOCK", "Description", "Population"]


@dataclass
class Population:
    """Sections of many brains registered to one atlas plane.

    Attributes
    ----------
    images
        ``(N, H, W)`` array as stored (NumPy, Zarr or `LazySections`; any real type); read it with
        `sections`.
    ids
        N distinct names.
    covariates
        Table of N rows, indexed by id.
    description
        Pixel size, atlas plane, preprocessing already done.
    marks
        What a person has marked, and where that is kept.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(1, 200, (3, 64, 80))
    >>> mice = Population(images, ["a", "b", "c"])
    >>> mice.shape, len(mice.sections([0, 2]))
    ((64, 80), 2)
    """

    images: Any
    ids: list[str] = field(default_factory=list)
    covariates: pd.DataFrame = field(default_factory=pd.DataFrame)
    description: Description = field(default_factory=Description)
    marks: Marks = field(default_factory=Marks)

    def __post_init__(self) -> None:
        check_stack(self.images.shape, np.dtype(self.images.dtype))
        self.ids = [str(i) for i in self.ids] or [f"{i:04d}" for i in range(len(self))]
        if len(self.ids) != len(self):
            raise InputError(f"{len(self.ids)} ids for {len(self)} sections")
        repeated = pd.Index(self.ids)[pd.Index(self.ids).duplicated()].unique()
        if len(repeated):
            raise InputError(f"ids repeat: {', '.join(map(repr, repeated[:3]))}")
        if self.covariates.empty:
            self.covariates = pd.DataFrame(index=self.ids)
        if len(self.covariates) != len(self):
            raise InputError(f"{len(self.covariates)} covariate rows for {len(self)} sections")
        self.covariates = self.covariates.set_axis(pd.Index(self.ids, name="id"), axis=0)

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)`` of a section, px."""
        return int(self.images.shape[1]), int(self.images.shape[2])

    @property
    def flagged(self) -> npt.NDArray[np.bool_]:
        """``(N,)``: sections that are not to be trusted, by the covariate ``flagged`` or a mark.

        Raises
        ------
        InputError
            If the covariate holds anything but yes or no (see `covariates.flags_of`).
        """
        return self.left_out()

    @property
    def excluded(self) -> npt.NDArray[np.bool_]:
        """``(N,)``: sections that a person has marked as excluded."""
        return self.marks.excluded(self.ids)

    def known(self, covariates: pd.DataFrame | None = None) -> pd.DataFrame:
        """What is known of the brains, to be written: covariates, flags, marks if there are any.

        Parameters
        ----------
        covariates
            Instead of the population's own, a row a brain.
        """
        table = self.covariates if covariates is None else covariates
        table = table.assign(flagged=flags_of(self.covariates))
        marks = self.marks.of(self.ids)
        return table.assign(mark=marks) if any(marks) else table

    def left_out(self, *, include_flagged: bool = False) -> npt.NDArray[np.bool_]:
        """``(N,)``: sections that do not count: excluded ones, and flagged ones unless wanted."""
        excluded = self.excluded
        return excluded if include_flagged else excluded | flags_of(self.covariates)

    def sections(self, index: slice | Sequence[int] | npt.NDArray[Any] = slice(None)) -> Images:
        """Read some sections, checked, as ``(n, H, W)`` float32 in their stored units.

        Raises
        ------
        InputError
            If one of them cannot be used (see `preprocessing.check_sections`).
        """
        chosen = np.arange(len(self))[index]
        names = [self.ids[i] for i in chosen]
        try:
            if isinstance(self.images, zarr.Array):
                part = self.images.oindex[chosen]
            else:
                part = self.images[chosen]
        except SectionError as error:
            name = self.ids[error.index]
            raise InputError(f"{error.file}: section {name!r} {error.reason}") from error
        return check_sections(part, names)

    def prepared(
        self, preprocessing: Preprocessing, index: slice | Sequence[int] | npt.NDArray[Any]
    ) -> Images:
        """Read some sections as a model wants them: ``(n, H, W)`` float32 in [0, 1].

        A population that was written already preprocessed is not matched a second time.
        """
        chosen = np.arange(len(self))[index]
        prepared = np.empty((len(chosen), *preprocessing.shape), dtype=np.float32)
        # In blocks, because what is done to a section takes several times its memory.
        for start in range(0, len(chosen), BLOCK):
            block = chosen[start : start + BLOCK]
            prepared[start : start + BLOCK] = self.prepare(
                self.sections(block), preprocessing, [self.ids[i] for i in block]
            )
        return prepared

    def prepare(self, sections: Images, preprocessing: Preprocessing, ids: Sequence[str]) -> Images:
        """Do to sections ``(n, H, W)`` that were read already what `prepared` does."""
        if self.description.preprocessing is not None:
            return preprocessing.adopt(sections, self.description.preprocessing, ids)
        return preprocessing.apply(sections, ids)

    def subset(self, index: Sequence[int]) -> Population:
        """Read some of the sections into a population of their own."""
        return Population(
            self.sections(index),
            [self.ids[i] for i in index],
            self.covariates.iloc[list(index)],
            self.description,
            self.marks,
        )

    def fingerprint(self, see: Callable[[int, npt.NDArray[Any]], None] | None = None) -> str:
        """Hash of ids and pixels: two populations with the same one are the same data.

        Parameters
        ----------
        see
            Called as ``see(start, block)`` with each block of sections ``(n, H, W)`` as stored, so
            that who needs their pixels, too, reads them once.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update("\n".join(self.ids).encode())
        digest.update(str(self.images.shape).encode())
        for start in range(0, len(self), BLOCK):
            block = self._block(slice(start, start + BLOCK))
            digest.update(block.tobytes())
            if see is not None:
                see(start, block)
        return digest.hexdigest()

    def _block(self, part: slice) -> npt.NDArray[Any]:
        """Some sections as stored, ``(n, H, W)``; black where one cannot be read."""
        try:
            return np.asarray(self.images[part])
        except SectionError:
            block = np.zeros((len(range(*part.indices(len(self)))), *self.shape), self.images.dtype)
            for i in range(len(block)):
                with suppress(SectionError):
                    block[i] = self.images[part.start + i]
            return block

    @classmethod
    def open(cls, path: str | Path, marks: Path | None = None) -> Population:
        """Open ``.zarr``, ``.npz``, ``.npy`` or a TIFF stack.

        A table (``.csv``, ``.tsv``, ``.xlsx``) of the same name beside an array or TIFF gives its
        covariates: joined by the column that names the brains where the file itself has ids, else
        one row per section, which that column names.

        Parameters
        ----------
        path
            The file.
        marks
            What a person has marked (see `data.marks`): by default ``NAME.marks.csv`` beside it,
            if that is there; `data.marks.NONE` for no marks.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        InputError
            If the file is no population; the message says why.
        """
        stored = read_population(path)
        table = pd.DataFrame() if stored.covariates is None else stored.covariates
        try:
            opened = cls(stored.images, stored.ids, table, stored.description)
        except InputError as error:
            raise InputError(f"{Path(path).name}: {error}") from error
        opened.marks = open_marks(marks, Path(path), opened.ids)
        return opened

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the population as a Zarr group, one chunk per section, in one step.

        Raises
        ------
        FileExistsError
            If ``path`` exists and ``overwrite`` was not asked for.
        """
        with creating(
            path, self.ids, self.shape, self.images.dtype, self.description, overwrite=overwrite
        ) as group:
            for i in range(len(self)):
                group["images"][i] = self.images[i]
            write_covariates(group, self.covariates)
