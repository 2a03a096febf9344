"""What the manifest offers besides widgets: readers of all that may be dropped on the window.

Why something cannot be opened is said in the panels, too: what napari shows of it names no reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.layers import Image
from qtpy.QtCore import QTimer

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.regions import Region
from napari_brainvae.data.covariates import read_covariates
from napari_brainvae.data.gather_inputs import has_brains
from napari_brainvae.data.population import Population
from napari_brainvae.factors.projective_field import population_mean
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.file_stamp import file_stamp
from napari_brainvae.models.base import Model
from napari_brainvae.widgets.layers.region_layers import REGION_LOOK
from napari_brainvae.widgets.layers.section_layers import (
    ATLAS_FOLDER,
    AXES,
    CHECKPOINT,
    population_layer,
    population_of,
    section_geometry,
)
from napari_brainvae.widgets.saved_workspace import open_workspace
from napari_brainvae.widgets.workspace import Workspace, load_once, workspace_of
from napari_brainvae.widgets.workspace_file import SavedWorkspace, is_workspace

LayerData = tuple[Any, dict[str, Any], str]
NOTHING: list[Any] = [(None,)]
"""How a reader tells napari that it has read something that is no layer."""
Reader = Callable[[str], list[Any]]


def population_reader(path: str | list[str]) -> Reader | None:
    """Give the reader of a population, or None for a folder that holds no array ``images``."""
    if isinstance(path, list):
        return None
    is_group = Path(path).suffix.lower() == ".zarr" and (Path(path) / "images").is_dir()
    return None if Path(path).is_dir() and not is_group else _said(_read_population)


def checkpoint_reader(path: str | list[str]) -> Reader | None:
    """Give the reader of a checkpoint."""
    return None if isinstance(path, list) else _said(_read_checkpoint)


def folder_reader(path: str | list[str]) -> Reader | None:
    """Give the reader of the folder of a run or an atlas."""
    return None if isinstance(path, list) or Path(path).suffix == ".zarr" else _said(_read_folder)


def region_reader(path: str | list[str]) -> Reader | None:
    """Give the reader of a region's file."""
    return None if isinstance(path, list) else _said(_read_region)


def brain_reader(path: str | list[str]) -> Reader | None:
    """Give the reader of a registered brain's volume, of which sections can be gathered."""
    return None if isinstance(path, list) else _said(_offer_to_gather)


def covariate_reader(path: str | list[str]) -> Reader | None:
    """Give the reader of a table of the brains on show."""
    return None if isinstance(path, list) else _said(_read_covariates)


PLUGIN, GATHER = "napari-brainvae", "Gather"
"""The plugin, and the panel to which brains are given."""

RUN_MODEL = "model.safetensors"
"""What a run calls its model."""


def _workspace() -> Workspace | None:
    """Give the workspace of the viewer that something is dropped on."""
    viewer = napari.current_viewer()
    return None if viewer is None else workspace_of(viewer)


def _said(read: Reader) -> Reader:
    """Say in the panels why something cannot be opened."""

    def reader(path: str) -> list[Any]:
        workspace = _workspace()  # from now on it keeps what is opened in sight
        try:
            return read(path)
        except (InputError, OSError) as error:
            if workspace is not None:
                workspace.say(f"{Path(path).name} was not opened: {error}.")
            raise

    return reader


def _place(shape: tuple[int, int], size_um: float | None = None) -> dict[str, Any]:
    """Where a section of a model or an atlas lies: on the sections, or in the units there are.

    Alone it is in pixels: those of a stack that says nothing of their size are, too.
    """
    viewer, workspace = napari.current_viewer(), _workspace()
    sections = None if workspace is None else workspace.sections
    others = () if viewer is None else viewer.layers
    in_pixels = str((sections or next(iter(others))).units[-1]) == "pixel" if others else True
    if size_um and not in_pixels:
        return {"scale": (size_um, size_um), "units": ("um", "um"), "axis_labels": AXES[1:]}
    if sections is None:
        units = ("pixel" if in_pixels else "um",) * 2
        return {"scale": (1, 1), "units": units, "axis_labels": AXES[1:]}
    return section_geometry(sections, shape)


def _read_population(path: str) -> list[LayerData]:
    return [population_data(Population.open(path), Path(path).stem)]


def _read_checkpoint(path: str) -> list[LayerData]:
    file = Path(path)
    _, model = load_once(file, file_stamp([file]))
    # Runs call their file model.safetensors; their folder has the name that tells them apart.
    name = file.parent.name if file.name == RUN_MODEL else file.stem
    return [model_layer(model, file, name)]


def _read_folder(path: str) -> list[LayerData]:
    folder = Path(path)
    if (folder / RUN_MODEL).is_file():
        return _read_checkpoint(str(folder / RUN_MODEL))
    if not (folder / "structures.json").is_file():
        if has_brains(folder):
            return _offer_to_gather(path)
        raise InputError(
            f"{folder.name} is no run (no {RUN_MODEL} in it), no atlas (no structures.json), and "
            "holds no registered brain"
        )
    return [atlas_layer(Atlas.open(folder), folder.name)]


def _offer_to_gather(path: str) -> list[Any]:
    """Show registered brains in the panel that makes a population of them; it adds no layer."""
    viewer = napari.current_viewer()
    if getattr(viewer, "window", None) is None:
        raise InputError(f"brainvae gather {path} --out mice.zarr makes sections of these brains")
    dock, panel = viewer.window.add_plugin_dock_widget(PLUGIN, GATHER)
    dock.show()
    dock.raise_()
    panel.add([Path(path)])
    return NOTHING


def _read_region(path: str) -> list[Any]:
    """Open a region as an editable Shapes layer that lies on the sections; or a workspace."""
    if Path(path).is_file() and is_workspace(Path(path)):
        return _open_workspace(Path(path))
    region, workspace = Region.load(path), _workspace()
    sections = None if workspace is None else workspace.sections
    size = region.pixel_size_um
    if sections is None:
        outlines, units = region.placed(region.shape, size), ("um" if size else "pixel",) * 2
        place = {"scale": (size or 1, size or 1), "units": units, "axis_labels": AXES[1:]}
    else:
        shape = sections.data.shape[-2:]
        size = population_of(sections).description.pixel_size_um
        outlines, place = region.placed(shape, size), section_geometry(sections, shape)
    return [(outlines, {"name": region.name, **REGION_LOOK, **place}, "shapes")]


def _open_workspace(path: Path) -> list[Any]:
    """Open all that a workspace names, once napari has done with this reader."""
    viewer = napari.current_viewer()
    if getattr(viewer, "window", None) is None:
        raise InputError(f"{path.name} is a workspace: drop it on a window of napari")
    SavedWorkspace.load(path)  # what is none is said as of all that is dropped
    QTimer.singleShot(0, lambda: open_workspace(viewer, path))
    return NOTHING


def _read_covariates(path: str) -> list[Any]:
    """Give the brains on show the table of a file; it adds no layer."""
    workspace = _workspace()
    if workspace is None or workspace.sections is None or workspace.population is None:
        raise InputError(f"open the sections before {Path(path).name}, the table of their brains")
    population = workspace.population
    table = read_covariates(path, population.ids)
    known = population.covariates.drop(columns=table.columns, errors="ignore")
    workspace.give(replace(population, covariates=known.join(table)))
    columns = ", ".join(map(str, table.columns))
    workspace.say(f"Covariates: {columns} of {len(table)} brains, from {Path(path).name}.")
    return NOTHING


def population_data(population: Population, name: str) -> LayerData:
    """Show a population; what is ours in the viewer makes room for it."""
    images, options, kind = population_layer(population, name)
    if (workspace := _workspace()) is not None:
        layer = Image(images, **options)
        workspace.make_room(layer)
        options |= {"scale": layer.scale, "units": layer.units}
    return images, options, kind


def model_layer(model: Model, file: Path, name: str) -> LayerData:
    """Show a model by the section that it decodes at the population's mean; it carries the path."""
    section = model.decode(population_mean(model)[None])[0]
    options = {
        "name": f"{name}: mean section of the model",
        **_place(section.shape),
        "metadata": {CHECKPOINT: str(file)},
        "visible": False,
    }
    return section, options, "image"


def atlas_layer(atlas: Atlas, name: str, plane: int | None = None) -> LayerData:
    """Show an atlas by one plane of its template, or of what is annotated; it carries the folder.

    The widget "Atlas", open or to be opened, takes it from there.
    """
    plane = atlas.shape[0] // 2 if plane is None else plane
    try:
        section, what = atlas.template(plane)[0], "template"
    except (InputError, OSError):  # an atlas need not have one
        section, what = (atlas.plane(plane) > 0).astype(np.float32), "tissue"
    options = {
        "name": f"{name}: {what} of the atlas",
        **_place(section.shape, atlas.resolution_um),
        "metadata": {ATLAS_FOLDER: str(atlas.directory)},
        "visible": False,
    }
    return section, options, "image"
