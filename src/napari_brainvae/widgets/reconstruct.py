"""The widget "Reconstruct and denoise": what the model makes of the brain on show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
from napari.layers import Image
from napari.utils.colormaps import Colormap
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
)

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.reconstruction import (
    Reconstruction,
    export_reconstructions,
    reconstruct_section,
)
from napari_brainvae.io.errors import present
from napari_brainvae.models.base import Model
from napari_brainvae.models.encoding_cache import EncodingCache, encode_ahead
from napari_brainvae.reporting.artifact_outline import artifact_outline
from napari_brainvae.reporting.thumbnails import BRIGHTER, DARKER
from napari_brainvae.widgets.layers.plugin_layers import PluginLayers, SideBySide
from napari_brainvae.widgets.layers.section_layers import population_of, show_index, shown_index
from napari_brainvae.widgets.panels.brain_list import BrainList
from napari_brainvae.widgets.panels.field_legend import residual_legend
from napari_brainvae.widgets.panels.job_bar import JobBar
from napari_brainvae.widgets.panels.panel import Panel
from napari_brainvae.widgets.panels.sections_and_model import SectionsAndModel
from napari_brainvae.widgets.workers import AtRest, Latest, notify, warning

RESIDUAL = Colormap([DARKER, (0.0, 0.0, 0.0), BRIGHTER], name="residual")
SAVES = (
    "<p>{} as OME-TIFF or Zarr; where artifacts are looked for, with the repaired section and the "
    "mask of what is artifact.</p>"
)

Shown = tuple[EncodingCache, Image, Population, int, Reconstruction]
"""A brain's reconstruction, with what it was computed from."""


class ReconstructWidget(Panel):
    """Original, reconstruction and residual of the brain on show, following the dims slider."""

    page, tab = "reconstruct", "Denoise"
    first = "To begin, drop brain sections and a model on the canvas."

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.source = SectionsAndModel(viewer)
        self._side_by_side = QCheckBox("Side by side")
        self._side_by_side.setToolTip("Original, reconstruction and residual in one row.")
        self._robust = QCheckBox("Find artifacts in every brain")
        self._robust.setToolTip(
            "<p>Leave what the residual says is artifact out of every section that is encoded; "
            "else only where the model calls a brain an outlier, and intact brains stay as they "
            "are.</p>"
        )
        self._plain = QCheckBox("Plain")
        self._plain.setToolTip("Reconstruct every section as it came, artifacts and all.")
        self._readout = QLabel()
        self._readout.setWordWrap(True)
        self._save_shown = QPushButton("Export shown …")
        self._save_all = QPushButton("Export all …")
        self._save_shown.setToolTip(SAVES.format("The reconstruction on show"))
        self._save_all.setToolTip(SAVES.format("The reconstruction of every brain"))
        self.job = JobBar()
        self.brains = BrainList(self.source, self.job)
        self._arrange()
        self._made, self._grid = PluginLayers(viewer, "Reconstruct"), SideBySide(viewer)
        self._asked: tuple[Any, ...] | None = None
        self._model: EncodingCache | None = None
        self._last: Shown | None = None
        self.latest = Latest(self._compute, self._show, self._failed, parent=self)
        self._ahead = AtRest(encode_ahead, parent=self)
        self.source.changed.connect(self._changed)
        viewer.dims.events.point.connect(self.refresh)
        self._side_by_side.toggled.connect(self._side_toggled)
        for box in (self._robust, self._plain):
            box.toggled.connect(self._mode_changed)
        self.brains.chosen.connect(self._go_to)
        self.job.changed.connect(self._enable)
        self._save_shown.clicked.connect(lambda: self._ask_export(all_brains=False))
        self._save_all.clicked.connect(lambda: self._ask_export(all_brains=True))
        self._changed()

    def _arrange(self) -> None:
        layout = QVBoxLayout(self.body)
        layout.addWidget(self.source)
        layout.addWidget(self._readout)
        row = QHBoxLayout()
        row.addWidget(self._robust)
        row.addWidget(self._plain)
        layout.addLayout(row)
        layout.addWidget(self._side_by_side)
        buttons = QGridLayout()
        buttons.addWidget(self._save_shown, 0, 0)
        buttons.addWidget(self._save_all, 0, 1)
        layout.addLayout(buttons)
        layout.addWidget(self.brains, 1)
        layout.addWidget(self.job)
        layout.addStretch()

    @property
    def robust(self) -> bool | None:
        """Whether artifacts are left out: of every brain, of none, or (None) of outliers."""
        if self._plain.isChecked():
            return False
        return True if self._robust.isChecked() else None

    def refresh(self, event: Any = None) -> None:
        """Ask for the reconstruction of the brain on show, if it is not the one asked for last."""
        if not self.source.ready:
            return
        layer = self.source.layer
        self.brains.follow(self._index())
        wanted = (self._model, layer, self._index(), self.robust)
        if wanted != self._asked:
            self._asked = wanted
            self._ahead.stop()
            self.latest.request(*wanted, population_of(layer))

    def export(self, path: Path, *, all_brains: bool) -> None:
        """Write the reconstruction on show, or all of them, in the background.

        If artifacts are to be found, repaired sections and artifact masks go into the same file.
        A file of that name is replaced once the new one is complete: the file dialog has asked.
        """
        inputs = self.source.workspace.inputs(atlas=False)
        if inputs is None or self.job.running:
            return
        model, population = inputs.model, inputs.population
        robust = self.robust
        if not all_brains:
            population = population.subset([self._index()])
        self.job.run(
            f"Writing {path.name}",
            lambda progress: export_reconstructions(
                model, population, path, robust=robust, overwrite=True, progress=progress
            ),
            lambda _: notify(f"Wrote {path}"),
        )

    def release(self) -> None:
        """Stop what runs and leave no callback behind; the layers stay."""
        self._grid.end()
        self.latest.close()
        self._ahead.stop()
        self.job.cancel()
        self.brains.release()
        self.source.release()
        self.viewer.dims.events.point.disconnect(self.refresh)
        self._made.release()

    def stand_back(self) -> None:
        """Give the view back, and take the layers out of sight."""
        self._grid.end()
        super().stand_back()

    def come_forward(self) -> None:
        """Show the layers again, side by side if they were."""
        super().come_forward()
        self._set_side_by_side(self._side_by_side.isChecked())

    def _index(self) -> int:
        return shown_index(self.source.layer, self.viewer.dims.point)

    def _go_to(self, index: int) -> None:
        if self.source.layer is not None:
            show_index(self.viewer, self.source.layer, index)

    def _changed(self) -> None:
        self._enable()
        self._asked = None
        self._ahead.stop()
        self._model = EncodingCache(self.source.model) if self.source.model else None
        if not self.source.ready:
            self._clear()
        self.refresh()

    def _enable(self) -> None:
        """What cannot work is off."""
        for box in (self._side_by_side, self._plain):
            box.setEnabled(self.source.ready)
        self._robust.setEnabled(self.source.ready and not self._plain.isChecked())
        for button in (self._save_shown, self._save_all):
            button.setEnabled(self.source.ready and not self.job.running)

    def _mode_changed(self) -> None:
        self._enable()
        self.refresh()

    @staticmethod
    def _compute(
        model: Model, layer: Image, index: int, robust: bool | None, population: Any
    ) -> Any:
        shown = reconstruct_section(model, population, index, robust=robust)
        return model, layer, population, index, shown

    def _show(self, result: Shown) -> None:
        model, layer, population, index, shown = result
        if model is not self._model or layer not in self.viewer.layers:
            return  # another was chosen, or the layer removed, while this was computed
        before, failed = set(self._made), self._last is None
        self._last = result
        parts = self._parts(layer, shown)
        for part, picture in parts.items():
            look = {} if part in self._made else self._look(part, layer, shown)
            self._made.show(part, picture, layer, f"{part}: {layer.name}", **look)
        for part in set(self._made) - set(parts):
            self._made.remove(part)
        if not before:
            self.viewer.layers.selection.active = layer
        self._tell(population.ids[index], shown)
        if failed or set(self._made) != before:
            self._set_side_by_side(self._side_by_side.isChecked())
        self._ahead.begin(model, population, index)

    def _parts(self, layer: Image, shown: Reconstruction) -> dict[str, Any]:
        """What is shown; once there were artifacts, an intact brain has none, as it came.

        Layers that come and go with the slider would make it stick.
        """
        parts = {"reconstruction": shown.reconstruction, "residual": shown.residual}
        artifact, repaired = shown.artifact, shown.repaired
        if artifact is None:
            if "artifact" not in self._made or self.robust is False:
                return parts
            artifact, repaired = np.zeros(shown.section.shape, dtype=bool), shown.section
        # In a cell of its own it is seen over the section that it is in.
        beside = self._side_by_side.isChecked()
        ground = shown.section / _white(layer, shown) if beside else None
        outline = artifact_outline(artifact, ground)
        return parts | {"repaired": present(repaired, "the repaired section"), "artifact": outline}

    def _look(self, part: str, layer: Image, shown: Reconstruction) -> dict[str, Any]:
        """Colours and contrast of a new layer; from then on they are the user's."""
        if part == "residual":
            strong = max(float(np.percentile(np.abs(shown.residual), 99.5)), 1e-3)
            # Hidden: over the section it would be all there is to see.
            contrast = {"contrast_limits": (-strong, strong)}
            return {"colormap": RESIDUAL, "visible": False, **contrast}
        if part == "artifact":
            return {"rgb": True, "blending": "translucent"}
        # As bright as the original is shown, and the repaired section as the reconstruction.
        beside = self._made.get("reconstruction")
        limits = (0, _white(layer, shown)) if beside is None else beside.contrast_limits
        # The denoised section is on show; the repaired one beside it.
        seen = part == "reconstruction"
        return {"colormap": "gray", "contrast_limits": limits, "visible": seen}

    def _tell(self, brain: str, shown: Reconstruction) -> None:
        reference = self.source.model.header.reference if self.source.model else None
        typical = f" (typical {reference.error_median:.5f})" if reference else ""
        typical_kl = f" (typical {reference.kl_median:.1f})" if reference else ""
        # The verdict is on the section with its artifact, the error on the rest.
        left_out, came = (" of what is left", " as it came") if shown.artifact_share else ("", "")
        verdict = {
            None: "",
            True: warning(f"outlier{came}: unlike the brains the model knows"),
            False: f"as usual{came}",
        }[shown.outlier]
        self._readout.setText(
            f"<b>{brain}</b> &nbsp; {verdict}<br>{shown.finding}<br>"
            f"squared error {shown.error_left:.5f}{left_out}{typical}<br>"
            f"KL divergence {shown.kl:.1f} nats{typical_kl}<br>residual: {residual_legend()}"
        )

    def _failed(self, message: str) -> None:
        """Show nothing of a section that cannot be used, and say why."""
        self._last = None
        self._readout.setText(warning(message))
        self._grid.end()
        self._made.hide_all()

    def _clear(self) -> None:
        """Show nothing rather than something stale."""
        self._last = None
        self._readout.setText("")
        self._grid.end()
        self._made.remove_all()

    def _side_toggled(self, on: bool) -> None:
        if self._last is not None:
            self._show(self._last)  # the outline of an artifact lies over something else
        self._set_side_by_side(on)

    def _set_side_by_side(self, on: bool) -> None:
        """Lay the layers out as the canvas allows, and give the viewer back as it was."""
        if on and self._made and self._last is not None and not self._made.behind:
            ours = [self.source.layer, *self._made.values()]
            self._grid.show(ours)
        elif not on:
            self._grid.end()

    def _ask_export(self, *, all_brains: bool) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Export reconstructions", "", "OME-TIFF (*.tif);;Zarr population (*.zarr)"
        )
        if name:
            self.export(Path(name), all_brains=all_brains)


def _white(layer: Image, shown: Reconstruction) -> float:
    """Brightness that is shown white: as bright as the original is shown."""
    return max(float(layer.contrast_limits[1]) * shown.gain, 1e-3)
