"""Where something is to be written: asked in the same way by all panels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QWidget


def ask_folder(parent: QWidget, what: str, then: Callable[[Path], Any]) -> None:
    """Ask for a folder, and call with it unless nothing is chosen."""
    name = QFileDialog.getExistingDirectory(parent, f"Folder {what}")
    if name:
        then(Path(name))
