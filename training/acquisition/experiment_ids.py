"""What is an id of an experiment: the service and the files of a selection are asked alike."""

from __future__ import annotations

from typing import Any

import pandas as pd


def whole_numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    """Experiment ids as nullable int64; missing where a value is none."""
    plain = values.where(~values.map(lambda v: isinstance(v, bool)))
    numbers = pd.to_numeric(plain, errors="coerce").astype("float64")
    good = (numbers > 0) & (numbers % 1 == 0) & (numbers < 2**53)
    return numbers.where(good).astype("Int64")
