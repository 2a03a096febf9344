"""A user's hands in a real window: mouse and keys alone, on what can be seen and reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from napari._qt.dialogs.qt_reader_dialog import QtReaderDialog
from qtpy.QtCore import QModelIndex, QPoint, QRect, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QDialog,
    QDialogButtonBox,
    QDockWidget,
    QFileDialog,
    QLineEdit,
    QMenu,
    QScrollArea,
    QSlider,
    QTabBar,
    QTreeView,
    QWidget,
)

from napari_brainvae.widgets.panels.panel import Panel

LEFT, ALT = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.AltModifier
PLUGIN = "Brain VAE"

Dialog = TypeVar("Dialog", bound=QDialog)
Seen = Callable[[str, "QPoint | None"], None]
"""Called before each movement, with what is done in words and where on the screen."""


def wait(condition: Callable[[], bool], seconds: float = 120, what: str = "") -> None:
    """Let the window work until something has happened."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what or "the window did not get there"
        QApplication.processEvents()
        time.sleep(0.005)


def settled(condition: Callable[[], bool], seconds: float) -> bool:
    """Let the window work for a while; whether something has happened by then."""
    try:
        wait(condition, seconds)
    except AssertionError:
        return False
    return True


class Hands:
    """Clicks and types in a window; fails where a user could not.

    Parameters
    ----------
    viewer
        Shown, not only made.
    seen
        Looks on, as a recorder does.
    """

    def __init__(self, viewer: Any, seen: Seen = lambda said, at: None) -> None:
        QApplication.setAttribute(Qt.ApplicationAttribute.AA_DontUseNativeDialogs)
        self.viewer, self.seen = viewer, seen
        self.window: Any = viewer.window._qt_window

    def click(self, widget: QWidget, said: str = "", at: QPoint | None = None) -> None:
        """Click what is on, in sight, and covered by nothing."""
        self.reach(widget)
        assert widget.isEnabled(), f"{said or widget} is off"
        place = widget.rect().center() if at is None else at
        self.seen(said, widget.mapToGlobal(place))
        QTest.mouseClick(widget, LEFT, pos=place)

    def reach(self, widget: QWidget) -> None:
        """Scroll a panel to what is in it; it must then lie on top."""
        above = widget.parentWidget()
        while above is not None and not isinstance(above, QScrollArea):
            above = above.parentWidget()
        if above is not None:
            above.ensureWidgetVisible(widget)
        wait(widget.isVisible, 10, f"{widget} cannot be seen")
        QApplication.processEvents()

        def on_top() -> bool:
            there = QApplication.widgetAt(widget.mapToGlobal(widget.rect().center()))
            return there is not None and (there is widget or widget.isAncestorOf(there))

        wait(on_top, 10, f"{widget} lies behind something else")

    def push(self, panel: QWidget, text: str) -> None:
        """Click the button of a panel that says so."""
        named = [b for b in panel.findChildren(QAbstractButton) if b.text() == text]
        [button] = [b for b in named if b.isVisible()]
        self.click(button, f"click “{text}”")

    def enter(self, box: QWidget, text: str, said: str = "") -> None:
        """Type over what stands in a box."""
        self.click(box, said)
        QTest.keyClick(box, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
        QTest.keyClicks(box, text)
        QTest.keyClick(box, Qt.Key.Key_Tab)
        self.seen(said, None)

    def key(self, key: Qt.Key, said: str = "", *, alt: bool = False) -> None:
        """Press a key over the picture."""
        modifier = ALT if alt else Qt.KeyboardModifier.NoModifier
        QTest.keyClick(self.viewer.window._qt_viewer.canvas.native, key, modifier)
        QApplication.processEvents()
        self.seen(said, None)

    def drag(self, slider: QSlider, share: float, said: str = "", steps: int = 8) -> None:
        """Take a slider's handle, and move it by a share of the slider's width."""
        self.reach(slider)
        held = self._handle(slider).center()
        end = held + QPoint(round(share * slider.width()), 0)
        self.seen(said, slider.mapToGlobal(held))
        QTest.mousePress(slider, LEFT, pos=held)
        for i in range(1, steps + 1):
            place = held + (end - held) * i / steps
            QTest.mouseMove(slider, place)
            QApplication.processEvents()
            self.seen(said, slider.mapToGlobal(place))
        QTest.mouseRelease(slider, LEFT, pos=end)

    @staticmethod
    def _handle(slider: Any) -> QRect:
        from qtpy.QtWidgets import QStyle, QStyleOptionSlider

        option = QStyleOptionSlider()
        slider.initStyleOption(option)
        part = QStyle.ComplexControl.CC_Slider, option, QStyle.SubControl.SC_SliderHandle
        return slider.style().subControlRect(*part, slider)

    def menu(self, *names: str) -> None:
        """Click through the menus of the window."""
        above: Any = self.window.menuBar()
        for i, name in enumerate(names):
            [action] = [
                each
                for each in above.actions()
                if each.text().replace("&", "") == name and each.isVisible()
            ]
            place = above.actionGeometry(action).center()
            self.seen(" > ".join(names[: i + 1]), above.mapToGlobal(place))
            below: QMenu | None = action.menu()
            QTest.mouseClick(above, LEFT, pos=place)
            if below is not None and not settled(below.isVisible, 3):
                # What napari does at the end of some work closes a menu that is just opened.
                QTest.mouseClick(above, LEFT, pos=place)
                wait(below.isVisible, 10, f"the menu {name} does not open")
            above = below

    def answer(self, kind: type[Dialog], how: Callable[[Dialog], None]) -> None:
        """Answer the next dialog of a kind; ask for it after this."""

        end = time.monotonic() + 30

        def look() -> None:
            dialog = QApplication.activeModalWidget()
            late = time.monotonic() > end
            if not (isinstance(dialog, kind) and dialog.isVisible()) and not late:
                QTimer.singleShot(20, look)
                return
            try:
                assert not late, f"{dialog} is there, and no {kind.__name__}"
                how(dialog)
            except BaseException:
                if dialog is not None:
                    dialog.reject()  # else the window would wait for ever
                raise

        QTimer.singleShot(0, look)

    def open(self, path: Path) -> None:
        """Open a file or a folder by the menu File; napari, which can read both, asks by what."""

        def find(dialog: QFileDialog) -> None:
            [box] = [e for e in dialog.findChildren(QLineEdit) if e.isVisible()]
            for _ in range(50):  # Qt forgets what is typed while it reads its first folder
                QTest.qWait(100)
                box.selectAll()
                QTest.keyClicks(box, str(path.parent))
                QTest.qWait(100)
                if box.text() == str(path.parent):
                    break
            self.answer(QtReaderDialog, choose)
            if path.is_dir():
                QTest.keyClicks(box, f"/{path.name}")
                self.seen(path.name, box.mapToGlobal(box.rect().center()))
                QTest.keyClick(box, Qt.Key.Key_Return)
                return
            QTest.keyClick(box, Qt.Key.Key_Return)
            self._pick(dialog, path.name)
            [buttons] = dialog.findChildren(QDialogButtonBox)
            self.click(buttons.buttons()[0], "Open")

        def choose(dialog: QtReaderDialog) -> None:
            [button] = [b for b in dialog.reader_btn_group.buttons() if b.text() == PLUGIN]
            self.click(button, f"napari asks by what: {PLUGIN}", QPoint(8, button.height() // 2))
            self.click(dialog.btn_box.button(QDialogButtonBox.StandardButton.Ok), "OK")

        self.answer(QFileDialog, find)
        self.menu("File", "Open Folder..." if path.is_dir() else "Open File(s)...")

    def _pick(self, dialog: QFileDialog, name: str) -> None:
        """Click a file in the list of a folder."""
        view = dialog.findChild(QTreeView)
        wait(lambda: len(_rows(view, name)) == 1, 10, f"{name} is not in the list")
        [row] = _rows(view, name)
        view.scrollTo(row)
        self.click(view.viewport(), name, view.visualRect(row).center())

    def panel(self, name: str) -> Any:
        """Open a panel by the menu Plugins."""
        before = set(self.panels())
        self.menu("Plugins", PLUGIN, f"{name} ({PLUGIN})")
        wait(lambda: len(self.panels()) > len(before), 20)
        [opened] = set(self.panels()) - before
        self.tab(opened)
        return opened

    def panels(self) -> list[Panel]:
        """Those that are open."""
        docked = self.window.findChildren(QDockWidget)
        return [panel for dock in docked for panel in dock.findChildren(Panel)]

    def tab(self, panel: Panel) -> None:
        """Bring a panel to the front by its tab."""
        QApplication.processEvents()
        for bar in self.window.findChildren(QTabBar):
            for i in range(bar.count()):
                if bar.isVisible() and bar.tabText(i) == panel.tab and bar.currentIndex() != i:
                    self.click(bar, f"the tab {panel.tab}", bar.tabRect(i).center())
        wait(panel.isVisible, 10)


def _rows(view: QTreeView, name: str) -> list[QModelIndex]:
    """Rows of a list of files that are called so."""
    model, root = view.model(), view.rootIndex()
    rows = [model.index(i, 0, root) for i in range(model.rowCount(root))]
    return [row for row in rows if row.data() == name]
