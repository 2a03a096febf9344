"""What the plugin and ``training.interpret`` both write."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_brainvae.factors.impact import Impact, ImpactOptions
from napari_brainvae.factors.projective_field import PARTS
from napari_brainvae.io.errors import InputError
from napari_brainvae.reporting.export import (
    file_name,
    impact_figures,
    results_folder,
    write_maps,
    write_table,
)


def measured(rng, names, factors):
    mean = rng.standard_normal((len(names), 2, 20, factors)).astype(np.float32)
    options = ImpactOptions(resamples=20)
    return Impact(names, options, mean, np.full_like(mean, 0.1), np.arange(20))


def test_maps_come_back_with_their_factors_and_where_they_are_from(tmp_path, rng):
    maps = rng.random((2, 3, 8, 10), dtype=np.float32)
    about = {"model": {"fingerprint": "abc"}}
    write_maps(tmp_path / "m.ome.tif", maps, [1, 4], 25.0, about)
    with tifffile.TiffFile(tmp_path / "m.ome.tif") as tif:
        assert np.array_equal(tif.asarray(), maps)
        assert tif.series[0].axes == "QCYX"
        ome = tif.ome_metadata
    image = tifffile.xml2dict(ome)["OME"]["Image"]
    assert image["Pixels"]["PhysicalSizeX"] == 25
    assert [channel["Name"] for channel in image["Pixels"]["Channel"]] == list(PARTS)
    named = tifffile.xml2dict(ome)["OME"]["StructuredAnnotations"]["MapAnnotation"]["Value"]["M"]
    assert [each["value"] for each in named] == ["F2", "F5"]
    assert json.dumps(about) in image["Description"]


def test_every_region_has_the_codes_of_its_factor(rng):
    impact = measured(rng, ["TH", "drawn/by me"], 3)
    drawn = impact_figures({"this": impact, "other": impact})
    best = impact.matrix().argmax(axis=1) + 1
    names = ["impact", f"codes_TH_F{best[0]}", f"codes_drawn_by me_F{best[1]}"]
    assert list(drawn) == [*names, "factor_covariance", "disentanglement"]
    assert "drawn/by me" in drawn[names[2]]().axes[0].get_title()
    bars = drawn["disentanglement"]().axes[0].get_yticklabels()
    assert [label.get_text() for label in bars] == ["this", "other"]


@pytest.mark.parametrize(("regions", "factors"), [(["TH"], 3), (["TH", "HY"], 1)])
def test_one_region_or_one_factor_compares_nothing(rng, regions, factors):
    names = impact_figures({"this": measured(rng, regions, factors)})
    assert len(names) == 1 + len(regions)


@pytest.mark.parametrize(
    ("name", "safe"),
    [("SSp (left)", "SSp (left)"), ("a/b\\c:d", "a_b_c_d"), ("../x", "___x"), (" p ", "p")],
)
def test_names_are_safe_for_any_file_system(name, safe):
    assert file_name(name) == safe


def about(model="m1", data="d1", **options):
    return {
        "options": options,
        "data": {"fingerprint": data},
        "models": {"VAE": {"fingerprint": model}, "PCA": {"fingerprint": "pca"}},
    }


def test_a_table_says_of_each_row_where_it_comes_from(tmp_path):
    table = pd.DataFrame({"model": ["PCA", "VAE"], "value": [1.0, 2.0]})
    write_table(table, tmp_path / "of_two.csv", about(), {"low": -1})
    write_table(table[["value"]], tmp_path / "of_the_first.csv", about())
    of_two = pd.read_csv(tmp_path / "of_two.csv")
    assert of_two["checkpoint"].tolist() == ["pca", "m1"]
    assert json.loads(of_two["options"][0]) == {"low": -1}
    assert set(pd.read_csv(tmp_path / "of_the_first.csv")["checkpoint"]) == {"m1"}


def test_results_of_the_same_models_and_sections_share_a_folder_and_its_record(tmp_path):
    for name, options in {"a": {"low": -1, "mode": "fill"}, "b": {"low": -2}}.items():
        with results_folder(tmp_path / "out", about(**options)) as folder:
            (folder / name).touch()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "b", "record.json"}
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record == about(low=-2, mode="fill")


@pytest.mark.parametrize(
    "there",
    [
        json.dumps(about(model="m2")),
        json.dumps(about(data="d2")),
        json.dumps({"options": {}, "versions": {}, "data": {"sections": 24}}),  # a run of fit
        "[1]",
        "not JSON",
    ],
)
def test_nothing_is_added_to_what_comes_from_elsewhere(tmp_path, there):
    record = tmp_path / "record.json"
    record.write_text(there)
    with pytest.raises(InputError, match="something else"), results_folder(tmp_path, about()):
        pass
    assert record.read_text() == there
    with results_folder(tmp_path, about(), overwrite=True):
        pass
    assert json.loads(record.read_text()) == about()
