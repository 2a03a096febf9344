"""From one pydantic schema to one command: flags, help, exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from napari_brainvae.io.errors import InputError

Options = TypeVar("Options", bound=BaseModel)

BUG = 1
BAD_INPUT = 2
INTERRUPTED = 130


def main(
    schema: type[Options],
    run: Callable[[Options], Any],
    *,
    program: str,
    arguments: Sequence[str] | None = None,
) -> None:
    """Read the command line into ``schema``, call ``run``, and end with an honest exit code.

    The schema's docstring is the command's description, its fields are the flags (kebab-case)
    with their help, bounds and defaults. Bad input (`InputError`, or what the system says of a
    file) ends with one line on stderr and exit code 2, an interruption with exit code 130. Anything
    else is a bug: it keeps its traceback and ends with a line that asks for a report, exit code 1.

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
    try:
        options = parse(schema, program, arguments)
    except ValidationError as error:
        _stop(BAD_INPUT, "; ".join(_plain(e) for e in error.errors()))
    try:
        run(options)
    except (InputError, OSError) as error:
        _stop(BAD_INPUT, " ".join(str(error).split()))
    except KeyboardInterrupt:
        _stop(INTERRUPTED, "interrupted")
    except Exception:
        traceback.print_exc()
        _stop(BUG, f"a bug of {program}, not yours: please report it with the lines above")


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
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return schema.model_validate(given)


def _plain(error: Any) -> str:
    place = ".".join(str(p) for p in error["loc"]).replace("_", "-")
    message = error["msg"].removeprefix("Value error, ")
    return f"--{place}: {message}" if place else message


def _stop(code: int, message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(code)
