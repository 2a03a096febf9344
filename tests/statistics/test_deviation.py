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


def read_as_pcntoolkit(folder, monkeypatch):
    """What the script asks of `NormData.from_dataframe`, which was read in PCNtoolkit 1.3.0.

    It takes these columns of the table, looks for a covariate whether there is one or not, and
    makes text of the batches.
    """
    asked = {}

    def from_dataframe(*, name, dataframe, covariates, batch_effects, response_vars, subject_ids):
        columns = [*covariates, *response_vars, *batch_effects, subject_ids]
        assert covariates
        assert response_vars
        assert len(set(columns)) == len(columns) == dataframe[columns].shape[1]
        assert not dataframe[columns].isna().any(axis=None)
        assert (dataframe[[*covariates, *response_vars]].dtypes == np.float64).all()
        assert dataframe[subject_ids].is_unique
        asked.update(locals())

    fake = SimpleNamespace(NormData=SimpleNamespace(from_dataframe=from_dataframe))
    monkeypatch.setitem(sys.modules, "pcntoolkit", fake)
    monkeypatch.chdir(folder)
    runpy.run_path("pcntoolkit.py")
    return asked


@pytest.fixture
def measured(rng):
    values = pd.DataFrame(rng.normal(size=(120, 2)), columns=["F1", "SSp"])
    values.index = pd.Index([f"{i:03d}" for i in range(120)], name="id")
    return values


def test_the_table_for_pcntoolkit_is_called_as_its_script_says(
    tmp_path, monkeypatch, measured, mice
):
    known = mice.assign(run=np.repeat(["1", "2"], 60)).set_axis(measured.index, axis=0)
    known.iloc[4, 0] = np.nan
    write_pcntoolkit(tmp_path / "pcntoolkit.csv", measured, known, ["run"])
    asked = read_as_pcntoolkit(tmp_path, monkeypatch)
    table = asked["dataframe"]
    assert asked["covariates"] == ["age", "sex_M"]
    assert asked["batch_effects"] == ["run"]
    assert asked["response_vars"] == ["F1", "SSp"]
    assert len(table) == 119
    assert table[asked["subject_ids"]].iloc[0] == "000"
    assert set(table["run"]) == {"1", "2"}
    assert_allclose(table["sex_M"], (known["sex"] == "M").drop("004"))
    assert_allclose(table[["F1", "SSp"]], measured.drop("004"))


@pytest.mark.parametrize("batches", [[], ["run"]])
def test_pcntoolkit_is_given_a_covariate_though_none_was_named(
    tmp_path, monkeypatch, measured, batches
):
    known = pd.DataFrame({"run": ["a", "b"] * 60}, measured.index)[batches]
    write_pcntoolkit(tmp_path / "pcntoolkit.csv", measured, known, batches)
    asked = read_as_pcntoolkit(tmp_path, monkeypatch)
    assert asked["covariates"] == ["constant"]
    assert set(asked["dataframe"]["constant"]) == {1.0}
    assert asked["batch_effects"] == batches
    assert "inscaler='none'" in (tmp_path / "pcntoolkit.py").read_text()


def test_a_covariate_with_the_name_of_a_value_has_another_one(
    tmp_path, monkeypatch, measured, mice
):
    known = mice.rename(columns={"age": "F1", "sex": "subject_ids"}).set_axis(
        measured.index, axis=0
    )
    write_pcntoolkit(tmp_path / "pcntoolkit.csv", measured, known, ["subject_ids"])
    asked = read_as_pcntoolkit(tmp_path, monkeypatch)
    assert asked["covariates"] == ["covariate_F1"]
    assert asked["batch_effects"] == ["covariate_subject_ids"]
    assert_allclose(asked["dataframe"]["F1"], measured["F1"])
