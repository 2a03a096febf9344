"""From a selection of experiments to populations of sections, through every interruption."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import requests
from tqdm import tqdm

from napari_brainvae.data.brain_manifest import DONE, FAILED, WAITING
from napari_brainvae.data.section_store import SectionStore, remove_half_written
from napari_brainvae.io.atomic_files import make_folder, put_on_disk, recover
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.file_stamp import sha256_of
from napari_brainvae.io.folder_lock import only_one
from training.acquisition.allen_api import AllenService
from training.acquisition.http import Connection, Damaged, may_pass, reason
from training.acquisition.manifest import Manifest, Outcome, select
from training.acquisition.populations import contents, write_population
from training.acquisition.volumes import CCF, Grid, Unusable, read_planes

if TYPE_CHECKING:
    from training.acquisition.options import SectionsOptions

log = logging.getLogger(__name__)

UNREACHABLE_IN_A_ROW = 10
"""So many brains that fail for the network's sake mean that the service is down: stop asking."""


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
    with only_one(work.folder, "run"):
        manifest = Manifest(work.folder / "manifest.csv")
        _open_or_begin(manifest, work, service)
        _fetch(manifest, work, connection, service)
        done = manifest.ids(DONE)
        if not done:
            raise InputError(f"no brain could be fetched; {_failures(manifest)}")
        for position, (plane, path) in enumerate(work.populations.items()):
            fetched = partial(work.store.section, position=position)
            write_population(path, plane, done, fetched, manifest, work.grid)
            log.info("%s: %s", path, contents(path))
        summary = f"{len(done)} of {len(manifest.table)} brains done. {_failures(manifest)}"
        log.info("%s", summary.rstrip())


@dataclass
class Work:
    """Where the parts of an acquisition lie, beside the population."""

    folder: Path
    grid: Grid
    options: SectionsOptions

    def volumes(self, experiment: int) -> Path:
        """Zip of a brain, whole or in part."""
        return self.folder / "volumes" / f"{experiment}.zip"

    @property
    def store(self) -> SectionStore:
        """Planes of the brains that are done, ``(P, H, W)`` uint16."""
        return SectionStore(self.folder / "sections")

    def is_kept(self, experiment: int, sha256: str) -> bool:
        """Whether the planes of a brain lie there as they were written.

        Parameters
        ----------
        sha256
            As noted when they were; empty in a manifest of before, where their size must do.
        """
        path = self.store.path(experiment)
        if sha256 or not path.is_file():
            return self.store.is_kept(experiment, sha256)
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError):
            return False
        shape = (len(self.options.planes), *self.grid.shape)
        return bool(stored.shape == shape and stored.dtype == np.uint16)

    @property
    def populations(self) -> dict[int, Path]:
        """File of each plane."""
        out, planes = self.options.out, self.options.planes
        if len(planes) == 1:
            return {planes[0]: out}
        return {plane: out.with_name(f"{out.stem}_p{plane}.zarr") for plane in planes}


def _open_or_begin(manifest: Manifest, work: Work, service: AllenService) -> None:
    """Read the manifest or make it, and tidy up after a run that was killed."""
    options = work.options
    names = {"plane", "experiments", "strain", "line", "gender", "injection_structure"}
    request = options.model_dump(mode="json", include=names)
    for path in work.populations.values():
        recover(path)
    if not manifest.exists():
        for path in work.populations.values():
            if path.exists():
                raise FileExistsError(f"{path} exists already; give another name")
        manifest.begin(request, select(options, service))
    manifest.read(request)
    _check_whole(manifest, work)
    noted = manifest.table["section_sha256"].to_dict()
    lost = [i for i in manifest.ids(DONE) if not work.is_kept(i, noted[i])]
    if lost:
        some = ", ".join(map(str, lost))
        log.warning("the sections of %s are gone or changed on disk: fetched again", some)
    manifest.wait_again(lost + (manifest.ids(FAILED) if options.retry_failed else []))
    for kind in ("volumes", "sections"):
        make_folder(work.folder / kind)
    _remove_leftovers(manifest, work)


def _check_whole(manifest: Manifest, work: Work) -> None:
    """Refuse a manifest that has lost rows of brains that were fetched."""
    known = {str(i) for i in manifest.table.index}
    stems = sorted(path.stem for path in (work.folder / "sections").glob("[0-9]*.npy"))
    manifest.refuse_without([stem for stem in stems if stem.isdigit() and stem not in known])


def _remove_leftovers(manifest: Manifest, work: Work) -> None:
    """Remove what a killed run left half-written, except the transfers that go on first."""
    for population in (work.options.out, *work.populations.values()):
        remove_half_written(population)
    if not work.options.keep_volumes:
        # The zip of a brain that is done was kept on purpose; other files are not ours.
        for experiment in manifest.ids(WAITING)[work.options.connections :]:
            work.volumes(experiment).unlink(missing_ok=True)


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
    outcome = Outcome(DONE, tries, volumes.stat().st_size, sha256_of(volumes))
    outcome.section_sha256 = work.store.save(experiment, planes)
    if work.options.keep_volumes:
        put_on_disk(volumes)
    else:
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


def _failures(manifest: Manifest) -> str:
    """What failed and why, the same reasons together."""
    failed = manifest.table[manifest.table["status"] == FAILED]
    if failed.empty:
        return ""
    reasons = Counter(failed["error"])
    examples = {e: failed.index[failed["error"] == e][0] for e in reasons}
    lines = [f"  {n} x {e} (such as {examples[e]})" for e, n in reasons.most_common(5)]
    return f"{len(failed)} failed; --retry-failed tries them again:\n" + "\n".join(lines)
