"""From files and folders to populations, through every interruption."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from napari_brainvae.data.brain_manifest import DONE, FAILED, WAITING
from napari_brainvae.data.covariates import preview_covariates, read_covariates
from napari_brainvae.data.gather import gather_brain
from napari_brainvae.data.gather_facts import Settled, Space, settle
from napari_brainvae.data.gather_inputs import Source, find_sources
from napari_brainvae.data.gather_options import GatherOptions
from napari_brainvae.data.gather_plan import Plan, check_brain, make_plan, scaled
from napari_brainvae.data.resampling import Grid
from napari_brainvae.data.section_store import SectionStore, remove_half_written
from napari_brainvae.gathering.atlas_space import atlas_space, named_space
from napari_brainvae.gathering.manifest import FileFacts, Manifest, Outcome, place_of
from napari_brainvae.gathering.options import GatherCommand
from napari_brainvae.gathering.populations import write_population
from napari_brainvae.io.atomic_files import recover
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.file_stamp import sha256_of
from napari_brainvae.io.folder_lock import only_one
from napari_brainvae.io.progress import Progress, report

log = logging.getLogger(__name__)

SECONDS_BETWEEN_NOTES = 1
"""At most so much work is done again after a kill."""


@dataclass(frozen=True)
class Written:
    """What gathering has come to.

    Attributes
    ----------
    files
        The populations, one for each plane.
    said
        What was found out of the brains, and done to them.
    left_out
        How many brains were left out, and why; empty if none was.
    """

    files: list[Path]
    said: list[str]
    left_out: list[str]


def gather(options: GatherCommand, *, progress: Progress | None = None) -> Written:
    """Gather what is still missing of the brains, then write the populations.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written; if no brain can be used.
    Stopped
        If ``progress`` says so; the same command goes on.
    """
    recover(options.out)
    sources = sources_of(options)
    if options.covariates is not None:  # a table that cannot be used is told at once
        preview_covariates(options.covariates, [source.id for source in sources])
    space = atlas_space(options.atlas) if options.atlas else None
    like, plane = like_of(options)
    gathering = Gathering(options, told_of(options, plane), space)
    with ExitStack() as stack:
        if gathering.is_begun():
            stack.enter_context(only_one(gathering.work, "gathering"))
            gathering.go_on(sources)
        else:
            gathering.plan_for(sources, like)  # what is refused leaves nothing behind
            stack.enter_context(only_one(gathering.work, "gathering"))
            gathering.begin()
        gathering.gather(progress)
        return gathering.write()


def sources_of(options: GatherCommand) -> list[Source]:
    """The brains in the inputs, but what was gathered from them."""
    outs = {out.absolute() for out in outs_of(options)}
    found = find_sources(options.inputs, channel=options.channel, stacks=options.stacks)
    sources = [source for source in found if source.path.absolute() not in outs]
    if not sources:
        raise InputError("there is no brain in the inputs but what was gathered from them")
    return sources


def outs_of(options: GatherCommand) -> list[Path]:
    """File of each plane."""
    out, slabs = options.out, options.slabs
    if len(slabs) <= 1:
        return [out]
    names = [str(slab).replace(":", "-") for slab in slabs]
    return [out.with_name(f"{out.stem}_p{name}.zarr") for name in names]


def told_of(options: GatherCommand, plane: int | None) -> GatherOptions:
    """The options of each brain; the plane of a model that is to be fitted, if none is given."""
    told = options.model_dump(include=set(GatherOptions.model_fields))
    if options.plane is None and plane is not None:
        log.info("plane %d, as the sections of %s", plane, options.like)
        told["plane"] = str(plane)
    return GatherOptions(**told)


def like_of(options: GatherCommand) -> tuple[Grid | None, int | None]:
    """Pixels and plane of the sections of a model."""
    if options.like is None:
        return None, None
    from napari_brainvae.models.checkpoint import load_checkpoint  # torch, only if it is needed

    header = load_checkpoint(options.like).header
    size = options.pixel_size_um or header.pixel_size_um
    if size is None:
        raise InputError(f"{options.like} does not say how large its pixels are: --pixel-size-um")
    return Grid((header.height, header.width), size), header.plane


class Gathering:
    """A gathering on its way: what was asked for, what is known of the brains, what is done.

    Parameters
    ----------
    options
        As the command was given.
    told
        What they say of every brain.
    space
        That of the atlas, if one is given.
    """

    plan: Plan

    def __init__(self, options: GatherCommand, told: GatherOptions, space: Space | None) -> None:
        self.options, self.told, self.space = options, told, space
        self.work = Path(f"{options.out}.work")
        self.manifest = Manifest(self.work / "manifest.csv")
        self.store = SectionStore(self.work / "sections")
        self.files, self.named = FileFacts(), cache(named_space)
        self.sources: dict[str, Source] = {}
        self.known: dict[str, Settled | str] = {}

    @property
    def _request(self) -> dict[str, Any]:
        """What must be the same when a command goes on."""
        others = {"inputs", "out", "covariates", "like"}
        request = self.options.model_dump(mode="json", exclude=others)
        return request | {"like": sha256_of(self.options.like) if self.options.like else None}

    def is_begun(self) -> bool:
        """Whether there is anything to go on with: a brain that is done, or a population."""
        if not self.manifest.exists():
            return False
        request = self.manifest.read_request()
        self.manifest.read(request)
        return bool(self.manifest.ids(DONE)) or any(out.exists() for out in outs_of(self.options))

    def plan_for(self, sources: Sequence[Source], like: Grid | None) -> None:
        """Decide what the population will be; nothing is written yet.

        Raises
        ------
        InputError, OSError
            If there is something already, or no brain can be used.
        """
        for out in outs_of(self.options):
            if out.exists():
                raise FileExistsError(f"{out} exists already; give another name")
        self.make_plan(sources, like)

    def make_plan(self, sources: Sequence[Source], like: Grid | None) -> Plan:
        """Decide it, whatever is there already.

        Raises
        ------
        InputError
            If no brain can be used.
        """
        self.sources = {source.id: source for source in sources}
        self._settle(self.sources)
        usable = [brain for brain in self.known.values() if isinstance(brain, Settled)]
        if not usable:
            raise InputError(f"no brain can be used: {_counted(map(str, self.known.values()))}")
        self.plan = make_plan(usable, self.told, self.space, like)
        return self.plan

    def begin(self) -> None:
        """Note the brains and the plan."""
        self.manifest.begin(self._request | {"plan": asdict(self.plan)}, _rows(self.sources))

    def go_on(self, sources: Sequence[Source]) -> None:
        """Read the manifest, add what is new, and see what has to be gathered again.

        Raises
        ------
        InputError
            If it was begun with other options, or was damaged by hand.
        """
        noted = self.manifest.read_request()
        # What was not given before decided nothing: it may be given for the brains that failed.
        open_still = {n: None for n in ("orientation", "voxel_um") if noted.get(n, "") is None}
        self.manifest.read(self._request | open_still)
        try:
            self.plan = _plan_of(noted["plan"])
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.work} is of no gathering: give another name") from error
        self.sources = self.manifest.known_ids(sources)
        there = set(self.manifest.table.index)
        new = {brain: source for brain, source in self.sources.items() if brain not in there}
        if new:
            self.manifest.add(self._request | {"plan": noted["plan"]}, _rows(new))
        else:
            self.manifest.note_request(self._request | {"plan": noted["plan"]})
        self._wait_again()
        waiting = set(self.manifest.ids(WAITING))
        self._settle({k: source for k, source in self.sources.items() if k in waiting})

    def _wait_again(self) -> None:
        """Put back what failed, and what is not any more as it was."""
        table, lost, changed = self.manifest.table, [], []
        for brain in self.manifest.ids(DONE):
            row, source = table.loc[brain], self.sources.get(brain)
            if not self.store.is_kept(brain, row["section_sha256"]):
                lost.append(brain)
            elif source is not None and tuple(row[["bytes", "changed_ns"]]) != (
                self.files.size_and_time(source.path)
            ):
                changed.append(brain)
        for what, brains in (("kept sections", lost), ("sources", changed)):
            if brains:
                log.warning("the %s of %s changed: gathered again", what, ", ".join(brains))
        self.manifest.wait_again([*lost, *changed, *self.manifest.ids(FAILED)])

    def _settle(self, sources: dict[str, Source]) -> None:
        for brain, source in sources.items():
            try:
                self.known[brain] = settle(source, self.told, self.space, self.named)
            except (InputError, OSError) as error:
                self.known[brain] = str(error)

    def gather(self, progress: Progress | None) -> None:
        """Gather the brains that wait, one at a time."""
        remove_half_written(self.options.out)
        self.store.folder.mkdir(exist_ok=True)
        waiting, total = self.manifest.ids(WAITING), len(self.manifest.table)
        written = time.monotonic()
        try:
            for place, brain in enumerate(waiting):
                report(progress, total - len(waiting) + place, total)
                outcome = self._outcome(brain)
                # Not after every one of 100,000 sections; what is not noted is gathered again.
                late = time.monotonic() - written > SECONDS_BETWEEN_NOTES
                self.manifest.record(brain, outcome, write=late)
                written = time.monotonic() if late else written
        finally:
            self.manifest.flush()
        report(progress, total, total)

    def _outcome(self, brain: str) -> Outcome:
        """Gather one brain; what is wrong with it is its outcome."""
        source = self.sources.get(brain)
        if source is None:
            return Outcome(FAILED, "it is in none of the inputs any more")
        outcome = Outcome(FAILED, source=place_of(source))
        try:
            outcome.bytes, outcome.changed_ns = self.files.size_and_time(source.path)
            known = self.known[brain]
            if isinstance(known, str):
                raise InputError(known)
            known = scaled(known, self.plan)
            outcome.describe(known)
            check_brain(known, self.plan, self.told)
            gathered = gather_brain(replace(source, id=brain), known, self.plan, self.told)
            outcome.sha256 = self.files.checksum(source.path)
        except (InputError, OSError) as error:
            outcome.error = str(error)
            return outcome
        outcome.done_to_it = "; ".join(gathered.notes)
        outcome.section_sha256 = self.store.save(brain, gathered.sections)
        outcome.status = DONE
        return outcome

    def write(self) -> Written:
        """Write a population for each plane, and say what was found out and done.

        Raises
        ------
        InputError
            If no brain could be gathered.
        """
        done = self.manifest.ids(DONE)
        if not done:
            reasons = self.manifest.table["error"].tolist()
            raise InputError(f"no brain can be used: {_counted(reasons)}")
        table, names = self.options.covariates, self.manifest.table.index.tolist()
        given = None if table is None else read_covariates(table, names)
        for position, out in enumerate(outs_of(self.options)):
            section = partial(self.store.section, position=position)
            slab = self.told.slabs[position] if self.told.slabs else None
            write_population(out, slab, section, self.manifest, self.plan, self.sources, given)
            log.info("%s: %d brains, %s", out, len(done), self.plan.grid)
        said, left_out = list(_summary(self.manifest, self.plan)), list(_left_out(self.manifest))
        for line in said:
            log.info("%s", line)
        for line in left_out:
            log.warning("%s", line)
        return Written(outs_of(self.options), said, left_out)


def _plan_of(noted: dict[str, Any]) -> Plan:
    """Read a plan as JSON keeps it, where tuples are lists."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in noted.items()}
    grid = Grid(tuple(noted["grid"]["shape"]), noted["grid"]["pixel_size_um"])
    return Plan(**values | {"grid": grid})


def _rows(sources: dict[str, Source]) -> pd.DataFrame:
    return pd.DataFrame(index=pd.Index(list(sources), name="id"))


def _summary(manifest: Manifest, plan: Plan) -> Iterator[str]:
    """What was found out of the brains, and done to them: never silent."""
    done = manifest.table.loc[manifest.ids(DONE)]
    lie = Counter(zip(done["orientation"], done["orientation_by"], strict=True))
    yield "orientation: " + ", ".join(f"{n} {how} by {by}" for (how, by), n in lie.most_common())
    sizes = Counter(zip(done["voxel_um"], done["scale_by"], strict=True))
    said = ", ".join(f"{n} of {um} µm by {by}" for (um, by), n in sizes.most_common())
    if plan.is_scaled:
        resampled = any(um != f"{plan.grid.pixel_size_um:.6g}" for um, _ in sizes)
        yield f"voxels: {said}" + (f"; made {plan.grid.pixel_size_um:g} µm" if resampled else "")
    else:
        yield "voxels: nothing says how large they are; --voxel-um would"
    for what, count in Counter(done["done_to_it"]).most_common(5):
        if what:
            example = done.index[done["done_to_it"] == what][0]
            yield f"negative values: {what} ({count} brains, such as {example})"


def _left_out(manifest: Manifest) -> Iterator[str]:
    failed = manifest.table.loc[manifest.ids(FAILED)]
    if len(failed):
        yield f"{len(failed)} of {len(manifest.table)} brains were left out:"
    for reason, count in Counter(failed["error"]).most_common(5):
        yield f"  {count} x {reason} (such as {failed.index[failed['error'] == reason][0]})"


def _counted(reasons: Iterable[str]) -> str:
    """The commonest of some reasons, and how many others there are."""
    (reason, count), *others = (counts := Counter(reasons)).most_common()
    return f"{reason} ({count} of {counts.total()})" if others or count > 1 else reason
