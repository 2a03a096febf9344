"""Which layer of a kind is chosen in a viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Layer
from psygnal import Signal


class Chosen:
    """The one layer of a kind that is chosen in a viewer: what came last, or was picked.

    Parameters
    ----------
    accepts
        Says whether a layer is of that kind.
    events
        After which a layer of that kind is not what it was.

    Signals
    -------
    changed
        Another layer is chosen, or it is not what it was.
    renamed
        A layer has another name.
    """

    changed, renamed = Signal(), Signal()

    def __init__(
        self, accepts: Callable[[Layer], bool], events: Callable[[Layer], list[Any]]
    ) -> None:
        self._accepts, self._events = accepts, events
        self.layers: list[Layer] = []
        self.layer: Layer | None = None

    def pick(self, layer: Layer | None) -> None:
        """Choose another layer."""
        layer = getattr(layer, "__wrapped__", layer)  # napari gives plugins a proxy
        if layer is not self.layer:
            self.layer = layer
            self.changed.emit()

    def swap(self, layer: Layer | None) -> None:
        """Choose another layer by hand: it is seen where the one before was."""
        before = self.layer
        self.pick(layer)
        if before is not None and self.layer is not before:
            self._see_as(before)
            before.visible = False

    def take(self, layer: Layer) -> bool:
        """Choose a layer that has come, if it is of the kind; say whether it is."""
        if not self._accepts(layer):
            return False
        self.layers.append(layer)
        layer.events.name.connect(self._named)
        for event in self._events(layer):
            event.connect(self._moved)
        self.pick(layer)
        return True

    def leave(self, layer: Layer) -> bool:
        """Forget a layer that has gone, if it is of the kind; say whether it is."""
        if layer not in self.layers:
            return False
        self.layers.remove(layer)
        layer.events.name.disconnect(self._named)
        for event in self._events(layer):
            event.disconnect(self._moved)
        if layer is self.layer:
            self.pick(self.layers[-1] if self.layers else None)
            self._see_as(layer)
        return True

    def _see_as(self, before: Layer) -> None:
        if self.layer is not None:
            self.layer.visible = self.layer.visible or before.visible

    def _named(self, event: Any) -> None:
        self.renamed.emit()

    def _moved(self, event: Any = None) -> None:
        # An atlas tells without an event: it may not be the chosen one.
        if event is None or event.source is self.layer:
            self.changed.emit()
