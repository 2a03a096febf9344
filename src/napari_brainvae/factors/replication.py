"""Which factors would come again in other brains, as a checkpoint tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.models.header import Header

MARK = "†"
"""Follows the name of a factor that did not replicate, wherever there is room for no more."""

EXPLAINED = f"{MARK} does not replicate in split halves of the brains"


def replicated_of(header: Header | Mapping[str, Any]) -> npt.NDArray[np.bool_] | None:
    """``(L,)``, which factors came again, from a model's header (or that as plain data).

    None if nobody looked.
    """
    if isinstance(header, Header):
        told: Any = None if header.stability is None else header.stability.replicated
    else:
        told = (header.get("stability") or {}).get("replicated")
    return None if told is None else np.asarray(told, dtype=bool)


def factor_names(count: int, replicated: npt.ArrayLike | None = None) -> list[str]:
    """Names of L factors, those that did not replicate with a `MARK`: F1, F2†, F3.

    Parameters
    ----------
    replicated
        ``(L,)`` bool; None if nobody looked.
    """
    known = np.ones(count, bool) if replicated is None else np.asarray(replicated, bool)
    return [f"F{i + 1}" + MARK * (not again) for i, again in enumerate(known)]
