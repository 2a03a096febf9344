"""Where results come from: options, versions, data, models; one function for all that is written.

It goes into the record of a run, the header of a checkpoint, the record of a folder of results, and
every figure and table in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from napari_brainvae.data.population import Population
    from napari_brainvae.models.base import Model

Provenance = Mapping[str, Any]
"""What `provenance` gives: plain JSON data."""

FIGURES = ("napari-brainvae", "torch", "numpy", "scipy", "scikit-image", "matplotlib")
"""Distributions whose versions decide what is measured and drawn."""


def provenance(
    options: BaseModel | Mapping[str, Any],
    population: Population | None = None,
    models: Mapping[str, Model] | None = None,
    *,
    packages: Sequence[str] = FIGURES,
    without: Collection[str] = (),
    measured: Sequence[int] | None = None,
    fingerprint: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """All that decides a result, as plain JSON data.

    Parameters
    ----------
    options
        What was asked for.
    population
        Which sections: their number, size and fingerprint, and which are marked as excluded, if
        any are. All pixels are read for that, unless the fingerprint is given.
    models
        By the names that the results call them by.
    packages
        Distributions whose versions matter.
    without
        Names of options that decide nothing, such as where the result is written to.
    measured
        Positions of the brains that were measured, if not all.
    fingerprint
        Of the population, where it is known: its pixels are not read again.
    more
        Whatever else: plane, pixel size, atlas.

    Returns
    -------
    dict
        ``options``, ``versions``, and as far as they were given ``data`` (sections, shape,
        fingerprint, marks, measured: ids), what is in ``more``, and ``models`` (see `describe`).
    """
    if isinstance(options, BaseModel):
        options = options.model_dump(mode="json", exclude=set(without))
    about: dict[str, Any] = {
        "options": dict(options),
        "versions": {name: version(name) for name in packages},
    }
    if population is not None:
        about["data"] = {
            "sections": len(population),
            "shape": list(population.shape),
            "fingerprint": fingerprint or population.fingerprint(),
        }
        if excluded := int(population.excluded.sum()):
            of_marks = population.marks.fingerprint(population.ids)
            about["data"]["marks"] = {"excluded": excluded, "fingerprint": of_marks}
        if measured is not None:
            about["data"]["measured"] = [population.ids[i] for i in measured]
    about |= more
    if models is not None:
        about["models"] = {name: describe(model) for name, model in models.items()}
    return about


def describe(model: Model) -> dict[str, Any]:
    """Fingerprint and header of a model as plain JSON data, without its map of residuals."""
    from napari_brainvae.models.checkpoint import fingerprint

    # The map is long, and the checkpoint has it.
    header = model.header.model_dump_json(exclude={"reference": {"residual_spread"}})
    return {"fingerprint": fingerprint(model), **json.loads(header)}
