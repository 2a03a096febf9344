"""One workspace per viewer: sections, model and atlas are chosen once, for all panels.

Whatever is opened or dropped last is chosen, and the workspace says so in a sentence. Panels show
what is chosen and listen; what they compute belongs to the `Inputs` it was computed from.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast
from weakref import finalize, ref

import numpy as np
from napari.layers import Image, Layer
from psygnal import Signal

from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import crop_to
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.file_stamp import Stamp, file_stamp
from napari_brainvae.models.base import Model
from napari_brainvae.models.checkpoint import DEMO_MODEL, load_checkpoint
from napari_brainvae.widgets.fitted_view import keep_fitted
from napari_brainvae.widgets.inputs import Inputs
from napari_brainvae.widgets.layers.atlas_layers import ATLAS, AtlasSelection, is_atlas
from napari_brainvae.widgets.layers.brain_points import BrainPoints
from napari_brainvae.widgets.layers.chosen_layer import Chosen
from napari_brainvae.widgets.layers.freeing import free_in_own_context
from napari_brainvae.widgets.layers.plugin_layers import leave_copy
from napari_brainvae.widgets.layers.section_layers import (
    ATLAS_FOLDER,
    CHECKPOINT,
    MADE_HERE,
    has_sections,
    lay_on,
    place_events,
    population_of,
    share_units,
    tell_population,
)
from napari_brainvae.widgets.shared_brains import SharedBrains
from napari_brainvae.widgets.shared_factors import SharedFactors
from napari_brainvae.widgets.shared_marks import SharedMarks
from napari_brainvae.widgets.workers import Latest

STAND_INS = {CHECKPOINT, ATLAS_FOLDER}
"""Of the layers by which a model or an atlas is opened, and shown where there are no sections."""


class Workspace:
    """What the panels of a viewer work on. Get it with `workspace_of`.

    Signals
    -------
    sections_changed
        Another layer is chosen, or its pixels were replaced, or lie elsewhere.
    model_changed
        Another checkpoint is chosen (there is no model while it is loaded), loaded, or is none.
    atlas_changed
        Another atlas layer is chosen, or it shows another plane, or has other regions.
    folder_changed
        Another folder of an atlas is chosen: whoever lays planes is to open it.
    said_changed
        There is something else to say, there are other layers to choose from, or other names.
    """

    model_changed, folder_changed, said_changed = Signal(), Signal(), Signal()

    def __init__(self, viewer: Any) -> None:
        self._viewer = ref(viewer)
        self.model: Model | None = None
        self.problem, self.said, self._units_said = "", "", ""
        self.checkpoints: list[Path] = []
        self._checkpoint: Path | None = None
        self._folder: Path | None = None
        self._chosen = {
            "sections": Chosen(has_sections, place_events),
            "atlas": Chosen(is_atlas, lambda layer: [layer.metadata[ATLAS].changed]),
        }
        for chosen in self._chosen.values():
            chosen.renamed.connect(self.said_changed.emit)
        self.sections_changed = self._chosen["sections"].changed
        self.atlas_changed = self._chosen["atlas"].changed
        # With the window go its panels, unasked: what is still loading then is told to nobody.
        window = getattr(getattr(viewer, "window", None), "_qt_window", None)
        self._load = Latest(load_once, self._loaded, self._failed, parent=window)
        self._shown_alone: set[Layer] = set()
        self.factors = SharedFactors(self.inputs)
        self.brains = SharedBrains(lambda: self.inputs(atlas=False), lambda: self.population)
        self.points: BrainPoints | None = None
        """The brains as a layer, once a panel has made it."""
        self.marks = SharedMarks(lambda: self.sections, lambda: self.population, self.say)
        # First: what panels then read belongs to what is chosen.
        self.sections_changed.connect(self.marks.follow)
        for changed in (self.sections_changed, self.model_changed):
            changed.connect(self.brains.drop_stale)
        self.sections_changed.connect(self._relay)
        # Last: the viewer is to know a layer before panels hear of it.
        viewer.layers.events.inserted.connect(self._inserted, position="last")
        viewer.layers.events.removed.connect(self._removed)
        free_in_own_context(viewer)
        keep_fitted(viewer)
        for layer in viewer.layers:
            self._take(layer)

    def chosen(self, what: Literal["sections", "atlas"]) -> Chosen:
        """Give the choice of a layer, with all that it can be."""
        return self._chosen[what]

    @property
    def sections(self) -> Image | None:
        """The chosen layer with one section per brain, or a single one."""
        layer: Image | None = self._chosen["sections"].layer
        return layer

    @sections.setter
    def sections(self, layer: Layer | None) -> None:
        self._chosen["sections"].swap(layer)

    @property
    def population(self) -> Population | None:
        """What the sections are; None without, or if they cannot be used."""
        try:
            return None if self.sections is None else population_of(self.sections)
        except InputError:
            return None

    @property
    def unusable(self) -> str:
        """Why nothing can be computed for the chosen sections; empty if it can."""
        if self.sections is None:
            return ""
        try:
            shape = population_of(self.sections).shape
            if self.model is not None:
                crop_to(np.empty((0, *shape)), self.model.shape)
        except InputError as error:
            return str(error)
        return ""

    @property
    def checkpoint(self) -> Path | None:
        """The chosen file of a model, which is loaded in the background."""
        return self._checkpoint

    @checkpoint.setter
    def checkpoint(self, path: str | Path | None) -> None:
        self._checkpoint = None if path is None else Path(path)
        self.model, self.problem = None, ""
        if self._checkpoint is not None:
            if self._checkpoint not in self.checkpoints:
                self.checkpoints.append(self._checkpoint)
            self._load.request(self._checkpoint, file_stamp([self._checkpoint]))
        self.model_changed.emit()

    @property
    def model_name(self) -> str:
        """Run and file of the chosen model."""
        return "" if self._checkpoint is None else name_of_model(self._checkpoint)

    @property
    def atlas(self) -> AtlasSelection | None:
        """Plane on show and chosen regions of the chosen atlas."""
        layer = self._chosen["atlas"].layer
        return None if layer is None else cast("AtlasSelection", layer.metadata[ATLAS])

    @property
    def atlas_folder(self) -> Path | None:
        """The folder of the atlas that was opened last."""
        return self._folder

    @atlas_folder.setter
    def atlas_folder(self, folder: str | Path | None) -> None:
        self._folder = None if folder is None else Path(folder)
        self.folder_changed.emit()

    @property
    def ready(self) -> bool:
        """Whether sections are chosen and a model is loaded that they can be given to.

        A layer that is just being removed moves the slider before the workspace hears of it:
        nothing is to be computed for it any more.
        """
        viewer = self._viewer()
        chosen = viewer is not None and self.sections in viewer.layers
        return self.model is not None and chosen and not self.unusable

    def inputs(self, options: Any = None, *, atlas: bool = True) -> Inputs | None:
        """Give what a result is computed from now; None while something is missing.

        Parameters
        ----------
        options
            Whatever else decides the result: options, keys of regions; compared by ``==``.
        atlas
            Whether the plane of the atlas decides it, too.
        """
        sections, population, model = self.sections, self.population, self.model
        if not self.ready or sections is None or population is None or model is None:
            return None
        section = None
        if atlas and self.atlas is not None:
            try:
                section = self.atlas.cropped(model.shape)
            except InputError:  # it is laid on other sections
                return None
        return Inputs(sections, model, population, section, options)

    def give(self, population: Population) -> None:
        """Say more of the brains on show than their file did: their pixels are the same."""
        if self.sections is not None:
            tell_population(self.sections, population)
            self.sections_changed.emit()

    def say(self, sentence: str) -> None:
        """Say something in every panel, in the place of what was said before."""
        self.said = sentence
        self.said_changed.emit()

    def _inserted(self, event: Any) -> None:
        layer, viewer = event.value, self._viewer()
        leave_copy(layer)
        self._share_units(layer)
        said, self._units_said = self._units_said, ""
        self._take(layer, opened=True)
        if said:
            self.say(f"{self.said} {said}".strip())
        if viewer is not None:
            self._lay_out(viewer, layer)

    def _share_units(self, layer: Layer) -> None:
        others = self._chosen["sections"].layers
        if has_sections(layer) and layer not in others:
            size = None if self.model is None else self.model.header.pixel_size_um
            self._units_said = share_units(layer, others, size) or self._units_said

    def _lay_out(self, viewer: Any, layer: Layer) -> None:
        """Keep what was opened in sight: no canvas is black, and ours is in the units of hers.

        The section that a model or an atlas is shown by is hidden where there are sections.
        """
        if self.sections is None:
            if layer.metadata.keys() & STAND_INS and not layer.visible:
                layer.visible = True
                self._shown_alone.add(layer)
            return
        self._relay()
        for each in self._shown_alone:
            each.visible = False
        self._shown_alone.clear()
        seen = [each for each in viewer.layers if each.visible and each is not layer]
        if layer is self.sections and all(each.units != layer.units for each in seen):
            viewer.reset_view()

    def _take(self, layer: Layer, *, opened: bool = False) -> None:
        """Choose what was opened last, and say so where something else was chosen."""
        for what, title in TITLES.items():
            others = bool(self._chosen[what].layers)
            if self._chosen[what].take(layer):
                said = f"{title}: now “{layer.name}”, opened last." if opened and others else ""
                self.say(said)
        if CHECKPOINT in layer.metadata:
            before, self.checkpoint = self._checkpoint, layer.metadata[CHECKPOINT]
            if opened and before not in (None, self._checkpoint):
                self.say(f"Model: now “{self.model_name}”, opened last.")
        if ATLAS_FOLDER in layer.metadata:
            self.atlas_folder = layer.metadata[ATLAS_FOLDER]

    def _removed(self, event: Any) -> None:
        for what, title in TITLES.items():
            before = self._chosen[what].layer
            if self._chosen[what].leave(event.value):
                now = self._chosen[what].layer
                if now is before or now is None:
                    self.say("")
                else:
                    self.say(f"{title}: now “{now.name}”; the other was removed.")

    def make_room(self, sections: Image) -> None:
        """Lay what is ours on sections that are about to be opened, and them beside those of hers.

        In other units it were a dot in the view of everything, or they were; and napari complains
        of that as soon as it draws them, which it does before anyone hears of a new layer.
        """
        self._share_units(sections)
        viewer = self._viewer()
        for each in () if viewer is None else viewer.layers:
            if each.ndim == 2 and each.metadata.keys() & {MADE_HERE, *STAND_INS}:
                lay_on(each, sections, always=CHECKPOINT in each.metadata)

    def _relay(self) -> None:
        viewer = self._viewer()
        if viewer is not None and self.sections in viewer.layers:
            self.make_room(self.sections)

    def _loaded(self, result: tuple[Path, Model]) -> None:
        path, model = result
        if path == self._checkpoint:
            self.model = model
            self.model_changed.emit()

    def _failed(self, message: str) -> None:
        self.problem = message
        self.model_changed.emit()


TITLES: dict[Literal["sections", "atlas"], str] = {"sections": "Sections", "atlas": "Atlas"}


_workspaces: dict[int, Workspace] = {}
"""By identity: viewers compare by what is in them."""


def workspace_of(viewer: Any) -> Workspace:
    """Give the one workspace of a viewer, which lives as long as that."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # napari gives plugins a proxy
    if id(viewer) not in _workspaces:
        _workspaces[id(viewer)] = Workspace(viewer)
        finalize(viewer, _workspaces.pop, id(viewer))
    return _workspaces[id(viewer)]


def name_of_model(path: Path) -> str:
    """Tell models apart: runs call their file model.safetensors, their folders differ."""
    return "Demo model" if path == DEMO_MODEL else f"{path.parent.name}/{path.name}"


def load_once(path: Path, stamp: Stamp) -> tuple[Path, Model]:
    """Load a checkpoint once for all that ask; one that was written again is loaded again."""
    return path, _load(path, stamp)


@lru_cache(maxsize=4)
def _load(path: Path, stamp: Stamp) -> Model:
    return load_checkpoint(path)
