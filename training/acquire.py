"""``python -m training.acquire``: fetch brains and atlases from the Allen Institute, BrainGlobe."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from napari_brainvae.io.errors import InputError
from training.acquisition.options import Acquire, AtlasOptions, SectionsOptions
from training.cli import main

if TYPE_CHECKING:
    from training.acquisition.allen_api import AllenService
    from training.acquisition.http import Connection

log = logging.getLogger(__name__)

INSTALL = (
    "pip install 'napari-brainvae[allen]' && pip install --no-deps allensdk==2.16.2 "
    "(its own pins cannot be resolved beside napari)"
)


def connect(options: AtlasOptions | SectionsOptions) -> tuple[Connection, AllenService]:
    """Make the connection that ``options`` describe, and the service behind it.

    Raises
    ------
    InputError
        If allensdk or one of its companions is not installed.
    """
    try:
        from training.acquisition.allen_api import AllenService
        from training.acquisition.http import Connection
    except ImportError as error:
        missing = str(error.name).partition(".")[0]
        raise InputError(f"acquisition needs {missing}: {INSTALL}") from error
    connection = Connection(
        connections=getattr(options, "connections", 1),
        timeout=options.timeout,
        tries=options.tries,
        backoff=options.backoff,
    )
    archive = getattr(options, "archive", None)
    return connection, AllenService(connection, options.server, archive)


def run(options: Acquire) -> None:
    """Do what the sub-command says."""
    # Imported here: --help must not wait for arrays, tables and the SDK.
    if options.brainglobe is not None:
        return _brainglobe(options.brainglobe.name)
    command = options.atlas or options.sections
    if command is None:
        raise InputError("say what to fetch: atlas, brainglobe or sections")
    connection, service = connect(command)
    with connection:
        if isinstance(command, AtlasOptions):
            from training.acquisition.fetch_atlas import fetch_atlas

            fetch_atlas(command.folder, connection, service)
        else:
            from training.acquisition.fetch_sections import fetch_sections

            fetch_sections(command, connection, service)


def _brainglobe(name: str) -> None:
    """Fetch an atlas, or list those that are there."""
    from napari_brainvae.atlas.brainglobe import available_atlases, brainglobe_folder
    from napari_brainvae.atlas.fetch_brainglobe import fetch_brainglobe

    if name:
        log.info("%s: open it by --atlas %s", fetch_brainglobe(name), name)
        return
    there = available_atlases()
    log.info("%d atlases in %s", len(there), brainglobe_folder())
    for each, folder in there.items():
        log.info("%s  %s", each, folder)


if __name__ == "__main__":
    main(Acquire, run, program="python -m training.acquire")
