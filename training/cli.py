"""From one pydantic schema to one command: flags, help, messages, exit codes."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from napari_brainvae.io.errors import InputError

Options = TypeVar("Options", bound=BaseModel)

BUG = 1
BAD_INPUT = 2
INTERRUPTED = 130

OURS = ("training", "napari_brainvae", "__main__")
"""Loggers whose messages are for the user; of others only warnings are."""

called_as: str | None = None
"""The command that `training.__main__` was called as, such as ``brainvae fit``."""


def main(
    schema: type[Options],
    run: Callable[[Options], Any],
    *,
    program: str,
    arguments: Sequence[str] | None = None,
) -> None:
    """Read the command line into ``schema``, call ``run``, and end with an honest exit code.

    The schema's docstring is the command's description, its fields are the flags (kebab-case)
    with their help, bounds and defaults. What ``run`` logs is shown as it is: messages on stdout,
    warnings on stderr. Bad input (`InputError`, or what the system says of a file) ends with one
    line on stderr and exit code 2, an interruption with exit code 130. Anything else is a bug: it
    keeps its traceback and ends with a line that asks for a report, exit code 1.

    Parameters
    ----------
    schema
        A pydantic model; positional fields are annotated ``CliPositionalArg``.
    run
        What the command does.
    program
        Name shown in the help, such as ``python -m training.fit``.
    arguments
        Flags; ``sys.argv[1:]`` by default.
    """
    program = called_as or program
    try:
        options = parse(schema, program, arguments)
    except ValidationError as error:
        _stop(BAD_INPUT, "; ".join(_plain(e) for e in error.errors()))
    except SettingsError as error:
        problem = " ".join(str(error).removeprefix("error parsing CLI: ").split())
        _stop(BAD_INPUT, f"{problem} ({program} --help lists the flags)")
    try:
        with messages():
            run(options)
    except (InputError, OSError) as error:
        _stop(BAD_INPUT, " ".join(str(error).split()))
    except KeyboardInterrupt:
        _stop(INTERRUPTED, "interrupted")
    except Exception:
        traceback.print_exc()
        ours = f"napari-brainvae {version('napari-brainvae')}, Python {sys.version.split()[0]}"
        _stop(BUG, f"a bug of {program} ({ours}), not yours: please report it with the lines above")


def parse(schema: type[Options], program: str, arguments: Sequence[str] | None = None) -> Options:
    """Read command line arguments into ``schema``; what it does not name keeps its default."""

    class Cli(BaseSettings, schema):  # type: ignore[valid-type,misc]
        __doc__ = schema.__doc__
        model_config = SettingsConfigDict(
            cli_prog_name=program,
            cli_kebab_case=True,
            cli_implicit_flags=True,
            cli_hide_none_type=True,
            cli_avoid_json=True,
            cli_enforce_required=True,
            cli_exit_on_error=False,
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            # An environment variable that happens to be called "seed" is no option of ours.
            return (init_settings,)

    settings = CliApp.run(Cli, cli_args=None if arguments is None else list(arguments))
    # Only what was given is passed on, so that `model_fields_set` still tells it from a default.
    given = {name: _at_home(getattr(settings, name)) for name in settings.model_fields_set}
    return schema.model_validate(given)


def _at_home(value: Any) -> Any:
    """Expand the ``~`` of paths, which the shell leaves alone in ``--out=~/run`` and in quotes."""
    if isinstance(value, Path):
        return value.expanduser()
    if isinstance(value, list):
        return [_at_home(each) for each in value]
    if isinstance(value, BaseModel):
        named = value.model_fields_set
        return value.model_copy(update={name: _at_home(getattr(value, name)) for name in named})
    return value


@contextmanager
def messages() -> Iterator[None]:
    """Show what is logged within: messages on stdout, warnings on stderr, as they are."""
    root = logging.getLogger()
    level = root.level
    shown, warned = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    shown.addFilter(lambda r: r.levelno < logging.WARNING and r.name.partition(".")[0] in OURS)
    warned.setLevel(logging.WARNING)
    root.setLevel(min(level, logging.INFO))
    for handler in (shown, warned):
        root.addHandler(handler)
    try:
        yield
    finally:
        root.setLevel(level)
        for handler in (shown, warned):
            root.removeHandler(handler)


@contextmanager
def progress_bar(text: str, unit: str = "section") -> Iterator[Callable[[int, int], None]]:
    """Give a progress callback that moves a bar in the terminal, which appears at its first call.

    Bad input that is found before it ends with one line alone.
    """
    with ExitStack() as stack:
        bar: Any = None

        def progress(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                from tqdm import tqdm

                bar = stack.enter_context(tqdm(desc=text, unit=unit, mininterval=0.5))
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def numbers(text: str, *, smallest: float) -> list[float]:
    """Read ``FROM:TO``, ``FROM:TO:STEP`` or ``A,B,C``, ends included.

    Raises
    ------
    InputError
        If it is not that, empty, or below ``smallest``.
    """
    try:
        if ":" in text:
            first, last, *more = (float(part) for part in text.split(":"))
            step = more[0] if more else 1.0
            if len(more) > 1 or step <= 0:
                raise ValueError
            found = [first + i * step for i in range(int((last - first) / step + 1e-9) + 1)]
        else:
            found = sorted({float(part) for part in text.split(",")})
    except (ValueError, OverflowError) as error:
        raise InputError(f"{text!r} is neither FROM:TO, FROM:TO:STEP nor a list A,B") from error
    if not found or not all(smallest <= n < 1e6 for n in found):
        raise InputError(f"{text!r} names no number from {smallest:g} on")
    return found


def _plain(error: Any) -> str:
    place = ".".join(str(p) for p in error["loc"]).replace("_", "-")
    message = error["msg"].removeprefix("Value error, ")
    return f"--{place}: {message}" if place else message


def _stop(code: int, message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(code)
