"""A list of the brains: how well the model fits each, how unusual it is, and where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing, crop_to
from napari_brainvae.denoising.robust_inference import robust_inference
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report, still
from napari_brainvae.models.base import Model
from napari_brainvae.models.measures import kl_divergence, squared_error

BATCH = 16


def brain_table(
    model: Model,
    population: Population,
    *,
    robust: bool | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure every brain, flagged or not.

    Parameters
    ----------
    robust
        Whose codes are by `robust_inference`: those of outliers of the model with None, of all
        brains, or of none. It takes a fifth of a second a brain of 320 x 448 px.

    Returns
    -------
    pandas.DataFrame
        A row a brain, indexed by id: ``squared_error``, averaged over pixels; ``kl_divergence``,
        nats; ``deviation``, spreads, and ``unusual``, bool, by `models.header.Reference`, if the
        checkpoint has one; ``F1`` to ``FL``, the posterior means, of what was seen robustly without
        its artifact, which is in all other columns; ``problem``, why a section cannot be used, or
        nothing; ``robust``, bool, whether the codes are by `robust_inference`. Of one that cannot
        be used all numbers are NaN.

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
    repaired = np.zeros(len(population), bool)
    for start in range(0, len(population), BATCH):
        report(progress, start, len(population))
        block = range(start, min(start + BATCH, len(population)))
        for part, sections in _usable(population, model.header.preprocessing, block):
            if isinstance(sections, str):
                problems[part[0]] = sections
            else:
                asked = (
                    None if progress is None else partial(still, progress, start, len(population))
                )
                measures[part], repaired[part] = _measure(model, sections, robust, asked)
    report(progress, len(population), len(population))
    if all(problems):
        raise InputError(f"no section can be used: {problems[0]}")
    columns = ["squared_error", "kl_divergence", *(f"F{i + 1}" for i in range(model.latent_dim))]
    table = pd.DataFrame(measures, pd.Index(population.ids, name="id"), columns)
    if (reference := model.header.reference) is not None:
        of_model = table["squared_error"], table["kl_divergence"]
        table.insert(2, "deviation", reference.deviation(*of_model))
        table.insert(3, "unusual", reference.is_outlier(*of_model))
    table["problem"], table["robust"] = problems, repaired
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


def _measure(
    model: Model, sections: Images, robust: bool | None, progress: Progress | None
) -> tuple[npt.NDArray[np.float64], Mask]:
    """Squared error, KL divergence and codes ``(N, 2 + L)`` of sections; whose are robust."""
    mean, log_variance = model.encode(sections)
    error = squared_error(sections, model.decode(mean))
    kl = kl_divergence(mean, log_variance).sum(axis=1)
    reference, chosen = model.header.reference, np.full(len(sections), robust is True)
    if robust is None and reference is not None:
        chosen = reference.is_outlier(error, kl)
    if chosen.any():
        mean[chosen] = robust_inference(model, sections[chosen], progress=progress).mean
    return np.column_stack([error, kl, mean]), chosen
