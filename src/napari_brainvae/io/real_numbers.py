"""Arrays that anyone may have made, told apart from what is none."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.io.errors import InputError


def real_numbers(data: Any, what: str) -> npt.NDArray[Any]:
    """Give an array of its own type: of an array, a tensor, nested lists.

    Parameters
    ----------
    what
        It should be, for the message: "sections".

    Raises
    ------
    InputError
        If it is none, such as a text or lists of unequal length, or is of complex numbers.
    """
    try:
        array = np.asarray(data)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{what} must be one array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} must be real numbers, not {array.dtype}")
    return array


def whole_number(value: Any, what: str, smallest: int | None = None) -> int:
    """Give a whole number, of Python's or NumPy's.

    Raises
    ------
    InputError
        If it is none, or smaller than ``smallest``.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InputError(f"{what} must be a whole number, not {value!r}") from error
    if smallest is not None and number < smallest:
        raise InputError(f"{what} must be at least {smallest}, not {number}")
    return number


def finite_float32(data: Any, what: str) -> npt.NDArray[np.float32]:
    """Give numbers in single precision, the array itself if it is that already.

    Raises
    ------
    InputError
        As `real_numbers`, and for NaN or infinite values.
    """
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        array = real_numbers(data, what).astype(np.float32, copy=False)
    # A NaN or an infinity anywhere shows in the extremes, without a mask as large as the array.
    if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise InputError(f"{what} hold NaN or infinite values")
    return array
