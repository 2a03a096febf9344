"""How many latent factors to ask for: as many as come again in other brains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.factors.impact import usable_sections
from napari_brainvae.factors.stability import SplitHalves
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.smooth_components import choose_smoothing

MOST_FACTORS = 12
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
    """

    replicated: dict[int, int]
    sections: int

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
            return f"Of 1 to {tried} factors none comes again in halves of {self.sections} brains."
        comes = "comes" if many == 1 else "come"
        return (
            f"{many} of {at} {comes} again in halves of {self.sections} brains, of 1 to {tried} "
            "tried. A guide, and no bound."
        )


def suggest_latent_dim(
    population: Population,
    *,
    smoothing: float | None = None,
    seed: int = 0,
    splits: int = 10,
    progress: Progress | None = None,
) -> Suggestion:
    """Count the factors that come again, as ``brainvae stability`` does, at L from 1 to 12.

    Parameters
    ----------
    population
        Its sections that are not left out are looked at, `MOST_SECTIONS` of them at most.
    smoothing
        Standard deviation, px, under which components are fitted; chosen as by ``fit`` by default.
    seed, splits
        Random divisions of the brains in halves.
    progress
        Told of each number of factors.

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
    report(progress, 0, most)
    halves, found = SplitHalves(images, splits, seed, smoothing), dict[int, int]()
    for count in range(1, most + 1):
        found[count] = int(halves.measure(count).replicated.sum())
        report(progress, count, most)
    return Suggestion(found, len(images))
