"""Ways through the latent space: between two brains, to the nearest, to one by chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Latents
from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model

BEYOND = 0.99
"""Share of the brains nearer to the mean from which on a code is said to be far out."""


def brain_code(model: Model, population: Population, brain: int) -> Latents:
    """Posterior mean ``(L,)`` of one brain, given by its position.

    It is encoded alone: among others its last bits may differ.

    Raises
    ------
    InputError
        If its section cannot be used.
    """
    section = population.prepared(model.header.preprocessing, [brain])
    mean, _ = model.encode(section)
    return np.asarray(mean[0])


def interpolate(start: npt.ArrayLike, end: npt.ArrayLike, steps: int) -> Latents:
    """Codes ``(steps, L)`` evenly along the straight line between two codes ``(L,)``.

    The first and the last are those given, to the bit.

    Raises
    ------
    InputError
        If there are fewer than two steps, or the codes are not of as many factors.

    Examples
    --------
    >>> interpolate([0, 1], [1, 3], 3).tolist()
    [[0.0, 1.0], [0.5, 2.0], [1.0, 3.0]]
    """
    first, last = (np.asarray(each, np.float32) for each in (start, end))
    if first.ndim != 1 or first.shape != last.shape:
        raise InputError(f"codes of shapes {first.shape} and {last.shape} have no line between")
    if steps < 2:
        raise InputError(f"a way between two brains has two steps at least, not {steps}")
    share = np.linspace(0, 1, steps)[:, None]
    line = ((1 - share) * first + share * last).astype(np.float32)
    line[0], line[-1] = first, last
    return line


def nearest_brain(codes: npt.ArrayLike, code: npt.ArrayLike) -> tuple[int, float]:
    """Position of the brain whose code is nearest, and how far it is.

    The distance is Euclid's, in standard deviations of the prior: factors that the model hardly
    uses, whose codes are all alike, have no say.

    Parameters
    ----------
    codes
        ``(N, L)``; brains without a code, NaN, are passed over.
    code
        ``(L,)``.

    Raises
    ------
    InputError
        If no brain has a code, or they are not of as many factors.
    """
    known = _known(codes, code)
    distances = np.linalg.norm(known - np.asarray(code, np.float64), axis=1)
    if np.isnan(distances).all():
        raise InputError("no brain has a code")
    nearest = int(np.nanargmin(distances))
    return nearest, float(distances[nearest])


def draw_from_prior(latent_dim: int, seed: int) -> Latents:
    """Code ``(L,)`` of a brain by chance, from the prior N(0, I)."""
    return np.random.default_rng(seed).standard_normal(latent_dim).astype(np.float32)


def draw_like_population(codes: npt.ArrayLike, seed: int) -> Latents:
    """Code ``(L,)`` by chance, from the Gaussian with mean and covariance of ``(N, L)`` codes.

    Raises
    ------
    InputError
        If fewer than two brains have a code.
    """
    array = np.asarray(codes, np.float64)
    known = array[np.isfinite(array).all(axis=1)]
    if len(known) < 2:
        raise InputError("two brains at least must have a code to draw another like them")
    mean = known.mean(axis=0)
    # Brains in random amounts: their covariance, without taking it apart.
    amounts = np.random.default_rng(seed).standard_normal(len(known)) / np.sqrt(len(known) - 1)
    return np.asarray(mean + amounts @ (known - mean), np.float32)


def share_nearer(codes: npt.ArrayLike, code: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Share ``(L,)`` of the brains that lie nearer to their mean than a code, factor by factor.

    Raises
    ------
    InputError
        As `nearest_brain`.
    """
    known = _known(codes, code)
    known = known[np.isfinite(known).all(axis=1)]
    if not len(known):
        raise InputError("no brain has a code")
    mean = known.mean(axis=0)
    return np.asarray((np.abs(known - mean) < np.abs(np.asarray(code) - mean)).mean(axis=0))


def how_far_out(codes: npt.ArrayLike, code: npt.ArrayLike) -> str:
    """Say in which factors a code lies beyond nearly all brains; empty if in none.

    Examples
    --------
    >>> how_far_out([[0, 0], [1, 2], [-1, -2]], [3, 1])
    'F1 beyond all brains'
    """
    shares = share_nearer(codes, code)
    # Rounded down: beyond all is only what no brain reaches.
    by_share: dict[str, list[str]] = {}
    for i in np.flatnonzero(shares >= BEYOND):
        how = "all brains" if shares[i] == 1 else f"{int(100 * shares[i])} % of brains"
        by_share.setdefault(how, []).append(f"F{i + 1}")
    return "; ".join(f"{', '.join(names)} beyond {how}" for how, names in by_share.items())


def _known(codes: npt.ArrayLike, code: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array, one = np.asarray(codes, np.float64), np.asarray(code)
    if array.ndim != 2 or one.shape != array.shape[1:]:
        raise InputError(f"a code of shape {one.shape} is none among codes of {array.shape}")
    return array
