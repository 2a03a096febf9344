"""How far a brain lies from what its covariates predict."""

from __future__ import annotations

import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import kstest, linregress, norm, t

from napari_brainvae.io.errors import InputError
from napari_brainvae.statistics.deviation import deviations, overall, write_pcntoolkit


@pytest.fixture
def mice(rng):
    return pd.DataFrame({"age": rng.normal(60, 3, 120), "sex": rng.choice(["F", "M"], 120)})


def test_z_is_standard_normal_where_the_model_holds(rng, mice):
    line = 0.3 * mice["age"] + (mice["sex"] == "F")
    values = pd.DataFrame(rng.normal(size=(120, 5)) + line.to_numpy()[:, None])
    z = deviations(values, mice)
    for column in z:
        assert kstest(z[column], norm.cdf).pvalue > 0.001


def test_leaving_one_out_is_the_textbook_prediction(rng):
    mice = pd.DataFrame({"age": rng.normal(size=20)})
    values = pd.DataFrame({"F1": mice["age"] + rng.normal(size=20)})
    z = deviations(values, mice, folds=20)
    x, y = mice["age"].to_numpy(), values["F1"].to_numpy()
    rest = np.arange(1, 20)
    line = linregress(x[rest], y[rest])
    left = y[rest] - line.slope * x[rest] - line.intercept
    spread = np.sqrt(np.square(left).sum() / 17)
    reach = 1 / 19 + (x[0] - x[rest].mean()) ** 2 / np.square(x[rest] - x[rest].mean()).sum()
    found = (y[0] - line.slope * x[0] - line.intercept) / (spread * np.sqrt(1 + reach))
    assert z["F1"].iloc[0] == pytest.approx(norm.ppf(t.cdf(found, 17)))


def test_an_odd_brain_stands_out_and_is_not_predicted_by_itself(rng, mice):
    values = pd.DataFrame(rng.normal(size=(120, 3)) + mice[["age"]].to_numpy())
    values.iloc[7] += 6
    z = deviations(values, mice[["age"]])
    assert overall(z).idxmax() == 7
    assert z.iloc[7].min() > 3


def test_what_is_not_known_has_no_z(rng, mice):
    values = pd.DataFrame(rng.normal(size=(120, 2)))
    values.iloc[3, 1] = np.nan
    mice.loc[5, "age"] = np.nan
    z = deviations(values, mice)
    assert np.flatnonzero(z.isna().any(axis=1)).tolist() == [3, 5]
    assert np.isnan(overall(z)[3])


def test_without_covariates_the_mean_predicts(rng):
    values = pd.DataFrame(rng.normal(size=(50, 1)))
    z = deviations(values, pd.DataFrame(index=values.index))
    assert np.corrcoef(z[0], values[0])[0, 1] > 0.99


def test_too_few_brains_are_said_to_be_so(rng, mice):
    with pytest.raises(InputError, match="3 brains are too few to predict them from age, sex"):
        deviations(pd.DataFrame(rng.normal(size=(3, 1))), mice.iloc[[0, 1, 2]])


def test_the_table_for_pcntoolkit_is_called_as_its_script_says(tmp_path, monkeypatch, rng, mice):
    values = pd.DataFrame(rng.normal(size=(120, 2)), columns=["F1", "SSp"])
    values.index = [f"{i:03d}" for i in range(120)]
    values.index.name = "id"
    known = mice.assign(run=np.repeat(["a", "b"], 60)).set_axis(values.index, axis=0)
    known.iloc[4, 0] = np.nan
    write_pcntoolkit(tmp_path / "pcntoolkit.csv", values, known, ["run"])
    asked = {}
    fake = SimpleNamespace(
        NormData=SimpleNamespace(from_dataframe=lambda **given: asked.update(given))
    )
    monkeypatch.setitem(sys.modules, "pcntoolkit", fake)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("pcntoolkit.py")
    table = asked["dataframe"]
    assert asked["covariates"] == ["age", "sex_M"]
    assert asked["batch_effects"] == ["run"]
    assert asked["response_vars"] == ["F1", "SSp"]
    assert len(table) == 119
    assert table[asked["subject_ids"]].iloc[0] == "000"
    columns = [*asked["covariates"], *asked["batch_effects"], *asked["response_vars"]]
    assert not table[columns].isna().any().any()
    assert_allclose(table["sex_M"], (known["sex"] == "M").drop("004"))
