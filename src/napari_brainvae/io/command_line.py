"""The command line that does what options say: what a panel hands on, and what it runs."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel
from pydantic_settings import CliPositionalArg

POSITIONAL = get_args(CliPositionalArg[str])[1]
"""What an option is annotated with that is given by its place, without a flag."""


def command_words(verb: str, options: BaseModel) -> list[str]:
    """Give the words of ``brainvae VERB`` with the options that were set.

    Examples
    --------
    >>> from napari_brainvae.models.fit_options import FitOptions
    >>> command_words("fit", FitOptions(population="p.zarr", out="run", latent_dim=6))
    ['brainvae', 'fit', 'p.zarr', '--out', 'run', '--latent-dim', '6']
    """
    words, flags = ["brainvae", verb], list[str]()
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        if POSITIONAL in field.metadata:
            words += map(str, value if isinstance(value, list) else [value])
        elif name in options.model_fields_set and value is not None and value is not False:
            flag = f"--{name.replace('_', '-')}"
            flags += [flag] if value is True else [flag, str(value)]
    return words + flags
