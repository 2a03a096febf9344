"""``training.interpret`` and ``training.pca`` from end to end on a small phantom."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.atlas.regions import DEFAULT_REGIONS, Region
from napari_brainvae.data.population import Population
from napari_brainvae.denoising.brain_table import brain_table, factors_of
from napari_brainvae.factors.cards import factor_cards
from napari_brainvae.factors.description import factor_table
from napari_brainvae.factors.impact import ImpactOptions, impact_matrix
from napari_brainvae.factors.projective_field import projective_field
from napari_brainvae.models.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from napari_brainvae.phantom.phantom import draw_section
from napari_brainvae.statistics.association import associate
from tests.training.commands import ended
from training.cli import flag_of, main, options_of
from training.interpret import InterpretOptions, interpret
from training.pca import PCAOptions, fit_pca


@pytest.fixture(scope="module")
def pca_file(phantom_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("pca") / "pca.safetensors"
    fit_pca(PCAOptions(population=phantom_file, out=path, latent_dim=4))
    return path


@pytest.fixture(scope="module")
def results(phantom_file, atlas_folder, pca_file, run_folder, tmp_path_factory):
    """A beta-VAE interpreted in full and a PCA beside it."""
    out = tmp_path_factory.mktemp("interpret") / "results"
    arguments = [str(phantom_file), "--out", str(out), "--atlas", str(atlas_folder)]
    arguments += ["--model", str(run_folder / "model.safetensors"), "--model", str(pca_file)]
    run(*arguments, "--resamples", "100", "--bootstrap-seed", "3")
    return out


def run(*arguments):
    main(InterpretOptions, interpret, program="interpret", arguments=arguments)


def expected(model_file, phantom_file, atlas_folder, **options):
    """The same by the functions that the plugin calls."""
    model, population = load_checkpoint(model_file), Population.open(phantom_file)
    atlas = Atlas.open(atlas_folder)
    pixel = population.description.pixel_size_um
    section = AtlasSection.lay(atlas, population.description.plane, (64, 80), pixel)
    regions = section.regions(DEFAULT_REGIONS)
    return impact_matrix(model, population, regions, ImpactOptions(**options))


def unsigned(path, *models):
    """A table less the column that says its checkpoint, which must be right."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""] * (path.stem != "brains"))
    assert set(table.pop("checkpoint")) == {fingerprint(load_checkpoint(model)) for model in models}
    return table


def test_the_folder_holds_everything_and_nothing_else(results):
    names = {path.name for path in results.iterdir()}
    tables = {"impact.csv", "scores.csv", "field_by_region.csv", "field_by_structure.csv"}
    tables |= {"impact_matrix.csv", "brains.csv", "covariates.csv", "factors.csv"}
    pictures = {"impact", "factor_covariance", "disentanglement", "projective_fields"}
    pictures |= {name.rsplit(".", 1)[0] for name in names if name.startswith("codes_")}
    assert len(pictures) == 4 + 6
    pictures |= {"covariates", "brains", "factor_F1", "factor_F2", "factor_F3", "factor_F4"}
    drawn = {f"{name}.{kind}" for name in pictures for kind in ("png", "svg")}
    maps = {"projective_field.ome.tif", "shape_and_brightness.ome.tif"}
    assert names == tables | drawn | maps | {"record.json", "report.html", "regions"}
    assert {path.name for path in (results / "regions").iterdir()} == {
        f"{name}.json" for name in DEFAULT_REGIONS
    }


def test_factors_are_told_and_the_report_leads_with_their_cards(
    results, phantom_file, run_folder, atlas_folder
):
    model, population = (
        load_checkpoint(run_folder / "model.safetensors"),
        Population.open(phantom_file),
    )
    known, atlas = population.description, Atlas.open(atlas_folder)
    codes = factors_of(brain_table(model, population))[~population.flagged]
    cards = factor_cards(
        model,
        labels=atlas.section(known.plane, model.shape, known.pixel_size_um),
        tree=atlas,
        pixel_size_um=known.pixel_size_um,
        codes=codes,
        associations=associate(codes, population.covariates),
    )
    expected = factor_table([card.description for card in cards])
    table = pd.read_csv(results / "factors.csv", keep_default_na=False)
    assert table["sentence"].tolist() == expected["sentence"].tolist()
    assert table["lowest"].tolist() == expected["lowest"].tolist()
    assert_allclose(table["displacement_share"], expected["displacement_share"], rtol=1e-6)
    headings = re.findall("<h2>(.*?)</h2>", (results / "report.html").read_text("utf-8"))
    first = [f"{card.description.factor}: {card.description.name}" for card in cards]
    assert [html.unescape(heading) for heading in headings[:5]] == ["All factors", *first]


def test_brains_and_covariates_are_what_the_functions_say(results, phantom_file, run_folder):
    checkpoint = run_folder / "model.safetensors"
    model, population = load_checkpoint(checkpoint), Population.open(phantom_file)
    brains = unsigned(results / "brains.csv", checkpoint).set_index("id")
    known = population.covariates
    pd.testing.assert_frame_equal(brains[list(known)], known, check_dtype=False)
    brains = brains.drop(columns=list(known))
    pd.testing.assert_frame_equal(brains, brain_table(model, population), rtol=1e-12)
    usable = brains.loc[~population.flagged, ["F1", "F2", "F3", "F4"]]
    table = unsigned(results / "covariates.csv", checkpoint)
    pd.testing.assert_frame_equal(table, associate(usable, population.covariates), rtol=1e-9)
    assert "age_days" in set(table["covariate"])


def test_the_tables_are_what_the_functions_say(
    results, phantom_file, atlas_folder, run_folder, pca_file
):
    table = unsigned(results / "impact.csv", run_folder / "model.safetensors", pca_file)
    assert list(table) == ["model", "region", "factor", "direction", "value", "low", "high"]
    assert table["model"].unique().tolist() == ["beta-VAE", "PCA"]
    impact = expected(
        run_folder / "model.safetensors", phantom_file, atlas_folder, resamples=100,
        bootstrap_seed=3,
    )  # fmt: skip
    vae = table.query("model == 'beta-VAE'").reset_index(drop=True).drop(columns="model")
    vae["factor"] = vae["factor"].str.removeprefix("F").astype(int)
    pd.testing.assert_frame_equal(vae, impact.table())
    matrix = pd.read_csv(results / "impact_matrix.csv").query("model == 'beta-VAE'")
    assert matrix["region"].tolist() == list(DEFAULT_REGIONS)
    assert_allclose(matrix[["F1", "F2", "F3", "F4"]], impact.matrix(), rtol=1e-12)
    scores = pd.read_csv(results / "scores.csv")
    assert len(scores) == 2 * 9
    paper = scores.query("model == 'beta-VAE' and score == 'paper' and direction == 'symmetric'")
    assert paper["value"].item() == pytest.approx(float(impact.disentanglement))
    shares = pd.read_csv(results / "field_by_region.csv")
    assert set(shares["region"]) == set(DEFAULT_REGIONS)
    structures = pd.read_csv(results / "field_by_structure.csv")
    assert_allclose(structures.groupby(["factor", "part"])["share"].sum(), 1)
    assert_allclose(structures["left_out"], 0, atol=1e-6)
    assert dict(zip(shares["region"], shares["name"], strict=True))["TH"] == "Thalamus"
    assert all("{" not in path.read_text() for path in results.glob("*.csv"))


def test_the_maps_are_in_micrometres(results, run_folder, population):
    model = load_checkpoint(run_folder / "model.safetensors")
    with tifffile.TiffFile(results / "projective_field.ome.tif") as tif:
        maps, metadata = tif.asarray(), tif.ome_metadata
    assert_array_equal(maps, projective_field(model))
    size = population.description.pixel_size_um
    pixels = tifffile.xml2dict(metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["SizeT"], pixels["SizeC"]) == (4, 3)
    assert pixels["PhysicalSizeX"] == pixels["PhysicalSizeY"] == pytest.approx(size)
    assert [channel["Name"] for channel in pixels["Channel"]][2] == "large"
    assert fingerprint(model) in metadata


def test_everything_carries_fingerprints_and_options(results, run_folder, pca_file, population):
    record = json.loads((results / "record.json").read_text())
    for name, path in {"beta-VAE": run_folder / "model.safetensors", "PCA": pca_file}.items():
        assert record["models"][name]["fingerprint"] == fingerprint(load_checkpoint(path))
    assert record["options"]["bootstrap_seed"] == 3
    assert record["data"]["fingerprint"] == population.fingerprint()
    measured = [i for i, bad in zip(population.ids, population.flagged, strict=True) if not bad]
    assert record["data"]["measured"] == measured
    with Image.open(results / "impact.png") as png:
        assert json.loads(png.text["Description"]) == record


def test_drawn_regions_and_the_atlas_beside_the_population(
    phantom_file, atlas_folder, pca_file, tmp_path
):
    """Without an atlas a drawn region is enough; then there are no structures to list."""
    outline = [(20, 20), (20, 40), (40, 40), (40, 20)]
    Region.from_polygons("mine", [outline], (64, 80)).save(tmp_path / "mine.json")
    common = ["--model", str(pca_file), "--resamples", "0", "--tolerance", "0.1"]
    drawn = ["--region-file", str(tmp_path / "mine.json")]
    run(str(phantom_file), *common, *drawn, "--out", str(tmp_path / "alone"))
    table = pd.read_csv(tmp_path / "alone" / "impact.csv")
    assert set(table["region"]) == {"mine"}
    assert not (tmp_path / "alone" / "field_by_structure.csv").exists()
    assert not (tmp_path / "alone" / "disentanglement.png").exists()
    assert pd.read_csv(tmp_path / "alone" / "scores.csv").empty

    beside = tmp_path / "copy.zarr"
    shutil.copytree(phantom_file, beside)
    shutil.copytree(atlas_folder, tmp_path / "copy.atlas")
    chosen = ["--regions", "TH,HPF", "--side", "left"]
    ids = Population.open(phantom_file).ids
    known = {"id": ids, "weight": range(len(ids)), "flagged": ["x", *[""] * (len(ids) - 1)]}
    pd.DataFrame(known).to_csv(tmp_path / "mice.csv")
    chosen += ["--covariates", str(tmp_path / "mice.csv")]
    run(str(beside), *common, *drawn, *chosen, "--out", str(tmp_path / "both"))
    assert "weight" in set(pd.read_csv(tmp_path / "both" / "covariates.csv")["covariate"])
    record = json.loads((tmp_path / "both" / "record.json").read_text())
    assert record["data"]["measured"] == ids[1:], "the table's flags count"
    assert record["atlas_orientation"] == "asl"
    table = pd.read_csv(tmp_path / "both" / "impact.csv")
    assert table["region"].unique().tolist() == ["TH", "HPF", "mine"]
    area = pd.read_csv(tmp_path / "both" / "field_by_region.csv").set_index("region")["area"]
    section = draw_section(64, 80)
    thalamus = section.tree.within(section.annotation, "TH")[:, :40].sum()
    assert area["TH"].iloc[0] == pytest.approx(thalamus / section.tissue.sum())


def test_parts_alone(phantom_file, atlas_folder, pca_file, tmp_path):
    """The list of brains needs no region; a structure alone becomes a file to draw on."""
    common = [str(phantom_file), "--model", str(pca_file), "--atlas", str(atlas_folder)]
    brains = ["--parts", "brains", "--regions", "SSp,none", "--out", str(tmp_path / "brains")]
    run(*common, *brains)
    names = {path.name for path in (tmp_path / "brains").iterdir()}
    drawn = {
        f"{name}.{kind}" for name in ("brains", "covariates") for kind in ("csv", "png", "svg")
    }
    assert names == drawn | {"record.json"}
    run(*common, "--parts", "regions", "--regions", "TH", "--out", str(tmp_path / "region"))
    region = Region.load(tmp_path / "region" / "regions" / "TH.json")
    section = draw_section(64, 80)
    thalamus = section.tree.within(section.annotation, "TH")
    assert (region.to_mask() == thalamus).mean() > 0.99


def test_fields_from_a_brain_within_a_limit(phantom_file, population, pca_file, tmp_path):
    model = load_checkpoint(pca_file)
    brain = population.ids[3]
    flags = ["--parts", "fields", "--start", brain, "--limit", "2", "--factors", "3,1"]
    run(str(phantom_file), "--model", str(pca_file), *flags, "--out", str(tmp_path / "out"))
    z0 = model.encode(population.prepared(model.header.preprocessing, [3]))[0][0]
    maps = tifffile.imread(tmp_path / "out" / "projective_field.ome.tif")
    assert_array_equal(maps, projective_field(model, [2, 0], z0=z0, limit=2))
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert (record["options"]["start"], record["options"]["limit"]) == (brain, 2)


def test_without_regions_all_that_needs_none_is_there(phantom_file, pca_file, tmp_path, capsys):
    out = tmp_path / "out"
    run(str(phantom_file), "--model", str(pca_file), "--tolerance", "0.1", "--out", str(out))
    assert "no regions, so no impacts: give --atlas" in capsys.readouterr().out
    kinds = {path.suffix for path in out.iterdir()}
    assert {path.stem for path in out.iterdir()} == {
        "brains", "covariates", "projective_field.ome", "projective_fields", "record", "factors",
        "factor_F1", "factor_F2", "factor_F3", "factor_F4", "shape_and_brightness.ome", "report",
    }  # fmt: skip
    assert kinds == {".csv", ".json", ".png", ".svg", ".tif", ".html"}


BAD = {
    "no atlas": (["--regions", "TH"], "TH need --atlas"),
    "structure": (["--atlas", "ATLAS", "--regions", "SSp,XYZ"], "no structure 'XYZ'"),
    "plane": (["--atlas", "ATLAS", "--plane", "3"], "not in plane 3 of the atlas"),
    "twice": (["--atlas", "ATLAS", "--regions", "TH,TH"], "TH is given twice"),
    "weights": (["--atlas", "ATLAS", "--low", "2"], "must be below"),
    "atlas": (["--atlas", "nowhere"], "no atlas directory at nowhere"),
    "full": (["--atlas", "ATLAS", "--out", "FULL"], "not empty.*--overwrite"),
    "file": (["--atlas", "ATLAS", "--out", "FULL/keep.txt"], "is a file, not a folder"),
    "region": (["--region-file", "FULL/keep.txt"], "keep.txt is no region file"),
    "start": (["--start", "nobody"], "id of a brain, not 'nobody'"),
    "limit": (["--limit", "0"], "--limit"),
    "factor": (["--factors", "5"], "no factor F5: the model has 4"),
    "part": (["--parts", "brains,legs"], "--parts"),
    "model": (["--atlas", "ATLAS", "--model", "missing.safetensors"], "no such checkpoint"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_one_line(case, phantom_file, atlas_folder, pca_file, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "keep.txt").write_text("mine")
    extra, message = BAD[case]
    places = {"ATLAS": str(atlas_folder), "FULL": str(tmp_path / "full")}
    for name, place in places.items():
        extra = [argument.replace(name, place) for argument in extra]
    out = [] if "--out" in extra else ["--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        run(str(phantom_file), "--model", str(pca_file), *out, *extra)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "full" / "keep.txt").read_text() == "mine"


def test_a_population_that_does_not_know_its_place_needs_to_be_told(
    phantom_file, atlas_folder, tmp_path
):
    population = Population.open(phantom_file)
    np.save(tmp_path / "bare.npy", population.images[:])
    fit_pca(PCAOptions(population=tmp_path / "bare.npy", out=tmp_path / "p.safetensors"))
    common = {
        "population": tmp_path / "bare.npy",
        "model": [tmp_path / "p.safetensors"],
        "atlas": atlas_folder,
        "regions": ["TH"],
        "resamples": 0,
        "tolerance": 0.1,
    }
    with pytest.raises(ValueError, match="give --plane"):
        interpret(InterpretOptions(out=tmp_path / "a", **common))
    with pytest.raises(ValueError, match="give --pixel-size-um"):
        interpret(InterpretOptions(out=tmp_path / "a", plane=2, **common))
    size = population.description.pixel_size_um
    interpret(InterpretOptions(out=tmp_path / "a", plane=2, pixel_size_um=size, **common))
    assert (tmp_path / "a" / "record.json").is_file()


def test_overwrite_keeps_what_is_not_its_own(phantom_file, atlas_folder, pca_file, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "impact.csv").write_text("old")
    interpret(
        InterpretOptions(
            population=phantom_file, model=[pca_file], atlas=atlas_folder, out=tmp_path,
            overwrite=True, resamples=0, tolerance=0.1, regions=["TH"],
        )
    )  # fmt: skip
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(pd.read_csv(tmp_path / "impact.csv")) == 4 * 3


def test_stopped_half_way_it_leaves_no_table_without_its_record(
    phantom_file, atlas_folder, pca_file, tmp_path, monkeypatch
):
    """All is written beside, then moved: what was there before is as before."""
    quickly = {"resamples": 0, "parts": ["impact", "brains"], "regions": ["TH"]}
    options = InterpretOptions(
        population=phantom_file, model=[pca_file], atlas=atlas_folder, out=tmp_path / "out",
        overwrite=True, **quickly,
    )  # fmt: skip

    def stopped(*_):
        assert list(tmp_path.rglob("impact.csv")), "some of it is written"
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("napari_brainvae.reporting.export.export_brain_table", stopped)
        with pytest.raises(KeyboardInterrupt):
            interpret(options)
    assert not list(tmp_path.rglob("*.csv"))
    interpret(options)
    before = {path: path.read_bytes() for path in options.out.iterdir() if path.is_file()}
    with monkeypatch.context() as patched:
        patched.setattr("napari_brainvae.reporting.export.export_brain_table", stopped)
        with pytest.raises(KeyboardInterrupt):
            interpret(options)
    assert before == {path: path.read_bytes() for path in options.out.iterdir() if path.is_file()}


@pytest.mark.parametrize("module", ["training.interpret", "training.pca"])
def test_help_waits_for_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# PCA


def test_pca_is_fitted_to_the_brains_that_fit_would_take(pca_file, run_folder, population):
    pca, vae = load_checkpoint(pca_file), load_checkpoint(run_folder / "model.safetensors")
    assert pca.header.training["held_out"] == vae.header.training["held_out"]
    assert pca.header.preprocessing == vae.header.preprocessing
    assert pca.header.plane == population.description.plane
    held_out = set(pca.header.training["held_out"])
    flagged = population.flagged
    train = [i for i, n in enumerate(population.ids) if n not in held_out and not flagged[i]]
    images = population.prepared(pca.header.preprocessing, train)
    mean, _ = pca.encode(images)
    assert_allclose(mean.mean(0), 0, atol=1e-4)
    assert_allclose(pca.header.reference.code_std, mean.std(0), rtol=1e-4)
    assert_allclose(pca.mean, images.mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "x.pt"}, "ends in .safetensors"),
        ({"latent_dim": 30}, "carry at most 10"),
        ({"held_out": 0.99}, "at least 2 are needed"),
        ({"population": "missing.zarr"}, "no such population"),
    ],
)
def test_pca_refuses(phantom_file, tmp_path, options, message):
    options = {"population": phantom_file, "out": "p.safetensors"} | options
    options["out"] = tmp_path / options["out"]
    with pytest.raises((ValueError, OSError), match=message):
        fit_pca(PCAOptions(**options))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [["--latent-dim", "30"], ["--held-out", "0.99"]], ids=" ".join)
def test_pca_names_no_flag_but_its_own(flags, phantom_file, tmp_path, capsys):
    """It shares what it computes with `fit`, and had said to give a flag of that."""
    code, said = ended(capsys, "pca", [phantom_file, "--out", tmp_path / "p.safetensors", *flags])
    assert code == 2
    own = {flag_of(field, info) for field, info in options_of(PCAOptions)}
    assert set(re.findall(r"--[a-z-]+", said[-1])) <= own


def test_pca_does_not_replace_a_file_unasked(phantom_file, tmp_path):
    path = tmp_path / "p.safetensors"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        fit_pca(PCAOptions(population=phantom_file, out=path))
    assert path.read_text() == "mine"
    fit_pca(PCAOptions(population=phantom_file, out=path, overwrite=True))
    assert load_checkpoint(path).latent_dim == 8


@pytest.mark.parametrize("clip", [3.0, 20.0])
def test_models_in_other_units_are_not_compared(clip, phantom_file, pca_file, tmp_path, capsys):
    """Sections clipped elsewhere are other images: neither impacts nor errors can be compared."""
    model, other = load_checkpoint(pca_file), tmp_path / "other.safetensors"
    update = {"preprocessing": model.header.preprocessing.model_copy(update={"clip": clip})}
    model.header = model.header.model_copy(update=update)
    save_checkpoint(model, other)
    models = ["--model", str(pca_file), "--model", str(other)]
    with pytest.raises(SystemExit) as ended:
        run(str(phantom_file), "--out", str(tmp_path / "out"), *models)
    assert ended.value.code == 2
    said = f"cannot be compared, their sections are prepared with clip {clip} and 3.8"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
