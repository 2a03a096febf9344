"""What models are called in tables and figures."""

from __future__ import annotations

import numpy as np

from tests.linear_model import LinearModel
from training.interpretation.inputs import name_models


def test_models_of_one_kind_are_called_by_their_runs(tmp_path):
    """A figure does not say where on whose disk a model lies, unless it has to."""
    model = LinearModel(np.zeros((2, 64, 64)))
    runs = [tmp_path / name / "model.safetensors" for name in ("first", "second", "more/second")]
    names = [*name_models(dict.fromkeys(runs, model))]
    assert names == ["LinearModel first", f"LinearModel {runs[1]}", f"LinearModel {runs[2]}"]
    assert [*name_models({runs[0]: model})] == ["LinearModel"]
