"""Shares of a field by region: sorted, named in full, with what is left out; a click chooses."""

from __future__ import annotations

import pandas as pd
import pytest
from qtpy.QtCore import Qt

from napari_brainvae.factors.field_refinement import Shares
from napari_brainvae.factors.projective_field import PARTS
from napari_brainvae.widgets.panels.share_table import ShareTable

NAMES = {
    "SSp-bfd2/3": "Primary somatosensory area, barrel field, layer 2/3",
    "TH": "Thalamus",
}


@pytest.fixture
def table(qtbot):
    table = ShareTable()
    qtbot.addWidget(table)
    table.resize(320, 400)
    table.show()
    return table


def change(first: float, second: float, rest: float | None = 20.0) -> Shares:
    listed = pd.DataFrame(
        {"share": [first, second], "mean": [1.5, -2.5], "area": [10.0, 30.0]}, index=list(NAMES)
    ).assign(structure=list(NAMES.values()))
    elsewhere = pd.Series({"share": rest, "mean": -0.4, "area": 60.0})
    return Shares(listed, None if rest is None else elsewhere)


def regions(table):
    model = table.shares
    return [model.headerData(i, Qt.Orientation.Vertical) for i in range(model.rowCount())]


def cells(table, row):
    return [table.shares.index(row, i).data() for i in range(table.shares.columnCount())]


def test_regions_keep_their_order_until_another_is_chosen(table):
    table.fill(change(10.0, 70.0))
    assert regions(table) == ["SSp-bfd2/3", "TH"]
    assert cells(table, 1) == ["TH: Thalamus", "70.0", "-2.5", "30.0"]
    table.view.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    assert regions(table) == ["TH", "SSp-bfd2/3"]
    table.fill(change(60.0, 20.0))
    assert regions(table) == ["SSp-bfd2/3", "TH"], "sorted again"
    table.view.sortByColumn(2, Qt.SortOrder.AscendingOrder)
    assert regions(table) == ["TH", "SSp-bfd2/3"], "by sign, too"
    table.fill(None)
    assert regions(table) == [] and table.rest.text() == ""


def test_what_the_listed_regions_leave_out_is_said(table):
    table.fill(change(10.0, 70.0))
    assert "share 20.0 %, change -0.4 % (area 60.0 %)" in table.rest.text()
    table.fill(change(30.0, 70.0, rest=None))
    assert "all of the section's tissue" in table.rest.text()


def test_names_are_whole_in_a_narrow_panel(table):
    table.fill(change(10.0, 70.0))
    name = table.view.visualRect(table.shares.index(0, 0))
    text = cells(table, 0)[0]
    lines = table.view.fontMetrics().boundingRect(
        0, 0, name.width() - 8, 1000, int(Qt.TextFlag.TextWordWrap), text
    )
    assert lines.height() <= name.height() and lines.width() <= name.width()
    assert NAMES["SSp-bfd2/3"] in table.shares.index(0, 1).data(Qt.ItemDataRole.ToolTipRole)
    right = table.view.visualRect(table.shares.index(0, 3)).right()
    assert right <= table.view.viewport().width(), "no number is cut off"


def test_a_click_chooses_the_region_of_the_row_on_show(table, qtbot):
    table.fill(change(10.0, 70.0))
    table.view.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    where = table.view.visualRect(table.shares.index(0, 1)).center()
    with qtbot.waitSignal(table.chosen) as told:
        qtbot.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert told.args == ["TH"]


def test_the_paper_s_map_has_a_column_for_each_part(table):
    listed = pd.DataFrame({part: [10.0, 60.0] for part in PARTS}, index=list(NAMES))
    listed = listed.assign(area=[5.0, 25.0], structure=list(NAMES.values()))
    rest = pd.Series({**dict.fromkeys(PARTS, 30.0), "area": 70.0})
    table.fill(change(10.0, 70.0))
    table.view.sortByColumn(2, Qt.SortOrder.AscendingOrder)
    table.fill(Shares(listed, rest), signed=False)
    titles = [column.title for column in table.shares.columns]
    assert titles == ["structure", "c>0", "c<0", "large", "area"]
    assert regions(table) == list(NAMES), "another table begins in its own order"
    assert "c>0 30.0 %, c<0 30.0 %, large 30.0 % (area 70.0 %)" in table.rest.text()
