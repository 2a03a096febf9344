"""What is asked of the record of training in a checkpoint; it may say much more."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from napari_brainvae.io.errors import InputError


class _FitOptions(BaseModel):
    beta: float | None = Field(None, ge=0, allow_inf_nan=False, strict=True)
    loss: Literal["gaussian", "bernoulli"] | None = None
    recipe: Literal["paper", "fast", "displacing"] | None = None


class _Record(BaseModel):
    options: _FitOptions = _FitOptions()
    data: dict[str, Any] = {}
    held_out: list[str] | None = None


def check_training_record(record: dict[str, Any]) -> None:
    """Refuse a record whose known entries are not what those who read them expect.

    Raises
    ------
    InputError
        With the entry.
    """
    try:
        _Record.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("training", *first["loc"])))
        raise InputError(f"{place}: {first['msg']}") from None
