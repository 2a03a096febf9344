"""Which brains lie in files and folders: one a volume, one an image, one a row of a population."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from napari_brainvae.data.population import Population
from napari_brainvae.data.volumes import READERS, kind_of
from napari_brainvae.io.errors import InputError, MissingFileError
from napari_brainvae.io.file_stamp import Stamp, file_stamp
from napari_brainvae.io.regular_files import regular_file

BRAINREG = "brainreg.json"
REGISTRATION = "brainglobe-registration.json"
STANDARD = "downsampled_standard"
"""What both programs call the image in the space of the atlas, with the channel behind it."""

IN_THEIR_OWN_SPACE = (
    "boundaries",
    "deformation_field_",
    "downsampled",
    "registered_atlas",
    "registered_hemispheres",
)
"""How files begin that these programs write beside it, in the space of the sample."""


@dataclass(frozen=True)
class Source:
    """Where one brain lies.

    Attributes
    ----------
    id
        Name of the brain.
    path
        File, or folder of a Zarr.
    section
        Which section of the population ``path`` it is; None if the file is the brain's own.
    atlas
        Name of the BrainGlobe atlas in whose space and orientation it was registered; empty if
        nothing says so.
    registered
        Whether BrainGlobe's tools wrote it; what they write lies as their atlas does.
    problem
        Why there is nothing to read, if that is so.
    """

    id: str
    path: Path
    section: int | None = None
    atlas: str = ""
    registered: bool = False
    problem: str = ""


def find_sources(
    inputs: Sequence[Path], *, channel: str | None = None, stacks: bool = False
) -> list[Source]:
    """Find the brains in files and, recursively, in folders.

    Parameters
    ----------
    inputs
        Files and folders.
    channel
        Name of brainreg's further channel.
    stacks
        Whether a TIFF or NumPy file of several pages is a stack of sections, one a brain, instead
        of one brain's volume.

    Returns
    -------
    list of Source
        In the order of the inputs, within a folder by name; their ids are distinct.

    Raises
    ------
    FileNotFoundError
        If an input does not exist.
    InputError
        If there is no brain in them.
    """
    found = [source for each in inputs for source in _find(Path(each), channel, stacks)]
    if not found:
        raise InputError(
            f"there is no brain in {', '.join(map(str, inputs))}: no registered volume, section or "
            f"population ({', '.join(READERS)}, .npz)"
        )
    once = {(source.path.resolve(), source.section): source for source in reversed(found)}
    return _with_distinct_ids([s for s in reversed(once.values())])


def has_brains(folder: Path) -> bool:
    """Whether there is a brain in a folder; looks no further than to the first."""
    return next(_in_folder(folder, None, stacks=False), None) is not None


def _find(path: Path, channel: str | None, stacks: bool) -> Iterator[Source]:
    if not path.exists():
        raise MissingFileError(f"there is no {path}")
    if path.is_dir() and path.suffix.lower() != ".zarr":
        yield from _in_folder(path, channel, stacks)
    else:
        yield from _in_file(path, stacks, asked_for=True)


def _in_folder(folder: Path, channel: str | None, stacks: bool) -> Iterator[Source]:
    entries = sorted(folder.iterdir(), key=lambda entry: _natural(entry.name))
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    names = {entry.name for entry in entries}
    if names & {BRAINREG, REGISTRATION} or any(name.startswith(STANDARD) for name in names):
        yield _registered(folder, sorted(names), channel)
        return
    for entry in entries:
        if entry.is_dir() and entry.suffix.lower() != ".zarr":
            # A link may lead back here; a folder of work is what gathering keeps of its own.
            if not (entry.is_symlink() or entry.name.endswith(".zarr.work")):
                yield from _in_folder(entry, channel, stacks)
        else:
            yield from _in_file(entry, stacks, asked_for=False)


def _registered(folder: Path, names: Sequence[str], channel: str | None) -> Source:
    """The brain in a folder of brainreg or brainglobe-registration."""
    atlas = _atlas_named_in(folder)
    source = Source(folder.name, folder, atlas=atlas, registered=True)
    files = {n.rpartition(".")[0]: n for n in names if re.match(rf"{STANDARD}.*\.tiff?$", n)}
    layers = sorted(stem.removeprefix(f"{STANDARD}_") for stem in files if stem != STANDARD)
    wanted = STANDARD if channel is None else f"{STANDARD}_{channel}"
    if channel == "0" and wanted not in files:  # the first of other brains' channels
        wanted = STANDARD
    if channel is None and STANDARD not in files and len(layers) == 1:
        wanted = f"{STANDARD}_{layers[0]}"
    if wanted in files:
        return replace(source, path=folder / files[wanted])
    if layers:
        there = ", ".join(layers)
        problem = f"it has no {wanted}.tiff: say which of {there} with --channel"
    else:
        problem = f"it has no {wanted}.tiff: its registration did not come to its end"
    return replace(source, problem=problem)


def _atlas_named_in(folder: Path) -> str:
    for name in (BRAINREG, REGISTRATION):
        try:
            said = json.loads(regular_file(folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError, OSError):
            return ""
        atlas = said.get("atlas", said.get("atlas_name")) if isinstance(said, dict) else None
        return atlas if isinstance(atlas, str) else ""
    return ""


def _in_file(path: Path, stacks: bool, *, asked_for: bool) -> Iterator[Source]:
    kind = kind_of(path)
    is_stack = stacks and kind in (".tif", ".tiff", ".npy") and not path.name.startswith(".")
    if kind == ".npz" or is_stack or (kind == ".zarr" and _is_population(path)):
        yield from _of_population(path)
    elif kind in (".tif", ".tiff") and path.name.startswith(STANDARD):
        folder = path.absolute().parent
        yield Source(folder.name, path, atlas=_atlas_named_in(folder), registered=True)
    elif kind in (".tif", ".tiff") and path.name.startswith(IN_THEIR_OWN_SPACE) and not asked_for:
        return
    elif kind in READERS or asked_for:
        yield Source(_stem(path), path)


def _of_population(path: Path) -> Iterator[Source]:
    try:
        population = open_population(path)
    except InputError as error:
        yield Source(_stem(path), path, problem=str(error))
        return
    for index, name in enumerate(population.ids):
        yield Source(name, path, section=index)


def open_population(path: Path) -> Population:
    """Open a population once for all its sections."""
    return _opened(path, file_stamp((path,)))


@lru_cache(maxsize=1)
def _opened(path: Path, _: Stamp) -> Population:
    return Population.open(path)


def _is_population(path: Path) -> bool:
    return (path / "images").is_dir()


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(kind_of(path))].removesuffix(".ome") or path.name


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """A key by which brain 2 comes before brain 10."""
    parts = re.split(r"(\d+)", name)
    return [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts]


def _with_distinct_ids(sources: Sequence[Source]) -> list[Source]:
    """Call brains that have one name by the first folder above that tells them apart.

    Forty folders ``m1/brainreg`` to ``m40/brainreg`` are the brains m1 to m40.
    """
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.id, []).append(source)
    taken = {name for name, group in groups.items() if len(group) == 1}
    names: dict[Source, str] = {}
    for name, group in groups.items():
        if len(group) == 1:
            continue
        new = _telling_apart(group)
        if taken & set(new) or any(source.section is not None for source in group):
            new = [f"{one}_{name}" for one in new]
        if taken & set(new) or len(set(new)) < len(new):
            raise InputError(f"several brains are called {name!r}: {', '.join(new[:3])}")
        taken |= set(new)
        names |= dict(zip(group, new, strict=True))
    return [replace(source, id=names.get(source, source.id)) for source in sources]


def _telling_apart(group: Sequence[Source]) -> list[str]:
    """Names of the lowest folders (or files of many brains) that differ for all of a group."""
    paths = [source.path.absolute() for source in group]
    levels = zip(*([path, *path.parents] for path in paths), strict=False)
    first = 0 if group[0].section is not None else 1
    for level in list(levels)[first:]:
        names = [_stem(p) if kind_of(p) in (*READERS, ".npz") else p.name for p in level]
        if len(set(names)) == len(names):
            return names
    shared = Path(os.path.commonpath(paths))
    return ["_".join(path.relative_to(shared).parts[:-1]) for path in paths]


def all_files(path: Path) -> Iterable[Path]:
    """Give a file, or the files of a folder by name: what a checksum of a brain is made of."""
    if not path.is_dir():
        return [path]
    return sorted(Path(folder, file) for folder, _, files in os.walk(path) for file in files)
