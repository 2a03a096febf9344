"""What all panels have in common: they scroll, lie behind each other, and say how to begin."""

from __future__ import annotations

from typing import Any, Literal

import napari.viewer
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QDockWidget,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QMenu,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from napari_brainvae.widgets.layers.plugin_layers import PluginLayers
from napari_brainvae.widgets.saved_workspace import ask_to_open, ask_to_save
from napari_brainvae.widgets.workers import PluginWidget
from napari_brainvae.widgets.workspace import workspace_of

PAGES = "https://github.com/napari-brainvae/napari-brainvae/blob/main/docs/panels"
"""Where the pages of the panels are read."""

WIDTH, WIDEST = 340, 540
"""What a panel asks for, and from where on it scrolls sideways, px."""

BAR, BUTTONS = 18, 80
"""Widths of a scroll bar, and of what is beside the title of a dock, px."""

SAMPLES = ("demo_population", "demo_model", "demo_atlas")


class Panel(PluginWidget):
    """A widget of the plugin. What it shows goes into ``body``, which is scrolled.

    Attributes
    ----------
    page
        Name of its page in the docs.
    tab
        A word for its tab, beside four others in the width of one panel.
    first
        What to do while there is nothing to work on.
    needs
        What it needs of the workspace before there is anything to do.
    """

    page: str
    tab: str
    first: str
    _made: PluginLayers
    steps_back = True
    """Whether its layers are only seen while it lies in front; those of the atlas serve all."""

    needs: tuple[Literal["sections", "model", "atlas"], ...] = ("sections", "model")

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer, self.workspace = viewer, workspace_of(viewer)
        self.body = QWidget()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._head())
        self._scrolled = _Scrolled(self.body)
        outer.addWidget(self._scrolled, 1)
        for signal in self._signals():
            signal.connect(self._tell_first)
        self._tell_first()

    def event(self, event: QEvent) -> bool:
        """Go behind the other panels once docked."""
        known = super().event(event)
        if event.type() == QEvent.ParentChange and self.parent() is not None:
            QTimer.singleShot(0, self._settle)
        return known

    def stand_back(self) -> None:
        """Take the layers out of sight: what is seen is what the panel in front says."""
        if self.steps_back and hasattr(self, "_made"):
            self._made.stand_back()

    def come_forward(self) -> None:
        """Let the layers be seen again."""
        if self.steps_back and hasattr(self, "_made"):
            self._made.come_forward()

    def _front_changed(self, _: bool) -> None:
        """Hear that another tab is chosen, or a dock pulled out: soon it is known what is seen."""
        QTimer.singleShot(0, self._find_place)

    def _find_place(self) -> None:
        """Stand back behind another tab, which Qt calls visible, too; or come forward after it."""
        if self._done_with or not self.isVisible():
            return
        if self.visibleRegion().isEmpty():
            self.stand_back()
        else:
            QTimer.singleShot(0, self._to_front)

    def _to_front(self) -> None:
        if not (self._done_with or self.visibleRegion().isEmpty()):
            self.come_forward()

    def begin(self) -> None:
        """Open the samples: brains, a model and an atlas that belong together."""
        for sample in SAMPLES:
            self.viewer.open_sample("napari-brainvae", sample)
        # Not the hidden section that the atlas came by, on which no control does anything.
        self.viewer.layers.selection.active = self.workspace.sections

    def open_behind(self, name: str) -> None:
        """Open another panel, and stay in front of it."""
        self.viewer.window.add_plugin_dock_widget("napari-brainvae", name)
        mine = _dock(self)
        if mine is not None:  # it comes to the front in the next moments
            QTimer.singleShot(0, lambda: QTimer.singleShot(0, mine.raise_))

    def read_page(self) -> None:
        """Show the panel's page of the docs in a browser."""
        QDesktopServices.openUrl(QUrl(f"{PAGES}/{self.page}.md"))

    def _release_once(self) -> None:
        if not self._done_with:
            for signal in self._signals():
                signal.disconnect(self._tell_first)
        super()._release_once()

    def _signals(self) -> tuple[Any, ...]:
        known = self.workspace
        return known.sections_changed, known.model_changed, known.atlas_changed

    def _head(self) -> QWidget:
        """Make the line on top: what to do first, samples, help."""
        head = QWidget()
        row = QHBoxLayout(head)
        row.setContentsMargins(9, 4, 9, 0)
        self._first = QLabel(self.first, wordWrap=True)
        self._first.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._samples = QPushButton("Open samples")
        self._samples.setToolTip("Open the demo's brains, with their model and atlas.")
        self._samples.clicked.connect(self.begin)
        self._keep = QPushButton("Workspace")
        self._keep.setToolTip("Save all that is open, drawn and selected, or open it again.")
        menu = QMenu(self._keep)
        menu.addAction("Save workspace …").triggered.connect(lambda: ask_to_save(self.viewer))
        menu.addAction("Open workspace …").triggered.connect(lambda: ask_to_open(self.viewer))
        self._keep.setMenu(menu)
        self._help = QPushButton("?")
        self._help.setFixedWidth(3 * self._help.fontMetrics().averageCharWidth() + 8)
        self._help.setToolTip("Read about this panel in the docs.")
        self._help.clicked.connect(self.read_page)
        row.addWidget(self._first, 1)
        row.addWidget(self._samples)
        row.addWidget(self._keep)
        row.addWidget(self._help, 0, Qt.AlignmentFlag.AlignRight)
        return head

    def _tell_first(self) -> None:
        """Say what to do first as long as something is missing; samples replace nothing."""
        known = self.workspace
        there = {
            "sections": known.sections is not None,
            "model": known.checkpoint is not None,
            "atlas": known.atlas is not None or known.atlas_folder is not None,
        }
        missing = not all(there[need] for need in self.needs)
        self._first.setText(self.first if missing else "")
        self._samples.setVisible(missing and not any(there.values()))

    def _settle(self) -> None:
        """Lie in front of the panels that are docked already, as a tab of theirs."""
        window, mine = self.window(), _dock(self)
        if self._done_with or mine is None or not isinstance(window, QMainWindow):
            return
        if mine.windowTitle() != self.tab:
            self._scrolled.title = mine.windowTitle().removesuffix(" (napari-brainvae)")
            mine.setWindowTitle(self.tab)
            self._scrolled.updateGeometry()
            self._name_dock(mine)
            mine.visibilityChanged.connect(self._front_changed)
            for moved in (mine.topLevelChanged, mine.dockLocationChanged):
                moved.connect(lambda _: self._name_dock(mine))
        others = (
            dock
            for dock in window.findChildren(QDockWidget)
            if dock is not mine and not dock.isFloating() and dock.findChild(Panel) is not None
        )
        first = next(others, None)
        if first is not None:
            window.tabifyDockWidget(first, mine)
            mine.show()
            mine.raise_()
            for bar in window.findChildren(QTabBar):  # words are not cut: arrows lead to the others
                bar.setElideMode(Qt.TextElideMode.ElideNone)

    def _name_dock(self, dock: QDockWidget) -> None:
        """Leave the plugin's name out of the title, which napari writes anew when it is moved."""
        bar = dock.titleBarWidget()
        title = None if bar is None else bar.findChild(QLabel)
        if title is not None:
            title.setText(self._scrolled.title)


class _Scrolled(QScrollArea):
    """Scrolls up and down; sideways only what is wider than `WIDEST`."""

    title = ""
    """Of the dock, which is not to be cut off."""

    def __init__(self, body: QWidget) -> None:
        super().__init__(widgetResizable=True, frameShape=QFrame.Shape.NoFrame)
        self.setWidget(body)

    def minimumSizeHint(self) -> QSize:
        """Ask for the width of what is inside, and for next to no height."""
        inside = self.widget().minimumSizeHint().width() if self.widget() else 0
        title = self.fontMetrics().horizontalAdvance(self.title) + BUTTONS if self.title else 0
        return QSize(min(max(inside + BAR, title), WIDEST), 80)

    def sizeHint(self) -> QSize:
        """Ask for all of the height."""
        inside = self.widget().sizeHint()
        return QSize(max(WIDTH, self.minimumSizeHint().width()), inside.height())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Hear that what is inside has become wider."""
        if event.type() == QEvent.LayoutRequest:
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))


def _dock(widget: QWidget) -> QDockWidget | None:
    above: Any = widget
    while above is not None and not isinstance(above, QDockWidget):
        above = above.parent()
    return above
