"""The widget "Atlas": the population's plane in the atlas's colours, and its structures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit
from napari.layers import Shapes
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
)

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.atlas_section import AtlasRegion, AtlasSection
from napari_brainvae.atlas.regions import mask_to_polygons
from napari_brainvae.io.file_stamp import Stamp, file_stamp
from napari_brainvae.widgets.layers.atlas_layers import (
    ATLAS,
    OWNER,
    AtlasSelection,
    add_plane,
    outline_picked,
    structure_at,
    update_plane,
)
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers
from napari_brainvae.widgets.layers.section_layers import (
    AXES,
    population_of,
    section_geometry,
)
from napari_brainvae.widgets.panels.atlas_choice import AtlasChoice
from napari_brainvae.widgets.panels.layer_choice import LayerChoice
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.panels.structure_tree import StructureView
from napari_brainvae.widgets.workers import Latest, notify

TOLERANCE = 1.0
"""How far the outlines to edit may be off the atlas's, px: few vertices are easier to move."""


WHOLE, SMALL = 0.95, 0.05
"""Share of a plane's brain that lies within the sections, and of the sections that it fills: with
less of either, atlas and sections hardly belong together."""

JITTER = 3
"""How far the mouse may move in a click, px of the screen."""


class AtlasWidget(Panel):
    """Open an atlas, lay its plane over the sections, find structures and make regions of them."""

    page, tab = "atlas", "Atlas"
    steps_back = False
    first = "To begin, choose the folder of an atlas, or drop it on the canvas."
    needs = ("atlas",)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self._directory = FileEdit(
            mode=FileDialogMode.EXISTING_DIRECTORY,
            nullable=True,
            tooltip="Atlas, as allensdk or BrainGlobe caches it.",
        )
        self.choice = AtlasChoice()
        self.sections = LayerChoice(viewer, "sections", "Sections that the plane is laid over.")
        self._plane = QSpinBox(toolTip="Coronal plane of the atlas (AP index).", enabled=False)
        self._about = QLabel("Open an atlas directory to begin.", wordWrap=True)
        self._cursor = QLabel(wordWrap=True)
        self._cursor.setMinimumHeight(2 * self._cursor.fontMetrics().lineSpacing())
        self.tree = StructureView()
        self._side = QComboBox(toolTip="Of the animal; left is shown on the left.")
        self._side.addItems(["both", "left", "right"])
        self._add = QPushButton("Add to regions", enabled=False)
        self._add.setToolTip("Offer the structure in the widgets Receptive and Projective field.")
        self._edit = QPushButton("Edit as shapes", enabled=False)
        self._edit.setToolTip("Draw the structure's outline into a Shapes layer.")
        self._arrange()
        self._opened: Path | None = None
        self.section: AtlasSection | None = None
        self._selected: AtlasSelection | None = None
        self._made = PluginLayers(viewer, OWNER)
        self.latest = Latest(_cut, self._show, self._failed, parent=self)
        self._directory.changed.connect(self._open)
        self.choice.chosen.connect(self.open_atlas)
        self._plane.valueChanged.connect(self.refresh)
        self.sections.changed.connect(self._sections_changed)
        self.sections.altered.connect(self.refresh)
        self.tree.chosen.connect(self._choose)
        self._side.currentIndexChanged.connect(self._side_changed)
        self._add.clicked.connect(self.add_region)
        self._edit.clicked.connect(self.edit_as_shapes)
        viewer.cursor.events.position.connect(self._hover)
        viewer.mouse_drag_callbacks.append(self._click)
        self.workspace.folder_changed.connect(self._take_folder)
        self._sections_changed()
        self._take_folder()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self.body)
        form = QFormLayout()
        form.addRow("Atlas", self._directory.native)
        form.addRow("BrainGlobe", self.choice)
        form.addRow("Sections", self.sections.native)
        form.addRow("Plane", self._plane)
        layout.addLayout(form)
        layout.addWidget(self._about)
        layout.addWidget(self.tree, 1)
        layout.addWidget(self._cursor)
        row = QGridLayout()
        row.addWidget(QLabel("Side"), 0, 0)
        row.addWidget(self._side, 0, 1, 1, 3)
        row.addWidget(self._add, 1, 0, 1, 2)
        row.addWidget(self._edit, 1, 2, 1, 2)
        layout.addLayout(row)
        for label in (self._about, self._cursor):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def open_atlas(self, directory: str | Path) -> None:
        """Open an atlas directory; again, if it is open already."""
        if self._directory.value == Path(directory):
            self._open(Path(directory))
        self._directory.value = Path(directory)

    @property
    def plane(self) -> int:
        """Coronal plane on show."""
        return self._plane.value()

    @plane.setter
    def plane(self, plane: int) -> None:
        self._plane.setValue(plane)

    @property
    def side(self) -> str:
        """Side of the animal that regions are taken from."""
        return str(self._side.currentText())

    @side.setter
    def side(self, side: str) -> None:
        self._side.setCurrentText(side)

    def refresh(self, event: Any = None) -> None:
        """Ask for the plane."""
        if self._opened is None:
            return
        plane = self._plane.value() if self._plane.isEnabled() else self._known_plane()
        self.latest.request(self._opened, plane, *self._size())

    def add_region(self) -> AtlasRegion | None:
        """Offer the selected structure to the other widgets; give what was added."""
        region, selection = self._region(), self._selection()
        if region is None or selection is None:
            return None
        selection.add(region)
        notify(f"{region.name} is now among the regions.")
        return region

    def edit_as_shapes(self) -> Shapes | None:
        """Draw the selected structure's outline into a new Shapes layer."""
        region, section = self._region(), self.section
        if region is None or section is None or "atlas" not in self._made:
            return None
        polygons = mask_to_polygons(section.region(region), TOLERANCE)
        color = section.atlas.colors[section.atlas.structure(region.acronym).id]
        layer = Shapes(
            polygons,
            shape_type="polygon",
            name=region.name,
            edge_color=[color],
            face_color=[(*color[:3], 0.3)],
            **self._geometry(),
        )
        self.viewer.add_layer(layer)
        layer.mode = "direct"
        return layer

    def release(self) -> None:
        """Stop what runs and leave no callback behind; the layers stay."""
        self.latest.close()
        self.choice.close_workers()
        self.sections.release()
        self._follow(None)
        self.viewer.cursor.events.position.disconnect(self._hover)
        self.viewer.mouse_drag_callbacks.remove(self._click)
        self.workspace.folder_changed.disconnect(self._take_folder)
        self._made.leave()

    def _take_folder(self) -> None:
        """Open the atlas that was opened or dropped last."""
        folder = self.workspace.atlas_folder
        if folder is not None and folder != self._opened:
            self.open_atlas(folder)

    def _open(self, directory: Path | None) -> None:
        self._opened = directory
        self.workspace.atlas_folder = directory
        if directory is not None:
            self._about.setText(f"Opening {directory} …")
            self._plane.setEnabled(False)
            self.refresh()

    def _known_plane(self) -> int | None:
        if self.sections.layer is None:
            return None
        known: int | None = population_of(self.sections.layer).description.plane
        return known

    def _size(self) -> tuple[tuple[int, int] | None, float | None]:
        """Shape and pixel size of the sections; the size is None where nobody knows it."""
        layer = self.sections.layer
        if layer is None:
            return None, None
        return layer.data.shape[-2:], population_of(layer).description.pixel_size_um

    def _sections_changed(self) -> None:
        if self._plane.isEnabled() and (known := self._known_plane()) is not None:
            self._plane.blockSignals(True)
            self._plane.setValue(known)
            self._plane.blockSignals(False)
        self.refresh()

    def _show(self, section: AtlasSection) -> None:
        self.section = section
        self._plane.blockSignals(True)
        self._plane.setRange(0, section.atlas.shape[0] - 1)
        self._plane.setValue(section.plane)
        self._plane.setEnabled(True)
        self._plane.blockSignals(False)
        name = f"{section.atlas.name}, plane {section.plane}"
        if not self._made.keys() & {"atlas", "outlines"}:
            self._made |= add_plane(self.viewer, section, self._geometry(), name)
        else:
            update_plane(self._made, section, self._geometry(), name)
        if "atlas" in self._made:
            # Without sections colours that add light lie on black: no canvas shines through them.
            alone = self.sections.layer is None
            self._made["atlas"].blending = "additive" if alone else "translucent"
        self._follow(self._selection())
        self.tree.show_tree(section.atlas, section.present)
        self._show_picked()

    def _follow(self, selection: AtlasSelection | None) -> None:
        """Hear of structures that are picked elsewhere, too."""
        if self._selected is not None:
            self._selected.picked_changed.disconnect(self._show_picked)
        self._selected = selection
        if selection is not None:
            selection.picked_changed.connect(self._show_picked)

    def _about_plane(self, section: AtlasSection) -> str:
        atlas, known = section.atlas, self._known_plane()
        text = (
            f"{len(atlas.names)} structures, {len(section.ids)} of them in this plane; "
            f"voxels of {atlas.resolution_um:g} µm"
        )
        if known is not None and known != section.plane:
            text += (
                f"<br><b>\u26a0 The sections are of plane {known}, "
                f"this is plane {section.plane}.</b>"
            )
        if self.sections.layer is not None and self._size()[1] is None:
            text += (
                f"<br><b>\u26a0 The sections do not say their pixel size: "
                f"{atlas.resolution_um:g} µm is assumed.</b>"
            )
        return text + self._misfit(section)

    def _misfit(self, section: AtlasSection) -> str:
        """Say that the plane and the sections are not of one size; nothing if they may be."""
        if self.sections.layer is None or not section.tissue.any():
            return ""
        height, width = (side * section.pixel_size_um / 1000 for side in section.shape)
        if section.inside < WHOLE:
            wrong = f"{100 * (1 - section.inside):.0f} % of this plane's brain lie outside of them"
        elif (filled := section.tissue.mean()) < SMALL:
            wrong = f"this plane's brain fills {100 * filled:.2g} % of them"
        else:
            return ""
        return (
            f"<br><b>\u26a0 The sections are {height:.3g} x {width:.3g} mm, and {wrong}: is it the "
            "atlas of these brains, and the size of their pixels right?</b>"
        )

    def _failed(self, message: str) -> None:
        """Show nothing rather than the plane before."""
        self._about.setText(f"This cannot be shown as an atlas plane: {message}")
        if (selection := self._selection()) is not None:
            selection.pick(None)
        self._follow(None)
        self._made.remove_all()
        self.section = self._opened = None

    def _geometry(self) -> dict[str, Any]:
        section = self.section
        if self.sections.layer is not None and section is not None:
            return section_geometry(self.sections.layer, section.shape)
        size = section.pixel_size_um if section else 1.0
        return {"scale": (size, size), "units": ("um", "um"), "axis_labels": AXES[1:]}

    def _selection(self) -> AtlasSelection | None:
        layer = self._made.get("atlas")
        return None if layer is None else layer.metadata[ATLAS]

    def _region(self) -> AtlasRegion | None:
        return None if self._selected is None else self._selected.picked

    def _choose(self, key: int) -> None:
        if self._selected is not None and self.section is not None:
            acronym = self.section.atlas.structure(key).acronym
            self._selected.pick(AtlasRegion(acronym, self.side))  # type: ignore[arg-type]

    def _side_changed(self, event: Any = None) -> None:
        region = self._region()
        if region is not None and self._selected is not None:
            self._selected.pick(region._replace(side=self.side))  # type: ignore[arg-type]

    def _show_picked(self) -> None:
        """Show where the structure lies that is looked at, whoever picked it."""
        region, section, atlas = self._region(), self.section, self._made.get("atlas")
        if section is None or atlas is None:
            return
        mask = None if region is None else section.mask(*region)
        for button in (self._add, self._edit):
            button.setEnabled(mask is not None and bool(mask.any()))
        outline_picked(self.viewer, atlas)
        about = self._about_plane(section)
        if region is not None and mask is not None:
            structure, area = section.atlas.structure(region.acronym), mask.sum()
            self.side = region.side
            self.tree.choose(structure.id)
            square_mm = area * (section.pixel_size_um / 1000) ** 2
            about = f"<b>{structure.name}</b><br>{area:,} px, {square_mm:.2f} mm²<br>{about}"
        self._about.setText(about)

    def _hover(self, event: Any) -> None:
        """Name what is under the cursor, whichever layer is active."""
        layer = self._made.get("atlas")
        if layer is None or self.section is None:
            return
        key = structure_at(self.viewer, layer)
        self._cursor.setText("" if key is None else self.section.name(key))

    def _click(self, viewer: Any, event: Any) -> Iterator[None]:
        """Pick the structure that is clicked, unless the click draws or drags."""
        active, pressed = viewer.layers.selection.active, np.asarray(event.pos)
        drawing = active is not None and active.mode not in ("pan_zoom", "transform")
        if event.button != 1 or drawing:
            return
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.asarray(event.pos) - pressed).max() > JITTER:
            return
        layer = self._made.get("atlas")
        key = None if layer is None else structure_at(viewer, layer)
        if key is not None and self.section is not None and key in self.section.atlas.names:
            self._choose(key)


def _open(directory: Path) -> Atlas:
    """Open an atlas once for all planes; a directory that was written again is opened again."""
    return _open_as_stamped(directory, file_stamp(Atlas.files(directory)))


@lru_cache(maxsize=1)
def _open_as_stamped(directory: Path, stamp: Stamp) -> Atlas:
    return Atlas.open(directory)


def _cut(
    directory: Path, plane: int | None, shape: tuple[int, int] | None, pixel_size_um: float | None
) -> AtlasSection:
    """Open an atlas and lay a plane on sections; without a plane the middle one."""
    atlas = _open(directory)
    middle = atlas.shape[0] // 2
    section = AtlasSection.lay(atlas, middle if plane is None else plane, shape, pixel_size_um)
    # What the layers will show is computed here, not in the GUI thread.
    _ = section.numbers, section.thin_borders, section.present, section.inside
    return section
