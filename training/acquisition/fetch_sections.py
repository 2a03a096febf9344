"""From a selection of experiments to populations of sections, through every interruption."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from napari_brainvae.data.covariates import write_covariates
from napari_brainvae.data.population import Description, Population
from napari_brainvae.data.population_files import creating
from napari_brainvae.data.section_quality import LIMITS, measure_quality
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.io.errors import InputError
from training.acquisition.allen_api import RESOLUTION_UM, AllenService
from training.acquisition.http import Connection, Damaged, may_pass, reason
from training.acquisition.manifest import DONE, FAILED, WAITING, Manifest, Outcome, select
from training.acquisition.volumes import CCF, Grid, Unusable, read_planes

if TYPE_CHECKING:
    from training.acquisition.options import SectionsOptions

UNREACHABLE_IN_A_ROW = 10
"""So many brains that fail for the network's sake mean that the service is down: stop asking."""

SOURCE = (
    "Allen Mouse Brain Connectivity Atlas, Allen Institute for Brain Science, "
    "connectivity.brain-map.org: red channel (autofluorescence) on the CCFv3 grid, cropped to "
    "ML {0}..{1}. Oh et al., Nature 508, 207 (2014). Attribution, non-commercial: "
    "alleninstitute.org/terms-of-use"
)


def fetch_sections(
    options: SectionsOptions, connection: Connection, service: AllenService, grid: Grid = CCF
) -> None:
    """Fetch what is still missing of the selected brains, then write the populations.

    Raises
    ------
    InputError
        For a selection that makes no sense, or that differs from the one begun before.
    OSError
        If files cannot be written, or the service does not answer any more.
    """
    if options.planes[-1] >= grid.ap:
        raise InputError(f"the atlas has planes 0 to {grid.ap - 1}, not {options.planes[-1]}")
    work = Work(Path(f"{options.out}.work"), grid, options)
    with _only_run(work.folder):
        manifest = Manifest(work.folder / "manifest.csv")
        _open_or_begin(manifest, work, service)
        _fetch(manifest, work, connection, service)
        done = [i for i in manifest.ids(DONE) if work.sections(i).exists()]
        if not done:
            raise InputError(f"no brain could be fetched; {_failures(manifest)}")
        for position, (plane, path) in enumerate(work.populations.items()):
            _write_population(path, plane, position, done, manifest, work)
            print(f"{path}: {_contents(path)}")
        failures = _failures(manifest)
        print(f"{len(done)} of {len(manifest.table)} brains done. {failures}".rstrip())


@dataclass
class Work:
    """Where the parts of an acquisition lie, beside the population."""

    folder: Path
    grid: Grid
    options: SectionsOptions

    def volumes(self, experiment: int) -> Path:
        """Zip of a brain, whole or in part."""
        return self.folder / "volumes" / f"{experiment}.zip"

    def sections(self, experiment: int) -> Path:
        """Planes of a brain that is done, ``(P, H, W)`` uint16."""
        return self.folder / "sections" / f"{experiment}.npy"

    @property
    def populations(self) -> dict[int, Path]:
        """File of each plane."""
        out, planes = self.options.out, self.options.planes
        if len(planes) == 1:
            return {planes[0]: out}
        return {plane: out.with_name(f"{out.stem}_p{plane}.zarr") for plane in planes}


@contextmanager
def _only_run(folder: Path) -> Iterator[None]:
    """Keep a second run out; the lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", blocking=False):
            yield
    except Timeout:
        raise InputError(f"another run is working in {folder}") from None


def _open_or_begin(manifest: Manifest, work: Work, service: AllenService) -> None:
    """Read the manifest or make it, and tidy up after a run that was killed."""
    options = work.options
    names = {"plane", "experiments", "strain", "line", "gender", "injection_structure"}
    request = options.model_dump(mode="json", include=names)
    if not manifest.exists():
        for path in work.populations.values():
            if path.exists():
                raise FileExistsError(f"{path} exists already; give another name")
        manifest.begin(request, select(options, service))
    manifest.read(request)
    lost = [i for i in manifest.ids(DONE) if not work.sections(i).exists()]
    manifest.wait_again(lost + (manifest.ids(FAILED) if options.retry_failed else []))
    for kind in ("volumes", "sections"):
        (work.folder / kind).mkdir(exist_ok=True)
    _remove_leftovers(manifest, work)


def _remove_leftovers(manifest: Manifest, work: Work) -> None:
    """Remove what a killed run left half-written, except the transfers that go on first."""
    partial = [path for path in work.folder.rglob(".*.partial.*") if path.is_file()]
    for population in work.populations.values():
        partial += population.parent.glob(f".{population.stem}.*.partial.zarr")
        partial += population.parent.glob(f".{population.name}.*.old")
    if not work.options.keep_volumes:
        next_ones = {work.volumes(i) for i in manifest.ids(WAITING)[: work.options.connections]}
        partial += set((work.folder / "volumes").iterdir()) - next_ones
    for path in partial:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _fetch(manifest: Manifest, work: Work, connection: Connection, service: AllenService) -> None:
    """Fetch the brains that wait."""
    within = [int(i) for i in manifest.table.index[: work.options.limit]]
    waiting = [i for i in manifest.ids(WAITING) if i in set(within)]
    if not waiting:
        return
    unreachable = 0
    with (
        _Progress(len(within), len(within) - len(waiting)) as progress,
        ThreadPoolExecutor(work.options.connections) as pool,
    ):
        connection.received = progress.received
        futures = {pool.submit(_fetch_brain, i, work, connection, service): i for i in waiting}
        try:
            for future in as_completed(futures):
                outcome, reachable = future.result()
                manifest.record(futures[future], outcome)
                progress.brain()
                unreachable = 0 if reachable else unreachable + 1
                if unreachable == UNREACHABLE_IN_A_ROW:
                    raise OSError(
                        f"the last {unreachable} brains could not be fetched, so the service or "
                        f"the network is down ({outcome.error}); try later with --retry-failed"
                    )
        except BaseException:
            connection.stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _fetch_brain(
    experiment: int, work: Work, connection: Connection, service: AllenService
) -> tuple[Outcome, bool]:
    """Fetch one brain and keep its planes; also says whether the service was reachable."""
    volumes, tries = work.volumes(experiment), 0

    def attempt() -> npt.NDArray[np.uint16]:
        nonlocal tries
        tries += 1
        service.download_volumes(experiment, volumes)
        try:
            return read_planes(volumes, work.options.planes, work.grid)
        except Damaged:
            volumes.unlink()
            raise

    try:
        planes = connection.persistently(attempt)
    except (requests.RequestException, Damaged, Unusable) as error:
        volumes.unlink(missing_ok=True)
        reachable = not (may_pass(error) and isinstance(error, requests.RequestException))
        return Outcome(FAILED, tries, error=reason(error)), reachable
    with open(volumes, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    outcome = Outcome(DONE, tries, volumes.stat().st_size, sha256)
    with replacing(work.sections(experiment)) as beside:
        np.save(beside, planes)
    if not work.options.keep_volumes:
        volumes.unlink()
    return outcome, True


class _Progress:
    """Brains done, bytes, rate and time left, on stderr; now and then if that is a file."""

    def __init__(self, total: int, done: int) -> None:
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="brain",
            miniters=0,
            mininterval=0.5 if sys.stderr.isatty() else 60,
        )
        self._lock, self._start, self._bytes = Lock(), time.monotonic(), 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def received(self, size: int) -> None:
        """Count bytes, from any thread."""
        with self._lock:
            self._bytes += size
            rate = self._bytes / (time.monotonic() - self._start)
            self._bar.set_postfix_str(
                f"{self._bytes / 1e9:.2f} GB, {rate / 1e6:.1f} MB/s", refresh=False
            )
            self._bar.update(0)

    def brain(self) -> None:
        """Count a brain."""
        with self._lock:
            self._bar.update(1)


def _write_population(
    path: Path, plane: int, position: int, done: Sequence[int], manifest: Manifest, work: Work
) -> None:
    """Write one plane of the brains that are done, with covariates and quality columns."""

    def section(experiment: int) -> npt.NDArray[np.uint16]:
        stored = np.load(work.sections(experiment), mmap_mode="r", allow_pickle=False)
        return np.asarray(stored[position])

    # A section without content is no section; far from the middle some brains end.
    kept = [i for i in done if np.ptp(section(i)) > 0]
    if len(kept) < len(done):
        empty = [str(i) for i in done if i not in set(kept)]
        print(f"plane {plane} holds nothing of {len(empty)} brains, left out: {', '.join(empty)}")
    if not kept:
        raise InputError(f"plane {plane} holds nothing of any brain")
    source = SOURCE.format(work.grid.columns[0], work.grid.columns[1] - 1)
    description = Description(
        pixel_size_um=RESOLUTION_UM, plane=plane, preprocessing=None, source=source
    )
    ids = [str(i) for i in kept]
    if path.exists() and Population.open(path).ids == ids:
        return
    quality = []
    with creating(path, ids, work.grid.shape, np.uint16, description, overwrite=True) as group:
        for k, experiment in enumerate(kept):
            group["images"][k] = image = section(experiment)
            quality.append(measure_quality(image[None]))
        covariates = manifest.covariates(kept)
        table = pd.concat(quality, ignore_index=True).set_index(covariates.index)
        write_covariates(group, covariates.join(table))


def _contents(path: Path) -> str:
    """One line about a population."""
    population = Population.open(path)
    table = population.covariates
    parts = ", ".join(
        f"{int((table[name] > limit).sum())} {name}" for name, limit in LIMITS.items()
    )
    return f"{len(population)} sections, {int(population.flagged.sum())} flagged: {parts}"


def _failures(manifest: Manifest) -> str:
    """What failed and why, the same reasons together."""
    failed = manifest.table[manifest.table["status"] == FAILED]
    if failed.empty:
        return ""
    reasons = Counter(failed["error"])
    examples = {e: failed.index[failed["error"] == e][0] for e in reasons}
    lines = [f"  {n} x {e} (such as {examples[e]})" for e, n in reasons.most_common(5)]
    return f"{len(failed)} failed; --retry-failed tries them again:\n" + "\n".join(lines)
