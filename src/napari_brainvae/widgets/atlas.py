"""The widget "Atlas": the population's plane in the atlas's colours, and its structures."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit
from napari.layers import Labels, Layer, Shapes
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
    CLEAR,
    AtlasSelection,
    add_plane,
    update_plane,
)
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers
from napari_brainvae.widgets.layers.section_layers import (
    ATLAS_FOLDER,
    AXES,
    MADE_HERE,
    add_quietly,
    population_of,
    section_geometry,
    update_layer,
)
from napari_brainvae.widgets.panels.atlas_choice import AtlasChoice
from napari_brainvae.widgets.panels.layer_choice import LayerChoice, has_sections
from napari_brainvae.widgets.panels.structure_tree import StructureView
from napari_brainvae.widgets.workers import Latest, PluginWidget, notify

TOLERANCE = 1.0
"""How far the outlines to edit may be off the atlas's, px: few vertices are easier to move."""


class AtlasWidget(PluginWidget):
    """Open an atlas, lay its plane over the sections, find structures and make regions of them."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self._directory = FileEdit(
            mode=FileDialogMode.EXISTING_DIRECTORY,
            nullable=True,
            tooltip="Atlas, as allensdk or BrainGlobe caches it.",
        )
        self.choice = AtlasChoice()
        self.sections = LayerChoice(viewer, has_sections, "Sections that the plane is laid over.")
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
        self._structure: int | None = None
        self._made = PluginLayers(viewer)
        self.latest = Latest(_cut, self._show, self._failed, parent=self)
        self._directory.changed.connect(self._open)
        self.choice.chosen.connect(self.open_atlas)
        self._plane.valueChanged.connect(self.refresh)
        self.sections.changed.connect(self._sections_changed)
        self.sections.altered.connect(self.refresh)
        self.tree.chosen.connect(self._choose)
        self._side.currentIndexChanged.connect(self._outline_structure)
        self._add.clicked.connect(self.add_region)
        self._edit.clicked.connect(self.edit_as_shapes)
        viewer.cursor.events.position.connect(self._hover)
        viewer.layers.events.inserted.connect(self._inserted)
        self._sections_changed()
        for layer in viewer.layers:
            self._take_folder(layer)

    def _arrange(self) -> None:
        layout = QVBoxLayout(self)
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
        color = section.atlas.colors[self._structure]
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
        self.viewer.cursor.events.position.disconnect(self._hover)
        self.viewer.layers.events.inserted.disconnect(self._inserted)
        self._made.release()

    def _inserted(self, event: Any) -> None:
        self._take_folder(event.value)

    def _take_folder(self, layer: Layer) -> None:
        """Open the atlas that a layer came from, unless one is open."""
        if ATLAS_FOLDER in layer.metadata and self._opened is None:
            self.open_atlas(layer.metadata[ATLAS_FOLDER])

    def _open(self, directory: Path | None) -> None:
        self._opened = directory
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
        if self.section is not None and self.section.atlas is not section.atlas:
            self._forget_structure()
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
        self.tree.show_tree(section.atlas, section.present)
        self._tell(section)
        self._outline_structure()

    def _forget_structure(self) -> None:
        """Another atlas may not have it, or call another one by its id."""
        self._structure = None
        self._made.remove("structure")

    def _tell(self, section: AtlasSection) -> None:
        atlas = section.atlas
        text = (
            f"{len(atlas.names)} structures, {len(section.ids)} of them in this plane; "
            f"voxels of {atlas.resolution_um:g} µm"
        )
        if self.sections.layer is not None and self._size()[1] is None:
            text += (
                f".<br><span style='color:#ff9933'>The sections do not say their pixel size: "
                f"{atlas.resolution_um:g} µm is assumed.</span>"
            )
        self._about.setText(text)

    def _failed(self) -> None:
        """Show nothing rather than the plane before."""
        self._about.setText("This cannot be shown as an atlas plane; see the notification.")
        self._forget_structure()
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
        if self._structure is None or self.section is None:
            return None
        acronym = self.section.atlas.structure(self._structure).acronym
        return AtlasRegion(acronym, self.side)  # type: ignore[arg-type]

    def _choose(self, key: int) -> None:
        self._structure = key
        self._outline_structure()

    def _outline_structure(self, event: Any = None) -> None:
        """Show where the selected structure lies."""
        region, section = self._region(), self.section
        mask = None if region is None or section is None else section.mask(*region)
        for button in (self._add, self._edit):
            button.setEnabled(mask is not None and bool(mask.any()))
        if region is None or section is None or mask is None:
            return
        name, area = section.atlas.structure(region.acronym).name, mask.sum()
        square_mm = area * (section.pixel_size_um / 1000) ** 2
        self._about.setText(f"<b>{name}</b><br>{area:,} px, {square_mm:.2f} mm²")
        image = mask.astype(np.uint8)
        if "structure" not in self._made:
            made = Labels(image, metadata={MADE_HERE: "structure"}, opacity=1, **self._geometry())
            made.contour = 2
            add_quietly(self.viewer, made)
            self._made["structure"] = made
            made.colormap = {0: CLEAR, 1: "white", None: CLEAR}
        update_layer(
            self._made["structure"], image, f"structure: {region.acronym}", self._geometry()
        )

    def _hover(self, event: Any) -> None:
        """Name what is under the cursor, whichever layer is active."""
        layer = self._made.get("atlas")
        if layer is None or self.section is None:
            return
        position = np.asarray(self.viewer.cursor.position)
        number = layer.get_value(position, world=True)
        name = self.section.name(self.section.ids[number - 1]) if number else ""
        self._cursor.setText(name)


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
    _ = section.numbers, section.borders, section.present
    return section
