"""The widget "Projective field": move a latent factor and see where in the brain it acts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
)

from napari_brainvae.arrays import Images
from napari_brainvae.factors.field_colours import change_limit
from napari_brainvae.factors.field_refinement import (
    AllFields,
    FieldControls,
    FieldJob,
    FieldStep,
    all_fields,
)
from napari_brainvae.factors.projective_field import traverse
from napari_brainvae.io.errors import InputError, present
from napari_brainvae.widgets.layers.all_fields import AllFieldLayers
from napari_brainvae.widgets.layers.atlas_layers import ATLAS, AtlasSelection, outline_picked
from napari_brainvae.widgets.layers.change_layer import show_change
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers
from napari_brainvae.widgets.layers.section_layers import population_of, shown_index
from napari_brainvae.widgets.panels.factor_list import factor_choices
from napari_brainvae.widgets.panels.field_legend import change_legend, variance_legend
from napari_brainvae.widgets.panels.folder_question import ask_folder
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.layer_choice import LayerChoice
from napari_brainvae.widgets.panels.option_controls import Controls
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.panels.share_table import ShareTable
from napari_brainvae.widgets.panels.zero_slider import ZeroSlider
from napari_brainvae.widgets.workers import Latest, notify, warning

SIGNED, PAPER = "signed change per SD", "variance, as in the paper"


class ProjectiveFieldWidget(Panel):
    """Choose a factor; its field appears coarsely at once and gets exact by itself."""

    page, tab = "projective_field", "Fields"
    first = "To begin, drop brain sections and a model on the canvas."

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.source = SectionsAndModel(viewer)
        self.atlas = LayerChoice(viewer, "atlas", "Atlas layer for the table and the outlines.")
        self._factor = QComboBox(toolTip="Latent factor to move.")
        self._view = QComboBox()
        self._view.addItems([SIGNED, PAPER])
        self._view.setToolTip(
            "<p>Where a pixel gets brighter or darker per standard deviation of the factor, or how "
            "much it varies over the whole range (cyan, magenta, yellow: Fig. 3A).</p>"
        )
        above = {"Atlas": self.atlas.native, "Factor": self._factor, "Show": self._view}
        self.controls = Controls(FieldControls, ["start", "limit"], above=above)
        self._legend, self._status = QLabel(wordWrap=True), QLabel(wordWrap=True)
        for label in (self._legend, self._status):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.position = ZeroSlider(
            "Move by c",
            "<p>Show the section that the model draws with the factor moved by c.</p>",
            "Back to the maps, and to where the factor is moved from.",
        )
        self.table = ShareTable()
        self._all = QPushButton("All factors")
        self._all.setToolTip("Compute the field of every factor, a layer each.")
        self._grid = QCheckBox("Side by side", enabled=False)
        self._grid.setToolTip("Show every factor in a cell of its own.")
        self._export = QPushButton("Export …", enabled=False)
        self._export.setToolTip("<p>Write maps (OME-TIFF), table (CSV) and figure (PNG, SVG).</p>")
        self.job = JobBar()
        self._arrange()
        self._made = PluginLayers(viewer, "Projective field")
        self._every = AllFieldLayers(viewer, self._made)
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
        layout = QVBoxLayout(self.body)
        layout.addWidget(self.source)
        layout.addWidget(self.controls)
        layout.addWidget(self._legend)
        layout.addWidget(self._status)
        layout.addWidget(self.position)
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
        self._view.currentIndexChanged.connect(self._view_changed)
        self.table.which.currentIndexChanged.connect(lambda _: self.refresh())
        self.table.chosen.connect(self._pick)
        self.position.valueChanged.connect(self._move)
        self._all.clicked.connect(self.compute_all)
        self._grid.toggled.connect(self._show_pictures)
        self._export.clicked.connect(
            lambda: ask_folder(self, "for maps, table and figure", self.export)
        )
        self.viewer.dims.events.point.connect(self._brain_changed)

    @property
    def factor(self) -> int:
        """Index of the chosen factor, from 0."""
        return max(self._factor.currentIndex(), 0)

    @factor.setter
    def factor(self, factor: int) -> None:
        self._factor.setCurrentIndex(factor)

    @property
    def signed(self) -> bool:
        """Whether the signed change is on show, and not the variance."""
        return bool(self._view.currentText() == SIGNED)

    @signed.setter
    def signed(self, signed: bool) -> None:
        self._view.setCurrentText(SIGNED if signed else PAPER)

    def refresh(self) -> None:
        """Ask for the field of the chosen factor."""
        if self._fields is not None and not self._still(self._fields.job):
            self._forget_all()
        if self.source.ready:
            try:
                job = self._job()
            except InputError as error:  # the atlas is laid on sections of another size
                self._asked = None
                self._failed(str(error))
                return
            self._asked = job
            # Only the newest one is computed to the end.
            job.wanted = lambda: self._asked is job
            self._status.setText("Decoding …")
            self.latest.request(job)

    def compute_all(self, event: Any = None) -> None:
        """Compute the fields of all factors, in the background."""
        # Without one asked for there can be none: the panel says why.
        if self.job.running or self._asked is None:
            return
        job = self._job()
        self.job.run(
            "Fields of all factors",
            partial(all_fields, job),
            self._show_all,
            lambda: self._still(job),
        )

    def export(self, folder: Path) -> None:
        """Write the fields that were computed to a folder, in the background."""
        shown = self._shown
        if self.job.running:
            return
        if self._fields is not None:
            fields = self._fields
            job, maps, changes, table = fields.job, fields.maps, fields.changes, fields.table
            factors = list(range(len(maps)))
        elif shown is not None:
            job, maps, table = shown.job, shown.estimate.maps[None], shown.table
            changes, factors = job.change[None], [job.factor]
        else:
            return
        self.job.run(
            f"Writing {folder.name}",
            lambda _: _write(folder, job, maps, changes, factors, table),
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

    def stand_back(self) -> None:
        """Give the view back, and take the layers out of sight."""
        self._every.end()
        super().stand_back()

    def come_forward(self) -> None:
        """Show the layers again, side by side if they were."""
        super().come_forward()
        self._show_pictures()

    def _still(self, job: FieldJob) -> bool:
        """Whether fields of all factors would be computed from the same now."""
        if not self.source.ready:
            return False
        try:
            return self._job().like(job)
        except InputError:
            return False

    def _job(self) -> FieldJob:
        layer, model = self.source.layer, self.source.model
        if layer is None or model is None:
            raise InputError("choose sections and a model first")
        section = regions = None
        if self._atlas_shown is not None:
            section = self._atlas_shown.laid_on(model.shape)
            if not self.table.every:
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
        self._shown = step
        self._show_step(step)
        self._export.setEnabled(True)
        self._status.setText(step.sentence(signed=self.signed))
        if not step.done:
            self.latest.request(step.job)

    def _show_step(self, step: FieldStep) -> None:
        """Show a factor's signed change, or its variance, and the shares of what is shown."""
        job, name = step.job, f"F{step.job.factor + 1}"
        sections = present(self.source.layer, "a layer of sections")
        if self.signed:
            self._made.remove("field")
            show_change(self._made, job.change, sections, f"change: {name}")
            self._legend.setText(change_legend(job.percent(change_limit(job.change))))
            self.table.fill(job.change_shares)
            return
        self._made.remove("change")
        self._made.show("field", step.rgba, sections, f"field: {name}")
        self._legend.setText(variance_legend(job.options.limit))
        self.table.fill(step.shares, signed=False)

    def _view_changed(self, event: Any = None) -> None:
        if self._shown is not None:
            self._show_step(self._shown)
            self._status.setText(self._shown.sentence(signed=self.signed))
        self._show_pictures()

    def _pick(self, region: str) -> None:
        """Outline the structure whose row was clicked."""
        job, atlas = self._shown.job if self._shown else None, self.atlas.layer
        if job is None or atlas is None or job.section is None:
            return
        [picked] = [each for each in job.counted if each.name == region]
        atlas.metadata[ATLAS].pick(picked)
        outline_picked(self.viewer, atlas)

    def _show_all(self, fields: AllFields) -> None:
        self._fields = fields
        self._grid.setEnabled(True)
        self._show_pictures()

    def _show_pictures(self, event: Any = None) -> None:
        """Show the pictures of all factors that are wanted now, side by side or not."""
        if self._fields is not None and self.source.layer is not None:
            look = {"signed": self.signed, "side_by_side": self._grid.isChecked()}
            self._every.show(self._fields, self.source.layer, **look)

    def _move(self, event: Any = None) -> None:
        """Ask for the section that the model draws at the slider's position, above all pictures.

        At 0 it gives way to what is beneath.
        """
        # The job of the field on show knows where the factor is moved from.
        if self.position.value() == 0:
            self._made.remove("traversal")
        elif self._asked is not None:
            self.traversal.request(self._asked, self.position.value())

    def _show_traversal(self, result: tuple[FieldJob, float, Images, float]) -> None:
        job, c, section, bright = result
        if self.position.value() == 0:
            return
        layer = self.source.layer
        if layer is None or job.model is not self.source.model or layer not in self.viewer.layers:
            return
        name = f"generated: F{job.factor + 1} moved by {c:+.2f}"
        self._made.show("traversal", section, layer, name, contrast_limits=(0, bright))

    def _factor_changed(self, event: Any = None) -> None:
        self.refresh()
        if "traversal" in self._made:
            self._move()

    def _options_changed(self) -> None:
        limit = FieldControls(**self.controls.values()).limit
        self.position.setRange(-limit, limit)
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
            self._factor.addItems(factor_choices(self.source.model))
        self._factor.blockSignals(False)
        limit = FieldControls(**self.controls.values()).limit
        self.position.setRange(-limit, limit)
        self.refresh()

    def _failed(self, message: str) -> None:
        """Show nothing of what cannot be used, and say why."""
        self._forget()
        self._made.hide_all()
        self._status.setText(warning(message))

    def _forget_all(self) -> None:
        """Fields of other options are not to be seen beside those of these."""
        self._grid.setChecked(False)
        self._grid.setEnabled(False)
        self._fields = None
        self._every.remove()

    def _clear(self) -> None:
        """Show nothing rather than something stale."""
        self._forget()
        self._made.remove_all()

    def _forget(self) -> None:
        self._forget_all()
        self._shown = None
        self._export.setEnabled(False)
        for label in (self._legend, self._status):
            label.setText("")
        self.table.fill(None)


def _traverse(job: FieldJob, c: float) -> tuple[FieldJob, float, Images, float]:
    """Decode a factor moved by c, and say how bright the unmoved section is."""
    return job, c, traverse(job.model, job.factor, c, z0=job.z0)[0], job.bright


def _write(*what: Any) -> None:
    # Imported here: matplotlib is slow to import.
    from napari_brainvae.reporting.field_export import write_fields

    write_fields(*what)
