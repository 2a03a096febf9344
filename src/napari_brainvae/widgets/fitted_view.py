"""A view that napari has fitted stays fitted when docks give the canvas another size."""

from __future__ import annotations

from typing import Any
from weakref import ref

from qtpy.QtCore import QEvent, QObject, QTimer

from napari_brainvae.widgets.layers.plugin_layers import is_fitted


class FittedView(QObject):
    """Fits the view again whenever the canvas is resized, unless the user has moved the camera.

    napari leaves the camera as it is: a panel that is docked would crop the sections.
    """

    def __init__(self, viewer: Any, canvas: Any) -> None:
        super().__init__(canvas)
        self._viewer = ref(viewer)
        self._fitted = False
        self._again = QTimer(self, singleShot=True, interval=0)
        self._again.timeout.connect(self._fit)
        canvas.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look at the view before napari hears of the canvas's new size, and fit it after."""
        viewer = self._viewer()
        if event.type() == QEvent.Resize and viewer is not None:
            self._fitted = self._fitted or is_fitted(viewer)
            self._again.start()
        return bool(super().eventFilter(watched, event))

    def _fit(self) -> None:
        viewer, fitted = self._viewer(), self._fitted
        self._fitted = False
        if viewer is not None and fitted:
            viewer.reset_view()


def keep_fitted(viewer: Any) -> None:
    """Keep the view of a viewer fitted as long as its window lives."""
    window = getattr(viewer, "window", None)
    if window is not None:
        FittedView(viewer, window._qt_viewer.canvas.native)
