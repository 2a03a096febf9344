"""The signed change per SD, where it starts, and how much of it lies in which region."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from napari_brainvae.factors.signed_change import (
    change_by_region,
    code_spread,
    overlap_of_place,
    signed_change,
)


def test_it_starts_where_it_is_told(run_folder):
    from napari_brainvae.models.checkpoint import load_checkpoint

    model = load_checkpoint(run_folder / "model.safetensors")
    z0 = np.array([1.0, -0.5, 0.2, 2.0], np.float32)
    step = np.zeros(4, np.float32)
    step[2] = code_spread(model)[2]
    low, high = model.decode(np.stack([z0 - step, z0 + step]))
    assert_allclose(signed_change(model, 2, z0=z0)[0], (high - low) / 2, atol=1e-6)
    assert not np.allclose(signed_change(model, 2, z0=z0), signed_change(model, 2), atol=1e-6)


def test_shares_of_a_change_by_region():
    change = np.zeros((4, 5), np.float32)
    change[0], change[1], change[3] = 0.2, -0.1, 9.0  # the last row is no tissue
    tissue = np.ones((4, 5), bool)
    tissue[3] = False
    rows = {name: np.zeros((4, 5), bool) for name in ("top", "both", "none")}
    rows["top"][0], rows["both"][:2], rows["none"][2] = True, True, True
    table = change_by_region(change, rows, tissue=tissue)
    assert list(table.index) == ["top", "both", "none"]
    assert_allclose(table["share"], [2 / 3, 1, 0])
    assert_allclose(table["mean"], [0.2, 0.05, 0], atol=1e-7)
    assert_allclose(table["area"], [1 / 3, 2 / 3, 1 / 3])
    assert_allclose(
        change_by_region(-change, rows, tissue=tissue)["mean"], [-0.2, -0.05, 0], atol=1e-7
    )
    nothing = change_by_region(np.zeros_like(change), rows)
    assert nothing["share"].isna().all() and (nothing["mean"] == 0).all()
    assert change_by_region(change, rows).loc["top", "share"] == pytest.approx(1 / 46.5)


def test_two_sides_of_a_border_are_one_place_and_two_regions_are_two():
    rows, columns = np.mgrid[:100, :100]

    def spot(row, column):
        return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18)

    brighter, moved = spot(30, 30), spot(29, 30) - spot(31, 30)
    overlap = overlap_of_place(np.stack([brighter, moved, spot(70, 70), 0 * brighter]))
    assert overlap[0, 1] > 0.5
    assert overlap[0, 2] < 1e-6
    assert_allclose(np.diag(overlap), [1, 1, 1, 0])
    assert_allclose(overlap, overlap.T)
