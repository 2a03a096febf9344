"""How many latent factors to ask for: as many as come again in other brains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.factors.impact import usable_sections
from napari_brainvae.factors.stability import SplitHalves
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.smooth_components import choose_smoothing

MOST_FACTORS = 12
SPLITS = 4
"""Of the brains in halves; ``brainvae stability`` divides them ten times. What is planted is found
with four as well; a factor at the threshold may fall on its other side with other splits."""

MOST_SECTIONS = 400
"""That are looked at, evenly spread: memory does not grow with the population."""


@dataclass(frozen=True)
class Suggestion:
    """How many factors come again at each number of them.

    Attributes
    ----------
    replicated
        By number of factors L: how many of these come again in split halves.
    sections
        That were looked at.
    splits
        How often they were divided in halves.
    """

    replicated: dict[int, int]
    sections: int
    splits: int = SPLITS

    @property
    def latent_dim(self) -> int:
        """The least L at which the most factors come again."""
        return max(self.replicated, key=lambda count: (self.replicated[count], -count))

    @property
    def sentence(self) -> str:
        """What was found, and how much it counts for."""
        at, tried = self.latent_dim, max(self.replicated)
        many = self.replicated[at]
        if many == 0:
            return f"Of 1 to {tried} factors none comes again in {self._halves}."
        comes = "comes" if many == 1 else "come"
        return (
            f"{many} of {at} {comes} again in {self._halves}, of 1 to {tried} tried. A guide, and "
            "no bound."
        )

    @property
    def _halves(self) -> str:
        return f"halves of {self.sections} brains, divided {self.splits} times"


def suggest_latent_dim(
    population: Population,
    *,
    smoothing: float | None = None,
    seed: int = 0,
    splits: int = SPLITS,
    progress: Progress | None = None,
) -> Suggestion:
    """Count the factors that come again, as ``brainvae stability`` does, at L from 1 to 12.

    By the same rule, from fewer splits, so that one may wait for it.

    Parameters
    ----------
    population
        Its sections that are not left out are looked at, `MOST_SECTIONS` of them at most.
    smoothing
        Standard deviation, px, under which components are fitted; chosen as by ``fit`` by default.
    seed, splits
        Random divisions of the brains in halves.
    progress
        Told of each split at each number of factors, in about equal shares of the time.

    Raises
    ------
    InputError
        For sections that cannot be used, or too few.
    Stopped
        If ``progress`` says so.
    """
    usable = np.array(usable_sections(population))
    chosen = usable[
        np.linspace(0, len(usable) - 1, min(MOST_SECTIONS, len(usable))).round().astype(int)
    ]
    done = population.description.preprocessing
    preprocessing = done or Preprocessing.fit(population.sections(chosen))
    images = population.prepared(preprocessing, chosen)
    most = min(MOST_FACTORS, len(images) // 2 - 2)
    if most < 1:
        raise InputError(f"{len(images)} brains cannot be split in halves: give 6")
    if smoothing is None:
        smoothing, _ = choose_smoothing(images, (most + 1) // 2, seed=seed)
    halves, found = SplitHalves(images, splits, seed, smoothing), dict[int, int]()
    # The time grows with the square of the number of factors, about.
    ends = np.cumsum([0, *(count**2 for count in range(1, most + 1))]) * splits

    def part(done: int, _: int, *, count: int) -> bool:
        report(progress, int(ends[count - 1]) + done * count**2, int(ends[-1]))
        return True

    for count in range(1, most + 1):
        measured = halves.measure(count, partial(part, count=count))
        found[count] = int(measured.replicated.sum())
    return Suggestion(found, len(images), splits)
