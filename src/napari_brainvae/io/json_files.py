"""Reading JSON that anyone may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.regular_files import regular_file


def read_json(path: Path) -> Any:
    """Read a JSON file (UTF-8); what it should hold is for the caller to check.

    Raises
    ------
    OSError
        If it is not there.
    InputError
        If it is no regular file, no JSON, or nested without end.
    """
    try:
        return json.loads(regular_file(path).read_text(encoding="utf-8"))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
