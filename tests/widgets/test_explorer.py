"""The widget "Explore factors", in a real napari: the section is what the sliders say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_brainvae.factors.latent_paths import (
    brain_code,
    draw_from_prior,
    draw_like_population,
    interpolate,
)
from napari_brainvae.factors.projective_field import population_mean
from napari_brainvae.widgets.layers.section_layers import shown_index
from tests.listeners import callbacks
from tests.training.commands import ended
from tests.widgets.windows import LONG, done, endless, open_widget

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def explorer(viewer, qtbot):
    widget = open_widget(viewer, qtbot, "Explore factors")
    drawn(widget, qtbot)
    return widget


def drawn(widget, qtbot):
    each = widget.latest, widget.encode, widget.line
    qtbot.waitUntil(lambda: all(e.idle for e in each) and not widget.way.playing, timeout=LONG)


def listed(widget, qtbot):
    qtbot.mouseClick(widget.buttons["List brains"], LEFT)
    done(widget, qtbot)
    return widget.workspace.brains.table


def generated(viewer):
    [layer] = [each for each in viewer.layers if each.name == "generated"]
    return layer


def change(viewer):
    [layer] = [each for each in viewer.layers if each.name.startswith("change from")]
    return layer


def press(widget, qtbot, name):
    qtbot.mouseClick(widget.buttons[name], LEFT)
    drawn(widget, qtbot)


def test_the_section_is_what_the_model_decodes_of_the_sliders_to_the_bit(
    viewer, explorer, population, qtbot
):
    widget, model = explorer, explorer.source.model
    mean = model.decode(population_mean(model)[None])[0]
    assert np.array_equal(generated(viewer).data, mean)
    assert not change(viewer).data.any()
    rng = np.random.default_rng(1)
    for _ in range(4):
        for slider in widget.sliders.sliders:  # as a hand drags, in whatever steps pixels make
            slider.setValue(rng.uniform(slider.minimum(), slider.maximum()))
        drawn(widget, qtbot)
        section = model.decode(widget.sliders.codes[None])[0]
        assert np.array_equal(generated(viewer).data, section)
        assert np.array_equal(change(viewer).data, section - mean)

    viewer.dims.set_point(0, 6)
    press(widget, qtbot, "Brain on show")
    code = brain_code(model, population, 6)
    assert np.array_equal(widget.sliders.codes, code)
    assert np.array_equal(generated(viewer).data, model.decode(code[None])[0])
    widget.buttons.against.setCurrentText("the brain on show")
    drawn(widget, qtbot)
    assert not change(viewer).data.any()
    viewer.dims.set_point(0, 7)
    drawn(widget, qtbot)
    other = model.decode(brain_code(model, population, 7)[None])[0]
    assert np.array_equal(change(viewer).data, generated(viewer).data - other)
    widget.buttons.against.setCurrentText("nothing")
    drawn(widget, qtbot)
    assert not change(viewer).visible
    assert generated(viewer).visible


def test_a_typed_number_moves_its_slider_and_the_number_only_rounds(explorer, qtbot):
    sliders = explorer.sliders
    sliders.numbers[1].setValue(0.25)
    assert sliders.codes[1] == 0.25
    sliders.set_codes([0.123456, 1, 2, 3])
    assert sliders.codes[0] == np.float32(0.123456)
    assert sliders.numbers[0].value() == 0.12


def test_of_a_fast_drag_only_the_newest_is_shown(viewer, explorer, qtbot, monkeypatch):
    widget, model, asked = explorer, explorer.source.model, []
    plain = model.decode
    monkeypatch.setattr(model, "decode", lambda z: asked.append(z.copy()) or plain(z))
    slider = widget.sliders.sliders[0]
    places = np.linspace(slider.minimum(), slider.maximum(), 300)
    for place in places:
        slider.setValue(place)
    drawn(widget, qtbot)
    assert len(asked) < 30, "one that is out of date is not computed"
    assert np.array_equal(asked[-1][0], widget.sliders.codes), "one decode a move"
    assert widget.sliders.codes[0] == np.float32(places[-1])


def test_back_takes_moves_back_one_by_one(explorer, qtbot):
    widget, sliders = explorer, explorer.sliders
    start = sliders.codes
    assert not widget.buttons["Back"].isEnabled()
    for value in (0.5, 0.6, 0.7):  # one drag
        sliders.sliders[0].setValue(value)
    sliders.settle()
    press(widget, qtbot, "Prior")
    sliders.sliders[2].setValue(0.1)
    steps = [sliders.codes]
    for _ in range(3):
        press(widget, qtbot, "Back")
        steps.append(sliders.codes)
    assert np.array_equal(steps[1], draw_from_prior(4, 0))
    assert steps[2].tolist() == [np.float32(0.7), *start[1:]]
    assert np.array_equal(steps[3], start)
    assert not widget.buttons["Back"].isEnabled()


def test_ticks_and_range_are_the_brains_and_what_lies_beyond_is_said(explorer, qtbot):
    widget, sliders = explorer, explorer.sliders
    assert not widget.buttons["Nearest brain"].isEnabled()
    assert not widget.buttons["Population"].isEnabled()
    codes = listed(widget, qtbot).codes.to_numpy()
    for i, slider in enumerate(sliders.sliders):
        assert np.array_equal(slider._brains, codes[:, i])
        assert slider.minimum() < codes[:, i].min()
        assert slider.maximum() > codes[:, i].max()
    press(widget, qtbot, "Mean")
    assert "beyond" not in widget._status.text()
    far = population_mean(widget.source.model)
    far[2] = codes[:, 2].max() + 50
    sliders.set_codes(far)
    drawn(widget, qtbot)
    assert sliders.codes[2] == far[2], "what lies out of range is shown, too"
    assert "F3 beyond all brains" in widget._status.text()


def test_the_nearest_brain_is_shown(viewer, explorer, population, qtbot):
    widget = explorer
    codes = listed(widget, qtbot).codes.to_numpy()
    widget.sliders.set_codes(codes[11] + 1e-4)
    press(widget, qtbot, "Nearest brain")
    assert shown_index(viewer.layers["phantom"], viewer.dims.point) == 11
    assert population.ids[11] in widget._status.text()


def test_brains_by_chance_can_be_drawn_again_by_their_seed(explorer, population, qtbot):
    widget = explorer
    table = listed(widget, qtbot)
    codes = table.codes[~population.flagged]
    drawn_by = {
        "Prior": lambda seed: draw_from_prior(4, seed),
        "Population": lambda seed: draw_like_population(codes, seed),
    }
    for name, expected in drawn_by.items():
        widget.buttons.seed.setValue(41)
        for seed in (41, 42):
            press(widget, qtbot, name)
            assert np.array_equal(widget.sliders.codes, expected(seed))
            assert f"seed {seed}" in widget._status.text()


def set_ends(viewer, widget, qtbot, a, b):
    for button, brain in zip(widget.way._set, (a, b), strict=True):
        viewer.dims.set_point(0, brain)
        qtbot.mouseClick(button, LEFT)


def test_the_way_from_a_to_b_is_played(viewer, explorer, population, qtbot):
    widget, model, seen = explorer, explorer.source.model, []
    before = widget.sliders.codes
    assert not widget.way._play.isEnabled()
    set_ends(viewer, widget, qtbot, 2, 9)
    widget.way.steps.setValue(5)
    widget.sliders.changed.connect(lambda: seen.append(widget.sliders.codes))
    qtbot.mouseClick(widget.way._play, LEFT)
    qtbot.waitUntil(lambda: len(seen) > 1, timeout=LONG)
    drawn(widget, qtbot)
    line = interpolate(*(brain_code(model, population, i) for i in (2, 9)), 5)
    assert all(any(np.array_equal(code, each) for each in line) for code in seen)
    assert np.array_equal(seen[-1], line[-1])
    assert np.array_equal(generated(viewer).data, model.decode(line[-1:])[0])
    press(widget, qtbot, "Back")
    assert np.array_equal(widget.sliders.codes, line[0])
    press(widget, qtbot, "Back")
    assert np.array_equal(widget.sliders.codes, before), "two steps"


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_command_writes_the_same_bytes_from_the_record(
    viewer, explorer, population, phantom_file, run_folder, qtbot, tmp_path, capsys
):
    widget = explorer
    set_ends(viewer, widget, qtbot, 1, 4)
    widget.way.steps.setValue(3)
    widget.write_movie(tmp_path / "movie")
    done(widget, qtbot)
    press(widget, qtbot, "Prior")
    widget.buttons.against.setCurrentText("the brain on show")
    drawn(widget, qtbot)
    widget.export(tmp_path / "one")
    done(widget, qtbot)
    for name in ("movie", "one"):
        record = json.loads((tmp_path / name / "record.json").read_text())
        flags = []
        for key, value in record["options"].items():
            if value not in (None, []):
                text = ",".join(map(repr, value)) if isinstance(value, list) else value
                flags.append(f"--{key.replace('_', '-')}={text}")
        again = tmp_path / f"{name} again"
        command = [run_folder / "model.safetensors", phantom_file, "--out", again, *flags]
        code, said = ended(capsys, "traverse", command)
        assert code == 0, said
        assert contents(tmp_path / name) == contents(again)
        assert len(contents(again)) > 4


@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_no_half_of_a_movie_is_left(viewer, explorer, qtbot, tmp_path, how):
    widget = explorer
    set_ends(viewer, widget, qtbot, 1, 4)
    widget.way.steps.setValue(500)
    widget.write_movie(tmp_path / "movie")
    qtbot.waitUntil(lambda: widget.job._done > 0, timeout=LONG)
    assert not (tmp_path / "movie").exists()
    if how == "closed":
        viewer.window.remove_dock_widget(widget)
    else:
        widget.job.cancel()
    done(widget, qtbot)
    assert not list(tmp_path.iterdir())


def test_names_are_those_of_the_cards(viewer, explorer, qtbot):
    _, factors = viewer.window.add_plugin_dock_widget("napari-brainvae", "Factors")
    factors.describe()
    done(factors, qtbot)
    for label, card in zip(explorer.sliders._said, factors.described.cards, strict=True):
        assert label.text() == f"{card.description.name}: {card.description.direction}"
        assert card.description.sentence in label.toolTip()
    viewer.layers["phantom"].data = np.array(viewer.layers["phantom"].data)[:, ::-1]
    assert {label.text() for label in explorer.sliders._said} == {""}, "of other sections"


def test_another_model_begins_anew_and_closing_leaves_nobody_behind(viewer, run_folder, qtbot):
    before = callbacks(viewer)
    widget = open_widget(viewer, qtbot, "Explore factors")
    drawn(widget, qtbot)
    press(widget, qtbot, "Prior")
    set_ends(viewer, widget, qtbot, 1, 4)
    widget.source.checkpoint = run_folder / "model.safetensors"
    assert not widget.sliders.sliders
    assert not generated(viewer).visible
    assert not change(viewer).visible
    qtbot.waitUntil(lambda: widget.source.ready, timeout=LONG)
    drawn(widget, qtbot)
    assert np.array_equal(widget.sliders.codes, population_mean(widget.source.model))
    assert widget.way.brains == [None, None]
    assert not widget.sliders.can_go_back
    widget.job.run("endless", endless, lambda _: None)
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: not widget.job.running, timeout=LONG)
    assert not generated(viewer).visible, "nobody keeps it up to date"
    for layer in (generated(viewer), change(viewer)):
        viewer.layers.remove(layer)
    assert callbacks(viewer) == before
