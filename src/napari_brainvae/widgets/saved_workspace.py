"""From a window to a workspace's file, and back: layers, panels, selections."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import napari
import napari.viewer
from napari.layers import Shapes
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDockWidget, QFileDialog

from napari_brainvae.atlas.atlas_section import AtlasRegion
from napari_brainvae.atlas.regions import Region
from napari_brainvae.data.marks import marks_beside
from napari_brainvae.io.errors import InputError, present
from napari_brainvae.widgets.layers.region_layers import REGION_LOOK, shapes_in_pixels
from napari_brainvae.widgets.layers.section_layers import (
    population_of,
    section_geometry,
    show_index,
    shown_index,
)
from napari_brainvae.widgets.workspace import Workspace, workspace_of
from napari_brainvae.widgets.workspace_file import (
    SUFFIX,
    AtlasOnShow,
    LinkedFile,
    SavedWorkspace,
)

PLUGIN = "napari-brainvae"
ATLAS_PANEL, FIELD_PANEL = "Atlas", "Projective field"
EXPLORER_PANEL, MAP_PANEL = "Explore factors", "Map of brains"
FILES = f"Workspaces (*{SUFFIX})"

Ask = Callable[[str, Path], Path | None]


def save_workspace(viewer: Any, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write what is open to a file; gives what could not be saved, in sentences.

    Raises
    ------
    OSError
        If it exists and ``overwrite`` was not asked for, or cannot be written.
    """
    workspace, folder, left = workspace_of(viewer), path.parent, []
    sections = workspace.sections
    file = None if sections is None or sections.source.path is None else Path(sections.source.path)
    if sections is not None and file is None:
        left.append(f"The sections “{sections.name}” come from no file and are not saved.")
    models = [each for each in workspace.checkpoints if each.exists()]
    chosen = workspace.checkpoint
    about: dict[str, Any] = {
        "sections": None if file is None else LinkedFile.to(file, folder),
        "models": [LinkedFile.to(each, folder) for each in models],
        "model": models.index(chosen) if chosen in models else None,
        "atlas": _atlas(workspace, folder),
        "regions": _regions(viewer, workspace),
    }
    marks = workspace.marks.path
    if file is not None and marks is not None and marks != marks_beside(file) and marks.exists():
        about["marks"] = LinkedFile.to(marks, folder)
    about["panels"], about["raised"] = _panels(viewer)
    about |= _views(viewer, workspace)
    population = workspace.population
    if population is not None and sections is not None:
        about["brain"] = population.ids[shown_index(sections, viewer.dims.point)]
        about["selected"] = [population.ids[i] for i in sorted(workspace.brains.selected)]
    SavedWorkspace(**about).save(path, overwrite=overwrite)
    return left


def _atlas(workspace: Workspace, folder: Path) -> AtlasOnShow | None:
    if workspace.atlas_folder is None or not workspace.atlas_folder.exists():
        return None
    link, shown = LinkedFile.to(workspace.atlas_folder, folder), workspace.atlas
    if shown is None:
        return AtlasOnShow(folder=link)
    regions = tuple((region.acronym, region.side) for region in shown.regions)
    return AtlasOnShow(folder=link, plane=shown.section.plane, regions=regions)


def _regions(viewer: Any, workspace: Workspace) -> list[Region]:
    """Regions that were drawn, as they are; a layer without an outline is none."""
    sections = workspace.sections
    if sections is None:
        return []
    shape = tuple(sections.data.shape[-2:])
    size = population_of(sections).description.pixel_size_um
    drawn = [each for each in viewer.layers if isinstance(each, Shapes)]
    outlines = {each.name: shapes_in_pixels(each, sections, shape) for each in drawn}
    return [
        Region.from_polygons(name, each, shape, size) for name, each in outlines.items() if each
    ]


def _docks(viewer: Any) -> dict[str, QDockWidget]:
    """Docks of our panels by the names that open them, in the order they were opened."""
    mark = f" ({PLUGIN})"
    window, docks = viewer.window._qt_window, {}
    for name, widget in viewer.window.dock_widgets.items():
        dock: Any = widget
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parent()
        if name.endswith(mark) and dock is not None and dock.window() is window:
            docks[name.removesuffix(mark)] = dock
    return docks


def _panels(viewer: Any) -> tuple[list[str], str]:
    docks = {name: dock for name, dock in _docks(viewer).items() if not dock.isHidden()}
    seen = [name for name, dock in docks.items() if not dock.visibleRegion().isEmpty()]
    return list(docks), next(iter(seen), "")


def _panel(viewer: Any, name: str) -> Any:
    """One of our panels, if it is open."""
    return viewer.window.dock_widgets.get(f"{name} ({PLUGIN})")


def _views(viewer: Any, workspace: Workspace) -> dict[str, Any]:
    """What panels show of a model: it comes again with that."""
    views: dict[str, Any] = {}
    if workspace.ready:
        if (field := _panel(viewer, FIELD_PANEL)) is not None:
            views["factor"] = field.factor
        if (explorer := _panel(viewer, EXPLORER_PANEL)) is not None:
            views["codes"] = explorer.codes.tolist()
        if (shown := _panel(viewer, MAP_PANEL)) is not None and shown.table is not None:
            views["map"] = shown.options
    return views


def open_workspace(viewer: Any, path: Path, ask: Ask | None = None) -> list[str]:
    """Open all that a workspace names; gives what is to be said, in sentences.

    Parameters
    ----------
    ask
        Called with what is missing and where it was; gives where it is now, or None to go without.

    Raises
    ------
    InputError, OSError
        If the file is no workspace; nothing is opened then.
    """
    saved, workspace = SavedWorkspace.load(path), workspace_of(viewer)
    found = _Found(path.parent, ask or ask_for)
    if (sections := found.file("sections", saved.sections)) is not None:
        _open_once(viewer, workspace, sections, found)
    models = [found.file("model", each) for each in saved.models]
    for model in models:
        if model is not None and model not in workspace.checkpoints:
            found.tried(partial(viewer.open, model, plugin=PLUGIN))
    if saved.model is not None and models[saved.model] in workspace.checkpoints:
        workspace.checkpoint = models[saved.model]
    atlas = None if saved.atlas is None else found.file("atlas", saved.atlas.folder)
    if atlas is not None and atlas != workspace.atlas_folder:
        found.tried(lambda: viewer.open(atlas, plugin=PLUGIN))
    if (marks := found.file("marks", saved.marks)) is not None:
        found.tried(lambda: workspace.marks.keep_in(marks))
    for region in saved.regions:
        add_region(viewer, workspace, region)
    if saved.atlas is not None and atlas is not None and saved.atlas.plane is not None:
        _when_laid(viewer, saved.atlas)
    _open_panels(viewer, saved)
    if saved.model is not None and workspace.checkpoint == models[saved.model]:
        _show_views(viewer, saved)
    _select(viewer, workspace, saved)
    workspace.say(" ".join(found.said) or f"Opened {path.name}.")
    return found.said


def add_region(viewer: Any, workspace: Workspace, region: Region) -> None:
    """Add a drawn region as a Shapes layer that lies on the sections; once."""
    if any(isinstance(each, Shapes) and each.name == region.name for each in viewer.layers):
        return
    sections, place = workspace.sections, {}
    outlines = region.placed(region.shape, region.pixel_size_um)
    if sections is not None:
        shape = sections.data.shape[-2:]
        outlines = region.placed(shape, population_of(sections).description.pixel_size_um)
        place = section_geometry(sections, shape)
    viewer.add_layer(Shapes(outlines, name=region.name, **REGION_LOOK, **place))


def _open_once(viewer: Any, workspace: Workspace, file: Path, found: _Found) -> None:
    """Open sections, or choose the layer that shows them already."""
    there = [
        each
        for each in workspace.chosen("sections").layers
        if each.source.path is not None and Path(each.source.path) == file
    ]
    if there:
        workspace.sections = there[-1]
    else:
        found.tried(lambda: viewer.open(file, plugin=PLUGIN))


class _Found:
    """Files of a workspace where they are now, and what is to be said of them."""

    def __init__(self, folder: Path, ask: Ask) -> None:
        self._folder, self._ask = folder, ask
        self.said: list[str] = []

    def file(self, what: str, link: LinkedFile | None) -> Path | None:
        """Where a file is; asked for if it is missing, and said if it is another than before."""
        if link is None:
            return None
        path: Path | None = link.found(self._folder)
        if path is None or not path.exists():
            was, path = path, self._ask(what, link.found(self._folder))
            if path is None or not path.exists():
                self.said.append(f"Not found, and left out: the {what} {was}.")
                return None
        try:
            changed = link.changed(path)
        except OSError as error:
            self.said.append(f"Left out, the {what} {path.name}: {error}.")
            return None
        # Marks change all the time, which is what they are for.
        if changed and what != "marks":
            self.said.append(f"Changed since the workspace was saved: the {what} {path.name}.")
        return path

    def tried(self, opening: Callable[[], Any]) -> None:
        """Open something; what cannot be opened is said, and the rest is opened."""
        try:
            opening()
        except (InputError, OSError) as error:
            self.said.append(f"{error}.")


def _when_laid(viewer: Any, saved: AtlasOnShow) -> None:
    """Go to a plane and its regions as soon as the panel has laid the atlas."""
    workspace = workspace_of(viewer)

    def came() -> None:
        atlas = workspace.atlas
        if atlas is None or saved.plane is None:
            return
        panel = viewer.window.dock_widgets.get(f"{ATLAS_PANEL} ({PLUGIN})")
        there = saved.plane < atlas.section.atlas.shape[0]
        if atlas.section.plane != saved.plane and panel is not None and there:
            # Not while it lays the one before.
            QTimer.singleShot(0, lambda: setattr(panel, "plane", saved.plane))
            return
        workspace.atlas_changed.disconnect(came)
        known = {structure.acronym for structure in atlas.section.atlas}
        wanted = [AtlasRegion(*each) for each in saved.regions if each[0] in known]
        for region in [each for each in atlas.regions if each not in wanted]:
            atlas.remove(region)
        for region in wanted:
            atlas.add(region)

    workspace.atlas_changed.connect(came)


def _show_views(viewer: Any, saved: SavedWorkspace) -> None:
    """Show of the model what was on show, as soon as it is read; the map, once it has brains."""
    workspace = workspace_of(viewer)
    brains = workspace.brains

    def of_model() -> None:
        factors = present(workspace.model, "a model").latent_dim
        field, explorer = (_panel(viewer, each) for each in (FIELD_PANEL, EXPLORER_PANEL))
        if field is not None and saved.factor is not None and saved.factor < factors:
            field.factor = saved.factor
        if explorer is not None and len(saved.codes) == factors:
            explorer.codes = saved.codes

    def of_brains() -> None:
        if (panel := _panel(viewer, MAP_PANEL)) is not None and saved.map is not None:
            panel.options = saved.map

    _once(workspace, workspace.model_changed, lambda: workspace.ready, of_model)
    _once(workspace, brains.table_changed, lambda: brains.table is not None, of_brains)


def _once(
    workspace: Workspace, signal: Any, there: Callable[[], bool], show: Callable[[], None]
) -> None:
    """Show something as soon as it is there; never if another model is chosen before."""
    checkpoint = workspace.checkpoint

    def came() -> None:
        another = workspace.checkpoint != checkpoint
        if another or there():
            signal.disconnect(came)
            if not another:
                show()

    signal.connect(came)
    came()


def _open_panels(viewer: Any, saved: SavedWorkspace) -> None:
    names = list(saved.panels)
    if saved.atlas is not None and saved.atlas.plane is not None and ATLAS_PANEL not in names:
        names.insert(0, ATLAS_PANEL)
    for name in names:
        if name in panel_names() and name not in _docks(viewer):
            viewer.window.add_plugin_dock_widget(PLUGIN, name)
    if (raised := _docks(viewer).get(saved.raised)) is not None:
        # Once they lie behind each other, which they do in the next moments.
        QTimer.singleShot(0, lambda: QTimer.singleShot(0, raised.raise_))


def panel_names() -> list[str]:
    """Names of our panels."""
    from npe2 import PluginManager

    manifest = PluginManager.instance().get_manifest(PLUGIN)
    return [each.display_name for each in manifest.contributions.widgets or ()]


def _select(viewer: Any, workspace: Workspace, saved: SavedWorkspace) -> None:
    population, layer = workspace.population, workspace.sections
    if population is None or layer is None:
        return
    places = {name: i for i, name in enumerate(population.ids)}
    workspace.brains.select(places[each] for each in saved.selected if each in places)
    if saved.brain in places:
        show_index(viewer, layer, places[saved.brain])


def ask_for(what: str, was: Path) -> Path | None:
    """Ask where a file of a workspace is now."""
    window = getattr(napari.current_viewer(), "window", None)
    parent = getattr(window, "_qt_window", None)
    title = f"Where is the {what} {was.name}?"
    if what == "atlas" or was.suffix == ".zarr":
        name = QFileDialog.getExistingDirectory(parent, title)
    else:
        name, _ = QFileDialog.getOpenFileName(parent, title, "", f"(*{was.suffix});;All files (*)")
    return Path(name) if name else None


def ask_to_save(viewer: napari.viewer.Viewer) -> None:
    """Ask for a name, and save the workspace; a file that is there is replaced if she says so."""
    workspace = workspace_of(viewer)
    parent = viewer.window._qt_window
    name, _ = QFileDialog.getSaveFileName(parent, "Save workspace", f"mine{SUFFIX}", FILES)
    if not name:
        return
    # The dialog has asked only about the name that it gives.
    complete = name.endswith(SUFFIX)
    path = Path(name if complete else name.removesuffix(".json") + SUFFIX)
    try:
        left = save_workspace(viewer, path, overwrite=complete)
    except (InputError, OSError) as error:
        workspace.say(f"The workspace was not saved: {error}.")
    else:
        workspace.say(" ".join([f"Saved {path.name}.", *left]))


def ask_to_open(viewer: napari.viewer.Viewer) -> None:
    """Ask for a workspace's file, and open it."""
    parent = viewer.window._qt_window
    name, _ = QFileDialog.getOpenFileName(parent, "Open workspace", "", FILES)
    if name:
        try:
            open_workspace(viewer, Path(name))
        except (InputError, OSError) as error:
            workspace_of(viewer).say(f"The workspace was not opened: {error}.")
