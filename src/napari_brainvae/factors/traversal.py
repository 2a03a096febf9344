"""Sections generated along a way through the latent space, and how they change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.data.population import Population
from napari_brainvae.factors.latent_paths import brain_code, interpolate
from napari_brainvae.factors.path_options import PathOptions
from napari_brainvae.factors.projective_field import population_mean
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model


@dataclass(frozen=True, eq=False)
class Traversal:
    """What was generated.

    Attributes
    ----------
    options
        What was asked for.
    codes
        ``(T, L)``, of each section.
    sections
        ``(T, H, W)`` float32 in [0, 1], what the model decodes from them.
    reference
        ``(H, W)``, from which they change.
    """

    options: PathOptions
    codes: Latents
    sections: Images
    reference: Images

    @property
    def changes(self) -> Images:
        """``(T, H, W)``, with its sign."""
        return self.sections - self.reference

    @property
    def against(self) -> str:
        """Say from what they change."""
        return self.options.from_brain or self.options.against_brain or "the mean section"


def traversal(
    model: Model,
    population: Population,
    options: PathOptions,
    *,
    progress: Progress | None = None,
) -> Traversal:
    """Generate sections.

    Raises
    ------
    InputError
        If there is no such brain, its section cannot be used, or there are not as many codes as the
        model has factors.
    Stopped
        If ``progress`` asked to stop.
    """

    def code_of(brain: str | None) -> Latents:
        if brain not in population.ids:
            raise InputError(f"there is no brain {brain!r} in this population")
        return brain_code(model, population, population.ids.index(brain))

    if options.movie:
        ends = code_of(options.from_brain), code_of(options.to_brain)
        codes = interpolate(*ends, options.steps)
    else:
        if len(options.factors) != model.latent_dim:
            raise InputError(
                f"the model has {model.latent_dim} factors; --factors are {len(options.factors)}"
            )
        codes = np.asarray([options.factors], np.float32)
    sections = np.empty((len(codes), *model.shape), np.float32)
    for i, code in enumerate(codes):  # one at a time, as the window shows them, to the bit
        report(progress, i, len(codes))
        sections[i] = model.decode(code[None])[0]
    if options.movie:
        return Traversal(options, codes, sections, sections[0])
    against = options.against_brain
    start = population_mean(model) if against is None else code_of(against)
    return Traversal(options, codes, sections, model.decode(start[None])[0])
