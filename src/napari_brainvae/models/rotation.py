"""Choose the axes of the latent space, so that each factor acts in one place.

The prior N(0, I) does not change when the latent space is rotated, nor do the reconstructions, so
nothing in the objective says which mixture a factor is (Rolinek et al. 2019: a diagonal posterior
only prefers, by accident, the axes of PCA). Varimax (Kaiser 1958) chooses: of all rotations the one
in which each factor changes few pixels much and the others hardly.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.real_numbers import finite_float32
from napari_brainvae.models.base import Model
from napari_brainvae.models.header import Rotation

AnyModel = TypeVar("AnyModel", bound=Model)
Matrix = npt.NDArray[np.float64]

SECTIONS = 32
"""Brains, at most, around whose codes the fields are taken, evenly spread over those given."""

SWEEPS = 1000
SMALLEST_ANGLE = 1e-8
"""Radians: a sweep over all pairs that turns none further has converged."""


def varimax(loadings: npt.ArrayLike) -> Matrix:
    """Rotation after which each column of the loadings has few large entries.

    Maximises the variance of the squared loadings, summed over columns (raw varimax), one pair of
    columns after the other, each by its best angle in closed form (Kaiser 1958, *The varimax
    criterion for analytic rotation in factor analysis*). The criterion rises with every angle.
    Gradient steps, the usual way by singular values, would stay where two columns are evenly mixed:
    the criterion is at its smallest there and has no slope.

    Parameters
    ----------
    loadings
        ``(P, L)``, the change of P pixels per SD of each of L factors.

    Returns
    -------
    numpy.ndarray
        ``(L, L)`` float64, orthogonal; ``loadings @ rotation`` is what varies most. The same for
        the same loadings; signs and order of the columns mean nothing.

    Raises
    ------
    InputError
        If the loadings are no finite matrix with at least one row and column.
    """
    columns = np.array(loadings, dtype=np.float64).T
    if columns.ndim != 2 or columns.size == 0 or not np.isfinite(columns).all():
        raise InputError(
            "loadings must be finite numbers of shape (P, L), a row for each pixel and a column "
            f"for each factor; these have shape {columns.T.shape}"
        )
    columns, rotation = np.ascontiguousarray(columns), np.eye(len(columns))
    for _ in range(SWEEPS):
        largest = 0.0
        for pair in combinations(range(len(columns)), 2):
            angle = _best_angle(*columns[list(pair)])
            for rows in (columns, rotation):  # the rotation is transposed until the end
                _turn(rows, pair, angle)
            largest = max(largest, abs(angle))
        if largest < SMALLEST_ANGLE:
            break
    return rotation.T


def _best_angle(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    """Angle by which two columns ``(P,)`` are turned to their largest criterion, radians."""
    u, v = x * x - y * y, 2 * x * y
    a, b = u.sum(), v.sum()
    sine = 2 * (u @ v) - 2 * a * b / len(x)
    cosine = u @ u - v @ v - (a * a - b * b) / len(x)
    # Two columns that any angle suits alike stay as they are: what is left is rounding.
    if np.hypot(sine, cosine) <= 1e-12 * (u @ u + v @ v):
        return 0.0
    return float(np.arctan2(sine, cosine)) / 4


def _turn(rows: Matrix, pair: tuple[int, int], angle: float) -> None:
    i, j = pair
    c, s = np.cos(angle), np.sin(angle)
    rows[i], rows[j] = c * rows[i] + s * rows[j], c * rows[j] - s * rows[i]


def simple_axes(fields: npt.ArrayLike) -> Matrix:
    """Axes in which factors are local, in a fixed order and with a fixed sign.

    Varimax of the fields; the factor that explains most variance first (the sum over pixels of its
    squared field, that is with codes from the prior); each turned so that with positive codes more
    is brightened than darkened (the squares over the pixels that brighten outweigh those over the
    pixels that darken). A plain sum would not do: where brightness is matched it vanishes.

    Parameters
    ----------
    fields
        ``(L, H, W)``, the change of each pixel per SD of each factor.

    Returns
    -------
    numpy.ndarray
        ``(L, L)`` float64, orthogonal: a column for each new factor. New codes are ``codes @ axes``
        and new fields ``axes.T`` applied to the fields.

    Raises
    ------
    InputError
        If the fields are not finite.
    """
    flat = np.asarray(fields, dtype=np.float64)
    loadings = flat.reshape(len(flat), -1).T
    axes = varimax(loadings)
    local = loadings @ axes
    order = np.argsort(-np.square(local).sum(axis=0), kind="stable")
    sign = np.where((local * np.abs(local)).sum(axis=0) < 0, -1.0, 1.0)
    return np.asarray((axes * sign)[:, order])


def factor_fields(model: Model, codes: npt.ArrayLike) -> Images:
    """Change of each pixel per SD of each factor, averaged over where it is moved from.

    The difference of the sections decoded half an SD (of the prior) above and below each code.

    Parameters
    ----------
    model
        Anything that decodes.
    codes
        ``(N, L)``, N at least 1.

    Returns
    -------
    numpy.ndarray
        ``(L, H, W)`` float32.

    Raises
    ------
    InputError
        If there are no codes, or not of L factors.
    """
    starts = np.asarray(codes, dtype=np.float32)
    if starts.ndim != 2 or starts.shape[1] != model.latent_dim or len(starts) == 0:
        raise InputError(
            f"fields are taken around at least one code of {model.latent_dim} latent factors, as "
            f"(N, L); these have shape {starts.shape}"
        )
    half = 0.5 * np.eye(model.latent_dim, dtype=np.float32)
    total = np.zeros((model.latent_dim, *model.shape))
    for start in starts:
        # One brain at a time: memory does not grow with their number.
        total += model.decode(start + half) - model.decode(start - half)
    return np.asarray(total / len(starts), dtype=np.float32)


def rotate_factors(
    model: AnyModel, images: npt.ArrayLike, rotation: Literal["varimax", "none"] = "varimax"
) -> AnyModel:
    """Give a model's factors the axes in which each acts in one place; see `simple_axes`.

    Nothing else about the model changes: reconstructions are the same up to rounding, and so is
    the posterior, of which a rotated factor shows its exact marginal variance. For any model: PCA,
    a beta-VAE, the published checkpoint, one that was rotated before.

    Parameters
    ----------
    model
        Stays as it is.
    images
        ``(N, H, W)`` preprocessed sections in [0, 1], best those that the model was fitted on:
        around the codes of at most `SECTIONS` of them the fields are taken, and what the model's
        reference says of the factors is measured on all of them again.
    rotation
        'none' gives back the axes in which the model was fitted.

    Returns
    -------
    Model
        Of the same kind. It shares its weights with the model.

    Raises
    ------
    InputError
        If there are no sections, or none of the model's size.

    Examples
    --------
    >>> import numpy as np
    >>> sections = np.random.default_rng(0).random((12, 64, 80), dtype=np.float32)
    >>> from napari_brainvae.models.pca import PCA
    >>> model = PCA.fit(sections, 3)
    >>> rotated = rotate_factors(model, sections)
    >>> bool(np.abs(rotated.reconstruct(sections) - model.reconstruct(sections)).max() < 1e-5)
    True
    """
    if rotation not in ("varimax", "none"):
        raise InputError(f"a rotation is 'varimax' or 'none', not {rotation!r}")
    sections = finite_float32(images, "sections")
    chosen = sections[_evenly(len(sections))]
    if rotation == "none":
        rotated = model.with_rotation(None, None)
    else:
        axes = simple_axes(factor_fields(model, model.encode(chosen)[0]))
        if model.rotation is not None:
            axes = model.rotation @ axes
        rotated = model.with_rotation(axes, Rotation(method=rotation, sections=len(chosen)))
    rotated.header.stability = None  # was found of factors along other axes
    if model.header.reference is not None:
        codes: tuple[Latents, Latents] = rotated.encode(sections)
        rotated.header.reference = model.header.reference.recoded(*codes)
    return rotated


def _evenly(count: int) -> npt.NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(count, SECTIONS)).round().astype(np.intp))
