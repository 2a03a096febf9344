"""A list of the brains: how well the model fits each, how unusual it is, and where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.arrays import Images
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing, crop_to
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model
from napari_brainvae.models.measures import kl_divergence, squared_error

BATCH = 16


def brain_table(
    model: Model, population: Population, *, progress: Progress | None = None
) -> pd.DataFrame:
    """Measure every brain, flagged or not.

    Returns
    -------
    pandas.DataFrame
        A row a brain, indexed by id: ``squared_error``, averaged over pixels; ``kl_divergence``,
        nats; ``deviation``, spreads, and ``unusual``, bool, by `models.header.Reference`, if the
        checkpoint has one; ``F1`` to ``FL``, the posterior means of the section as it is: of one
        that is unusual, its artifact is in them, as it is in all other columns (`compare` takes
        those of the repaired section, `denoising.reconstruction`); ``problem``, why a section
        cannot be used, or nothing. Of one that cannot be used all numbers are NaN.

    Raises
    ------
    InputError
        If the sections do not fit the model, or none can be used.
    Stopped
        If ``progress`` asked to stop.
    """
    crop_to(np.empty((0, *population.shape)), model.shape)
    measures = np.full((len(population), 2 + model.latent_dim), np.nan)
    problems = [""] * len(population)
    for start in range(0, len(population), BATCH):
        report(progress, start, len(population))
        block = range(start, min(start + BATCH, len(population)))
        for part, sections in _usable(population, model.header.preprocessing, block):
            if isinstance(sections, str):
                problems[part[0]] = sections
            else:
                measures[part] = _measure(model, sections)
    report(progress, len(population), len(population))
    if all(problems):
        raise InputError(f"no section can be used: {problems[0]}")
    columns = ["squared_error", "kl_divergence", *(f"F{i + 1}" for i in range(model.latent_dim))]
    table = pd.DataFrame(measures, pd.Index(population.ids, name="id"), columns)
    if (reference := model.header.reference) is not None:
        of_model = table["squared_error"], table["kl_divergence"]
        table.insert(2, "deviation", reference.deviation(*of_model))
        table.insert(3, "unusual", reference.is_outlier(*of_model))
    table["problem"] = problems
    return table


def factors_of(table: pd.DataFrame) -> pd.DataFrame:
    """Give the posterior means ``(N, L)`` alone, of a `brain_table` or some of its rows."""
    return table.filter(regex=r"^F\d+$")


def with_covariates(table: pd.DataFrame, covariates: pd.DataFrame) -> pd.DataFrame:
    """Add what is known of the same brains to a `brain_table`, by names that it does not have yet.

    Parameters
    ----------
    covariates
        A row a brain, in the same order.
    """
    taken = {name: f"covariate_{name}" for name in covariates if name in table}
    return table.join(covariates.rename(columns=taken).set_axis(table.index))


def _usable(
    population: Population, preprocessing: Preprocessing, chosen: Sequence[int]
) -> Iterator[tuple[Sequence[int], Images | str]]:
    """Yield brains with their sections, or one brain with the reason why it has none."""
    try:
        yield chosen, population.prepared(preprocessing, chosen)
    except InputError as error:
        if len(chosen) == 1:
            yield chosen, str(error)
        else:
            for i in chosen:
                yield from _usable(population, preprocessing, [i])


def _measure(model: Model, sections: Images) -> npt.NDArray[np.float64]:
    """Squared error, KL divergence and posterior means of sections, ``(N, 2 + L)``."""
    mean, log_variance = model.encode(sections)
    error = squared_error(sections, model.decode(mean))
    return np.column_stack([error, kl_divergence(mean, log_variance).sum(axis=1), mean])
