"""The brains of a population as they are compared: outliers repaired, regions measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.data.population import Population
from napari_brainvae.denoising.reconstruction import denoise_sections
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model
from napari_brainvae.statistics.difference import region_means


@dataclass(frozen=True, eq=False)
class Brains:
    """The brains of a population as they are compared.

    Attributes
    ----------
    positions
        ``(N,)`` in the population: those that can be used.
    codes
        ``(N, L)`` posterior means, indexed by id, columns F1 to FL.
    sections
        ``(N, H, W)`` preprocessed; of repaired ones without what the model takes for artifact.
    repaired
        ``(N,)``, which ones are outliers and were repaired.
    regions
        ``raw`` and ``denoised``: mean brightness of each region ``(N, R)``.
    """

    positions: Sequence[int]
    codes: pd.DataFrame
    sections: Images
    repaired: Mask
    regions: Mapping[str, pd.DataFrame]


def measure_brains(
    model: Model,
    population: Population,
    chosen: Sequence[int],
    masks: Mapping[str, Mask],
    *,
    robust: bool = True,
    progress: Progress | None = None,
) -> Brains:
    """Encode brains; repair those first that are outliers of the model.

    Raises
    ------
    InputError
        If the sections do not fit the model, or none can be used.
    Stopped
        If ``progress`` asked to stop.
    """
    sections = np.empty((len(chosen), *model.shape), np.float32)
    codes = np.empty((len(chosen), model.latent_dim))
    repaired = np.zeros(len(chosen), bool)
    means: dict[str, list[npt.NDArray[Any]]] = {"raw": [], "denoised": []}
    used: list[int] = []
    problem: InputError | None = None
    for done, position in enumerate(chosen):
        report(progress, done, len(chosen))
        i = len(used)
        try:
            section = population.prepared(model.header.preprocessing, [position])
        except InputError as error:
            problem = error
            continue
        seen = denoise_sections(model, section, robust=None if robust else False)
        means["raw"].append(region_means(section, masks)[0])
        means["denoised"].append(region_means(seen.reconstructions, masks)[0])
        sections[i], codes[i], repaired[i] = seen.repaired[0], seen.mean[0], seen.robust[0]
        used.append(position)
    report(progress, len(chosen), len(chosen))
    if not used:
        raise InputError(f"no section can be used: {problem}")
    ids = pd.Index([population.ids[i] for i in used], name="id")
    names = [f"F{i + 1}" for i in range(model.latent_dim)]
    return Brains(
        positions=used,
        codes=pd.DataFrame(codes[: len(used)], ids, names),
        sections=sections[: len(used)],
        repaired=repaired[: len(used)],
        regions={
            how: pd.DataFrame(np.array(rows).reshape(len(used), -1), ids, list(masks))
            for how, rows in means.items()
        },
    )
