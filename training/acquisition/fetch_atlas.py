"""The files of the Allen CCFv3, fetched once and verified, where allensdk would keep them."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nrrd
from requests import RequestException

from napari_brainvae.atlas.ontology import read_structures
from napari_brainvae.io.atomic_files import replacing, write_text
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.file_stamp import sha256_of
from napari_brainvae.io.places import check_no_population
from napari_brainvae.io.regular_files import regular_file
from training.acquisition.allen_api import AllenService
from training.acquisition.http import Connection, Damaged, reason
from training.acquisition.volumes import CCF, CORRUPTED, Grid

log = logging.getLogger(__name__)

NO_VOLUME = (nrrd.NRRDError, KeyError, TypeError, gzip.BadGzipFile, *CORRUPTED)
"""What the readers of the atlas raise for a file that is none, or is damaged."""

CHECKSUMS = "checksums.json"


def fetch_atlas(
    folder: Path, connection: Connection, service: AllenService, grid: Grid = CCF
) -> None:
    """Fetch what is missing or damaged of annotation, template and structure tree.

    The Allen Institute publishes no checksums: a file is verified by the length that the server
    states, the checksum inside the NRRD's gzip stream, and its shape; its SHA-256 is then noted,
    and by that the next call knows that there is nothing to do.

    Raises
    ------
    OSError, InputError
        If a file cannot be fetched or written.
    """
    check_no_population(folder)
    check_volume = partial(_check_volume, grid=grid)
    files: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
        "structures.json": (service.download_structures, read_structures),
        "annotation/ccf_2017/annotation_25.nrrd": (service.download_annotation, check_volume),
        "average_template_25.nrrd": (service.download_template, check_volume),
    }
    noted_path = folder / CHECKSUMS
    noted = _read_noted(noted_path)
    for name, (download, check) in files.items():
        path = folder / name
        if not _is_good(path, noted.get(name), check):
            _fetch(path, download, check, connection)
        noted[name] = sha256_of(path)
        write_text(noted_path, json.dumps(noted, indent=2))
        log.info("%s: %.1f MB, verified", path, path.stat().st_size / 1e6)


def _read_noted(path: Path) -> dict[str, str]:
    """Checksums noted before; without them the files are checked by themselves."""
    try:
        noted = json.loads(regular_file(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        noted = None
    if not isinstance(noted, dict):
        log.warning("%s holds no checksums: made anew", path)
        return {}
    return {str(name): str(value) for name, value in noted.items()}


def _fetch(
    path: Path,
    download: Callable[[Path], None],
    check: Callable[[Path], object],
    connection: Connection,
) -> None:
    def attempt() -> None:
        try:
            download(beside)
            check(beside)
        except NO_VOLUME as error:
            beside.unlink(missing_ok=True)
            raise Damaged(f"what arrived is not {path.name}: {error}") from error

    with replacing(path) as beside:
        try:
            connection.persistently(attempt)
        except (RequestException, Damaged) as error:
            raise OSError(f"{path.name} could not be fetched: {reason(error)}") from error


def _is_good(path: Path, sha256: str | None, check: Callable[[Path], object]) -> bool:
    """Whether a file is the one noted, or, if none is noted, sound by itself."""
    if not path.exists():
        return False
    regular_file(path)
    if sha256 is not None:
        return sha256_of(path) == sha256
    try:
        check(path)
    except NO_VOLUME:
        return False
    return True


def _check_volume(path: Path, grid: Grid) -> None:
    volume, _ = nrrd.read(str(path))
    if volume.shape != (grid.ap, grid.dv, grid.ml):
        raise InputError(f"its shape is {volume.shape}, not {(grid.ap, grid.dv, grid.ml)}")
