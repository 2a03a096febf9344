"""Each option of a comparison means the same by the panel and by the command, to the bit."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from qtpy.QtCore import Qt

from napari_brainvae.data.covariates import write_covariates
from napari_brainvae.data.population_files import creating
from napari_brainvae.phantom.phantom import Phantom, PhantomOptions, draw_section
from napari_brainvae.statistics.comparison_options import ComparisonOptions
from napari_brainvae.widgets.panels.comparison_choice import PLAIN
from tests.widgets.windows import LONG, PLUGIN, add_atlas, open_widget
from training.cli import main
from training.compare import CompareOptions, compare

SAME = {
    "by": (["--by", "dose"], {"by": "dose"}),
    "groups": (["--by", "line", "--groups", "c,a"], {"by": "line", "groups": ("c", "a")}),
    "adjust": (["--adjust", "age_days,line"], {"adjust": ["age_days", "line"]}),
    "blocks": (["--blocks", "litter"], {"blocks": "litter"}),
    "batch": (["--batch", "day,run"], {"batch": ["day", "run"]}),
    "harmonize": (["--batch", "day", "--harmonize"], {"batch": ["day"], "harmonize": True}),
    "regions": (["--regions", "HPF,TH"], {"regions": "HPF, TH"}),
    "permutations": (["--permutations", "199"], {"permutations": 199}),
    "pixel_permutations": (["--pixel-permutations", "0"], {"pixel_permutations": 0}),
    "robust": (["--no-robust"], {"robust": False}),
    "include_flagged": (["--include-flagged"], {"include_flagged": True}),
    "seed": (["--seed", "7"], {"seed": 7}),
}
USUAL = ["--permutations", "99", "--pixel-permutations", "19"]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """24 brains with artifacts, some flagged, and a table of every kind of covariate."""
    path = tmp_path_factory.mktemp("known") / "phantom.zarr"
    phantom = Phantom(
        draw_section(64, 80), PhantomOptions(count=24, seed=5, height=64, width=80, artifacts=0.4)
    )
    brains = [phantom.brain(i) for i in range(24)]
    table = pd.DataFrame({"flagged": [b.artifact == "grid" for b in brains]}, phantom.ids)
    table["sex"], table["age_days"] = ["F", "M"] * 12, [b.age_days for b in brains]
    table["dose"], table["line"] = np.arange(24.0) % 5, list("aabbcc") * 4
    table["litter"], table["day"] = np.repeat(list("uvwx"), 6), list("aabb") * 6
    table["run"] = list("xxxyyy") * 4
    table["same"], table["word"] = table["sex"], [f"word {i}" for i in range(24)]
    table["lost"] = ["", *["x", "y"] * 11, ""]
    with creating(path, phantom.ids, (64, 80), np.float32, phantom.description) as group:
        group["images"][:] = np.stack([b.image for b in brains])
        write_covariates(group, table)
    return path


@pytest.fixture
def panel(make_napari_viewer, known, run_folder, atlas, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.open(known, plugin=PLUGIN)
    viewer.open(run_folder / "model.safetensors", plugin=PLUGIN)
    add_atlas(viewer, atlas)
    return open_widget(viewer, qtbot, "Compare")


def done(panel, qtbot):
    """Two comparisons and all their figures take longer than most of what panels do."""
    qtbot.waitUntil(lambda: not panel.job.running, timeout=6 * LONG)


def choose(choice, chosen):
    for names, wanted in ((choice.adjust, "adjust"), (choice.batch, "batch")):
        for i in range(names.count()):
            item = names.item(i)
            is_wanted = item.text() in chosen.get(wanted, [])
            item.setCheckState(Qt.CheckState.Checked if is_wanted else Qt.CheckState.Unchecked)
    choice.by.setCurrentText(chosen.get("by", "sex"))
    for combo, group in zip((choice.first, choice.second), chosen.get("groups", ()), strict=False):
        combo.setCurrentText(group)
    choice.blocks.setCurrentText(chosen.get("blocks", choice.blocks.itemText(0)))
    choice.regions.setText(chosen.get("regions", ""))
    choice.regions.editingFinished.emit()
    quick = {"permutations": 99, "pixel_permutations": 19}
    choice.plain.set_values(quick | {name: chosen[name] for name in PLAIN if name in chosen})


def test_every_option_is_tried():
    """`--by A,B` alone is the command's: the panel compares one after the other by hand."""
    assert set(SAME) == set(ComparisonOptions.model_fields)


@pytest.mark.parametrize("option", SAME)
def test_panel_and_command_write_the_same(option, panel, known, run_folder, atlas_folder, tmp_path,
                                          qtbot):  # fmt: skip
    flags, chosen = SAME[option]
    choose(panel.choice, chosen)
    panel.compare()
    done(panel, qtbot)
    assert panel.job.message == ""
    panel.export(tmp_path / "panel")
    done(panel, qtbot)
    model = str(run_folder / "model.safetensors")
    by = [] if "--by" in flags else ["--by", "sex"]
    given = [str(known), "--model", model, "--atlas", str(atlas_folder), *USUAL, *by, *flags]
    arguments = [*given, "--out", str(tmp_path / "command")]
    main(CompareOptions, compare, program="compare", arguments=arguments)
    asked = panel.found.study.options
    record = json.loads((tmp_path / "command" / "record.json").read_text())
    assert {k: record["options"][k] for k in SAME} == asked.model_dump(mode="json") | (
        {"groups": []} if "--groups" not in flags else {}
    )
    both = [tmp_path / "panel", tmp_path / "command"]
    names = [sorted(path.name for path in folder.iterdir()) for folder in both]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith(".csv") or name == "pcntoolkit.py":
            contents = [(folder / name).read_bytes() for folder in both]
            assert contents[0] == contents[1], name
        if name.endswith(".ome.tif"):  # all that the figure of the difference is drawn from
            maps = [tifffile.imread(folder / name) for folder in both]
            assert np.array_equal(*maps), name
        if name.endswith(".png"):
            pictures = [_pixels(folder / name) for folder in both]
            assert np.array_equal(*pictures), name


def _pixels(path):
    from matplotlib.image import imread

    return imread(path)


BAD = {
    "collinear": (["--adjust", "same"], {"adjust": ["same"]}, "same says all that sex says"),
    "n < p": (["--adjust", "word"], {"adjust": ["word"]}, "brains are too few to take out word"),
    "one group twice": (["--groups", "F,F"], {"groups": ("F", "F")}, "F is given twice"),
    "no batch": (["--harmonize"], {"harmonize": True}, "name the batches: batch is empty"),
    "itself": (["--blocks", "sex"], {"blocks": "sex"}, "it cannot be taken out as well"),
    "no such region": (["--regions", "XYZ"], {"regions": "XYZ"}, "no structure 'XYZ'"),
    "two of a text": (
        ["--by", "word", "--groups", "word 0,word 2"],
        {"by": "word", "groups": ("word 0", "word 2")},
        "a group needs 2 at least",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_panel_and_command_say_the_same_sentence(case, panel, known, run_folder, atlas_folder,
                                                 tmp_path, qtbot, capsys):  # fmt: skip
    flags, chosen, sentence = BAD[case]
    choose(panel.choice, chosen)
    panel.compare()
    done(panel, qtbot)
    said = panel.job.message or panel.words.text()
    assert sentence in said
    assert panel.found is None
    by = [] if "--by" in flags else ["--by", "sex"]
    given = [str(known), "--model", str(run_folder / "model.safetensors"), *USUAL, *by, *flags]
    arguments = [*given, "--atlas", str(atlas_folder), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main(CompareOptions, compare, program="compare", arguments=arguments)
    assert ended.value.code == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "‰" not in each]
    assert said in line


def test_brains_of_which_it_is_not_known_are_counted(panel, qtbot):
    choose(panel.choice, {"by": "lost", "pixel_permutations": 0})
    panel.compare()
    done(panel, qtbot)
    assert "lost: 2 brains left out, of which lost is not known" in panel.found.study.warnings
    assert panel.found.study.compared["lost"].design.units <= 22
