"""The section that some codes say, and how it differs: one decode for each move of a slider."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.data.population import Population
from napari_brainvae.factors.latent_paths import brain_code, how_far_out
from napari_brainvae.factors.projective_field import population_mean
from napari_brainvae.models.base import Model


@dataclass(frozen=True, eq=False)
class Against:
    """What generated sections are held against; it is decoded once.

    Attributes
    ----------
    brain
        Position of a brain, as the model decodes it; None for the mean section.
    """

    model: Model
    population: Population
    brain: int | None = None

    @cached_property
    def section(self) -> Images:
        """``(H, W)``, decoded."""
        if self.brain is None:
            code = population_mean(self.model)
        else:
            code = brain_code(self.model, self.population, self.brain)
        return np.asarray(self.model.decode(code[None])[0])

    @cached_property
    def bright(self) -> float:
        """What is shown white."""
        return max(float(np.percentile(self.section, 99.8)), 1e-3)


class Generated(NamedTuple):
    """What some codes ``(L,)`` say.

    Attributes
    ----------
    section, change
        ``(H, W)``, as the model decodes it, and less what it is held against.
    far_out
        By `latent_paths.how_far_out`; empty if no brains were given.
    """

    against: Against
    codes: Latents
    section: Images
    change: Images
    far_out: str


def generate(
    against: Against, codes: Latents, brains: npt.NDArray[np.float64] | None = None
) -> Generated:
    """Decode a section from codes ``(L,)``.

    Parameters
    ----------
    brains
        ``(N, L)``, codes of the real ones.

    Raises
    ------
    InputError
        If the codes are not of the model's factors, or the brain held against cannot be used.
    """
    section = against.model.decode(codes[None])[0]
    far = "" if brains is None else how_far_out(brains, codes)
    _ = against.bright  # now, not in the window
    return Generated(against, codes, section, section - against.section, far)
