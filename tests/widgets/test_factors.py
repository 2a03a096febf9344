"""The widget "Factors", in a real napari."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels

from napari_brainvae.denoising.brain_table import brain_table, factors_of
from napari_brainvae.factors.signed_change import signed_change
from napari_brainvae.models.checkpoint import fingerprint
from napari_brainvae.reporting.factor_cards import BRIGHTER, DARKER
from napari_brainvae.widgets.factors import SIGNED
from napari_brainvae.widgets.layers.section_layers import shown_index
from napari_brainvae.widgets.panels.factor_list import DOUBTFUL, FactorList
from tests.factors.descriptions import description
from tests.listeners import callbacks
from tests.widgets.windows import LONG, RECTANGLE, add_atlas, done, endless, open_widget


@pytest.fixture
def factors(viewer, atlas, qtbot):
    add_atlas(viewer, atlas)
    return open_widget(viewer, qtbot, "Factors")


def described(widget, qtbot):
    widget.describe()
    done(widget, qtbot)
    return widget.described


def sentences(widget):
    return [widget.factors.item(i).text() for i in range(widget.factors.count())]
