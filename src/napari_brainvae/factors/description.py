"""Each factor in a sentence: where it acts, in which direction, how much, how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import pandas as pd

from napari_brainvae.arrays import Images, Labels
from napari_brainvae.atlas.ontology import StructureTree
from napari_brainvae.factors.naming import Place, name_place
from napari_brainvae.factors.shape_and_brightness import ShapeAndBrightness
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model

Direction = Literal["brighter", "darker", "larger", "smaller", "displaced", "nothing"]

GROWTH = 0.4
"""Enrichment of the change of area from which on a structure is said to be larger or smaller."""

ALSO = 0.2
"""Share of the change from which on it is told as well: the lesser of displacement and brightness,
and what becomes darker while more becomes brighter."""

SURE = 0.05
"""False discovery rate below which a covariate is said to go with a factor."""

_SIGNS: dict[Direction, int] = {"brighter": 1, "darker": -1}

ENDS = 3
"""Brains shown at either end of a factor."""


@dataclass(frozen=True)
class FactorDescription:
    """What is said of one factor, per standard deviation towards positive codes.

    Attributes
    ----------
    factor
        "F1" for the first.
    name, side
        Where it acts, from `naming.name_place`.
    direction
        What most of its change is; "larger" and "smaller" are displacements that change
        a structure's area, "displaced" those that do not.
    displacement_um, brightness_percent
        The most, with the sign of brightness; NaN without the pixel size.
    displacement_share, brightness_share, residual_share
        Of the change, in squares.
    displacement_px
        As ``displacement_um``.
    opposite, opposite_percent
        Where it darkens while more brightens, or the other way, and by how much at most; empty
        where that is less than `ALSO` of its change, or no structure holds it.
    replicated
        Whether it came again in other brains (`factors.stability`); None if nobody looked.
    halves
        In how many split halves of the brains it came again, and of how many; None if nobody
        looked.
    arch_of
        The factor, "F1", of which it only says how far that one went; empty of others.
    similarity
        Median over splits of how alike its map was, NaN if nobody looked.
    kl
        Mean KL divergence over the population, nats; NaN if the checkpoint does not say.
    lowest, highest
        Ids of the brains with the `ENDS` smallest and largest codes, the outermost first.
    covariates
        Names of those that go with it, the strongest first.
    structures
        Ids of the structures named.
    """

    factor: str
    name: str
    direction: Direction
    displacement_um: float
    brightness_percent: float
    displacement_share: float
    brightness_share: float
    replicated: bool | None
    kl: float
    residual_share: float
    displacement_px: float
    side: str
    similarity: float
    halves: tuple[int, int] | None = None
    arch_of: str = ""
    opposite: str = ""
    opposite_percent: float = 0.0
    lowest: tuple[str, ...] = ()
    highest: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    structures: tuple[int, ...] = ()

    @property
    def sentence(self) -> str:
        """Say it: "F2: thalamus, 15 % brighter per SD; replicated in 20 of 20 halves"."""
        parts = [f"{self.factor}: {self._what()}"]
        if self.arch_of:
            parts.append(f"no factor of its own: what {self.arch_of} adds at both its ends")
        elif self.halves is not None:
            verdict = "replicated" if self.replicated else "not replicated: came again"
            parts.append("{} in {} of {} halves".format(verdict, *self.halves))
        if self.covariates:
            parts.append(f"goes with {', '.join(self.covariates)}")
        return "; ".join(parts)

    def _what(self) -> str:
        if self.direction == "nothing":
            return "changes nothing"
        bright = _brighter(self.brightness_percent)
        known = np.isfinite(self.displacement_um)
        far, unit = (self.displacement_um, "µm") if known else (self.displacement_px, "px")
        moved = f"displaced by up to {_rounded(far)} {unit}"
        if self.direction in ("brighter", "darker"):
            other = ""
            if self.opposite:
                other = f" ({self.opposite}, {_brighter(self.opposite_percent)})"
            also = f", and {moved}" if self.displacement_share > ALSO else ""
            return f"{self.name}, {bright} per SD{other}{also}"
        also = f", and up to {bright}" if self.brightness_share > ALSO else ""
        size = "" if self.direction == "displaced" else f"{self.direction}, "
        return f"{self.name}, {size}{moved} per SD{also}"


def describe_factors(
    model: Model,
    changes: Images,
    decompositions: Sequence[ShapeAndBrightness],
    *,
    labels: Labels | None = None,
    tree: StructureTree | None = None,
    codes: pd.DataFrame | None = None,
    associations: pd.DataFrame | None = None,
) -> list[FactorDescription]:
    """Describe every factor of a model.

    Parameters
    ----------
    changes
        ``(L, H, W)`` of all factors, from `signed_change`.
    decompositions
        The L answers of `shape_and_brightness`.
    labels, tree
        ``(H, W)`` structure ids under the section, and what they mean.
    codes
        ``(N, L)`` posterior means of the brains, indexed by id; columns "F1" to "FL".
    associations
        What `associate` says of them.

    Raises
    ------
    InputError
        If these are not of as many factors as the model has.
    """
    _check_counts(
        model.latent_dim,
        changes=len(changes),
        decompositions=len(decompositions),
        codes=None if codes is None else codes.shape[1],
    )
    described = []
    for i, (change, parts) in enumerate(zip(changes, decompositions, strict=True)):
        code = None if codes is None else codes.iloc[:, i].dropna().sort_values(kind="stable")
        described.append(
            FactorDescription(
                factor=f"F{i + 1}",
                **_what_and_where(change, parts, labels, tree),
                kl=_kl(model, i),
                **_stability(model, i),
                lowest=() if code is None else tuple(map(str, code.index[:ENDS])),
                highest=() if code is None else tuple(map(str, code.index[::-1][:ENDS])),
                covariates=_going_with(associations, f"F{i + 1}"),
            )
        )
    return described


def factor_table(described: Sequence[FactorDescription]) -> pd.DataFrame:
    """Give a row a factor, as in factors.csv; several ids in a cell are divided by spaces.

    Returns
    -------
    pandas.DataFrame
        Columns as the attributes of `FactorDescription`, without ``structures`` and ``halves``,
        and ``sentence``.
        ``replicated`` is 1 or 0, missing if nobody looked.
    """
    left_out = {"structures", "halves"}
    columns = [field.name for field in fields(FactorDescription) if field.name not in left_out]
    table = pd.DataFrame([[getattr(d, c) for c in columns] for d in described], columns=columns)
    table["replicated"] = table["replicated"].astype("boolean").astype("Int64")
    for column in ("lowest", "highest"):
        table[column] = table[column].map(" ".join)
    table["covariates"] = table["covariates"].map(", ".join)
    table["sentence"] = [each.sentence for each in described]
    return table


def _direction(
    change: Images, parts: ShapeAndBrightness, labels: Labels | None, tree: StructureTree | None
) -> tuple[Direction, Place]:
    """What most of a factor's change is, and where."""
    if parts.displacement_share == parts.brightness_share == 0:
        return "nothing", name_place(np.square(change), labels, tree)
    if parts.brightness_share >= parts.displacement_share:
        direction: Direction = "brighter" if parts.brightness_peak > 0 else "darker"
        return direction, name_place(_one_way(change, _SIGNS[direction]), labels, tree)
    # What is displaced shows at the borders of what moves, which says little of where that is.
    growth = sum(np.gradient(parts.displacement[axis], axis=axis) for axis in (0, 1))
    sizes: dict[Direction, Place] = {
        "larger": name_place(np.square(np.maximum(growth, 0)), labels, tree),
        "smaller": name_place(np.square(np.maximum(-growth, 0)), labels, tree),
    }
    best = max(sizes, key=lambda each: sizes[each].enrichment)
    if sizes[best].enrichment > GROWTH:
        return best, sizes[best]
    return "displaced", name_place(np.square(parts.displacement).sum(axis=0), labels, tree)


def _opposite(
    change: Images, parts: ShapeAndBrightness, labels: Labels | None, tree: StructureTree | None
) -> str:
    """Where a factor of brightness does the opposite of what it mostly does."""
    other = _one_way(change, -np.sign(parts.brightness_peak))
    if other.sum() < ALSO * np.square(change).sum():
        return ""
    place = name_place(other, labels, tree)
    return place.name if place.structures else ""


def _one_way(change: Images, sign: float) -> Images:
    return np.asarray(np.square(np.maximum(sign * change, 0)))


def _what_and_where(
    change: Images, parts: ShapeAndBrightness, labels: Labels | None, tree: StructureTree | None
) -> dict[str, Any]:
    """Those attributes of a `FactorDescription` that its change alone decides."""
    direction, place = _direction(change, parts, labels, tree)
    opposite = _opposite(change, parts, labels, tree) if direction in _SIGNS else ""
    um = parts.displacement_peak_um
    return {
        "name": place.name,
        "direction": direction,
        "side": place.side,
        "structures": place.structures,
        "displacement_um": np.nan if um is None else um,
        "displacement_px": parts.displacement_peak,
        "brightness_percent": 100 * parts.brightness_peak,
        "displacement_share": parts.displacement_share,
        "brightness_share": parts.brightness_share,
        "residual_share": parts.residual_share,
        "opposite": opposite,
        "opposite_percent": 100 * parts.opposite_peak if opposite else 0.0,
    }


def _kl(model: Model, factor: int) -> float:
    reference = model.header.reference
    return float("nan") if reference is None else float(reference.kl_per_factor[factor])


def _check_counts(latent_dim: int, **counts: int | None) -> None:
    for what, count in counts.items():
        if count is not None and count != latent_dim:
            raise InputError(f"{what} of {count} factors for a model of {latent_dim}")


def _stability(model: Model, factor: int) -> dict[str, Any]:
    """Those attributes that the checkpoint's split halves decide."""
    told = model.header.stability
    if told is None:
        return {"replicated": None, "similarity": float("nan")}
    arch = told.arch_of[factor]
    return {
        "replicated": told.replicated[factor],
        "similarity": told.similarity[factor],
        "halves": (told.came_again[factor], 2 * told.splits),
        "arch_of": f"F{arch + 1}" if arch >= 0 else "",
    }


def _going_with(associations: pd.DataFrame | None, factor: str) -> tuple[str, ...]:
    if associations is None:
        return ()
    mine = associations[(associations["factor"] == factor) & (associations["q"] < SURE)]
    order = mine["effect"].abs().sort_values(ascending=False, kind="stable").index
    return tuple(mine.loc[order, "covariate"])


def _brighter(percent: float) -> str:
    return f"{_rounded(abs(percent))} % {'brighter' if percent > 0 else 'darker'}"


def _rounded(value: float) -> str:
    """Two digits are what such a measure is good for."""
    return np.format_float_positional(float(f"{value:.2g}"), trim="-")
