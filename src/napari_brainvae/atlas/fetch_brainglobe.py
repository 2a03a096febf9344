"""Fetching an atlas of BrainGlobe, through brainglobe-atlasapi, which is an extra."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import get_args

from napari_brainvae.atlas.brainglobe import available_atlases, chunk_folders
from napari_brainvae.io.errors import InputError

log = logging.getLogger(__name__)

INSTALL = "pip install 'napari-brainvae[brainglobe]'"


def can_fetch() -> bool:
    """Whether brainglobe-atlasapi is installed."""
    from importlib.util import find_spec

    return find_spec("brainglobe_atlasapi") is not None


def known_atlases() -> list[str]:
    """Names that brainglobe-atlasapi knows; none where it is not installed."""
    if not can_fetch():
        return []
    from brainglobe_atlasapi.atlas_name import AtlasName

    return sorted(get_args(AtlasName))


def fetch_brainglobe(name: str) -> Path:
    """Fetch an atlas by its name, all that is read here of it, and give its folder.

    What is there already is not fetched again. Arrays of which only a part arrived are removed:
    the package would take them for whole ones.

    Raises
    ------
    InputError
        If brainglobe-atlasapi is not installed.
    OSError
        If there is no such atlas, or it does not arrive.
    """
    there = available_atlases()
    if name in there:
        log.info("%s is there: %s", name, there[name])
        return there[name]
    if not can_fetch():
        raise InputError(f"fetching an atlas needs brainglobe-atlasapi: {INSTALL}")
    from botocore.exceptions import BotoCoreError
    from brainglobe_atlasapi import BrainGlobeAtlas

    try:
        BrainGlobeAtlas(name, check_latest=False)
        for part, chunks in chunk_folders(name).items():
            if not chunks.exists():
                try:
                    # Each from its own object, which keeps the whole array in memory.
                    getattr(BrainGlobeAtlas(name, check_latest=False), part)
                except BaseException:
                    shutil.rmtree(chunks, ignore_errors=True)
                    raise
    except (OSError, ValueError, BotoCoreError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(f"the atlas {name} could not be fetched: {reason}") from error
    return available_atlases()[name]
