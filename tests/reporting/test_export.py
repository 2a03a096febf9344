"""What the plugin and ``training.interpret`` both write."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.factors.impact import Impact, ImpactOptions
from napari_brainvae.factors.projective_field import PARTS, field_by_region
from napari_brainvae.io.errors import InputError
from napari_brainvae.phantom.phantom import draw_section, write_phantom_atlas
from napari_brainvae.reporting.export import (
    Fields,
    export_brain_table,
    export_fields,
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


def test_a_table_says_its_checkpoint_and_calls_factors_by_their_names(tmp_path):
    """All else that it was made from is in the folder's record.json, once."""
    table = pd.DataFrame({"factor": [1, 12], "value": [1.0, 2.0]})
    write_table(table, tmp_path / "t.csv", about())
    text = "factor,value,checkpoint\nF1,1.0,m1\nF12,2.0,m1\n"
    assert (tmp_path / "t.csv").read_text() == text
    named = pd.DataFrame({"model": ["PCA", "VAE"], "factor": ["F1", "F2"]})
    write_table(named, tmp_path / "t.csv", about())
    written = pd.read_csv(tmp_path / "t.csv")
    assert written["factor"].tolist() == ["F1", "F2"]
    assert written["checkpoint"].tolist() == ["pca", "m1"]


def test_brains_have_their_covariates_and_flags(tmp_path):
    brains = pd.DataFrame({"squared_error": [0.1, 0.2], "F1": [0.0, 1.0]}, index=["a", "b"])
    brains.index.name = "id"
    known = pd.DataFrame({"sex": ["F", "M"], "F1": [7, 8], "flagged": [False, True]})
    known.index = pd.Index(["a", "b"])
    export_brain_table(tmp_path, brains, pd.DataFrame(), about(), known)
    table = pd.read_csv(tmp_path / "brains.csv")
    known = ["id", "squared_error", "F1", "sex", "covariate_F1", "flagged"]
    assert list(table) == [*known, "checkpoint"]
    assert table["flagged"].tolist() == [False, True]
    assert table["covariate_F1"].tolist() == [7, 8]


def test_shares_say_names_in_full_and_what_the_listed_ones_leave_out(tmp_path, rng):
    drawn = draw_section(64, 80)
    write_phantom_atlas(drawn, tmp_path / "atlas")
    atlas = Atlas.open(tmp_path / "atlas")
    section = AtlasSection.lay(atlas, drawn.plane, (64, 80), drawn.pixel_size_um)
    masks = {"TH": section.mask("TH"), "HPF (left)": section.mask("HPF", "left")}
    maps = rng.random((2, 3, 64, 80), dtype=np.float32)
    table = field_by_region(maps, masks, tissue=section.tissue)
    fields = Fields(maps, [0, 1], {}, 25.0, {"field_by_region": table}, section)
    export_fields(tmp_path, fields, about())
    written = pd.read_csv(tmp_path / "field_by_region.csv")
    assert set(written["factor"]) == {"F1", "F2"}
    names = dict(zip(written["region"], written["name"], strict=True))
    assert names == {"TH": "Thalamus", "HPF (left)": "Hippocampal formation (left)"}
    # These two do not overlap.
    total = written.groupby(["factor", "part"])["share"].sum()
    left_out = written.groupby(["factor", "part"])["left_out"].first()
    assert np.allclose(total + left_out, 1)
    assert (left_out > 0.1).all()
    svg = (tmp_path / "projective_fields.svg").read_text()
    assert svg.count("<image") == 2, "one raster a section"
    assert svg.count(f">plane {section.plane}<") == 2


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
        "[" * 100_000,
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
