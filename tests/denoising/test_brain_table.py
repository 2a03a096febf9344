"""The list of brains: every number by hand, and what cannot be used has its reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.brain_table import brain_table, factors_of
from napari_brainvae.denoising.reconstruction import reconstruct_section
from napari_brainvae.io.progress import Stopped
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.header import Reference


@pytest.fixture
def model(run_folder):
    return load_checkpoint(run_folder / "model.safetensors")


def test_each_row_is_what_the_brain_itself_says(model, population):
    table = brain_table(model, population)
    assert table.index.tolist() == population.ids
    for index in (0, 7, 16, 23):
        row, look = table.iloc[index], reconstruct_section(model, population, index)
        plain = reconstruct_section(model, population, index, robust=False)
        np.testing.assert_allclose(row["squared_error"], plain.error, rtol=1e-4)
        np.testing.assert_allclose(row["kl_divergence"], plain.kl, rtol=1e-4)
        np.testing.assert_allclose(
            row[["F1", "F2", "F3", "F4"]].astype(float), look.mean, atol=1e-5
        )
        assert row["unusual"] == row["robust"] == look.outlier
    assert (table["problem"] == "").all()
    assert table["unusual"].dtype == bool
    assert (table["unusual"] == (table["deviation"] > 4)).all()


def test_deviation_is_the_larger_of_two_in_spreads():
    reference = Reference.measure(np.arange(11.0), np.zeros((11, 2)), np.zeros((11, 2)))
    reference.kl_median, reference.kl_spread = 10, 2
    spread = 3 * 1.4826
    deviation = reference.deviation([5, 5 + spread, 5, 5 - spread], [10, 10, 16, 8])
    np.testing.assert_allclose(deviation, [0, 1, 3, -1])
    assert reference.is_outlier(5, 18.1)
    assert not reference.is_outlier(5, 17.9)


@pytest.mark.parametrize("spread", [0.0, 1e-300])
def test_brains_that_are_all_alike_leave_no_spread_to_divide_by(spread):
    reference = Reference.measure(np.ones(5), np.zeros((5, 2)), np.zeros((5, 2)))
    reference.error_spread = spread
    assert reference.is_outlier([1.0, 1.1], [0.0, 0.0]).tolist() == [False, True]
    assert np.isfinite(reference.deviation([1.0, 1.1], [0.0, 0.0])).all()


def test_without_a_reference_nothing_is_called_unusual(model, population):
    model.header.reference = None
    columns = ["squared_error", "kl_divergence", "F1", "F2", "F3", "F4", "problem", "robust"]
    assert list(brain_table(model, population)) == columns


def test_brains_that_cannot_be_used_are_in_the_list_with_the_reason(model, population):
    images = population.sections()
    expected = brain_table(model, Population(images.copy(), population.ids))
    images[3], images[20, 5, 5] = 7, np.nan
    table = brain_table(model, Population(images, population.ids))
    assert f"'{population.ids[3]}' holds one constant value" in table["problem"].iloc[3]
    assert "NaN" in table["problem"].iloc[20]
    assert table.drop(columns=["problem", "unusual", "robust"]).iloc[[3, 20]].isna().all(axis=None)
    assert not table["unusual"].iloc[[3, 20]].any()
    good = [i for i in range(24) if i not in (3, 20)]
    pd.testing.assert_frame_equal(table.iloc[good], expected.iloc[good], rtol=1e-4, atol=1e-6)


def test_the_codes_of_an_outlier_are_those_without_its_artifact(model, population):
    images = population.sections()
    intact = brain_table(model, Population(images.copy(), population.ids), robust=False)
    images[5, 20:45, 45:75] = 0
    torn = Population(images, population.ids)
    table, plain = brain_table(model, torn), brain_table(model, torn, robust=False)
    assert table.columns[-1] == "robust"
    assert table["robust"].iloc[5]
    assert table["robust"].equals(table["unusual"].rename("robust"))
    assert not plain["robust"].any()
    error = [
        np.abs(factors_of(t).iloc[5] - factors_of(intact).iloc[5]).max() for t in (table, plain)
    ]
    assert error[0] < 0.5 * error[1]
    others = ~table["robust"]
    pd.testing.assert_frame_equal(table[others], plain[others])
    assert brain_table(model, torn, robust=True)["robust"].all()


def test_it_stops_within_a_batch_of_outliers(model, population):
    asked = []

    def until_the_third(done, total):
        asked.append((done, total))
        return len(asked) < 3

    with pytest.raises(Stopped):
        brain_table(model, population, robust=True, progress=until_the_third)
    assert asked == [(0, 24)] * 3


def test_when_nothing_can_be_used_or_fits_it_says_so(model, population):
    with pytest.raises(ValueError, match="no section can be used: section '0000' holds one"):
        brain_table(model, Population(np.ones((20, 64, 80))))
    with pytest.raises(ValueError, match="do not fit a model for 64 x 80 px"):
        brain_table(model, Population(np.ones((2, 128, 80))))
    with pytest.raises(Stopped):
        brain_table(model, population, progress=lambda done, total: done < 16)
