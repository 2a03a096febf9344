"""Which factors would come again in other brains, as a checkpoint tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.models.base import Header

MARK = "†"
"""Follows the name of a factor that did not replicate, wherever there is room for no more."""

EXPLAINED = f"{MARK} does not replicate in split halves of the brains"


@dataclass(frozen=True, eq=False)
class ToldReplication:
    """What ``fit`` found out about a model's factors, and wrote into its checkpoint.

    Attributes
    ----------
    map_similarity
        ``(1, L)``, median over splits of how alike each factor's map was.
    replicated
        ``(L,)`` bool.
    """

    map_similarity: npt.NDArray[np.float64]
    replicated: npt.NDArray[np.bool_]


def told_replication(header: Header | Mapping[str, Any]) -> ToldReplication | None:
    """Read it from a model's header (or that as plain data); None if nobody looked."""
    plain = header.training if isinstance(header, Header) else header.get("training", {})
    told = plain.get("stability")
    if not told:
        return None
    return ToldReplication(
        np.atleast_2d(np.asarray(told["map_similarity"], dtype=np.float64)),
        np.asarray(told["replicated"], dtype=bool),
    )


def factor_names(count: int, replicated: npt.ArrayLike | None = None) -> list[str]:
    """Names of L factors, those that did not replicate with a `MARK`: F1, F2†, F3.

    Parameters
    ----------
    replicated
        ``(L,)`` bool; None if nobody looked.
    """
    known = np.ones(count, bool) if replicated is None else np.asarray(replicated, bool)
    return [f"F{i + 1}" + MARK * (not again) for i, again in enumerate(known)]
