"""Each option of a comparison means the same by the panel and by the command, to the bit."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from matplotlib.figure import Figure
from PIL import Image
from qtpy.QtCore import Qt

from napari_brainvae.data.covariates import write_covariates
from napari_brainvae.data.population import Population
from napari_brainvae.data.population_files import creating
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.pca import PCA
from napari_brainvae.phantom.phantom import Phantom, PhantomOptions, draw_section
from napari_brainvae.statistics.comparison_options import ComparisonOptions
from napari_brainvae.widgets.panels.comparison_choice import PLAIN
from tests.widgets.windows import LONG, PLUGIN, add_atlas, open_widget
from training.cli import main
from training.compare import CompareOptions, compare

SAME = {
    "a dose": (["--by", "dose"], {"by": "dose"}),
    "two of three groups": (
        ["--by", "line", "--groups", "c,a", "--seed", "7", "--permutations", "199"],
        {"by": "line", "groups": ("c", "a"), "seed": 7, "permutations": 199},
    ),
    "confounds and litters": (
        ["--adjust", "age_days,line", "--blocks", "litter", "--regions", "HPF,TH"],
        {"adjust": ["age_days", "line"], "blocks": "litter", "regions": "HPF, TH"},
    ),
    "batches taken out": (
        ["--batch", "day", "--harmonize", "--no-robust"],
        {"batch": ["day"], "harmonize": True, "robust": False},
    ),
    "batches": (
        ["--batch", "day,run", "--include-flagged", "--pixel-permutations", "0"],
        {"batch": ["day", "run"], "include_flagged": True, "pixel_permutations": 0},
    ),
}
"""What is asked of the command, and what is chosen in the panel."""

DRAWN = "batches taken out"
"""Of which the pictures are compared, too: they follow from the same maps and tables."""

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


@pytest.fixture(scope="module")
def model(known, tmp_path_factory):
    """Of two factors, which are compared twice in every case."""
    sections = Population.open(known).sections()
    preprocessing = Preprocessing.fit(sections)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    fitted = PCA.fit(preprocessing.apply(sections), 2, preprocessing=preprocessing)
    save_checkpoint(fitted, path)
    return path


@pytest.fixture
def panel(make_napari_viewer, known, model, atlas, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.open(known, plugin=PLUGIN)
    viewer.open(model, plugin=PLUGIN)
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
    for i, combo in enumerate((choice.first, choice.second)):
        combo.setCurrentText(chosen["groups"][i] if "groups" in chosen else combo.itemText(0))
    choice.blocks.setCurrentText(chosen.get("blocks", choice.blocks.itemText(0)))
    choice.regions.setText(chosen.get("regions", ""))
    choice.regions.editingFinished.emit()
    usual = {name: ComparisonOptions.model_fields[name].default for name in PLAIN}
    quick = {"permutations": 99, "pixel_permutations": 19}
    choice.plain.set_values(usual | quick | {n: chosen[n] for n in PLAIN if n in chosen})


def test_every_option_is_tried():
    """`--by A,B` alone is the command's: the panel compares one after the other by hand."""
    tried = {name for _, chosen in SAME.values() for name in chosen}
    assert tried == set(ComparisonOptions.model_fields)


def test_panel_and_command_write_the_same(panel, known, model, atlas_folder, tmp_path, qtbot,
                                          monkeypatch):  # fmt: skip
    given = [str(known), "--model", str(model), "--atlas", str(atlas_folder), *USUAL]
    for case, (flags, chosen) in SAME.items():
        both = [tmp_path / case / face for face in ("panel", "command")]
        choose(panel.choice, chosen)
        panel.compare()
        done(panel, qtbot)
        assert panel.job.message == "", case
        by = [] if "--by" in flags else ["--by", "sex"]
        arguments = [*given, *by, *flags, "--out", str(both[1])]
        with monkeypatch.context() as patch:
            if case != DRAWN:
                patch.setattr(Figure, "savefig", _undrawn)
            panel.export(both[0])
            done(panel, qtbot)
            main(CompareOptions, compare, program="compare", arguments=arguments)
        asked = panel.found.study.options
        record = json.loads((both[1] / "record.json").read_text())
        recorded = {k: record["options"][k] for k in ComparisonOptions.model_fields}
        assert recorded == asked.model_dump(mode="json") | (
            {"groups": []} if "--groups" not in flags else {}
        ), case
        _are_the_same(case, *both)


def _undrawn(figure, file, **_):
    """Write a picture of one pixel: drawing takes longer than comparing."""
    Image.new("L", (1, 1)).save(file, "PNG")


def _are_the_same(case, ours, theirs):
    """All tables byte by byte, all maps and pictures pixel by pixel."""
    names = sorted(path.name for path in ours.iterdir())
    assert names == sorted(path.name for path in theirs.iterdir()), case
    for name in names:
        if name.endswith(".csv") or name == "pcntoolkit.py":
            assert (ours / name).read_bytes() == (theirs / name).read_bytes(), (case, name)
        if name.endswith(".ome.tif"):  # all that the figure of the difference is drawn from
            maps = [tifffile.imread(folder / name) for folder in (ours, theirs)]
            assert np.array_equal(*maps), (case, name)
        if name.endswith(".png"):
            pictures = [np.asarray(Image.open(folder / name)) for folder in (ours, theirs)]
            assert np.array_equal(*pictures), (case, name)


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


def test_panel_and_command_say_the_same_sentence(panel, known, model, atlas_folder, tmp_path,
                                                 qtbot, capsys):  # fmt: skip
    given = [str(known), "--model", str(model), *USUAL]
    given += ["--atlas", str(atlas_folder), "--out", str(tmp_path / "out")]
    for case, (flags, chosen, sentence) in BAD.items():
        choose(panel.choice, chosen)
        qtbot.waitUntil(panel.job.isHidden)  # what is wrong with another choice is said no longer
        panel.compare()
        done(panel, qtbot)
        said = panel.job.message or panel.words.text()
        assert sentence in said, case
        assert panel.found is None, case
        capsys.readouterr()
        by = [] if "--by" in flags else ["--by", "sex"]
        with pytest.raises(SystemExit) as ended:
            main(CompareOptions, compare, program="compare", arguments=[*given, *by, *flags])
        assert ended.value.code == 2, case
        (line,) = [each for each in capsys.readouterr().err.splitlines() if "‰" not in each]
        assert said in line, case


def test_brains_of_which_it_is_not_known_are_counted(panel, qtbot):
    choose(panel.choice, {"by": "lost", "pixel_permutations": 0})
    panel.compare()
    done(panel, qtbot)
    assert "lost: 2 brains left out, of which lost is not known" in panel.found.study.warnings
    assert panel.found.study.compared["lost"].design.units <= 22
