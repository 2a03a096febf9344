"""What would be gathered, before a voxel is read."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from napari_brainvae.data.brain_manifest import DONE, WAITING
from napari_brainvae.data.covariates import Covariates, preview_covariates
from napari_brainvae.data.gather_inputs import Source
from napari_brainvae.data.gather_plan import check_brain, scaled
from napari_brainvae.gathering.atlas_space import atlas_space
from napari_brainvae.gathering.manifest import Outcome, place_of
from napari_brainvae.gathering.options import GatherCommand
from napari_brainvae.gathering.run import Gathering, like_of, outs_of, sources_of, told_of
from napari_brainvae.io.errors import InputError

COLUMNS = ["orientation", "voxel_um", "source", "problem"]


@dataclass(frozen=True)
class Preview:
    """What would be gathered.

    Attributes
    ----------
    brains
        Indexed by id: ``orientation``, ``voxel_um``, ``source``, and in ``problem`` why the brain
        is left out; empty if it is not.
    problem
        Why nothing can be gathered as it is asked for; empty if it can.
    said
        The pixels that the population will have.
    done
        How many brains were gathered before, with which the same options go on.
    covariates
        The table that is to be joined, if it can be.
    """

    brains: pd.DataFrame
    problem: str = ""
    said: str = ""
    done: int = 0
    covariates: Covariates | None = None


def preview_gather(options: GatherCommand) -> Preview:
    """Find the brains and what their files say of them, and why some would be left out.

    Nothing is written, and no voxel is read. What is wrong with the plane, the model, the table or
    the output is the ``problem``; the brains are listed all the same.

    Raises
    ------
    InputError, OSError
        If there are no brains, or no such atlas.
    """
    sources = sources_of(options)
    space = atlas_space(options.atlas) if options.atlas else None
    problems, like, plane, covariates = [], None, None, None
    try:
        like, plane = like_of(options)
    except (InputError, OSError) as error:
        problems.append(str(error))
    gathering = Gathering(options, told_of(options, plane), space)
    said = ""
    try:
        said = str(gathering.make_plan(sources, like).grid)
    except InputError as error:
        problems.append(str(error))
    outcomes = [_outcome(source, gathering, is_planned=bool(said)) for source in sources]
    try:
        if options.covariates is not None:
            covariates = preview_covariates(options.covariates, [source.id for source in sources])
        done = _done(gathering)
    except (InputError, OSError) as error:
        problems.append(str(error))
        done = 0
    rows = [(o.orientation, o.voxel_um, o.source, o.error) for o in outcomes]
    brains = pd.DataFrame(rows, pd.Index([s.id for s in sources], name="id"), COLUMNS)
    return Preview(brains, problems[0] if problems else "", said, done, covariates)


def _outcome(source: Source, gathering: Gathering, *, is_planned: bool) -> Outcome:
    """How a brain lies, and why it would be left out."""
    known = gathering.known[source.id]
    outcome = Outcome(WAITING, source=place_of(source))
    try:
        if isinstance(known, str):
            raise InputError(known)
        outcome.describe(known)
        if is_planned:
            known = scaled(known, gathering.plan)
            outcome.describe(known)
            check_brain(known, gathering.plan, gathering.told)
    except InputError as error:
        outcome.error = str(error)
    return outcome


def _done(gathering: Gathering) -> int:
    if gathering.is_begun():
        return len(gathering.manifest.ids(DONE))
    for out in outs_of(gathering.options):
        if out.exists():
            raise FileExistsError(f"{out} exists already; give another name")
    return 0
