"""Shares of a field by region, sorted as they were while the field is refined."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_brainvae.factors.projective_field import field_by_region
from napari_brainvae.widgets.panels.share_table import ShareTable


@pytest.fixture
def fields():
    """Two regions; all of the first field lies in B, all of the second in A."""
    masks = {name: np.zeros((4, 4), bool) for name in "AB"}
    masks["A"][:2], masks["B"][2:] = True, True
    maps = [np.broadcast_to(masks[name], (1, 3, 4, 4)).astype(np.float32) for name in "BA"]
    return [field_by_region(each, masks, [0]) for each in maps]


def regions(table):
    model = table.model()
    return [model.headerData(i, Qt.Orientation.Vertical) for i in range(model.rowCount())]


def test_regions_keep_their_order_until_another_is_chosen(qtbot, fields):
    table = ShareTable()
    qtbot.addWidget(table)
    table.fill(fields[0])
    assert regions(table) == ["A", "B"]
    assert [table.model().index(i, 0).data() for i in range(2)] == ["0.0 %", "100.0 %"]
    table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    assert regions(table) == ["B", "A"]
    table.fill(fields[1])
    assert regions(table) == ["A", "B"], "sorted again"
    table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert regions(table) == ["B", "A"]
    table.fill(None)
    assert regions(table) == []
