"""The widgets "Receptive field" and "Projective field", and regions drawn on layers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from matplotlib.figure import Figure
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pydantic import BaseModel, Field
from qtpy.QtCore import QPoint, Qt

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.regions import Region, polygons_to_mask
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.factors.impact import impact_matrix
from napari_brainvae.factors.perturbation import ImpactOptions, Perturbation
from napari_brainvae.factors.projective_field import (
    field_by_region,
    population_mean,
    projective_field,
    traverse,
)
from napari_brainvae.factors.receptive_field import Probe, region_weights
from napari_brainvae.models.checkpoint import fingerprint, save_checkpoint
from napari_brainvae.models.pca import PCA
from napari_brainvae.widgets.layers.atlas_layers import ATLAS, AtlasRegion, add_plane, draw_plane
from napari_brainvae.widgets.layers.plugin_layers import canvas_grid
from napari_brainvae.widgets.layers.section_layers import (
    add_quietly,
    section_geometry,
    shapes_in_pixels,
)
from napari_brainvae.widgets.panels.figure_view import FigureView
from napari_brainvae.widgets.panels.option_controls import bounds
from napari_brainvae.widgets.panels.region_list import placed
from napari_brainvae.widgets.panels.shift_bars import tick_step
from tests.listeners import callbacks
from training.interpret import interpret
from training.interpretation.options import InterpretOptions

PLUGIN = "napari-brainvae"
LONG = 30_000

# Regions on layers, without Qt

STACKS = {
    "plain": {},
    "25 um with an offset": {"scale": (1, 25, 25), "translate": (0, 1000, -300)},
    "flipped": {"scale": (1, 25, -25), "translate": (0, 0, 2000)},
    "turned": {"scale": (1, 25, 25), "rotate": 30, "translate": (3, 4, 5)},
    "affine": {"affine": [[1, 0, 0, 0], [0, 2, 0.5, 7], [0, 0, 3, -9], [0, 0, 0, 1]]},
}
LAYERS = {
    "as the sections": None,
    "plain": {},
    "25 um with an offset": {"scale": (25, 25), "translate": (-40, 70)},
    "flipped and turned": {"scale": (-2, 0.5), "rotate": 70},
    "on one brain of the stack": {"ndim": 3},
}
RECTANGLE = np.array([[9.6, 19.6], [9.6, 40.4], [30.4, 40.4], [30.4, 19.6]])


def drawn_on(sections, vertices, kind, **layer) -> Shapes:
    """A Shapes layer that shows ``vertices``, given in the pixels of the sections."""
    shapes = Shapes(ndim=layer.pop("ndim", 2), **layer)
    world = [sections.data_to_world((1, *vertex)) for vertex in vertices]
    shapes.add([shapes.world_to_data(point[-shapes.ndim :]) for point in world], shape_type=kind)
    return shapes


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("stack", STACKS)
def test_a_region_is_where_it_was_drawn(stack, layer):
    sections = Image(np.zeros((3, 60, 84)), **STACKS[stack])
    options = LAYERS[layer]
    if options is None:
        options = section_geometry(sections, (60, 84))
    shapes = drawn_on(sections, RECTANGLE, "polygon", **options)
    # The model crops two columns on either side.
    mask = polygons_to_mask(shapes_in_pixels(shapes, sections, (60, 80)), (60, 80))
    expected = np.zeros((60, 80), bool)
    expected[10:31, 20 - 2 : 41 - 2] = True
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize(
    ("kind", "area"),
    [
        ("rectangle", 21 * 21),
        ("polygon", 21 * 21),
        ("path", 21 * 21),
        ("ellipse", np.pi / 4 * 20.8**2),
        ("line", 0),
    ],
)
def test_every_kind_of_shape(kind, area):
    sections = Image(np.zeros((60, 80)), scale=(25, 25))
    vertices = RECTANGLE[:2] if kind == "line" else RECTANGLE
    shapes = drawn_on(sections, vertices, kind, scale=(5, 5))
    mask = polygons_to_mask(shapes_in_pixels(shapes, sections, (60, 80)), (60, 80))
    assert mask.sum() == pytest.approx(area, rel=0.02)


def test_several_shapes_are_one_region_and_what_lies_outside_is_cut_off():
    sections = Image(np.zeros((60, 80)))
    shapes = drawn_on(sections, RECTANGLE, "rectangle")
    shapes.add(RECTANGLE + 10, shape_type="rectangle")
    shapes.add(RECTANGLE + np.array([40, 50]), shape_type="rectangle")
    mask = polygons_to_mask(shapes_in_pixels(shapes, sections, (60, 80)), (60, 80))
    assert mask.sum() == 2 * 21**2 - 11**2 + 10 * 10


def test_a_region_file_lies_on_sections_of_another_size():
    region = Region.from_polygons("r", [RECTANGLE], (60, 80), 25.0)
    [outline] = placed(region, (30, 44), 50.0)
    mask = polygons_to_mask([outline], (30, 44))
    assert np.array_equal(mask, region.to_mask((30, 44), 50.0))


def test_a_layer_is_added_where_it_is_told_and_another_stays_active():
    viewer = ViewerModel()
    below, above = Image(np.zeros((4, 4))), Image(np.zeros((4, 4)))
    viewer.layers.extend([below, above])
    viewer.layers.selection.active = below
    new = Image(np.zeros((4, 4)))
    add_quietly(viewer, new, 1)
    assert list(viewer.layers) == [below, new, above]
    assert viewer.layers.selection.active is below


def test_bounds_come_from_the_schema():
    class Schema(BaseModel):
        closed: float = Field(1, ge=0, le=2)
        opened: float = Field(1, gt=0, lt=2)
        free: int = 3

    ends = {name: bounds(field, 0.5) for name, field in Schema.model_fields.items()}
    assert ends == {"closed": (0, 2), "opened": (0.5, 1.5), "free": (-1e6, 1e6)}


# In a real napari


@pytest.fixture(scope="session")
def atlas(atlas_folder):
    return Atlas.open(atlas_folder)


def add_atlas(viewer, atlas):
    """Add the atlas's layers as its widget does."""
    sections = viewer.layers["phantom"]
    drawn = draw_plane(atlas, 2, (64, 80), atlas.resolution_um)
    return add_plane(viewer, drawn, section_geometry(sections, (64, 80)), "p")["atlas"]


@pytest.fixture
def viewer(make_napari_viewer, phantom_file, run_folder):
    viewer = make_napari_viewer(show=True)  # figures are drawn where they can be seen
    viewer.open(phantom_file, plugin=PLUGIN)
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    return viewer


def open_widget(viewer, qtbot, name):
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    qtbot.waitUntil(lambda: widget.source.ready, timeout=LONG)
    return widget


@pytest.fixture
def receptive(viewer, atlas, qtbot):
    add_atlas(viewer, atlas)
    widget = open_widget(viewer, qtbot, "Receptive field")
    widget.population.controls.widgets["resamples"].value = 20
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    return widget


@pytest.fixture
def projective(viewer, atlas, qtbot):
    add_atlas(viewer, atlas)
    widget = open_widget(viewer, qtbot, "Projective field")
    finish(widget, qtbot)
    return widget


def finish(widget, qtbot):
    qtbot.waitUntil(lambda: widget.latest.idle and widget._shown is not None, timeout=LONG)
    qtbot.waitUntil(lambda: widget._shown.done and widget.latest.idle, timeout=LONG)


def done(widget, qtbot):
    bar = getattr(widget, "job", None) or widget.population.job
    qtbot.waitUntil(lambda: not bar.running, timeout=LONG)


def test_the_weight_moves_section_and_bars(viewer, receptive, population, atlas, qtbot):
    widget, model = receptive, receptive.source.model
    assert widget.regions.names == ["SSp", "RSP", "HPF", "STR", "TH", "HY"], "the paper's six"
    asked = []
    compute = widget.latest._compute
    widget.latest._compute = lambda *a: asked.append(a[-2]) or compute(*a)
    viewer.dims.set_point(0, 12)
    widget.regions.select("HPF")
    for weight in np.linspace(0, -1, 30):
        widget.weight.setValue(weight)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert len(asked) < 10, "stale requests are dropped"
    assert asked[-1] == -1

    def is_shown(brain, weight, **options):
        section = population.prepared(model.header.preprocessing, [brain])[0]
        mask = atlas.mask("HPF", 2)
        options = Perturbation(**options)
        region = region_weights(mask, model.shape, options.soft_edge)
        expected = Probe(model, section).shift(region, weight, options.mode)
        layer = viewer.layers["perturbed: phantom"]
        assert np.array_equal(layer.data, expected.section)
        assert np.array_equal(layer.scale, viewer.layers["phantom"].scale[1:])
        assert viewer.layers.index(layer) == 1, "right above the sections"
        assert np.allclose(widget.bars.shift, expected.shift, atol=1e-4)

    is_shown(12, -1)
    viewer.dims.set_point(0, 5)
    widget.controls.widgets["mode"].value = "fill"
    widget.controls.widgets["soft_edge"].value = 2
    widget.weight.setValue(0.5)
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    is_shown(5, 0.5, mode="fill", soft_edge=2)


def test_drawn_regions_follow_their_layer_and_are_kept_in_files(viewer, receptive, qtbot, tmp_path):
    widget = receptive
    widget.weight.setValue(-1)
    layer = widget.regions.new()
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert "'region' is empty: draw a polygon" in widget._message.text()
    assert "perturbed: phantom" not in viewer.layers, "nothing stale stays"
    layer.add_rectangles(RECTANGLE)
    qtbot.waitUntil(lambda: "perturbed: phantom" in viewer.layers, timeout=LONG)
    before = viewer.layers["perturbed: phantom"].data
    layer.data = [RECTANGLE + 5]
    qtbot.waitUntil(lambda: widget.latest.idle, timeout=LONG)
    assert not np.array_equal(viewer.layers["perturbed: phantom"].data, before)
    layer.name = "barrel"
    assert widget.regions.names[-1] == "barrel"

    file = tmp_path / "barrel.json"
    widget.regions.save(file)
    assert Region.load(file).pixel_size_um == pytest.approx(140)
    again = widget.regions.load(file)
    stack = viewer.layers["phantom"]
    assert np.allclose(shapes_in_pixels(again, stack, (64, 80)), [RECTANGLE + 5])
    assert again.name == "barrel [1]"
    viewer.layers.remove("barrel")
    assert widget.regions.names[-1] == "barrel [1]"

    widget.regions.select("TH")
    widget.regions.save(tmp_path / "th.json")
    inside = Region.load(tmp_path / "th.json").to_mask()
    assert inside.any()
    widget.regions.remove()
    assert "TH" not in widget.regions.names
    viewer.layers["atlas: p"].metadata[ATLAS].add(AtlasRegion("CA1", "left"))
    assert "CA1 (left)" in widget.regions.names


@pytest.mark.parametrize(
    ("move", "message"),
    [((500, 0), "is empty: no pixel of it lies in the section"), ((-9, -19), "outside the tissue")],
)
def test_regions_without_tissue_are_said_so(viewer, receptive, qtbot, move, message):
    layer = receptive.regions.new()
    layer.add_rectangles(np.array([[10, 20], [10, 24], [12, 24], [12, 20]]) + move)
    qtbot.waitUntil(lambda: message in receptive._message.text(), timeout=LONG)
    assert "perturbed: phantom" not in viewer.layers
    receptive.population.measure()
    done(receptive, qtbot)
    assert message in receptive.population._about.text()
    assert receptive.population.measured is None


def test_the_population_is_measured_and_exported(
    viewer, receptive, population, phantom_file, atlas_folder, qtbot, tmp_path
):
    widget, panel = receptive, receptive.population
    layer = widget.regions.new()
    layer.add_rectangles(RECTANGLE)
    for name in ("SSp", "RSP", "STR", "TH"):
        widget.regions.check(name, on=False)
    assert f"{(~population.flagged).sum()} sections count" in panel._about.text()
    panel.measure()
    done(widget, qtbot)
    impact, model = panel.measured.impact, widget.source.model
    masks = {wanted.name: wanted.mask() for wanted in widget.regions.checked()}
    assert list(masks) == ["HPF", "HY", "region"]
    options = ImpactOptions(resamples=20)
    expected = impact_matrix(model, population, masks, options)
    assert impact.options == options
    assert np.array_equal(impact.matrix(), expected.matrix())
    assert len(impact.sections) == (~population.flagged).sum(), "unflagged by default"

    # A click on a cell of the heat map.
    assert widget.tabs.currentWidget() is panel.results
    panel.heat_map.clicked.emit(0, 2.2, 0.9)
    qtbot.waitUntil(lambda: panel.distributions.latest.idle, timeout=LONG)
    # Another direction needs no new measurement, other weights do.
    panel.controls.widgets["direction"].value = "forward"
    assert panel.measured.impact is impact
    assert np.array_equal(panel._in_direction().matrix(), expected.forward)

    panel.export(tmp_path / "out")
    done(widget, qtbot)
    out = tmp_path / "out"
    matrix = pd.read_csv(out / "impact_matrix.csv", index_col="region")
    assert np.allclose(matrix[["F1", "F2", "F3", "F4"]], expected.forward)
    assert set(matrix["checkpoint"]) == {fingerprint(model)}
    assert json.loads(matrix["options"].iloc[0])["direction"] == "forward"
    record = json.loads((out / "record.json").read_text())
    assert record["models"]["beta-VAE"]["fingerprint"] == fingerprint(model)
    region = Region.load(out / "regions" / "region.json")
    assert np.array_equal(region.to_mask(), masks["region"])
    for figure in ("impact", "factor_covariance", "disentanglement"):
        assert (out / f"{figure}.png").stat().st_size > 0
        assert fingerprint(model) in (out / f"{figure}.svg").read_text()

    # The command writes the same.
    interpret(
        InterpretOptions(
            population=phantom_file, model=[widget.source.checkpoint], out=tmp_path / "command",
            atlas=atlas_folder, regions=["HPF", "HY"], region_file=[out / "regions" / "region.json"],
            resamples=20, direction="forward", parts=["regions", "impact"],
        )
    )  # fmt: skip
    files = {path.relative_to(out) for path in out.rglob("*")}
    assert {path.relative_to(tmp_path / "command") for path in out.parent.glob("command/**/*")} == {
        *files
    }
    for table in ("impact.csv", "scores.csv", "impact_matrix.csv"):
        assert (out / table).read_text() == (tmp_path / "command" / table).read_text()

    panel.controls.widgets["low"].value = -0.5
    assert panel.measured is None, "nothing stale stays"
    assert widget.weight.minimum() == -0.5
    panel.controls.widgets["low"].value = 3
    panel.measure()
    assert "must be below" in panel._about.text()


def test_clicks_find_their_cell(qtbot):
    view = FigureView(200)
    qtbot.addWidget(view)
    clicked = []
    view.clicked.connect(lambda *where: clicked.append(where))
    view.resize(300, 200)
    view.show()

    def draw():
        figure = Figure(layout="constrained")
        figure.subplots().imshow(np.zeros((3, 5)))
        return figure

    view.show_figure(draw)
    qtbot.waitUntil(lambda: view.figure is not None and view.latest.idle, timeout=LONG)
    x, y = view.figure.axes[0].transData.transform((4, 1)) / view.figure.bbox.size
    point = QPoint(round(x * view.width()), round((1 - y) * view.height()))
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=point)
    assert clicked[0][0] == 0
    assert np.allclose(clicked[0][1:], (4, 1), atol=0.05)
    view.release()


@pytest.mark.parametrize(("limit", "step"), [(1, 0.2), (1.5, 0.5), (4.7, 1), (10, 2), (0.3, 0.1)])
def test_ticks_are_round(limit, step):
    assert tick_step(limit) == pytest.approx(step)
    assert 2 <= limit / step <= 5


def test_closing_in_mid_run_stops_everything(viewer, atlas, qtbot):
    labels = add_atlas(viewer, atlas)
    viewer.add_shapes([RECTANGLE], name="mine", scale=(140, 140), units=("um", "um"))
    before = callbacks(viewer)
    for name in ("Receptive field", "Projective field"):
        widget = open_widget(viewer, qtbot, name)
        bar = widget.job if name.startswith("P") else widget.population.job
        if name.startswith("P"):
            widget.compute_all()
        else:
            widget.population.controls.widgets["resamples"].value = 0
            widget.population.measure()
        qtbot.waitUntil(lambda bar=bar: bar._done > 0, timeout=LONG)
        assert callbacks(viewer) != before
        viewer.window.remove_dock_widget(widget)
        made = [layer for layer in viewer.layers if layer.name.startswith(("pert", "field"))]
        for layer in made:
            viewer.layers.remove(layer)
        assert callbacks(viewer) == before
        qtbot.waitUntil(lambda bar=bar: not bar.running, timeout=LONG)
        qtbot.waitUntil(lambda widget=widget: widget.latest.idle, timeout=LONG)
        assert not [layer for layer in viewer.layers if layer.name.startswith(("pert", "field"))]
    assert labels in viewer.layers


def test_one_factor_and_a_population_of_one(viewer, qtbot, tmp_path, population):
    sections = population.sections()
    preprocessing = Preprocessing.fit(sections)
    model = PCA.fit(preprocessing.apply(sections), 1, preprocessing=preprocessing)
    save_checkpoint(model, tmp_path / "one.safetensors")
    widget = open_widget(viewer, qtbot, "Receptive field")
    widget.population.controls.widgets["resamples"].value = 20
    widget.source.checkpoint = tmp_path / "one.safetensors"
    qtbot.waitUntil(lambda: widget.source.ready, timeout=LONG)
    widget.regions.new().add_rectangles(RECTANGLE)
    widget.population.measure()
    done(widget, qtbot)
    assert widget.population.measured.impact.matrix().shape == (1, 1)
    assert "at least 2 regions and 2 factors" in widget.population._scores.text()
    view = widget.population.covariance
    widget.population.pages.setCurrentIndex(1)
    qtbot.waitUntil(lambda: "at least 2 regions" in view._message, timeout=LONG)

    widget.source.layer = viewer.add_image(
        sections[3], name="one", **section_geometry(viewer.layers["phantom"], (64, 80))
    )
    widget.population.measure()
    done(widget, qtbot)
    assert "cannot be fitted to 1 section" in widget.population._about.text()
    field = open_widget(viewer, qtbot, "Projective field")
    field.source.checkpoint = tmp_path / "one.safetensors"
    qtbot.waitUntil(lambda: field._factor.count() == 1, timeout=LONG)
    finish(field, qtbot)


def test_a_field_refines_itself(viewer, projective, atlas, qtbot):
    widget, model = projective, projective.source.model
    widget.factor = 1
    finish(widget, qtbot)
    expected = projective_field(model, 1)
    assert np.array_equal(widget._shown.estimate.maps, expected[0])
    layer = viewer.layers["field: F2"]
    assert layer.rgb
    assert layer.data.shape == (64, 80, 4)
    assert viewer.layers.index(layer) < viewer.layers.index(viewer.layers["outlines: p"])

    masks = {name: atlas.mask(name, 2) for name in ("SSp", "RSP", "HPF", "STR", "TH", "HY")}
    tissue = atlas.plane(2) > 0
    table = field_by_region(expected, masks, [1], tissue=tissue)
    share = table.query("region == 'TH' and part == 'large'")["share"].item()
    row = [widget.table.verticalHeaderItem(i).text() for i in range(6)].index("TH")
    assert widget.table.item(row, 2).text() == f"{100 * share:.1f} %"
    widget._which.setCurrentText("every structure")
    finish(widget, qtbot)
    assert widget.table.rowCount() == len(np.unique(atlas.plane(2))) - 1


def test_a_newer_factor_is_not_kept_waiting(projective, qtbot):
    widget = projective
    for factor in (0, 1, 2, 3, 0, 2):
        widget.factor = factor
    finish(widget, qtbot)
    assert widget._shown.job.factor == 2


def test_the_generated_section_follows_the_slider(viewer, projective, population, qtbot):
    widget, model = projective, projective.source.model
    widget.position.setValue(3)
    qtbot.waitUntil(lambda: widget.traversal.idle, timeout=LONG)
    [layer] = [layer for layer in viewer.layers if layer.name.startswith("generated")]
    assert layer.name == "generated: F1 moved by +3.00"
    assert np.array_equal(layer.data, traverse(model, 0, 3.0)[0])
    assert viewer.layers.index(layer) == 1

    viewer.dims.set_point(0, 7)
    widget.controls.widgets["start"].value = "brain on show"
    finish(widget, qtbot)
    section = population.prepared(model.header.preprocessing, [7])
    z0 = model.encode(section)[0][0]
    assert not np.allclose(z0, population_mean(model), atol=1e-3)
    assert np.array_equal(widget._shown.estimate.maps, projective_field(model, 0, z0=z0)[0])
    widget.controls.widgets["limit"].value = 2
    finish(widget, qtbot)
    assert widget.position.maximum() == 2
    assert "|c| &gt; 1" in widget._legend.text()


def test_all_factors_side_by_side_and_exported(viewer, projective, atlas, qtbot, tmp_path):
    widget, model = projective, projective.source.model
    before = {layer: layer.visible for layer in viewer.layers}
    widget.compute_all()
    done(widget, qtbot)
    made = [layer for layer in viewer.layers if layer.name.endswith("(all)")]
    assert len(made) == 4
    widget._grid.setChecked(True)
    assert canvas_grid(viewer).actual_shape(viewer.layers) == (2, 2)
    widget._grid.setChecked(False)
    assert not canvas_grid(viewer).enabled
    assert {layer: layer.visible for layer in before} == before

    widget.export(tmp_path / "out")
    done(widget, qtbot)
    with tifffile.TiffFile(tmp_path / "out" / "projective_field.ome.tif") as tif:
        maps, metadata = tif.asarray(), tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
    assert np.array_equal(maps, projective_field(model))
    assert metadata["Pixels"]["PhysicalSizeX"] == pytest.approx(140)
    assert metadata["Pixels"]["PhysicalSizeXUnit"] == "µm"
    assert fingerprint(model) in metadata["Description"]
    table = pd.read_csv(tmp_path / "out" / "field_by_region.csv")
    assert set(table["factor"]) == {1, 2, 3, 4}
    assert json.loads(table["options"][0])["limit"] == 7
    assert fingerprint(model) in (tmp_path / "out" / "projective_fields.svg").read_text()
    widget.controls.widgets["limit"].value = 3
    assert not [layer for layer in viewer.layers if layer.name.endswith("(all)")]


def test_cancelling_all_factors_leaves_nothing(viewer, projective, qtbot):
    projective.compute_all()
    projective.job.cancel()
    done(projective, qtbot)
    assert projective._fields is None
    assert not projective._grid.isEnabled()
    assert not [layer for layer in viewer.layers if layer.name.endswith("(all)")]


def test_an_unknown_model_clears_what_was_shown(viewer, projective, qtbot, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with qtbot.captureExceptions() as exceptions:
        projective.source.checkpoint = tmp_path / "bad.safetensors"
        qtbot.waitUntil(lambda: len(exceptions) > 0, timeout=LONG)
    assert not [layer for layer in viewer.layers if layer.name.startswith("field")]
    assert projective.table.rowCount() == 0


def test_population_of_this_file_is_unflagged_in_part(population: Population):
    """What the tests above rely on."""
    assert 2 < population.flagged.sum() < len(population) - 2
