"""What all panels have in common, in one real window: it fits, it can be read, it says what is what."""

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
    QScrollBar,
    QTabBar,
    QWidget,
)

import napari_brainvae
from napari_brainvae.widgets.layers.plugin_layers import camera
from napari_brainvae.widgets.panels.panel import PAGES, Panel
from tests.widgets.windows import LONG, PLUGIN

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
    main = viewer.window._qt_window
    main.resize(1366, 700)
    panels = []
    for name in NAMES:
        panels.append(viewer.window.add_plugin_dock_widget(PLUGIN, name)[1])
        qtbot.waitUntil(lambda: dock(panels[-1]).windowTitle() == panels[-1].tab)
    return viewer, main, panels


@pytest.fixture
def loaded(window, qtbot):
    viewer, main, panels = window
    qtbot.mouseClick(panels[0]._samples, LEFT)
    qtbot.waitUntil(lambda: panels[0].workspace.atlas is not None, timeout=LONG)
    qtbot.waitUntil(lambda: panels[0].workspace.ready, timeout=LONG)
    for panel in panels:
        latest = getattr(panel, "latest", None)
        qtbot.waitUntil(lambda latest=latest: latest is None or latest.idle, timeout=LONG)
    return viewer, main, panels


def dock(panel) -> QDockWidget:
    above = panel
    while not isinstance(above, QDockWidget):
        above = above.parent()
    return above


def test_with_nothing_loaded_a_panel_says_what_to_do_first_and_offers_the_samples(loaded, qtbot):
    viewer, _, panels = loaded  # opened by a click on that button
    assert "Demo population" in viewer.layers
    assert not any(panel._first.text() or panel._samples.isVisible() for panel in panels)
    while viewer.layers:
        viewer.layers.pop()
    for panel in panels:
        assert panel._first.text() == ("" if panel.needs == ("model",) else panel.first)


def test_every_control_says_what_it_does(window):
    _, _, panels = window
    silent = [
        f"{panel.tab}: {type(each).__name__} {getattr(each, 'text', str)()!r}"
        for panel in panels
        for each in panel.findChildren(CONTROLS)
        if not _explained(each)
    ]
    assert not silent, silent


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


def test_the_help_button_opens_a_page_that_is_there(window, qtbot, monkeypatch):
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    for panel in window[2]:
        qtbot.mouseClick(panel._help, LEFT) if panel.isVisible() else panel._help.click()
    assert opened == [QUrl(f"{PAGES}/{panel.page}.md") for panel in window[2]]
    for panel in window[2]:
        text = (DOCS / "panels" / f"{panel.page}.md").read_text("utf-8")
        assert len(text) > 500
        for picture in re.findall(r"\]\((\.\./images/[^)]+)\)", text):
            assert (DOCS / "panels" / picture).resolve().is_file(), picture


def test_all_panels_fit_the_screen_at_every_font_size(loaded, qtbot):
    viewer, main, panels = loaded
    docks = {dock(panel) for panel in panels}
    assert len(docks) == len(NAMES) and all(
        len(main.tabifiedDockWidgets(each)) == len(NAMES) - 1 for each in docks
    )
    appearance = get_settings().appearance
    before = appearance.font_size
    try:
        for size in (9, 11, 14):
            appearance.font_size = size
            qtbot.wait(100)
            for layer in viewer.layers:
                viewer.layers.selection.active = layer  # other layers have other controls
                qtbot.wait(20)
                least = main.minimumSizeHint()
                assert least.height() < 700, (size, layer.name)
                assert least.width() <= 1366, (size, layer.name)
            for panel in panels:
                assert panel.body.minimumSizeHint().width() <= panel.width() + 200
    finally:
        appearance.font_size = before


def test_the_view_is_fitted_to_what_the_panels_leave(loaded, qtbot):
    """Nothing is cropped, and nobody has to press Home."""
    viewer, _, _ = loaded
    native = viewer.window._qt_viewer.canvas.native
    layer = viewer.layers["Demo population"]

    def whole():
        height, width = np.array(layer.data.shape[1:]) * layer.scale[1:] * camera(viewer).zoom
        return height <= native.height() and width <= native.width()

    qtbot.waitUntil(whole, timeout=5000)


def test_text_can_be_read_in_both_themes(loaded, qtbot):
    viewer, _, panels = loaded
    for theme in ("light", "dark"):
        viewer.theme = theme
        for panel in panels:
            dock(panel).raise_()
            qtbot.waitUntil(panel.isVisible)
            qtbot.wait(150)
            checked = [
                _contrast(each) for each in panel.body.findChildren(QWidget) if _has_text(each)
            ]
            assert checked, panel.tab
            worst = min(checked)
            assert worst[0] >= 4.5, (theme, panel.tab, *worst)
            for label in panel.findChildren(QLabel):
                for style, text in re.findall(
                    r"<span style='([^']*)'>([^<]*)</span>", label.text()
                ):
                    swatch = not re.sub("&nbsp;|\\s|■", "", text)
                    assert "color" not in style or swatch, (
                        f"{text!r} is in one colour for both themes"
                    )


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
