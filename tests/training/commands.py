"""Every command of the house, as the door finds them: its schema, and what it does."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import BaseModel

import training
from training import __main__ as door
from training import cli

Command = tuple[type[BaseModel], Any]


@cache
def commands() -> dict[str, Command]:
    """Run each command's file with a `main` that only notes what it is called with."""
    return {name: _noted(f"{Path(training.__path__[0]) / name}.py") for name, _ in door.commands()}


def _noted(path: str) -> Command:
    with patch.object(cli, "main") as main:
        runpy.run_path(path, run_name="__main__")
    schema, run = main.call_args.args
    return schema, run


def ended(capsys, name: str, arguments, run=None) -> tuple[int, list[str]]:
    """Exit code of a command, or of only reading its flags, and its lines on stderr."""
    schema, does = commands()[name]
    try:
        cli.main(schema, run or does, program=name, arguments=[str(a) for a in arguments])
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err.splitlines()
