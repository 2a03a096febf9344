"""The regions on offer: every Shapes layer, and the structures chosen from the atlas."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import napari.viewer
from napari.layers import Layer, Shapes
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_brainvae.atlas.regions import Region
from napari_brainvae.io.errors import InputError
from napari_brainvae.widgets.layers.atlas_layers import ATLAS, is_atlas
from napari_brainvae.widgets.layers.region_history import RegionHistory
from napari_brainvae.widgets.layers.region_layers import (
    REGION_LOOK,
    RequestedRegion,
    shapes_in_pixels,
)
from napari_brainvae.widgets.layers.section_layers import (
    place_events,
    population_of,
    section_geometry,
)
from napari_brainvae.widgets.workers import warning

KEY = Qt.ItemDataRole.UserRole
FILES = "Regions (*.json)"
UNDO = "Control-Z"


class RegionList(QWidget):
    """Regions by name: the current one is shown at work, the checked ones are measured.

    Signals
    -------
    changed
        Another region is current, or the current one was changed.
    edited
        Some region was changed, renamed, added, removed, checked or unchecked.
    """

    changed, edited = Signal(), Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.sections: Layer | None = None
        self.shape: tuple[int, int] | None = None
        self._list = QListWidget()
        self._list.setToolTip(
            "<p>Shapes layers and structures from the atlas. The selected region is perturbed in "
            "the brain on show; the checked ones are measured over the population.</p>"
        )
        # More are scrolled to: the panel has other things to show.
        self._list.setFixedHeight(7 * self._list.fontMetrics().lineSpacing())
        buttons = {
            "New": (self.new, "Draw a region: a Shapes layer that lies exactly on the sections."),
            "Load …": (self._ask_load, "Open a region file as an editable Shapes layer."),
            "Save …": (self._ask_save, "Write the selected region to a file that opens again."),
            "Remove": (self.remove, "Take the selected region off the list; Undo brings it back."),
            "Undo": (self.undo, "Bring back what was before the latest edit or removal (Ctrl+Z)."),
        }
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._list, 0, 0, 1, len(buttons))
        self._clickable: dict[str, QPushButton] = {}
        for column, (text, (action, tip)) in enumerate(buttons.items()):
            button = self._clickable[text] = QPushButton(text, toolTip=tip)
            button.clicked.connect(partial(self._try, action))
            layout.addWidget(button, 1, column)
        self.message = QLabel(wordWrap=True, visible=False)
        self.message.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout.addWidget(self.message, 2, 0, 1, len(buttons))
        self._followed: list[Layer] = []
        self._history = RegionHistory(viewer)
        self._requested: dict[Any, RequestedRegion] = {}
        self._list.currentItemChanged.connect(lambda *_: self.changed.emit())
        self._list.itemChanged.connect(lambda _: self.edited.emit())
        viewer.bind_key(UNDO, self._undo_key, overwrite=True)
        viewer.layers.events.inserted.connect(self._layers_changed)
        viewer.layers.events.removed.connect(self._layers_changed)
        self._layers_changed()
        self._rebuild()

    def lie_on(self, sections: Layer | None, shape: tuple[int, int] | None) -> None:
        """Take regions in pixels of ``sections``, cropped to ``shape``."""
        self.sections, self.shape = sections, shape
        self._buttons_follow()

    def _buttons_follow(self) -> None:
        """What cannot work is off."""
        drawable, chosen = self.sections is not None, self._list.currentItem() is not None
        works = {"New": drawable, "Load …": drawable, "Save …": chosen, "Remove": chosen}
        for text, on in works.items():
            self._clickable[text].setEnabled(on)

    @property
    def names(self) -> list[str]:
        """Names of all regions, in order."""
        return [item.text() for item in self._items()]

    def select(self, name: str) -> None:
        """Make a region the current one."""
        self._list.setCurrentItem(self._find(name))

    def check(self, name: str, on: bool = True) -> None:
        """Say whether a region is to be measured."""
        state = Qt.CheckState.Checked if on else Qt.CheckState.Unchecked
        self._find(name).setCheckState(state)

    def current(self) -> RequestedRegion | None:
        """The selected region; the same object as long as it is the same region."""
        item = self._list.currentItem()
        return None if item is None else self._request(item)

    def checked(self) -> list[RequestedRegion]:
        """Regions to be measured."""
        on = Qt.CheckState.Checked
        return [self._request(item) for item in self._items() if item.checkState() == on]

    def new(self, event: Any = None) -> Shapes:
        """Add a Shapes layer to draw in; it lies on the sections and shows on every brain.

        Raises
        ------
        InputError
            If there are no sections.
        """
        layer = self._add_shapes([], "region")
        layer.mode = "add_polygon"
        return layer

    def save(self, path: Path) -> None:
        """Write the current region.

        Raises
        ------
        InputError
            If none is selected, or it is empty.
        """
        region = self.current()
        if region is None:
            raise InputError("select a region first")
        region.to_file(self._pixel_size()).save(path)

    def load(self, path: Path) -> Shapes:
        """Open a region as a Shapes layer.

        Raises
        ------
        OSError, InputError
            If the file is no region, or there are no sections to lay it on.
        """
        region = Region.load(path)
        layer = self._add_shapes([], region.name)
        layer.add_polygons(region.placed(self._full_shape(), self._pixel_size()))
        return layer

    def remove(self, event: Any = None) -> None:
        """Take the selected region off the list: a structure, or a Shapes layer."""
        item = self._list.currentItem()
        if item is None:
            return
        key = item.data(KEY)
        if isinstance(key, tuple):
            selection, region = key
            selection.remove(region)
        elif key in self.viewer.layers:
            self.viewer.layers.remove(key)

    def undo(self, event: Any = None) -> None:
        """Bring back what was before the latest edit or removal of a drawn region."""
        if not self._history.undo():
            raise InputError("there is nothing to bring back: no region was edited or removed")

    def release(self) -> None:
        """Leave no callback behind."""
        self.viewer.bind_key(UNDO, None)
        self.viewer.layers.events.inserted.disconnect(self._layers_changed)
        self.viewer.layers.events.removed.disconnect(self._layers_changed)
        self._follow([])

    def _items(self) -> list[QListWidgetItem]:
        return [self._list.item(i) for i in range(self._list.count())]

    def _find(self, name: str) -> QListWidgetItem:
        return next(item for item in self._items() if item.text() == name)

    def _undo_key(self, _: Any) -> None:
        # napari asks what is bound to a key for its __name__: no partial.
        self._try(self.undo)

    def _try(self, action: Callable[[], Any], *_: Any) -> None:
        """Do what a button says; what the user can put right is said beside it."""
        try:
            action()
        except (InputError, OSError) as error:
            self.message.setText(warning(escape(str(error))))
            self.message.show()
        else:
            self.message.hide()

    def _layers_changed(self, event: Any = None) -> None:
        """Follow regions that come and go; other layers are no business of the list's."""
        layers = [each for each in self.viewer.layers if isinstance(each, Shapes) or is_atlas(each)]
        if layers != self._followed:
            self._follow(layers)
            self._rebuild()

    def _follow(self, layers: list[Layer]) -> None:
        for layer in self._followed:
            if layer not in layers:
                self._leave(layer)
        for layer in layers:
            if layer not in self._followed:
                self._attend(layer)
        self._followed = list(layers)

    def _attend(self, layer: Layer) -> None:
        for event in self._events(layer):
            event.connect(self._edited)
        layer.events.name.connect(self._rebuild)
        if isinstance(layer, Shapes):
            self._history.follow(layer)
        else:
            layer.metadata[ATLAS].changed.connect(self._rebuild)

    def _leave(self, layer: Layer) -> None:
        for event in self._events(layer):
            event.disconnect(self._edited)
        layer.events.name.disconnect(self._rebuild)
        if isinstance(layer, Shapes):
            self._history.leave(layer, removed=layer not in self.viewer.layers)
        else:
            layer.metadata[ATLAS].changed.disconnect(self._rebuild)

    @staticmethod
    def _events(layer: Layer) -> list[Any]:
        """Events that move or change the shapes of a layer."""
        return place_events(layer) if isinstance(layer, Shapes) else []

    def _edited(self, event: Any) -> None:
        item = self._list.currentItem()
        if item is not None and item.data(KEY) is event.source:
            self.changed.emit()
        self.edited.emit()

    def _rebuild(self, event: Any = None) -> None:
        """List all regions again; what was checked and current stays so; a new layer is current."""
        states = {_name_of(item): item.checkState() for item in self._items()}
        current = self._list.currentItem()
        before = None if current is None else _name_of(current)
        self._list.blockSignals(True)
        self._list.clear()
        chosen = None
        for key in self._keys():
            item = QListWidgetItem(_label(key))
            item.setData(KEY, key)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(states.get(_name_of(item), Qt.CheckState.Checked))
            self._list.addItem(item)
            new = isinstance(key, Shapes) and _name_of(item) not in states
            if new or (chosen is None and _name_of(item) == before):
                chosen = item
        listed = {_name_of(item) for item in self._items()}
        self._requested = {name: r for name, r in self._requested.items() if name in listed}
        self._list.setCurrentItem(chosen or self._list.item(self._list.count() - 1))
        self._list.blockSignals(False)
        self._buttons_follow()
        self.changed.emit()
        self.edited.emit()

    def _keys(self) -> list[Any]:
        structures = [
            (layer.metadata[ATLAS], region)
            for layer in self._followed
            if is_atlas(layer)
            for region in layer.metadata[ATLAS].regions
        ]
        return structures + [layer for layer in self._followed if isinstance(layer, Shapes)]

    def _request(self, item: QListWidgetItem) -> RequestedRegion:
        """Give the region of before if it still is the one that the item stands for."""
        new, known = self._region(item), self._requested.get(_name_of(item))
        if known is not None and known.key == new.key:
            return known
        self._requested[_name_of(item)] = new
        return new

    def _region(self, item: QListWidgetItem) -> RequestedRegion:
        key, name = item.data(KEY), item.text()
        if self.sections is None or self.shape is None:
            return RequestedRegion.none(name, "choose sections first")
        if isinstance(key, tuple):
            selection, region = key
            return RequestedRegion.chosen(region, selection.cropped(self.shape))
        outlines = shapes_in_pixels(key, self.sections, self.shape)
        return RequestedRegion.drawn(name, outlines, self.shape, self._pixel_size())

    def _pixel_size(self) -> float | None:
        if self.sections is None:
            return None
        return population_of(self.sections).description.pixel_size_um

    def _full_shape(self) -> tuple[int, int]:
        if self.sections is None:
            raise InputError("choose sections first: a region lies on them")
        height, width = self.sections.data.shape[-2:]
        return height, width

    def _add_shapes(self, outlines: list[Any], name: str) -> Shapes:
        shape = self._full_shape()
        layer = Shapes(
            outlines,
            ndim=2,
            name=name,
            **REGION_LOOK,
            **section_geometry(self.sections, shape),
        )
        self.viewer.add_layer(layer)
        return layer

    def _ask_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save region", "region.json", FILES)
        if name:
            self.save(Path(name))

    def _ask_load(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Load region", "", FILES)
        if name:
            self.load(Path(name))


def _label(key: Any) -> str:
    return str(key[1].name if isinstance(key, tuple) else key.name)


def _name_of(item: QListWidgetItem) -> Any:
    """What identifies a row: the layer itself, or the structure."""
    key = item.data(KEY)
    return key[1] if isinstance(key, tuple) else id(key)
