"""A pandas table in Qt: texts, sorting by values, and what a row says of itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt

from napari_brainvae.widgets.panels.table_model import Column, TableModel

TABLE = pd.DataFrame(
    {
        "id": ["b10", "b9", "a1", "c"],
        "error": [10.0, 9.0, np.nan, np.inf],
        "problem": ["", "too dark", "", ""],
        "strong": [False, True, False, False],
    },
    index=["r0", "r1", "r2", "r3"],
)
COLUMNS = [Column("id", "brain", tooltip="Which."), Column("error", "error", "{:.1f} %")]
UP, DOWN = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder


@pytest.fixture
def model(qtmodeltester):
    model = TableModel(COLUMNS, tooltip="problem")
    model.show_table(TABLE)
    yield model
    qtmodeltester.check(model)


def texts(model, column):
    return [model.index(row, column).data() for row in range(model.rowCount())]


def test_cells_rows_and_columns_say_what_the_table_says(model):
    assert texts(model, 0) == ["b10", "b9", "a1", "c"]
    assert texts(model, 1) == ["10.0 %", "9.0 %", "–", "–"]
    assert model.index(1, 0).data(Qt.ItemDataRole.ToolTipRole) == "too dark"
    assert model.index(1, 1).data(Qt.ItemDataRole.FontRole).bold()
    assert model.index(0, 1).data(Qt.ItemDataRole.ToolTipRole) is None
    assert model.index(0, 1).data(Qt.ItemDataRole.FontRole) is None
    assert model.headerData(1, Qt.Orientation.Horizontal) == "error"
    tip = model.headerData(0, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole)
    assert tip == "Which."
    assert model.headerData(2, Qt.Orientation.Vertical) == "r2"


@pytest.mark.parametrize(
    ("column", "order", "expected"),
    [
        (0, UP, [2, 0, 1, 3]),
        (0, DOWN, [3, 1, 0, 2]),
        (1, UP, [1, 0, 3, 2]),
        (1, DOWN, [3, 0, 1, 2]),
    ],
)
def test_rows_are_sorted_by_values_nan_last(model, column, order, expected):
    selected = model.index(1, 0)
    model.sort(0, DOWN)
    model.sort(column, order)
    assert [model.position(row) for row in range(4)] == expected
    assert texts(model, 0) == TABLE["id"].iloc[expected].tolist()
    assert model.headerData(0, Qt.Orientation.Vertical) == f"r{expected[0]}"
    row = expected.index(1)
    assert model.index(row, 0).data(Qt.ItemDataRole.ToolTipRole) == "too dark", "rows stay whole"
    assert selected.model() is model


def test_a_selected_row_stays_selected_where_it_goes(model, qtbot):
    from qtpy.QtWidgets import QTableView

    view = QTableView()
    qtbot.addWidget(view)
    view.setModel(model)
    view.selectRow(1)
    model.sort(1, DOWN)
    [index] = {each.row() for each in view.selectedIndexes()}
    assert model.position(index) == 1
    view.setModel(None)


def test_equals_stay_as_they_were():
    model = TableModel([Column("x", "x")])
    model.show_table(pd.DataFrame({"x": [1, 0, 1, 0]}))
    for order, expected in ((UP, [1, 3, 0, 2]), (DOWN, [0, 2, 1, 3])):
        model.show_table(pd.DataFrame({"x": [1, 0, 1, 0]}))
        model.sort(0, order)
        assert [model.position(row) for row in range(4)] == expected


def test_what_a_table_lacks_is_empty_and_nothing_is_nothing():
    model = TableModel([*COLUMNS, Column("absent", "absent")])
    model.sort(0)
    assert model.rowCount() == 0
    model.show_table(TABLE)
    assert texts(model, 2) == ["–"] * 4
    model.show_table(None)
    assert (model.rowCount(), model.columnCount()) == (0, 3)
