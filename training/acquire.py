"""``python -m training.acquire``: fetch brains and atlas from the Allen Institute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_brainvae.io.errors import InputError
from training.acquisition.options import Acquire, AtlasOptions, SectionsOptions
from training.cli import main

if TYPE_CHECKING:
    from training.acquisition.allen_api import AllenService
    from training.acquisition.http import Connection

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
    command = options.atlas or options.sections
    if command is None:
        raise InputError("say what to fetch: atlas or sections")
    connection, service = connect(command)
    with connection:
        if isinstance(command, AtlasOptions):
            from training.acquisition.fetch_atlas import fetch_atlas

            fetch_atlas(command.folder, connection, service)
        else:
            from training.acquisition.fetch_sections import fetch_sections

            fetch_sections(command, connection, service)


if __name__ == "__main__":
    main(Acquire, run, program="python -m training.acquire")
