"""``brainvae COMMAND ...``, or ``python -m training COMMAND ...``: one door to every command."""

from __future__ import annotations

import ast
import pkgutil
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import training
from training import cli

USAGE = "usage: brainvae COMMAND ..."


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command with its line of help, without importing any.

    A command is a module of this package whose docstring begins with how it is called.
    """
    for module in pkgutil.iter_modules(training.__path__):
        path = Path(training.__path__[0]) / f"{module.name}.py"
        if module.name.startswith("_") or not path.is_file():
            continue
        summary = (ast.get_docstring(ast.parse(path.read_bytes())) or "").partition("\n")[0]
        if call := re.match(rf"``python -m training\.{module.name}``: ", summary):
            yield module.name, summary[call.end() :].rstrip(".")


def overview() -> str:
    """List all commands."""
    lines = [f"  {name:<12}{summary}" for name, summary in commands()]
    return "\n".join([USAGE, "", *lines, "", "brainvae COMMAND --help explains each."])


def main() -> None:
    """Run the command that the first argument names, with the others."""
    name, rest = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if name in ("-h", "--help"):
        print(overview())
        return
    if name not in dict(commands()):
        said = f"no command {name!r}" if name else "no command given"
        print(f"error: {said}: brainvae --help lists them", file=sys.stderr)
        raise SystemExit(cli.BAD_INPUT)
    cli.called_as = f"brainvae {name}"
    sys.argv = [sys.argv[0], *rest]
    runpy.run_module(f"training.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
