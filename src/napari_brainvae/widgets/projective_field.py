"""The widget "Projective field": move a latent factor and see where in the brain it acts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
)
from superqt import QLabeledDoubleSlider

from napari_brainvae.arrays import Images
from napari_brainvae.factors.field_refinement import (
    AllFields,
    FieldControls,
    FieldJob,
    FieldStep,
    all_fields,
)
from napari_brainvae.factors.projective_field import HUES, traverse
from napari_brainvae.io.errors import InputError
from napari_brainvae.models.base import Model
from napari_brainvae.reporting.provenance import provenance
from napari_brainvae.widgets.layers.atlas_layers import ATLAS, AtlasSelection
from napari_brainvae.widgets.layers.plugin_layers import (
    PluginLayers,
    SideBySide,
    below_line_drawings,
)
from napari_brainvae.widgets.layers.section_layers import population_of, shown_index
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.layer_choice import LayerChoice
from napari_brainvae.widgets.panels.option_controls import Controls
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.panels.share_table import ShareTable
from napari_brainvae.widgets.workers import WARNING, Latest, PluginWidget, notify

CHOSEN, EVERY = "chosen regions", "every structure"


class ProjectiveFieldWidget(PluginWidget):
    """Choose a factor; its field appears coarsely at once and gets exact by itself."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.source = SectionsAndModel(viewer)
        self.atlas = LayerChoice(viewer, "atlas", "Atlas layer for the table and the outlines.")
        self._factor = QComboBox(toolTip="Latent factor to move.")
        above = {"Atlas": self.atlas.native, "Factor": self._factor}
        self.controls = Controls(FieldControls, ["start", "limit"], above=above)
        self._legend, self._status = QLabel(wordWrap=True), QLabel(wordWrap=True)
        for label in (self._legend, self._status):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.position = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.position.setDecimals(2)
        self._zero = QPushButton("0", toolTip="Back to where the factor is moved from.")
        self._zero.setFixedWidth(28)
        self._which = QComboBox(toolTip="Regions of the table.")
        self._which.addItems([CHOSEN, EVERY])
        self.table = ShareTable()
        self._all = QPushButton("All factors")
        self._all.setToolTip("Compute the field of every factor, a layer each.")
        self._grid = QCheckBox("Side by side", enabled=False)
        self._export = QPushButton("Export …", enabled=False)
        self._export.setToolTip("<p>Write maps (OME-TIFF), table (CSV) and figure (PNG, SVG).</p>")
        self.job = JobBar()
        self._arrange()
        self._made, self._side_by_side = (
            PluginLayers(viewer, "Projective field"),
            SideBySide(viewer),
        )
        self._fields: AllFields | None = None
        self._shown: FieldStep | None = None
        self._asked: FieldJob | None = None
        self._atlas_shown: AtlasSelection | None = None
        self.latest = Latest(FieldJob.step, self._show, self._failed, parent=self)
        self.traversal = Latest(_traverse, self._show_traversal, self._failed, parent=self)
        self._connect()
        self._source_changed()
        self._atlas_changed()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(self.source)
        layout.addWidget(self.controls)
        layout.addWidget(self._legend)
        layout.addWidget(self._status)
        row = QHBoxLayout()
        row.addWidget(QLabel("Move by c"))
        row.addWidget(self.position)
        row.addWidget(self._zero)
        layout.addLayout(row)
        head = QHBoxLayout()
        head.addWidget(QLabel("Share of the field in"))
        head.addWidget(self._which, 1)
        layout.addLayout(head)
        layout.addWidget(self.table, 1)
        buttons = QGridLayout()
        buttons.addWidget(self._all, 0, 0)
        buttons.addWidget(self._grid, 0, 1)
        buttons.addWidget(self._export, 1, 0, 1, 2)
        layout.addLayout(buttons)
        layout.addWidget(self.job)

    def _connect(self) -> None:
        self.source.changed.connect(self._source_changed)
        self.atlas.changed.connect(self._atlas_changed)
        self._factor.currentIndexChanged.connect(self._factor_changed)
        self.controls.changed.connect(self._options_changed)
        self._which.currentIndexChanged.connect(lambda _: self.refresh())
        self.position.valueChanged.connect(self._move)
        self._zero.clicked.connect(lambda: self.position.setValue(0))
        self._all.clicked.connect(self.compute_all)
        self._grid.toggled.connect(self._set_grid)
        self._export.clicked.connect(self._ask_export)
        self.viewer.dims.events.point.connect(self._brain_changed)

    @property
    def factor(self) -> int:
        """Index of the chosen factor, from 0."""
        return max(self._factor.currentIndex(), 0)

    @factor.setter
    def factor(self, factor: int) -> None:
        self._factor.setCurrentIndex(factor)

    def refresh(self) -> None:
        """Ask for the field of the chosen factor."""
        if self.source.ready:
            job = self._job()
            self._asked = job
            # Only the newest one is computed to the end.
            job.wanted = lambda: self._asked is job
            self._status.setText("Decoding …")
            self.latest.request(job)

    def compute_all(self, event: Any = None) -> None:
        """Compute the fields of all factors, in the background."""
        if self.job.running:
            return
        job = self._job()
        self.job.run("Fields of all factors", partial(all_fields, job), self._show_all)

    def export(self, folder: Path) -> None:
        """Write the fields that were computed to a folder, in the background."""
        shown = self._shown
        if self.job.running:
            return
        if self._fields is not None:
            job, maps, table = self._fields.job, self._fields.maps, self._fields.table
            factors = list(range(len(maps)))
        elif shown is not None:
            job, maps, table = shown.job, shown.estimate.maps[None], shown.table
            factors = [job.factor]
        else:
            return
        self.job.run(
            f"Writing {folder.name}",
            lambda _: _write(folder, job, maps, factors, table),
            lambda _: notify(f"Wrote {folder}"),
        )

    def release(self) -> None:
        """Stop what runs and leave no callback behind; the layers stay."""
        self._asked = None
        self.latest.close()
        self.traversal.close()
        self.job.cancel()
        self.source.release()
        self.atlas.release()
        if self._atlas_shown is not None:
            self._atlas_shown.changed.disconnect(self.refresh)
        self.viewer.dims.events.point.disconnect(self._brain_changed)
        self._made.release()

    def _job(self) -> FieldJob:
        layer, model = self.source.layer, self.source.model
        if layer is None or model is None:
            raise InputError("choose sections and a model first")
        section = regions = None
        if self._atlas_shown is not None:
            section = self._atlas_shown.cropped(model.shape)
            if self._which.currentText() == CHOSEN:
                regions = tuple(self._atlas_shown.regions)
        return FieldJob(
            model,
            population_of(layer),
            shown_index(layer, self.viewer.dims.point),
            self.factor,
            FieldControls(**self.controls.values()),
            section,
            regions,
        )

    def _show(self, step: FieldStep | None) -> None:
        if step is None or step.job is not self._asked:
            return  # something newer was asked for
        if self.source.layer not in self.viewer.layers:
            return
        name = f"field: F{step.job.factor + 1}"
        self._put("field", step.rgba, name)
        self._shown = step
        self._export.setEnabled(True)
        self.table.fill(step.table)
        error = step.estimate.error
        if step.done:
            self._status.setText(
                f"F{step.job.factor + 1}: {step.estimate.points} sections decoded; "
                f"exact to {error:.2%} of the maximum."
            )
            return
        coarse = "coarse" if np.isinf(error) else f"last change {error:.1%}"
        self._status.setText(f"{step.estimate.points} sections decoded ({coarse}); refining …")
        self.latest.request(step.job)

    def _show_all(self, fields: AllFields) -> None:
        self._fields = fields
        self._grid.setEnabled(True)
        for factor, picture in enumerate(fields.overlays):
            self._put(f"F{factor + 1}", picture, f"field: F{factor + 1} (all)", visible=False)

    def _put(self, part: str, picture: Any, name: str, **look: Any) -> None:
        assert self.source.layer is not None  # nothing was asked for without
        self._made.show(part, picture, self.source.layer, name, self._place(part), **look)

    def _place(self, part: str) -> int:
        """Generated sections lie right above the others, fields below outlines and shapes."""
        if part == "traversal":
            return int(self.viewer.layers.index(self.source.layer)) + 1
        return below_line_drawings(self.viewer)

    def _move(self, event: Any = None) -> None:
        """Ask for the section that the model draws at the slider's position."""
        # The job of the field on show knows where the factor is moved from.
        if self._asked is not None:
            self.traversal.request(self._asked, self.position.value())

    def _show_traversal(self, result: tuple[FieldJob, float, Images, float]) -> None:
        job, c, section, bright = result
        if job.model is not self.source.model or self.source.layer not in self.viewer.layers:
            return
        self._put(
            "traversal",
            section,
            f"generated: F{job.factor + 1} moved by {c:+.2f}",
            contrast_limits=(0, bright),
        )

    def _factor_changed(self, event: Any = None) -> None:
        self.refresh()
        if "traversal" in self._made:
            self._move()

    def _options_changed(self) -> None:
        limit = FieldControls(**self.controls.values()).limit
        self.position.setRange(-limit, limit)
        self._describe(limit)
        self._forget_all()
        self._factor_changed()

    def _brain_changed(self, event: Any = None) -> None:
        if self.controls.widgets["start"].value == "brain on show":
            self._forget_all()
            self._factor_changed()

    def _atlas_changed(self) -> None:
        """Follow the chosen atlas layer to other planes and regions."""
        if self._atlas_shown is not None:
            self._atlas_shown.changed.disconnect(self.refresh)
        layer = self.atlas.layer
        self._atlas_shown = None if layer is None else layer.metadata[ATLAS]
        if self._atlas_shown is not None:
            self._atlas_shown.changed.connect(self.refresh)
        self.refresh()

    def _source_changed(self) -> None:
        ready = self.source.ready
        for widget in (self._factor, self.position, self._all):
            widget.setEnabled(ready)
        self._asked = None
        self._clear()
        self._factor.blockSignals(True)
        self._factor.clear()
        if self.source.model is not None:
            self._factor.addItems(_factor_names(self.source.model))
        self._factor.blockSignals(False)
        limit = FieldControls(**self.controls.values()).limit
        self.position.setRange(-limit, limit)
        self._describe(limit)
        self.refresh()

    def _describe(self, limit: float) -> None:
        half = limit / 2
        parts = (f"0 &lt; c ≤ {half:g}", f"−{half:g} ≤ c &lt; 0", f"|c| &gt; {half:g}")
        swatches = [
            f"<span style='color:rgb{tuple(255 * each for each in rgb)}'>■</span> {part}"
            for rgb, part in zip(HUES.values(), parts, strict=True)
        ]
        self._legend.setText("Variance of each pixel for<br>" + " &nbsp; ".join(swatches))

    def _failed(self, message: str) -> None:
        self._clear()
        self._status.setText(f"<span style='color:{WARNING}'>{message}</span>")

    def _forget_all(self) -> None:
        """Fields of other options are not to be seen beside those of these."""
        self._grid.setChecked(False)
        self._grid.setEnabled(False)
        self._fields = None
        for part in [part for part in self._made if part.startswith("F")]:
            self._made.remove(part)

    def _clear(self) -> None:
        """Show nothing rather than something stale."""
        self._forget_all()
        self._made.remove_all()
        self._shown = None
        self._export.setEnabled(False)
        self._status.setText("")
        self.table.fill(None)

    def _set_grid(self, on: bool) -> None:
        """Show all fields in a grid, with borders, and give the viewer back as it was."""
        every = {part: made for part, made in self._made.items() if part.startswith("F")}
        if self._fields is not None:
            pictures = self._fields.panels if on else self._fields.overlays
            for part, made in every.items():
                made.data = pictures[int(part[1:]) - 1]
                made.name = part if on else f"field: {part} (all)"
        if on and self._fields is not None:
            self._side_by_side.show([*every.values()])
        else:
            self._side_by_side.end()

    def _ask_export(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder for maps, table and figure")
        if name:
            self.export(Path(name))


def _traverse(job: FieldJob, c: float) -> tuple[FieldJob, float, Images, float]:
    """Decode a factor moved by c, and say how bright the unmoved section is."""
    return job, c, traverse(job.model, job.factor, c, z0=job.z0)[0], job.bright


def _write(
    folder: Path, job: FieldJob, maps: Images, factors: list[int], table: pd.DataFrame | None
) -> None:
    # Imported here: matplotlib is slow to import.
    from napari_brainvae.reporting.export import Fields, export_fields, results_folder

    population, section = job.population, job.section
    said = {"start": job.start, "limit": job.options.limit, "z0": job.z0.tolist()}
    about = provenance(said, population, {job.model.label: job.model})
    which = "field_by_structure" if section and job.regions is None else "field_by_region"
    size = population.description.pixel_size_um if population else None
    fields = Fields(
        maps,
        factors,
        said,
        size or job.model.header.pixel_size_um,
        {} if table is None else {which: table},
        section.borders if section else None,
    )
    with results_folder(folder, about) as beside:
        export_fields(beside, fields, about)


def _factor_names(model: Model) -> list[str]:
    reference = model.header.reference
    if reference is None:
        return [f"F{i + 1}" for i in range(model.latent_dim)]
    return [f"F{i + 1} (KL {kl:.2f} nats)" for i, kl in enumerate(reference.kl_per_factor)]
