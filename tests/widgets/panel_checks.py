"""What must hold of a panel: all that it shows belongs to sections, model and options of now."""

from __future__ import annotations

from functools import cache

import numpy as np

from napari_brainvae.denoising.reconstruction import reconstruct_section
from napari_brainvae.factors.latent_paths import brain_code
from napari_brainvae.factors.perturbation import Perturbation
from napari_brainvae.factors.projective_field import population_mean, traverse
from napari_brainvae.factors.receptive_field import Probe, region_weights
from napari_brainvae.factors.signed_change import signed_change
from napari_brainvae.reporting.artifact_outline import artifact_outline
from napari_brainvae.widgets.layers.section_layers import MADE_BY, MADE_HERE, shown_index
from napari_brainvae.widgets.panels.explorer_buttons import NOTHING, SHOWN


class PanelChecks:
    """One method a panel, called after each step of a walk; see `test_random_walk`.

    Attributes
    ----------
    workspace, viewer
        Of the window.
    panels
        Those that are open, by the name of `PANELS`.
    desk
        Where is noted which layers and numbers were looked at.
    """

    @property
    def index(self):
        return shown_index(self.workspace.sections, self.viewer.dims.point)

    def check_layer(self, layer):
        owner, part = layer.metadata[MADE_BY], layer.metadata[MADE_HERE]
        assert owner in self.panels, "of a panel that is closed"
        panel, workspace = self.panels[owner], self.workspace
        self.desk.layers[owner, part] += 1
        assert np.allclose(layer.scale, workspace.sections.scale[-2:])
        assert layer.units == workspace.sections.units[-2:]
        if owner == "Reconstruct":
            shown = self.reconstruction(panel)
            expected = getattr(shown, part)
            if expected is None:
                expected = {
                    "artifact": np.zeros_like(shown.section, bool),
                    "repaired": shown.section,
                }[part]
            if part == "artifact":
                white = float(workspace.sections.contrast_limits[1]) * shown.gain
                beside = panel._side_by_side.isChecked()
                expected = artifact_outline(expected, shown.section / white if beside else None)
        elif owner == "Receptive field":
            expected = self.response(panel).section
        elif owner == "Explore":
            decoded = workspace.model.decode(panel.sliders.codes[None])[0]
            expected = decoded if part == "generated" else decoded - self.held_against(panel)
            assert panel.buttons.against.currentText() != NOTHING or part == "generated"
        elif owner == "Two models":
            expected = self.of_two_models(panel, part)
        elif owner == "Compare":
            expected = self.of_compare(panel, layer)
        elif part == "change":
            factor = panel.factors.currentRow() if owner == "Factors" else panel.factor
            expected = change(workspace.model, factor)
            assert layer.name.startswith(f"change: F{factor + 1}") or "renamed" in layer.name
        elif part == "traversal":
            expected = traverse(workspace.model, panel.factor, panel.position.value())[0]
        else:
            assert panel._still(panel._fields.job)
            return
        assert np.allclose(layer.data, expected, atol=1e-5), layer.name

    def reconstruction(self, panel):
        return self.through(self.workspace.model, panel.robust)

    def through(self, model, robust=False):
        population = self.workspace.population
        key = id(model), id(population), self.index, robust
        if key not in self.desk.known:
            look = reconstruct_section(model, population, self.index, robust=robust)
            self.desk.known[key] = (
                look,
                model,
                population,
            )  # whose identities are not to be used again
        return self.desk.known[key][0]

    def held_against(self, panel):
        model, population = self.workspace.model, self.workspace.population
        shown = panel.buttons.against.currentText() == SHOWN
        code = brain_code(model, population, self.index) if shown else population_mean(model)
        return model.decode(code[None])[0]

    def response(self, panel):
        model, options = self.workspace.model, Perturbation(**panel.controls.values())
        population = self.workspace.population
        section = population.prepared(model.header.preprocessing, [self.index])[0]
        mask = panel.regions.current().mask
        weights = region_weights(mask, model.shape, options.soft_edge)
        return Probe(model, section).shift(weights, panel.weight.value(), options.mode)

    def check_reconstruct(self, panel):
        said = panel._readout.text()
        if self.workspace.ready:
            look = self.reconstruction(panel)
            assert self.workspace.population.ids[self.index] in said
            assert f"{look.error_left:.5f}" in said and f"{look.kl:.1f} nats" in said
        else:
            assert said == ""
        if (listed := panel.brains.listed) is not None:
            assert listed.inputs.same(self.workspace.inputs(atlas=False))
            assert list(listed.brains.index) == self.workspace.population.ids
        assert (panel.brains._table.rowCount() > 0) == (listed is not None)

    def check_receptive_field(self, panel):
        if panel.bars.shift is not None:
            assert self.workspace.ready
            assert np.allclose(panel.bars.shift, self.response(panel).shift, atol=1e-3)
        elif self.workspace.ready:
            assert panel._message.text()
        measured = panel.population.measured
        if measured is None:
            assert not panel.population._export.isEnabled()
            assert panel.population.heat_map._draw is None
            return
        now = panel.population._inputs()
        assert measured.inputs[:4] == now[:4] and measured.inputs.options[0] == now.options[0]
        same = measured.inputs.same(now)
        assert panel.population._outdated.isHidden() == same, "marked if, and only if, it is not"

    def check_projective_field(self, panel):
        if (shown := panel._shown) is not None:
            assert shown.job.model is self.workspace.model
            assert shown.job.factor == panel.factor
        if panel._fields is not None:
            assert panel._still(panel._fields.job)
        if not self.workspace.ready:
            assert panel._shown is None and panel._fields is None
            assert panel.table.shares.rowCount() == 0

    def check_explore(self, panel):
        workspace, sliders = self.workspace, panel.sliders.sliders
        assert len(sliders) == (workspace.model.latent_dim if workspace.ready else 0)
        table = workspace.brains.table
        for i, slider in enumerate(sliders):
            ticks = [] if table is None else table.codes.iloc[:, i]
            assert np.array_equal(slider._brains, ticks)
        for brain in panel.way.brains:
            assert brain is None or workspace.ready

    def check_factors(self, panel):
        if panel.described is None:
            assert panel.factors.count() == 0 and panel.brains.table.rowCount() == 0
            return
        assert panel.described.inputs.same(self.workspace.inputs())
        assert panel.factors.count() == self.workspace.model.latent_dim
        assert len(panel.described.codes) == panel.brains.table.rowCount()

    # Panels that share the list of brains

    def check_shared_brains(self):
        """No list of brains is of anything else than what is chosen."""
        table = self.workspace.brains.table
        if table is not None:
            assert table.inputs.same(self.workspace.inputs(atlas=False))
            assert list(table.brains.index) == self.workspace.population.ids
            self.desk.numbers["brains"] += 1
        layer = None if self.workspace.points is None else self.workspace.points.layer
        if layer is not None and layer in self.viewer.layers:
            assert list(layer.features["id"]) == self.workspace.population.ids
            assert np.array_equal(layer.features["F1"], table.brains["F1"])

    def check_map(self, panel):
        table = self.workspace.brains.table
        assert (panel.table is None) == (table is None)
        if table is None:
            assert panel.plane.planes == [] and panel._counted.text() == ""
            assert not panel._export.isEnabled()
            return
        assert list(panel.table.index) == self.workspace.population.ids
        [plane] = panel.plane.planes
        shown = table.brains[[panel.options.x, panel.options.y]].to_numpy(float)
        assert np.array_equal(plane.points, shown), "of factors of this model"
        assert panel.plane.shown == self.index
        assert panel._counted.text().endswith(f"of {len(shown)} selected")
        self.desk.numbers["Map"] += 1

    def check_gallery(self, panel):
        workspace, making = self.workspace, panel.thumbnails.making
        population, brains = workspace.population, panel.thumbnails.brains
        assert len(brains.order) == (0 if population is None else len(population))
        if making is not None:
            assert making.population is population
            assert making.model is (workspace.model if workspace.ready else None)
        if population is None:
            return
        table = workspace.brains.table
        for row, position in enumerate(brains.order):
            caption = brains.data(brains.index(row, 0))
            assert caption.startswith(population.ids[position])
            if table is not None:
                number = table.brains.iloc[position]
                by = ("deviation", "squared_error", "kl_divergence")
                known = [f"{number[name]:{form}}" for name, form in
                         zip(by, (".1f", ".5f", ".1f"), strict=True) if name in number]  # fmt: skip
                assert "\n" not in caption or any(each in caption for each in known)
        self.desk.numbers["Gallery"] += 1

    # Panels with results of their own

    def check_two_models(self, panel):
        said, workspace = panel._readout.text(), self.workspace
        if panel.inputs is None:
            assert said == "" and panel.compared is None
        else:
            assert workspace.population.ids[self.index] in said
            for name, model in (("A", workspace.model), ("B", panel.second.model)):
                look = self.through(model)
                assert f"{name}: error {look.error:.5f}, KL {look.kl:.1f} nats" in said
            self.desk.numbers["Two models"] += 1
        if panel.compared is not None:
            assert panel.compared.inputs.same(panel.inputs)
            assert panel.factors.table.rowCount() >= workspace.model.latent_dim
        else:
            assert panel.factors.table.rowCount() == panel.brains.table.rowCount() == 0
            assert not panel._export.isEnabled()

    def of_two_models(self, panel, part):
        a, b = (self.through(m) for m in (self.workspace.model, panel.second.model))
        return {
            "A": a.reconstruction,
            "B": b.reconstruction,
            "difference": b.reconstruction - a.reconstruction,
        }[part]

    def check_compare(self, panel):
        found = panel.found
        tables = (panel.factors, panel.regions, panel.brains)
        if found is None:
            assert all(each.table.rowCount() == 0 for each in tables)
            assert not panel._export.isEnabled() and "change" not in panel._made
            return
        assert found.inputs.same(panel._inputs())
        assert list(found.factors["factor"]) == [
            f"F{i + 1}" for i in range(self.workspace.model.latent_dim)
        ]
        assert panel.factors.table.rowCount() == len(found.factors)
        self.desk.numbers["Compare"] += 1

    def of_compare(self, panel, layer):
        found = panel.found
        assert found is not None
        difference = found.study.compared[found.by].difference
        data, model = (of[0] - of[1] for of in (difference.data, difference.model))
        shown = [data, model, np.nan_to_num(difference.t)]
        return min(shown, key=lambda each: np.abs(each - layer.data).max())

    def check_fit(self, panel):
        """In no file, so nothing is counted, nothing can be fitted, and the reason is said."""
        assert panel.brains.text() == "" and not panel.fit.isEnabled()
        there = self.workspace.sections is not None
        assert ("in no file" in panel.problem.text()) == there
        assert panel.choice.suggest.isEnabled() == (there and not panel.job.running)

    def check_gather(self, panel):
        assert panel.choice._model == self.workspace.checkpoint
        assert panel.preview is None and panel.brains.table.rowCount() == 0

    def check_atlas(self, panel):
        """Plane and sections are of one size, and the plane lies on them."""
        sections = self.workspace.sections
        atlas = panel._made.get("atlas")
        if panel.section is not None and atlas is not None and sections is not None:
            assert panel.section.shape == tuple(sections.data.shape[-2:])
            assert np.allclose(atlas.scale, sections.scale[-2:])
            assert f"plane {panel.section.plane}" in atlas.name or "renamed" in atlas.name
            self.desk.numbers["Atlas"] += 1


@cache
def change(model, factor):
    return signed_change(model, factor)[0]
