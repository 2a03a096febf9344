"""What a person can put right, told apart from what is a bug."""

from __future__ import annotations

import gzip
import struct
import tokenize
import zipfile
import zlib
from typing import TypeVar

Value = TypeVar("Value")


class InputError(ValueError):
    """A file, an option or an array that cannot be used, with a sentence for a human.

    Commands end with that sentence and exit code 2, and the widgets show it. Any other exception is
    a bug and is shown as one.

    Examples
    --------
    >>> from napari_brainvae.models.checkpoint import load_checkpoint
    >>> try:
    ...     load_checkpoint(__file__)
    ... except InputError as error:
    ...     print("a person can put this right")
    a person can put this right
    """


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that is named and not there: bad input, and to Python what it calls so."""


def present(value: Value | None, what: str) -> Value:
    """Give what must be there by now; where it is not, that is a bug, which is said in its words.

    Raises
    ------
    RuntimeError
        If it is None.
    """
    if value is None:
        raise RuntimeError(f"{what}: there is none yet")
    return value


DAMAGED = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    SystemError,  # Python's, of text with characters that there are not
    AssertionError,
    EOFError,
    MemoryError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
    gzip.BadGzipFile,
    zipfile.BadZipFile,
)
"""What decoders raise when the bytes that they are given make no sense."""
