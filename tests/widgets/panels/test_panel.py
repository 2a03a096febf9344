"""What all panels have in common, in one real window: they fit, can be read, explain themselves."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from napari.settings import get_settings
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices, QImage
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QDockWidget,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollBar,
    QTabBar,
    QToolButton,
    QWidget,
)

import napari_brainvae
from napari_brainvae.widgets.layers.plugin_layers import camera
from napari_brainvae.widgets.panels.mark_bar import MarkBar
from napari_brainvae.widgets.panels.panel import BAR, PAGES, WIDEST, Panel
from napari_brainvae.widgets.workers import warning
from tests.widgets.windows import PLUGIN

MANIFEST = Path(napari_brainvae.__file__).parent / "napari.yaml"
NAMES = [
    each["display_name"]
    for each in yaml.safe_load(MANIFEST.read_text())["contributions"]["widgets"]
]
DOCS = Path(__file__).parents[3] / "docs"
LEFT = Qt.MouseButton.LeftButton
CONTROLS = (
    QAbstractButton,
    QComboBox,
    QAbstractSlider,
    QAbstractSpinBox,
    QLineEdit,
    QAbstractItemView,
)


@pytest.fixture
def window(make_napari_viewer, qtbot):
    """All panels, opened one after the other in a window of a small laptop; nothing loaded."""
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1366, 700)
    panels = []
    for name in NAMES:
        panels.append(viewer.window.add_plugin_dock_widget(PLUGIN, name)[1])
        qtbot.waitUntil(lambda: dock(panels[-1]).windowTitle() == panels[-1].tab)
    return viewer, panels


def dock(panel) -> QDockWidget:
    above = panel
    while not isinstance(above, QDockWidget):
        above = above.parent()
    return above


def test_panels_explain_themselves(window, qtbot, monkeypatch):
    """Every control by a tip, every panel by a page of the docs, and what to do first."""
    _, panels = window
    silent = [
        f"{panel.tab}: {type(each).__name__}"
        for panel in panels
        for each in panel.findChildren(CONTROLS)
        if not _explained(each)
    ]
    assert not silent, "; ".join(silent)

    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    for panel in panels:
        panel._help.click()
        text = (DOCS / "panels" / f"{panel.page}.md").read_text("utf-8")
        assert len(text) > 500
        for picture in re.findall(r"\]\((\.\./images/[^)]+)\)", text):
            assert (DOCS / "panels" / picture).resolve().is_file(), picture
    assert opened == [QUrl(f"{PAGES}/{panel.page}.md") for panel in panels]

    for panel in panels:
        assert panel._first.text() == panel.first
        assert not panel._samples.isHidden()
        said = [label.text() for label in panel.findChildren(QLabel)]
        assert warning("") not in said, "a mark of what is wrong, and no word"


def test_all_panels_fit_a_laptop_and_can_be_read(window, qtbot):
    viewer, panels = window
    qtbot.mouseClick(panels[-1]._samples, LEFT)
    known = panels[0].workspace
    qtbot.waitUntil(lambda: known.ready and known.atlas is not None, timeout=60_000)
    assert not any(panel._first.text() or not panel._samples.isHidden() for panel in panels)
    assert viewer.layers.selection.active is known.sections  # what the controls are of is seen
    _is_fitted_to_what_the_panels_leave(viewer, qtbot)
    _fits_at_every_font_size(viewer, panels, qtbot)
    _can_be_read_in_both_themes(viewer, panels, qtbot)
    busy = [panel.latest for panel in panels if hasattr(panel, "latest")]
    qtbot.waitUntil(lambda: all(each.idle for each in busy), timeout=60_000)


@pytest.mark.parametrize("loaded", [False, True])
def test_no_text_is_cut(window, qtbot, loaded):
    """At 1366 x 768, with the smallest and the largest type, in both themes."""
    viewer, panels = window
    viewer.window._qt_window.resize(1366, 768)
    if loaded:
        panels[0].begin()
        known = panels[0].workspace
        qtbot.waitUntil(lambda: known.ready and known.atlas is not None, timeout=60_000)
        busy = [panel.latest for panel in panels if hasattr(panel, "latest")]
        qtbot.waitUntil(lambda: all(each.idle for each in busy), timeout=60_000)
    appearance = get_settings().appearance
    before, cut = appearance.font_size, []
    try:
        for size in (9, 14):
            appearance.font_size = size
            for theme in ("light", "dark"):
                viewer.theme = theme
                for panel in panels:
                    dock(panel).raise_()
                    qtbot.waitUntil(panel.isVisible)
                    qtbot.wait(150)
                    shown = dock(panel).findChildren((QLabel, QPushButton))
                    bars = viewer.window._qt_window.findChildren(QTabBar)
                    cut += [(size, theme, panel.tab, *each) for each in _cut([*shown, *bars])]
    finally:
        appearance.font_size = before
    assert not cut


@pytest.mark.parametrize("name", ["Reconstruct and denoise", "Gallery"])
def test_marks_are_set_without_scrolling_on_a_small_laptop(make_napari_viewer, qtbot, name):
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1366, 700)  # a bar of the desktop takes the rest of 768
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    panel.begin()
    qtbot.waitUntil(lambda: panel.workspace.ready, timeout=60_000)
    measure = panel.brains.measure if hasattr(panel, "brains") else panel.measure
    measure()
    qtbot.waitUntil(lambda: not panel.job.running, timeout=60_000)
    assert panel.workspace.brains.table is not None
    qtbot.wait(300)
    buttons = panel.findChild(MarkBar).findChildren(QToolButton)
    assert len(buttons) == 6
    for button in buttons:
        assert button.visibleRegion().boundingRect() == button.rect(), button.text()


def _cut(widgets) -> list[tuple[str, int, int]]:
    """Text, its room and what it needs, of widgets that do not show all of theirs, px."""
    found = []
    for widget in widgets:
        if not widget.isVisible():
            continue
        if isinstance(widget, QTabBar):
            # Those that are not in sight are reached by the arrows; none is squeezed.
            tabs = range(widget.count())
            text = ", ".join(map(widget.tabText, tabs))
            beside = widget.usesScrollButtons() or widget.width() >= widget.sizeHint().width()
            written = [widget.fontMetrics().horizontalAdvance(widget.tabText(i)) for i in tabs]
            lacking = [w - widget.tabRect(i).width() for i, w in zip(tabs, written, strict=True)]
            room, need = 0, max([0, *lacking]) if beside else 1
        elif isinstance(widget, QLabel) and widget.wordWrap():
            text, room = widget.text(), widget.height()
            need = widget.heightForWidth(widget.width())
        else:
            text, room = widget.text(), widget.width()
            need = widget.minimumSizeHint().width()
        if text.strip() and need > room:
            found.append((text, room, need))
    return found


def _explained(control: QWidget) -> bool:
    """By its own tip, or that of what it is a part of; tabs say what is on them."""
    if isinstance(control, QScrollBar | QHeaderView) or isinstance(control.parent(), QTabBar):
        return True
    above = control
    while above is not None and not isinstance(above, Panel):
        if above.toolTip():
            return True
        # Parts of a combo box, a spin box, a file chooser or a slider with a number.
        above = above.parent()
    return False


def _is_fitted_to_what_the_panels_leave(viewer, qtbot):
    """Nothing is cropped, and nobody has to press Home."""
    native = viewer.window._qt_viewer.canvas.native
    layer = viewer.layers["Demo population"]

    def whole():
        height, width = np.array(layer.data.shape[1:]) * layer.scale[1:] * camera(viewer).zoom
        return height <= native.height() and width <= native.width()

    qtbot.waitUntil(whole, timeout=5000)


def _fits_at_every_font_size(viewer, panels, qtbot):
    main, appearance = viewer.window._qt_window, get_settings().appearance
    for panel in panels:
        assert len(main.tabifiedDockWidgets(dock(panel))) == len(NAMES) - 1, "tabs of one dock"
    before = appearance.font_size
    try:
        for size in (9, 11, 14):
            appearance.font_size = size
            qtbot.wait(100)
            for layer in {type(each): each for each in viewer.layers}.values():
                viewer.layers.selection.active = layer  # others have other controls
                qtbot.wait(20)
                least = main.minimumSizeHint()
                assert least.height() < 700, (size, layer.name)
                assert least.width() <= 1366, (size, layer.name)
            for panel in panels:
                assert panel.body.minimumSizeHint().width() <= WIDEST - BAR, (size, panel.tab)
    finally:
        appearance.font_size = before


def _can_be_read_in_both_themes(viewer, panels, qtbot):
    for theme in ("light", "dark"):
        viewer.theme = theme
        for panel in panels:
            dock(panel).raise_()
            qtbot.waitUntil(panel.isVisible)
            qtbot.wait(100)
            shown = [each for each in panel.body.findChildren(QWidget) if _has_text(each)]
            assert shown, panel.tab
            worst = min(_contrast(each) for each in shown)
            assert worst[0] >= 4.5, (theme, panel.tab, *worst)
            for label in panel.findChildren(QLabel):
                spans = re.findall(r"<span style='([^']*)'>([^<]*)</span>", label.text())
                for style, text in spans:
                    swatch = not re.sub("&nbsp;|\\s|■", "", text)
                    assert "color" not in style or swatch, f"{text!r}: one colour for both themes"


def _has_text(widget: QWidget) -> bool:
    if not widget.isVisible() or not widget.isEnabled() or widget.width() < 8:
        return False
    if isinstance(widget, QComboBox):
        return bool(widget.currentText())
    return isinstance(widget, QLabel | QAbstractButton) and bool(widget.text().strip())


def _contrast(widget: QWidget) -> tuple[float, str]:
    """Contrast of what differs most from the ground, as WCAG 2 defines it."""
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    pixels = rows[:, : 3 * image.width()].reshape(-1, 3)
    ground = np.array(Counter(map(tuple, pixels.tolist())).most_common(1)[0][0])
    light = _luminance(np.unique(pixels, axis=0))
    beneath = _luminance(ground[None])[0]
    ratio = (np.maximum(light, beneath) + 0.05) / (np.minimum(light, beneath) + 0.05)
    text = widget.currentText() if isinstance(widget, QComboBox) else widget.text()
    return float(ratio.max()), text


def _luminance(rgb):
    linear = np.where(rgb / 255 <= 0.04045, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]
