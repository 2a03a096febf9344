"""Which factors do not come again in other brains, as it is said wherever a factor is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

MARK = "†"
"""Follows the name of a factor that did not replicate, wherever there is room for no more."""

EXPLAINED = f"{MARK} does not replicate in split halves of the brains"


def told_replicated(header: Mapping[str, Any]) -> npt.NDArray[np.bool_] | None:
    """Say which factors replicate, ``(L,)``, by a model's header as plain data; None if untold.

    Examples
    --------
    >>> told_replicated({"stability": {"replicated": [True, False]}})
    array([ True, False])
    """
    told = header.get("stability")
    return None if told is None else np.asarray(told["replicated"], dtype=bool)


def factor_names(count: int, replicated: npt.ArrayLike | None = None) -> list[str]:
    """Names of L factors, those that did not replicate with a `MARK`: F1, F2†, F3.

    Parameters
    ----------
    replicated
        ``(L,)`` bool, such as ``model.header.stability.replicated``; None if nobody looked.
    """
    known = np.ones(count, bool) if replicated is None else np.asarray(replicated, bool)
    return [f"F{i + 1}" + MARK * (not again) for i, again in enumerate(known)]
