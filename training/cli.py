"""From one pydantic schema to one command: flags, help, messages, exit codes."""

from __future__ import annotations

import logging
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    CliApp,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from napari_brainvae.io.command_line import POSITIONAL
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.places import check_places
from napari_brainvae.io.progress import Stopped

Options = TypeVar("Options", bound=BaseModel)

BUG = 1
BAD_INPUT = 2
INTERRUPTED = 130

LONGEST = 1000
"""Characters of what is said at the end."""

MOST_NUMBERS = 1000
"""In a list or range of one option."""

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
        _stop(BAD_INPUT, "; ".join(_plain(e, schema) for e in error.errors()))
    except SettingsError as error:
        _stop(BAD_INPUT, f"{_problem(error, schema)} ({program} --help lists the flags)")
    except InputError as error:
        _stop(BAD_INPUT, str(error))
    try:
        check_places(options)
        with messages():
            run(options)
    except (InputError, OSError) as error:
        _stop(BAD_INPUT, " ".join(str(error).split()))
    except MemoryError as error:
        _stop(BAD_INPUT, f"this machine has not enough memory: {error}".rstrip(": "))
    except KeyboardInterrupt:
        _stop(INTERRUPTED, "interrupted")
    except Stopped as stopped:
        _stop(INTERRUPTED, str(stopped))
    except Exception:  # noqa: BLE001 - whatever else it is, it is shown as a bug
        traceback.print_exc()
        ours = f"napari-brainvae {version('napari-brainvae')}, Python {sys.version.split()[0]}"
        _stop(BUG, f"a bug of {program} ({ours}), not yours: please report it with the lines above")


def parse(schema: type[Options], program: str, arguments: Sequence[str] | None = None) -> Options:
    """Read command line arguments into ``schema``; what it does not name keeps its default.

    Raises
    ------
    InputError, pydantic.ValidationError, pydantic_settings.SettingsError
        For arguments that the schema does not take.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for argument in arguments:
        _check_text(argument)
    arguments = _flags_repeated(arguments, schema)

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

    settings = CliApp.run(Cli, cli_args=arguments)
    # Only what was given is passed on, so that `model_fields_set` still tells it from a default.
    given = {name: _at_home(getattr(settings, name)) for name in settings.model_fields_set}
    return schema.model_validate(given)


def _flags_repeated(arguments: list[str], schema: type[BaseModel]) -> list[str]:
    """Write ``--model A B`` as ``--model A --model B``, for options that are lists of files.

    Only where POPULATION stands first: else the last of the words behind them can be it.
    """
    if not arguments or arguments[0].startswith("-"):
        return arguments
    lists = {flag_of(*each) for each in options_of(schema) if each[1].annotation == list[Path]}
    words: list[str] = []
    flag = ""
    for argument in arguments:
        if argument.startswith("-"):
            flag = argument if argument in lists else ""
        elif flag and words[-1] != flag:
            words.append(flag)
        words.append(argument)
    return words


def _check_text(argument: str) -> None:
    """Refuse an argument that stands for no name: as a path, an empty one would be this folder."""
    if not argument or (argument.startswith("--") and argument.endswith("=")):
        raise InputError(f"an argument is empty: {argument or repr(argument)}")
    try:
        argument.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"a name that is no UTF-8, {argument!r}: give the file another") from error


def _at_home(value: Any) -> Any:
    """Expand the ``~`` of paths, which the shell leaves alone in ``--out=~/run`` and in quotes."""
    if isinstance(value, Path):
        try:
            return value.expanduser()
        except RuntimeError as error:  # whose home it is is not known
            raise InputError(f"{value}: there is no such home folder") from error
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


def numbers(text: str, *, smallest: float, largest: float = 1e6) -> list[float]:
    """Read ``FROM:TO``, ``FROM:TO:STEP`` or ``A,B,C``, ends included.

    Raises
    ------
    InputError
        If it is not that, empty, too long, or not all from ``smallest`` to ``largest``.
    """
    try:
        if ":" in text:
            first, last, *more = (float(part) for part in text.split(":"))
            step = more[0] if more else 1.0
            if len(more) > 1 or step <= 0:
                raise ValueError
            count = math.floor((last - first) / step + 1e-9) + 1
            # Seen before they are counted out.
            if count > MOST_NUMBERS:
                raise InputError(f"{text!r} names {count:.3g} numbers, {MOST_NUMBERS} at most")
            found = [first + i * step for i in range(count)]
        else:
            found = sorted({float(part) for part in text.split(",")})
    except InputError:
        raise
    except (ValueError, OverflowError) as error:
        raise InputError(f"{text!r} is neither FROM:TO, FROM:TO:STEP nor a list A,B") from error
    if not found or not all(smallest <= n <= largest for n in found):
        raise InputError(f"{text!r} names no number from {smallest:g} to {largest:g}")
    return found


def _whole(text: str) -> str:
    if any(n != int(n) for n in numbers(text, smallest=1, largest=512)):
        raise InputError(f"numbers of factors are whole: {text!r}")
    return text


LatentDims = Annotated[str, AfterValidator(_whole)]
"""Numbers of factors L, as FROM:TO, FROM:TO:STEP or A,B,C."""


def _problem(error: SettingsError, schema: type[BaseModel]) -> str:
    """Say what the command line cannot be read for; of a flag that is none, which one was meant."""
    said = " ".join(str(error).removeprefix("error parsing CLI: ").split())
    _, unknown, rest = said.partition("unrecognized arguments: ")
    if of_list := re.match(r'error parsing value for field "(\w+)"', said):
        return f"--{of_list[1].replace('_', '-')}: its values, A or A,B,C, cannot be read"
    if not unknown:
        needs = said.endswith("expected one argument")
        return said + (" (what begins with - is given as FLAG=-1)" if needs else "")
    name = next((word for word in rest.split() if word.startswith("-")), "").partition("=")[0]
    if not name:
        return f"one argument too many: {rest}"
    flags = {flag.strip("-"): flag for flag in (flag_of(*each) for each in options_of(schema))}
    meant = name.strip("-").lower().replace("_", "-")
    near = [flag for flag in flags if flag.startswith(meant)] or get_close_matches(meant, flags)
    return f"there is no flag {name}" + (f": did you mean {flags[near[0]]}?" if near else "")


def _plain(error: Any, schema: type[BaseModel]) -> str:
    """Say what is wrong with the value of an option."""
    message, given = error["msg"].removeprefix("Value error, "), error["input"]
    if error["type"] not in ("value_error", "missing") and isinstance(given, str | int | float):
        message += f" (given: {str(given)[:40]})"
    names = [str(part) for part in error["loc"] if not isinstance(part, int)]
    flags = dict((name, flag_of(name, field)) for name, field in options_of(schema))
    return f"{flags.get(names[-1], names[-1])}: {message}" if names else message


def options_of(schema: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the options of a schema by name, those of its sub-commands, too."""
    for name, field in schema.model_fields.items():
        inner = [t for t in get_args(field.annotation) if isinstance(t, type)]
        below = [t for t in inner if issubclass(t, BaseModel)]
        for each in below:
            yield from options_of(each)
        if not below:
            yield name, field


def flag_of(name: str, field: FieldInfo) -> str:
    """Name an option as a person gives it: ``--latent-dim``, or OUT by its place."""
    if POSITIONAL in field.metadata:
        return name.upper()
    return f"--{name.replace('_', '-')}"


def _stop(code: int, message: str) -> NoReturn:
    if len(message) > LONGEST:  # a damaged file that is quoted whole
        message = f"{message[: LONGEST - 4]} ..."
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(code)
