"""The loss curve of a fit: labelled axes, which can be read in both themes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from napari._qt.qt_resources import get_stylesheet
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage

from napari_brainvae.widgets.panels.fit_progress import LossCurve

HISTORY = tuple((10.0 * i, 812.3 / i, 0.42 * i) for i in range(1, 16))
WIDTHS = (300, 420, 540)


@pytest.fixture
def curve(qtbot):
    curve = LossCurve()
    qtbot.addWidget(curve)
    curve.show_history(HISTORY)
    return curve


def sized(curve, width):
    curve.resize(width, curve.sizeHint().height())
    return curve


def pixels(curve):
    image = curve.grab().toImage().convertToFormat(QImage.Format.Format_RGBA8888)
    data = image.constBits()
    data.setsize(image.sizeInBytes())
    return np.frombuffer(data, np.uint8).reshape(image.height(), image.width(), 4)[..., :3].copy()


def luminance(colour):
    """Relative luminance of sRGB, as WCAG has it."""
    share = np.asarray(colour) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(drawn, background):
    """Of what differs most from the background, 1 to 21."""
    strongest = drawn.flat[np.abs(drawn - background).argmax()]
    light, dark = max(strongest, background), min(strongest, background)
    return (light + 0.05) / (dark + 0.05)


def test_axes_say_what_they_are_and_where_they_end(curve):
    said = [text for _, _, text in sized(curve, 340).labels()]
    assert said == [
        "— squared error of a section",
        "··· KL, nats",
        *("812", "54.2"),
        *("6.3", "0.42"),
        *("10", "step", "150"),
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_labels_lie_inside_and_not_over_each_other(curve, width):
    metrics = sized(curve, width).fontMetrics()
    places = [
        metrics.boundingRect(rect.toRect(), int(side), text) for rect, side, text in curve.labels()
    ]
    assert all(curve.rect().contains(place) for place in places)
    assert not any(a.intersects(b) for a, b in combinations(places, 2))


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_label_can_be_read(curve, theme):
    # It draws on what lies behind it.
    curve.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
    sized(curve, 340).setStyleSheet(get_stylesheet(theme))
    curve.ensurePolished()
    drawn = luminance(pixels(curve))
    background = np.median(drawn)
    # Thin strokes are mixed with what lies behind them: the axes are drawn in the full colour.
    assert contrast(drawn, background) > 4.5
    for rect, side, text in curve.labels():
        place = curve.fontMetrics().boundingRect(rect.toRect(), int(side), text)
        part = drawn[place.top() : place.bottom(), place.left() : place.right()]
        assert contrast(part, background) > 1.5, text


def test_one_step_is_no_curve(curve):
    curve.show_history(HISTORY[:1])
    assert not curve.isVisibleTo(curve.parentWidget())
    curve.show_history(((5.0, 2.0, 1.0), (10.0, 2.0, 1.0)))  # nothing changes
    sized(curve, 340).grab()
