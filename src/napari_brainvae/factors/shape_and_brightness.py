"""Whether a factor makes tissue brighter or moves it, and by how much.

To first order the change of a section I that is displaced by u and brightened by the share b is

    d = -grad(I) . u + I b,

one equation a pixel for three unknowns. They are told apart by what anatomy does: tissue moves
smoothly over long distances, brightness may differ from structure to structure. So u and b are the
minimum of one sparse least-squares problem,

    |d + grad(I) . u - I b|^2 + STIFFNESS m (10 l^2 |laplace u|^2 + |grad u|^2 + 0.01 |u|^2 / l^2)
                              + SMOOTHNESS m (l^2 |grad b|^2 + 0.001 b^2),

an elastic registration (Horn and Schunck 1981, with the bending energy of splines) that allows for
brightness (Gennert and Negahdaripour 1987). The weights were chosen on planted truth. They mean the
same at any resolution and in any unit of brightness: m is the mean of I^2, and the length l is the
side of the section (the root of its area) divided by `UNITS`, 50 um in a mouse.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # whose modules are imported when they are first used
import skimage  # whose modules are imported when they are first used

from napari_brainvae.arrays import Images
from napari_brainvae.factors.signed_change import sections_at, signed_change
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model

UNITS = math.sqrt(160 * 224)
"""Lengths l along the side of a section: about the pixels that a displacement may move across."""

MOST_PIXELS = 40_000
"""Pixels of the grid on which u and b are found: more would take more memory, and say no more."""

STIFFNESS = 1e-3
SMOOTHNESS = 0.1
PEAK = 0.99
"""A size is 'up to' what this share of the change, in squares, lies below."""

# Edges must be as wide as tissue moves, or the first order does not hold: by a length l. And wider
# than a pixel, or what moves by part of one has no slope that differences of pixels can see.
_LEAST_BLUR = 0.7
_NOTHING = 1e-6  # change of brightness per SD that is rounding error of a decoder

Matrix = Any  # of scipy.sparse, which has no types
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ShapeAndBrightness:
    """One factor's change per standard deviation, told apart into displacement and brightness.

    The three shares are those of the squares of what displacement draws, what brightness draws and
    what neither explains; they add up to 1, and are 0 for a factor that changes nothing.

    Attributes
    ----------
    displacement
        ``(2, H, W)`` float32, rows and columns that tissue moves by, px per SD.
    brightness
        ``(H, W)`` float32, relative change of brightness per SD: 0.15 is 15 % brighter. It means
        nothing outside the tissue.
    displacement_share, brightness_share, residual_share
        In [0, 1].
    displacement_peak
        How far tissue moves at most, px per SD: `PEAK` of what displacement draws is moved less.
    brightness_peak
        How much brighter, or darker if negative, tissue becomes at most, relative per SD: likewise,
        of what becomes brighter if most does, else of what becomes darker.
    opposite_peak
        The same of what becomes the other way; 0 if nothing does.
    pixel_size_um
        Side of a pixel, um, if it is known.
    """

    displacement: Images
    brightness: Images
    displacement_share: float
    brightness_share: float
    residual_share: float
    displacement_peak: float
    brightness_peak: float
    opposite_peak: float
    pixel_size_um: float | None = None

    @property
    def displacement_um(self) -> Images | None:
        """``(2, H, W)`` um per SD; None without the pixel size."""
        return None if self.pixel_size_um is None else self.displacement * self.pixel_size_um

    @property
    def displacement_peak_um(self) -> float | None:
        """How far tissue moves at most, um per SD; None without the pixel size."""
        return None if self.pixel_size_um is None else self.displacement_peak * self.pixel_size_um

    @property
    def brightness_percent(self) -> Images:
        """``(H, W)``, per cent per SD."""
        return 100 * self.brightness


def shape_and_brightness(model: Model, factor: int) -> ShapeAndBrightness:
    """Tell how far a factor displaces the mean brain's tissue, and how much it brightens it.

    Parameters
    ----------
    model
        Anything that decodes; with its pixel size in the header for micrometres.
    factor
        Index from 0.

    Raises
    ------
    InputError
        If the model has no such factor, or decodes a mean brain without any tissue.

    Examples
    --------
    >>> from napari_brainvae.models.checkpoint import DEMO_MODEL, load_checkpoint
    >>> found = shape_and_brightness(load_checkpoint(DEMO_MODEL), 0)
    >>> found.displacement.shape
    (2, 160, 224)
    >>> 0 <= found.brightness_share <= 1
    True
    """
    return all_shape_and_brightness(model, [factor])[0]


def all_shape_and_brightness(
    model: Model, factors: list[int] | None = None, *, progress: Progress | None = None
) -> list[ShapeAndBrightness]:
    """Give `shape_and_brightness` of several factors, or of all, for little more than that of one.

    Raises
    ------
    InputError
        As `shape_and_brightness`.
    Stopped
        If ``progress`` asked to stop.
    """
    changes = signed_change(model, factors)
    section = sections_at(model, 0, [0])[0]
    return decompose(section, changes, model.header.pixel_size_um, progress=progress)


def decompose(
    section: npt.ArrayLike,
    changes: npt.ArrayLike,
    pixel_size_um: float | None = None,
    *,
    progress: Progress | None = None,
) -> list[ShapeAndBrightness]:
    """Tell displacement from brightness in changes of one section; see the head of this module.

    Parameters
    ----------
    section
        ``(H, W)`` the mean section, of any unit of brightness, 0 outside the tissue.
    changes
        ``(F, H, W)`` changes of it per SD, from `signed_change`.

    Returns
    -------
    list of ShapeAndBrightness
        One for each change.

    Raises
    ------
    InputError
        If shapes do not fit, or values are not finite or all the same.
    Stopped
        If ``progress`` asked to stop.
    """
    image, change = _checked(section, changes)
    steps = len(change) + 1
    report(progress, 0, steps)
    solve = decomposer(image, pixel_size_um)
    results = []
    for i, each in enumerate(change):
        report(progress, i + 1, steps)
        results.append(solve(each))
    report(progress, steps, steps)
    return results


def decomposer(
    section: npt.ArrayLike, pixel_size_um: float | None = None
) -> Callable[[npt.ArrayLike], ShapeAndBrightness]:
    """Prepare to decompose many changes of one section, as `decompose` does, one after the other.

    Returns
    -------
    callable
        Takes a change ``(H, W)``; what takes longest was done before.

    Raises
    ------
    InputError
        As `decompose`, here and by what is returned.
    """
    whole, _ = _checked(section, np.zeros((1, *np.shape(section))))
    coarse = math.ceil(math.sqrt(whole.size / MOST_PIXELS))
    image = _on_grid(whole, coarse)
    unit = math.sqrt(image.size) / UNITS
    # Measured in the root of the mean square, brightness has no unit, and the weights need none.
    scale = math.sqrt(np.square(image).mean())
    blur = max(unit, _LEAST_BLUR)
    image = scipy.ndimage.gaussian_filter(image / scale, blur)
    equations = _equations(image)
    solver = _factorised(equations, (image.shape[0], image.shape[1]), unit)

    def solve(change: npt.ArrayLike) -> ShapeAndBrightness:
        _, [each] = _checked(whole, np.asarray(change)[None])
        each = scipy.ndimage.gaussian_filter(_on_grid(each, coarse) / scale, blur)
        solution = solver.solve(equations.T @ each.ravel()).reshape(3, *image.shape)
        drawn = _drawn(equations, solution)
        if np.abs(each).max() * scale < _NOTHING:
            solution, drawn = np.zeros_like(solution), np.zeros_like(drawn)
        return _summary(each, solution, drawn, coarse, whole.shape, pixel_size_um)

    return solve


def _checked(section: npt.ArrayLike, changes: npt.ArrayLike) -> tuple[Floats, Floats]:
    image, change = np.asarray(section, np.float64), np.asarray(changes, np.float64)
    if image.ndim != 2 or change.ndim != 3 or change.shape[1:] != image.shape:
        raise InputError(
            f"changes have shape (F, H, W) for a section (H, W), not {change.shape} "
            f"for {image.shape}"
        )
    if not (np.isfinite(image).all() and np.isfinite(change).all()):
        raise InputError("the section or its changes hold NaN or infinite values")
    if np.ptp(image) == 0:
        raise InputError("the mean section is the same everywhere: it shows no tissue to displace")
    return image, change


def _on_grid(image: Floats, coarse: int) -> Floats:
    return np.asarray(skimage.transform.downscale_local_mean(image, (coarse, coarse)))


def _equations(image: Floats) -> Matrix:
    """Rows of ``d = -grad(I) . u + I b``, one a pixel; u in rows, u in columns and b follow."""
    slopes = [_slope(image, axis) for axis in (0, 1)]
    parts = [-slopes[0], -slopes[1], image]
    return scipy.sparse.hstack([scipy.sparse.diags(part.ravel()) for part in parts], format="csr")


def _slope(image: Floats, axis: int) -> Floats:
    """Difference of the image moved half a pixel either way, as a cubic spline moves it.

    A central difference sees edges of a pixel too flat, and what they move too far.
    """
    half = [0.0, 0.0]
    half[axis] = 0.5
    back = scipy.ndimage.shift(image, [-step for step in half], mode="nearest")
    return np.asarray(back - scipy.ndimage.shift(image, half, mode="nearest"))


def _factorised(equations: Matrix, shape: tuple[int, int], unit: float) -> Any:
    """Factorise the normal equations of the penalised least squares, once for all changes."""
    sparse = scipy.sparse
    along = [sparse.diags([-np.ones(n - 1), np.ones(n - 1)], [0, 1], (n - 1, n)) for n in shape]
    down = sparse.kron(along[0], sparse.identity(shape[1]))
    across = sparse.kron(sparse.identity(shape[0]), along[1])
    slope, size = down.T @ down + across.T @ across, sparse.identity(math.prod(shape))
    stiff = STIFFNESS * (10 * unit**2 * slope @ slope + slope + 0.01 / unit**2 * size)
    smooth = SMOOTHNESS * (unit**2 * slope + 0.001 * size)
    normal = equations.T @ equations + sparse.block_diag([stiff, stiff, smooth])
    return sparse.linalg.splu(
        normal.tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0,
        options={"SymmetricMode": True},
    )


def _drawn(equations: Matrix, solution: Floats) -> Floats:
    """What u, and what b, draws of the change: ``(2, H, W)``."""
    moved, brightened = solution.copy(), solution.copy()
    moved[2], brightened[:2] = 0, 0
    drawn = [equations @ part.ravel() for part in (moved, brightened)]
    return np.stack(drawn).reshape(2, *solution.shape[1:])


def _summary(
    change: Floats,
    solution: Floats,
    drawn: Floats,
    coarse: int,
    shape: tuple[int, ...],
    pixel_size_um: float | None,
) -> ShapeAndBrightness:
    squares = np.square([*drawn, change - drawn.sum(axis=0)]).sum(axis=(1, 2))
    shares = squares / squares.sum() if drawn.any() else np.zeros(3)
    far = _quantile(np.hypot(*solution[:2]), drawn[0])
    sign = np.sign((drawn[1] * np.abs(drawn[1])).sum())
    peaks = [
        each * _quantile(np.abs(solution[2]), np.maximum(each * drawn[1], 0))
        for each in (sign, -sign)
    ]
    fine = [_refined(part, coarse, shape) for part in solution]
    return ShapeAndBrightness(
        displacement=coarse * np.stack(fine[:2]),
        brightness=fine[2],
        displacement_share=float(shares[0]),
        brightness_share=float(shares[1]),
        residual_share=float(shares[2]),
        displacement_peak=coarse * far,
        brightness_peak=float(peaks[0]),
        opposite_peak=float(peaks[1]),
        pixel_size_um=pixel_size_um,
    )


def _quantile(values: Floats, drawn: Floats) -> float:
    """Value that `PEAK` of what is drawn, in squares, lies below; 0 of nothing drawn."""
    if not drawn.any():
        return 0.0
    order = np.argsort(values, axis=None)
    below = np.cumsum(np.square(drawn).ravel()[order])
    place = np.searchsorted(below, PEAK * below[-1])
    return float(values.ravel()[order[place]])


def _refined(part: Floats, coarse: int, shape: tuple[int, ...]) -> Images:
    zoomed = scipy.ndimage.zoom(part, coarse, order=1, mode="nearest", grid_mode=True)
    return np.asarray(zoomed[: shape[0], : shape[1]], np.float32)
