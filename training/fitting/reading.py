"""Which brains are fitted, and the one pass over their file; without torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images
from napari_brainvae.data.population import BLOCK, Population
from napari_brainvae.data.preprocessing import Preprocessing, check_sections
from napari_brainvae.io.errors import InputError

log = logging.getLogger(__name__)


def split(population: Population, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Divide the positions of a population into training and held-out ones.

    Raises
    ------
    InputError
        If fewer than two brains would be left to fit.
    """
    count = round(share * len(population))
    order = np.random.default_rng(seed).permutation(len(population))
    train, held_out = sorted(order[count:].tolist()), sorted(order[:count].tolist())
    if len(train) < 2:
        raise InputError(
            f"{len(population)} section(s), {count} held out, leave {len(train)} to fit; "
            "at least 2 are needed"
        )
    return train, held_out


def leave_out_flagged(
    population: Population, train: Sequence[int], *, include_flagged: bool = False
) -> list[int]:
    """Positions of the training brains that are fitted: not the excluded, nor the flagged ones.

    The split between training and held-out brains depends on neither flags nor marks.

    Parameters
    ----------
    include_flagged
        Whether those that the covariate ``flagged`` marks are fitted, too.

    Raises
    ------
    InputError
        If fewer than two brains would be left to fit, or the flags are neither yes nor no.
    """
    excluded, out = population.excluded, population.left_out(include_flagged=include_flagged)
    kept = [i for i in train if not out[i]]
    marked = int(excluded[list(train)].sum())
    flagged = len(train) - len(kept) - marked
    if len(kept) < 2 and len(kept) < len(train):
        reasons = [
            *([f"{flagged} are flagged: --include-flagged fits them, too"] if flagged else []),
            *([f"{_marked(population, marked)}: --marks none fits them, too"] if marked else []),
        ]
        raise InputError(f"of {len(train)} brains to fit, {'; '.join(reasons)}")
    if flagged:
        log.info(
            "%d of %d brains to fit are flagged and left out; --include-flagged fits them, too",
            flagged,
            len(train),
        )
    if marked:
        log.info("%s and left out; --marks none fits them, too", _marked(population, marked))
    return kept


def _marked(population: Population, count: int) -> str:
    are = "brain is" if count == 1 else "brains are"
    return f"{count} {are} marked as excluded in {population.marks.name}"


def read_once(
    population: Population, positions: Sequence[int], fingerprint: str | None = None
) -> tuple[str, Images]:
    """Fingerprint a population and keep some of its sections, in one pass over its file.

    Returns
    -------
    fingerprint, sections
        The first as given, if it was; ``(n, H, W)`` float32 in their stored units.

    Raises
    ------
    InputError
        If one of the sections cannot be used (see `preprocessing.check_sections`).
    """
    kept = np.empty((len(positions), *population.shape), np.float32)
    if fingerprint is not None:
        for at in range(0, len(positions), BLOCK):
            kept[at : at + BLOCK] = population.sections(positions[at : at + BLOCK])
        return fingerprint, kept
    wanted = np.asarray(positions, dtype=int)

    def keep(start: int, block: npt.NDArray[Any]) -> None:
        rows = np.flatnonzero((wanted >= start) & (wanted < start + len(block)))
        if len(rows):
            ids = [population.ids[i] for i in wanted[rows]]
            kept[rows] = check_sections(block[wanted[rows] - start], ids)

    return population.fingerprint(keep), kept


def prepare(
    population: Population, sections: Images, positions: Sequence[int], preprocessing: Preprocessing
) -> Images:
    """Prepare what `read_once` kept, in its own memory if it has the size already."""
    fits = sections.shape[1:] == preprocessing.shape
    prepared = sections if fits else np.empty((len(sections), *preprocessing.shape), np.float32)
    for at in range(0, len(positions), BLOCK):
        part = slice(at, at + BLOCK)
        ids = [population.ids[i] for i in positions[part]]
        prepared[part] = population.prepare(sections[part], preprocessing, ids)
    return prepared


def fit_preprocessing(population: Population, positions: Sequence[int]) -> Preprocessing:
    """Fit the preprocessing to some sections, a block at a time.

    Raises
    ------
    InputError
        If a section cannot be used (see `preprocessing.check_sections`).
    """
    blocks = [positions[i : i + BLOCK] for i in range(0, len(positions), BLOCK)]
    fitted = [Preprocessing.fit(population.sections(block)) for block in blocks]
    brightness = [one.reference_brightness for one in fitted]
    mean = np.average(np.array(brightness, np.float64), weights=[len(b) for b in blocks])
    return fitted[0].model_copy(update={"reference_brightness": float(mean)})
