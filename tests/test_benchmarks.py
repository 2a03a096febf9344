"""What the denoising benchmark concludes from its table; the measures have tests of their own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.denoising import (
    COLUMNS,
    ROBUST,
    TRIMMED,
    against_pca,
    claims,
    interval,
    read_table,
    verdict,
)
from napari_brainvae.data.artifacts import ARTIFACTS
from training.evaluation.comparison import FAMILIES
from training.evaluation.held_out_metrics import ERROR, INSIDE

SETTING = "drawn, 4 brains"


def table_of(errors: dict[str, float], metrics=(ERROR,)) -> pd.DataFrame:
    """Five seeds, in which what a brain of that seed costs every model is larger than the gaps."""
    rows = [
        (SETTING, seed, model + how, metric, kind, (error + 10 * seed) * 1e-4)
        for seed in range(5)
        for model, error in errors.items()
        for how in ("", ROBUST)
        for metric in metrics
        for kind in ARTIFACTS[metric == INSIDE :]
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_interval_is_that_of_student():
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == pytest.approx(2)
    assert half == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)


@pytest.mark.parametrize(
    ("differences", "higher_is_better", "expected"),
    [
        ([1.0, 1.1, 0.9], True, "confirmed"),
        ([1.0, 1.1, 0.9], False, "refuted"),
        ([-1.0, -1.1, -0.9], True, "refuted"),
        ([-1.0, -1.1, -0.9], False, "confirmed"),
        ([1.0, -1.0, 0.5], True, "undecided"),
        ([0.0, 0.0, 0.0], True, "undecided"),
        ([1.0], True, "undecided"),  # one seed says nothing of others
    ],
)
def test_a_claim_needs_the_whole_interval(differences, higher_is_better, expected):
    assert verdict(differences, higher_is_better) == expected


def test_claims_are_judged_in_pairs():
    beta_vae, vae, pca = FAMILIES
    errors = {beta_vae: 7.0, vae: 7.0, pca: 8.0, TRIMMED: 6.0}
    found = claims(table_of(errors, (ERROR, INSIDE)))
    for how in ("", ROBUST):
        for kind in ARTIFACTS:
            assert found.loc[(f"{beta_vae + how} > {vae + how}", ERROR), kind] == "undecided"
            assert found.loc[(f"{vae + how} > {pca + how}", ERROR), kind] == "confirmed"
            assert found.loc[(f"{beta_vae + how} > {TRIMMED + how}", ERROR), kind] == "refuted"
        inside = found.loc[(f"{beta_vae + how} > {pca + how}", INSIDE)]
        assert inside.tolist() == ["", "confirmed", "confirmed", "confirmed"]


def test_ratio_is_taken_seed_by_seed():
    table = table_of({"PCA": 8.0, "VAE": 4.0})
    table.loc[table["model"] == "VAE", "value"] = (
        table.loc[table["model"] == "PCA", "value"].to_numpy() / 2
    )
    assert (against_pca(table).loc["VAE"] == "0.50 ± 0.00").all()


def test_a_table_is_read_back(tmp_path):
    path = tmp_path / "table.csv"
    assert read_table(path, SETTING).empty
    table = table_of({"PCA": 8.0})
    table.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_table(path, SETTING), table)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"seed": [0], "error": [1.0]}), "no table of this version"),
        (table_of({"PCA": 8.0}).assign(setting="drawn, 5 brains"), "holds other runs"),
    ],
)
def test_rows_of_other_runs_are_not_mixed_in(tmp_path, table, message):
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    with pytest.raises(ValueError, match=message):
        read_table(path, SETTING)
