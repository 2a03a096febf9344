"""Which brains no model was fitted on, and how that is known.

A checkpoint names the brains that were kept from its fit and carries the fingerprint of the data.
Where the population at hand has that fingerprint, the names are certain. Else the same names may
stand for other brains, so what they are worth is said beside every figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model

SAME_DATA = "held-out brains"
BY_NAME = "held-out brains, by name only"
NEW = "brains of other data"
UNKNOWN = "brains, maybe fitted on"

NOTES = {
    BY_NAME: "was fitted on other data than this population: its held-out brains are known by name "
    "only, so its figures hold if the names mean the same brains",
    NEW: "was fitted on other data, of whose held-out brains none is here by name: every brain "
    "counts as new to it, which is wrong if these were cut out of that data",
    UNKNOWN: "does not say which brains it was fitted on: every brain counts as new to it, which "
    "flatters it if it knows some",
}
"""What has to be said of a model by how its unseen brains are known."""


@dataclass(frozen=True)
class Unseen:
    """The brains of a population that one model was not fitted on.

    Attributes
    ----------
    ids
        Their names.
    known
        How that is known: `SAME_DATA`, `BY_NAME`, `NEW` or `UNKNOWN`.
    """

    ids: frozenset[str]
    known: str


def unseen_brains(population: Population, models: Mapping[str, Model]) -> dict[str, Unseen]:
    """What each model, by name, was not fitted on.

    Reads the whole population once, for its fingerprint, if a model states one.

    Raises
    ------
    InputError
        If nothing can be said: the model was fitted on other data and names no brain, or the
        population's names are mere running numbers.
    """
    stated = {name: _data_of(model).get("fingerprint") for name, model in models.items()}
    fingerprint = population.fingerprint() if any(stated.values()) else None
    return {
        name: _unseen(name, model, population, bool(stated[name]) and stated[name] == fingerprint)
        for name, model in models.items()
    }


def _unseen(name: str, model: Model, population: Population, same_data: bool) -> Unseen:
    everyone = frozenset(population.ids)
    kept = model.header.training.get("held_out")
    if not isinstance(kept, list):
        return Unseen(everyone, UNKNOWN)
    here = everyone & frozenset(map(str, kept))
    if same_data:
        return Unseen(here, SAME_DATA)
    if not kept:
        raise InputError(
            f"{name} was fitted on all brains of other data than this population and does not name "
            "them, so it cannot be told which are new to it: fit it with --held-out above 0"
        )
    if not here:
        return Unseen(everyone, NEW)
    if population.ids == [f"{i:04d}" for i in range(len(population))]:
        raise InputError(
            f"{name} was fitted on other data than this population, whose brains have no names but "
            "running numbers: give the data it was fitted on, or name the brains (ids)"
        )
    return Unseen(here, BY_NAME)


def _data_of(model: Model) -> dict[str, object]:
    data = model.header.training.get("data")
    return data if isinstance(data, dict) else {}


def positions(population: Population, unseen: Iterable[Unseen]) -> list[int]:
    """Positions of the brains that no model was fitted on.

    Raises
    ------
    InputError
        If there are none.
    """
    common = frozenset(population.ids).intersection(*(each.ids for each in unseen))
    if not common:
        raise InputError("the models have no held-out brain in common")
    return [i for i, brain in enumerate(population.ids) if brain in common]


def held_out_sections(population: Population, models: Sequence[Model]) -> list[int]:
    """`positions` of the brains that none of these models was fitted on."""
    named = {f"model {i + 1}": model for i, model in enumerate(models)}
    return positions(population, unseen_brains(population, named).values())


def notes(unseen: Mapping[str, Unseen]) -> list[str]:
    """What a reader has to know of models whose unseen brains are not certain."""
    return [f"{name} {NOTES[u.known]}" for name, u in unseen.items() if u.known in NOTES]
