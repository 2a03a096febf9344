"""The loop as a user goes it: open, fit, look over, exclude three brains, fit again, explore."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication

from napari_brainvae.models.run_state import MODEL
from napari_brainvae.widgets.explorer import ExplorerWidget
from napari_brainvae.widgets.fit import FitWidget
from napari_brainvae.widgets.gallery import GalleryWidget
from napari_brainvae.widgets.workspace import workspace_of
from tests.widgets.hands import Hands, wait


@dataclass(frozen=True)
class Walked:
    """What came of it."""

    first: Path
    second: Path
    excluded: list[int]
    command: str
    explorer: ExplorerWidget


def walk(hands: Hands, file: Path, options: dict[str, str]) -> Walked:
    """Go once around, from an empty window; positions of the brains that were excluded."""
    hands.open(file)
    workspace = workspace_of(hands.viewer)
    wait(lambda: workspace.population is not None, what="nothing was opened")
    count = len(workspace.population)
    panel: FitWidget = hands.panel("Fit")
    wait(lambda: panel.brains.text().startswith(f"{count} of {count} brains"))
    for name, value in options.items():
        words = name.replace("_", " ")
        hands.enter(panel.choice.plain.widgets[name].native, value, f"{words}: {value}")
    first = fit(hands, panel)
    excluded = exclude_the_oddest(hands, 3)
    hands.tab(panel)
    wait(lambda: panel.brains.text().startswith(f"{count - 3} of {count} brains"))
    hands.push(panel, "Copy command")
    command = QGuiApplication.clipboard().text()
    second = fit(hands, panel, "fit again, without the three")
    return Walked(first, second, excluded, command, explore(hands))


def fit(hands: Hands, panel: FitWidget, said: str = "") -> Path:
    """Click Fit, and wait until the model is that of all panels; its folder."""
    folder = panel.choice.folder
    assert folder is not None
    hands.click(panel.fit, said or "click “Fit”")

    wait(lambda: panel.run.running, 20)
    wait(lambda: bool(panel.run.state.steps) or not panel.run.running, 300)
    hands.seen("it is fitted in the background", None)
    wait(lambda: not panel.run.running, 600)
    assert panel.run.outcome == "done", panel.run.said
    workspace = workspace_of(hands.viewer)
    wait(lambda: workspace.ready and workspace.checkpoint == folder / MODEL)
    hands.seen("the model opens by itself", None)
    return folder


def exclude_the_oddest(hands: Hands, many: int) -> list[int]:
    """Sort the gallery by how odd brains are, scroll to the first ones, and exclude them by key."""
    gallery: GalleryWidget = hands.panel("Gallery")
    hands.push(gallery, "List brains")
    wait(lambda: gallery.workspace.brains.table is not None, 300)
    oddest = sorted(gallery.thumbnails.brains.order[:many])
    for brain in oddest:
        while (shown := int(hands.viewer.dims.point[0])) != brain:
            hands.key(Qt.Key.Key_Right if shown < brain else Qt.Key.Key_Left, "scroll by key")
        wait(lambda: gallery.thumbnails.idle)
        hands.key(Qt.Key.Key_E, "Alt+E: exclude it", alt=True)
        assert gallery.workspace.marks.of_brains[brain] == "exclude"
    return oddest


def explore(hands: Hands) -> ExplorerWidget:
    """Move a factor of the model, and go to the nearest real brain."""
    panel: ExplorerWidget = hands.panel("Explore factors")
    wait(lambda: len(panel.sliders.sliders) > 0 and panel.latest.idle)
    hands.push(panel, "List brains")
    wait(lambda: panel.codes_of_brains is not None, 300)
    hands.drag(panel.sliders.sliders[0], 0.3, "drag a factor")
    wait(lambda: panel.latest.idle)
    hands.push(panel, "Nearest brain")
    wait(lambda: panel.latest.idle)
    return panel
