"""`training.gather`: her own brains, any registered volume, the right way round."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.atlas.ontology import Structure
from napari_brainvae.data.orientation import reorient
from napari_brainvae.data.population import Description, Population
from napari_brainvae.gathering.options import GatherCommand
from tests.atlas.brainglobe_cache import write_version_3
from tests.registered_brains import (
    asymmetric_brain,
    ten_inputs,
    write_abba,
    write_brainreg,
    write_nifti,
    write_ome_zarr,
    write_registration,
    write_tiff,
)
from training.cli import main
from training.gather import gather

ASR = ("--orientation", "asr", "--voxel-um", "100")


@pytest.fixture(scope="module")
def brain():
    return asymmetric_brain()


@pytest.fixture
def run(tmp_path, capsys):
    """Call the command; gives the population it wrote."""

    def call(*arguments: object, out: str = "out.zarr") -> Population:
        if "--out" not in arguments:
            arguments = (*arguments, "--out", tmp_path / out)
        main(GatherCommand, gather, program="gather", arguments=[str(a) for a in arguments])
        return Population.open(tmp_path / out)

    return call


@pytest.fixture
def refused(run, capsys):
    """Call the command, which must refuse; gives its one line."""

    def call(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run(*arguments)
        assert stop.value.code == 2
        *before, line = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ")
        assert not [other for other in before if "gathering" not in other]  # the bar
        return line

    return call


def manifest_of(folder: Path, out: str = "out.zarr") -> pd.DataFrame:
    path = folder / f"{out}.work" / "manifest.csv"
    return pd.read_csv(path, index_col="id", dtype=str, keep_default_na=False)


# the right way round


@pytest.mark.parametrize("orientation", ["asr", "asl"])
def test_ten_inputs_of_one_brain_are_ten_times_the_same_section(tmp_path, run, brain, orientation):
    inputs = ten_inputs(tmp_path / "in", brain, orientation)
    flags = ("--orientation", orientation, "--voxel-um", "100")
    population = run(inputs, "--plane", "9", *flags)
    assert len(population) == 10
    for name, section in zip(population.ids, population.sections(), strict=True):
        np.testing.assert_array_equal(section, brain[9], err_msg=name)
    about = population.description
    assert (about.pixel_size_um, about.plane, about.orientation) == (100, 9, "asl")
    lie = manifest_of(tmp_path)["orientation"]
    assert lie["brainreg"] == lie["registration"] == "asr"
    assert lie["plain"] == lie["abba"] == orientation


def test_a_registered_left_hemisphere_comes_out_on_the_left(run, shared_data):
    population = run(shared_data / "brainreg", "--plane", "71", *ASR)
    assert population.ids == ["hemisphere_l", "whole"]
    assert population.description.pixel_size_um == 100
    assert population.description.original_orientation == "asr"
    half, whole = population.sections()
    assert half[:, :57].mean() > 1000 * half[:, 57:].mean()
    assert 0.5 < whole[:, :57].mean() / whole[:, 57:].mean() < 2


def test_without_brainreg_json_the_line_says_which_flag_to_give(refused, shared_data):
    line = refused(shared_data / "brainreg", "--plane", "71")
    assert "which of its sides is the left one" in line
    assert "--orientation asr" in line and "--atlas" in line


def test_the_atlas_says_how_brainregs_folders_lie_and_how_large_they_are(run, tmp_path, brain):
    write_brainreg(tmp_path / "in" / "one", brain, atlas=None)
    population = run(tmp_path / "in", "--plane", "9", "--atlas", "phantom_100um", *ASR[2:])
    np.testing.assert_array_equal(population.sections()[0], brain[9])


def test_a_header_counts_more_than_a_flag_unless_it_is_ignored(run, tmp_path, brain):
    write_nifti(tmp_path / "a.nii", brain, "asl")
    flags = ("--plane", "9", *ASR)
    np.testing.assert_array_equal(run(tmp_path / "a.nii", *flags).sections()[0], brain[9])
    wrong = run(tmp_path / "a.nii", *flags, "--ignore-headers", out="wrong.zarr")
    np.testing.assert_array_equal(wrong.sections()[0], brain[9, :, ::-1])


# how large a voxel is


def test_what_nothing_says_is_as_large_as_the_others_if_there_are_as_many(run, tmp_path, brain):
    write_nifti(tmp_path / "a.nii", brain, "asl")
    write_tiff(tmp_path / "b.tif", brain, "asr")
    write_tiff(tmp_path / "c.tif", brain[::2], "asr")
    population = run(tmp_path, "--plane", 9, "--orientation", "asr")
    assert population.ids == ["a", "b"]
    np.testing.assert_array_equal(population.sections(), brain[[9, 9]])
    manifest = manifest_of(tmp_path)
    assert manifest.loc["b", "scale_by"] == "the others, of as many voxels"
    assert "give --voxel-um" in manifest.loc["c", "error"]


def test_where_nothing_says_it_of_any_the_population_does_not_either(
    run, refused, tmp_path, brain, capsys
):
    write_tiff(tmp_path / "a.tif", brain, "asr")
    flags = (tmp_path / "a.tif", "--plane", 9, "--orientation", "asr")
    assert "give --voxel-um" in refused(*flags, "--pixel-size-um", 50)
    population = run(*flags, "--height", 66)
    assert population.description.pixel_size_um is None
    np.testing.assert_array_equal(population.sections()[0, 1:-1], brain[9])
    assert "nothing says how large they are" in capsys.readouterr().out


def test_what_fills_the_atlas_has_voxels_of_that_size(run, tmp_path, shared_data):
    flags = ("--orientation", "asr", "--plane", 71)
    population = run(shared_data / "brainreg", *flags)
    assert population.description.pixel_size_um == 100
    assert "Allen" in manifest_of(tmp_path).loc["whole", "scale_by"]
    flags = ("--orientation", "asr", "--plane", 286, "--atlas", shared_data / "ccf")
    population = run(shared_data / "brainreg", *flags, out="ccf.zarr")
    assert population.description.pixel_size_um == 100
    assert "the atlas ccf" in manifest_of(tmp_path, "ccf.zarr").loc["whole", "scale_by"]


# planes, pixels, size


def test_a_slab_is_the_mean_of_its_planes(run, tmp_path, brain):
    write_nifti(tmp_path / "a.nii", brain, "pir")
    section = run(tmp_path / "a.nii", "--plane", "8:11").sections()[0]
    np.testing.assert_allclose(section, brain[8:12].mean(axis=0), rtol=1e-6)


def test_several_planes_make_several_populations(run, tmp_path, brain):
    write_nifti(tmp_path / "a.nii", brain, "pir")
    with pytest.raises(FileNotFoundError):  # there is no out.zarr, but one of each plane
        run(tmp_path / "a.nii", "--plane", "8,10:12")
    one = Population.open(tmp_path / "out_p8.zarr")
    mean = Population.open(tmp_path / "out_p10-12.zarr")
    np.testing.assert_array_equal(one.sections()[0], brain[8])
    np.testing.assert_allclose(mean.sections()[0], brain[10:13].mean(axis=0), rtol=1e-6)
    assert (one.description.plane, mean.description.plane) == (8, 11)


def test_the_plane_counts_in_the_atlas_whatever_the_scale_of_a_brain(run, tmp_path):
    smooth = np.linspace(100, 200, 48)[:, None, None] * np.ones((48, 64, 80))
    smooth[:, 20:40, 20:40] += 50
    fine, coarse = smooth.astype(np.float32), smooth.reshape(24, 2, 32, 2, 40, 2).mean((1, 3, 5))
    write_tiff(tmp_path / "fine.tif", fine, "asr")
    write_tiff(tmp_path / "coarse.tif", coarse.astype(np.float32), "asr")
    where = (
        "--orientation",
        "asr",
        "--atlas",
        "some_50um",
        "--plane",
        "20",
        "--pixel-size-um",
        100,
    )
    a = run(tmp_path / "fine.tif", *where, "--voxel-um", 50, out="a.zarr").sections()[0]
    b = run(tmp_path / "coarse.tif", *where, "--voxel-um", 100, out="b.zarr").sections()[0]
    inner = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(a[inner], b[inner], atol=12.6)  # half the step, one pixel wide
    np.testing.assert_allclose(a[10:15, 25:30], b[10:15, 25:30], rtol=1e-3)


def test_scales_are_converted_and_that_is_said(run, tmp_path, brain, capsys):
    write_nifti(tmp_path / "a.nii", brain, "asl")
    double = np.repeat(np.repeat(np.repeat(brain, 2, 0), 2, 1), 2, 2)
    write_tiff(tmp_path / "b.tif", double, "asr")
    flags = ("--orientation", "asr", "--voxel-um", "50", "--atlas", "x_100um")
    population = run(tmp_path / "a.nii", tmp_path / "b.tif", "--plane", "9", *flags)
    assert population.shape == (64, 80)
    said = capsys.readouterr().out
    assert "voxels: 1 of 100 µm by its file, 1 of 50 µm by --voxel-um; made 100 µm" in said
    one, other = population.sections()
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.995


def test_crop_and_pad_are_about_the_midline(run, tmp_path, brain):
    write_nifti(tmp_path / "a.nii", brain, "asl")
    section = run(tmp_path / "a.nii", "--plane", 9, "--height", 70, "--width", 72).sections()[0]
    assert section.shape == (70, 72)
    np.testing.assert_array_equal(section[3:67], brain[9, :, 4:-4])
    assert not section[:3].any() and not section[67:].any()


def test_like_a_model_the_sections_fit_it(run, tmp_path, run_folder, brain):
    from napari_brainvae.models.checkpoint import load_checkpoint

    model = load_checkpoint(run_folder / "model.safetensors")
    write_nifti(tmp_path / "a.nii", brain, "asl")
    population = run(tmp_path / "a.nii", "--plane", 9, "--like", run_folder / "model.safetensors")
    assert population.shape == model.shape
    assert population.description.pixel_size_um == model.header.pixel_size_um
    assert population.prepared(model.header.preprocessing, slice(None)).shape == (1, *model.shape)


# sections and populations


def test_a_folder_of_images_is_a_section_a_brain(run, tmp_path, brain):
    for i in (1, 2, 10):
        tifffile.imwrite(tmp_path / f"m{i}.tif", brain[i + 5, :, ::-1])
    (tmp_path / "notes.txt").write_text("")
    population = run(tmp_path, "--plane", 9, *ASR)
    assert population.ids == ["m1", "m2", "m10"]
    np.testing.assert_array_equal(population.sections(), brain[[6, 7, 15]])
    assert population.description.plane == 9


def test_a_stack_holds_a_section_a_page_if_it_is_told(run, tmp_path, brain):
    write_tiff(tmp_path / "s.tif", brain[5:9], "asl")
    (tmp_path / "s.csv").write_text("id,sex\nw,f\nx,m\ny,f\nz,m\n")
    population = run(tmp_path / "s.tif", "--stacks", "--voxel-um", 100)
    assert population.ids == ["w", "x", "y", "z"]
    np.testing.assert_array_equal(population.sections(), brain[5:9])
    assert population.covariates["sex"].tolist() == ["f", "m", "f", "m"]


def test_a_population_is_made_to_fit_a_model_with_all_that_is_known_of_it(run, tmp_path, rng):
    about = Description(pixel_size_um=50, plane=9)
    table = pd.DataFrame({"sex": ["f", "m"], "age": [1.5, 2]}, index=["a", "b"])
    images = rng.integers(1, 99, (2, 128, 160)).astype(np.uint8)
    Population(images, ["a", "b"], table, about).save(tmp_path / "fine.zarr")
    flags = ("--pixel-size-um", 100, "--height", 64, "--width", 72)
    population = run(tmp_path / "fine.zarr", *flags)
    assert population.shape == (64, 72)
    assert population.description.plane == 9
    assert population.covariates["sex"].tolist() == ["f", "m"]
    assert population.covariates["age"].tolist() == [1.5, 2]
    assert population.covariates["age"].dtype == float


# what is wrong with one brain


def test_a_flag_that_was_missing_is_given_for_the_brains_that_failed(run, refused, tmp_path, brain):
    write_nifti(tmp_path / "a.nii", brain, "lpi")
    write_tiff(tmp_path / "b.tif", brain, "asr")
    inputs = (tmp_path / "a.nii", tmp_path / "b.tif", "--plane", 9)
    assert run(*inputs).ids == ["a"]
    assert run(*inputs, *ASR).ids == ["a", "b"]
    assert "begun with orientation = asr, not asl" in refused(*inputs, "--orientation", "asl")


def test_where_nothing_was_gathered_other_options_begin_anew(run, refused, tmp_path, brain):
    write_nifti(tmp_path / "a.nii", brain.astype(np.float32) - 50, "lpi")
    refused(tmp_path / "a.nii", "--plane", 9, "--negatives", "refuse")
    assert run(tmp_path / "a.nii", "--plane", 9).ids == ["a"]


def test_a_bad_brain_is_left_out_with_its_reason_and_the_others_go_on(run, tmp_path, brain, capsys):
    inputs = tmp_path / "in"
    inputs.mkdir()
    write_nifti(inputs / "good.nii", brain, "lpi")
    (inputs / "cut.nii.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    (inputs / "empty.nrrd").write_bytes(b"")
    (inputs / "none.mhd").write_text("NDims = 3\nDimSize = 2 2 2\n")
    (inputs / "bad.zarr").mkdir()
    write_nifti(inputs / "flat.nii", np.full_like(brain, 7), "lpi")
    write_nifti(inputs / "small.nii", brain[:, ::2], "lpi")
    holes = brain.astype(np.float32)
    holes[9, 30, 30] = np.nan
    write_nifti(inputs / "holes.nii", holes, "lpi")
    (inputs / "unfinished").mkdir()
    (inputs / "unfinished" / "brainreg.json").write_text("{}")
    write_brainreg(inputs / "other", brain, atlas="kim_mouse_100um")
    write_registration(inputs / "reg", brain)
    write_nifti(inputs / "tilted.nii", brain, "lpi", degrees=20)
    population = run(inputs, "--plane", 9, "--atlas", "phantom_100um")
    assert population.ids == ["good", "reg"]
    errors = manifest_of(tmp_path)["error"]
    expected = {
        "cut": "cannot be read",
        "empty": "the file is empty",
        "none": "cannot be read",
        "bad": "cannot be read",
        "flat": "one constant value",
        "small": "not in the same space",
        "holes": "NaN",
        "unfinished": "did not come to its end",
        "other": "registered to kim_mouse_100um, the others to phantom",
        "tilted": "turns its axes by 20 degrees",
    }
    assert {k for k, error in errors.items() if error} == set(expected)
    for name, reason in expected.items():
        assert reason in errors[name], name
    assert "10 of 12 brains were left out" in capsys.readouterr().err


def test_what_is_mended_is_gathered_by_the_same_command(run, tmp_path, brain):
    inputs = tmp_path / "in"
    inputs.mkdir()
    write_nifti(inputs / "b.nii", brain, "lpi")
    (inputs / "a.nii").write_bytes(b"")
    assert run(inputs, "--plane", 9).ids == ["b"]
    write_nifti(inputs / "a.nii", brain[::-1], "lpi")
    population = run(inputs, "--plane", 9)
    assert population.ids == ["a", "b"]
    np.testing.assert_array_equal(population.sections()[0], brain[::-1][9])


def test_a_brain_that_was_registered_again_is_gathered_again(run, tmp_path, brain, capsys):
    write_nifti(tmp_path / "a.nii", brain, "lpi")
    run(tmp_path / "a.nii", "--plane", 9)
    write_nifti(tmp_path / "a.nii", brain + 1, "lpi")
    np.testing.assert_array_equal(run(tmp_path / "a.nii", "--plane", 9).sections()[0], brain[9] + 1)
    assert "sources of a changed" in capsys.readouterr().err


def test_more_brains_are_added_by_the_same_command(run, tmp_path, brain):
    write_nifti(tmp_path / "b.nii", brain, "lpi")
    run(tmp_path / "b.nii", "--plane", 9)
    write_nifti(tmp_path / "a.nii", brain, "lpi")
    population = run(tmp_path / "b.nii", tmp_path / "a.nii", "--plane", 9)
    assert population.ids == ["b", "a"]


# negative values


@pytest.mark.parametrize(
    ("how", "expected", "said"),
    [
        ("subtract", lambda x: x + 50, "background of -50 subtracted"),
        ("clip", lambda x: x.clip(0), "pixels were below 0 and are 0 now"),
    ],
)
def test_negative_values_are_never_silent(run, tmp_path, brain, capsys, how, expected, said):
    below = brain.astype(np.float32) - 50
    write_nifti(tmp_path / "a.nii", below, "lpi")
    section = run(tmp_path / "a.nii", "--plane", 9, "--negatives", how).sections()[0]
    np.testing.assert_allclose(section, expected(below[9]), atol=1e-3)
    assert said in capsys.readouterr().out
    assert said in manifest_of(tmp_path)["done_to_it"]["a"]


def test_negative_values_can_be_refused(refused, tmp_path, brain):
    write_nifti(tmp_path / "a.nii", brain.astype(np.float32) - 50, "lpi")
    assert "negative values" in refused(tmp_path / "a.nii", "--plane", 9, "--negatives", "refuse")


# covariates and what she wrote herself


def test_covariates_are_joined_and_what_she_wrote_is_kept(run, tmp_path, brain):
    for name in "ab":
        write_nifti(tmp_path / f"{name}.nii", brain, "lpi")
    (tmp_path / "t.csv").write_text("id,sex\nb,m\na,f\n")
    inputs = (tmp_path / "a.nii", tmp_path / "b.nii", "--plane", 9)
    first = run(*inputs, "--covariates", tmp_path / "t.csv")
    assert first.covariates["sex"].tolist() == ["f", "m"]
    table = first.covariates.assign(flagged=[True, False])
    Population(first.sections(), first.ids, table, first.description).save(
        tmp_path / "out.zarr", overwrite=True
    )
    (tmp_path / "t.csv").write_text("id,sex\na,m\nb,m\n")
    second = run(*inputs, "--covariates", tmp_path / "t.csv")
    assert second.covariates["sex"].tolist() == ["m", "m"]
    assert second.flagged.tolist() == [True, False]


# bad input in one line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "which plane of the brains is wanted? give --plane"),
        (("--plane", "24"), "there is no plane 24 in these brains: 0 to 23"),
        (("--plane", "1:2:3"), "a plane is 286, or a slab such as 280:290"),
        (("--plane", "9:8"), "a plane is 286, or a slab such as 280:290"),
        (("--plane", "-1"), "a plane is 286"),
        (("--plane", "9", "--orientation", "asx"), "three letters such as asr"),
        (("--plane", "9", "--voxel-um", "0"), "the size of a voxel is 25"),
        (("--plane", "9", "--voxel-um", "1,2"), "the size of a voxel is 25"),
        (("--plane", "9", "--atlas", "nowhere"), "no atlas directory at nowhere"),
        (("--plane", "9", "--like", "nowhere"), "nowhere"),
        (("--plane", "9", "--covariates", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, refused, brain, flags, message):
    write_nifti(tmp_path / "a.nii", brain, "lpi")
    assert message in refused(tmp_path / "a.nii", *flags)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii"]


def test_folders_without_brains_and_names_that_are_none(tmp_path, refused):
    (tmp_path / "in").mkdir()
    assert "there is no brain in" in refused(tmp_path / "in")
    assert "there is no" in refused(tmp_path / "nowhere")


def test_a_tiff_is_asked_which_side_is_left(tmp_path, refused, brain):
    write_tiff(tmp_path / "a.tif", brain, "asr")
    assert "--orientation asr" in refused(tmp_path / "a.tif", "--plane", 9)


def test_another_request_is_not_mixed_with_the_first(run, refused, tmp_path, brain):
    write_nifti(tmp_path / "a.nii", brain, "lpi")
    run(tmp_path / "a.nii", "--plane", 9)
    assert "begun with plane = 9, not 10" in refused(tmp_path / "a.nii", "--plane", 10)


def test_nothing_is_overwritten(refused, tmp_path, brain):
    write_nifti(tmp_path / "a.nii", brain, "lpi")
    Population(brain[5:7]).save(tmp_path / "out.zarr")
    assert "exists already" in refused(tmp_path / "a.nii", "--plane", 9)


def test_channels_by_name_and_by_number(run, refused, tmp_path, brain):
    folder = write_brainreg(tmp_path / "m1", brain)
    write_tiff(folder / "downsampled_standard_cfos.tiff", brain + 1, "asr")
    section = run(tmp_path / "m1", "--plane", 9, "--channel", "cfos").sections()[0]
    np.testing.assert_array_equal(section, brain[9] + 1)
    both = np.stack([brain, brain + 2], axis=1)[:, :, :, ::-1]
    tifffile.imwrite(tmp_path / "two.tif", both, imagej=True, metadata={"axes": "ZCYX"})
    flags = (tmp_path / "two.tif", "--plane", 9, *ASR)
    assert "it has 2 channels" in refused(*flags, "--out", tmp_path / "second.zarr")
    second = run(*flags, "--channel", 1, out="second.zarr")
    np.testing.assert_array_equal(second.sections()[0], brain[9] + 2)


def test_brains_of_one_name_are_called_by_the_folder_that_tells_them_apart(run, tmp_path, brain):
    for mouse in ("m1", "m2"):
        write_brainreg(tmp_path / mouse / "brainreg", brain)
        (tmp_path / mouse / "ants").mkdir()
        write_nifti(tmp_path / mouse / "ants" / "warped.nii", brain, "lpi")
    population = run(tmp_path, "--plane", 9)
    assert population.ids == ["m1", "m1_brainreg", "m2", "m2_brainreg"]


def test_ome_zarr_with_and_without_words_for_its_axes(run, tmp_path, brain):
    write_ome_zarr(tmp_path / "says.ome.zarr", brain, "pir")
    write_ome_zarr(tmp_path / "silent.zarr", brain, "asr", words=False)
    population = run(tmp_path, "--plane", 9, "--orientation", "asr")
    assert population.ids == ["says", "silent"]
    np.testing.assert_array_equal(population.sections(), brain[[9, 9]])


def test_the_manifest_tells_the_source_of_every_brain(run, tmp_path, brain):
    import hashlib

    path = write_abba(tmp_path / "a.tif", brain, "asr")
    run(path, "--plane", 9, "--orientation", "asr")
    row = manifest_of(tmp_path).loc["a"]
    assert row["source"] == str(path)
    assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (row["voxel_um"], row["scale_by"], row["orientation"]) == ("100", "its file", "asr")
    request = json.loads((tmp_path / "out.zarr.work" / "request.json").read_text())
    assert request["plan"]["grid"] == {"shape": [64, 80], "pixel_size_um": 100}


def test_reorienting_is_what_the_writers_of_these_tests_do_not(brain):
    """The landmark of the phantom lies dorsal, to the left, and in front."""
    peak = np.unravel_index(brain.argmax(), brain.shape)
    assert all(place < size / 2 for place, size in zip(peak, brain.shape, strict=True))
    assert reorient(brain, "asl", "pir")[-1 - peak[0], -1 - peak[1], -1 - peak[2]] == brain.max()


# atlases


def test_two_resolutions_of_an_atlas_need_to_be_told_in_which_to_count(
    run, refused, tmp_path, brain
):
    double = np.repeat(np.repeat(np.repeat(brain, 2, 0), 2, 1), 2, 2)
    write_brainreg(tmp_path / "coarse", brain, atlas="phantom_100um")
    write_brainreg(tmp_path / "fine", double, atlas="phantom_50um")
    inputs = (tmp_path / "coarse", tmp_path / "fine")
    assert "planes are 50, 100 um apart" in refused(*inputs, "--plane", 9)
    population = run(*inputs, "--plane", 18, "--atlas", "phantom_50um")
    one, other = population.sections()
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.995


@pytest.mark.parametrize("orientation", ["asr", "asl", "psl"])
def test_brainregs_folders_lie_as_the_atlas_in_the_cache_says(
    run, tmp_path, brain, orientation, monkeypatch
):
    """BrainGlobe's atlases are "asr" as a rule; where one is not, its manifest says so."""
    annotation = reorient((brain > 0).astype(np.uint32), "asl", orientation)
    structures = [Structure(1, "root", "root", (1,), (1, 2, 3), 0)]
    (tmp_path / "config").mkdir()
    stated = f"[default_dirs]\nbrainglobe_dir = {tmp_path / 'cache'}\n"
    (tmp_path / "config" / "bg_config.conf").write_text(stated)
    monkeypatch.setenv("BRAINGLOBE_CONFIG_DIR", str(tmp_path / "config"))
    write_version_3(
        tmp_path / "cache",
        "phantom_100um",
        structures,
        annotation,
        resolution=(100.0, 100.0, 100.0),
        orientation=orientation,
    )
    folder = write_brainreg(tmp_path / "in" / "m1", brain)
    write_tiff(folder / "downsampled_standard.tiff", brain, orientation)
    population = run(tmp_path / "in", "--plane", 9)
    np.testing.assert_array_equal(population.sections()[0], brain[9])
    assert population.description.atlas == "phantom_100um"
    section = AtlasSection.lay(Atlas.open("phantom_100um"), 9, (64, 80), 100)
    np.testing.assert_array_equal(section.tissue, brain[9] > 0)


def test_left_is_left_in_the_ccf_and_in_brainglobes_mirrored_copy_of_it(
    run, tmp_path, shared_data, monkeypatch
):
    """The real hemisphere, gathered by the atlas alone, under the masks of both atlases."""
    ccf = Atlas.open(shared_data / "ccf")
    coarse = ccf.annotation[2::4, 2::4, 2::4]
    (tmp_path / "config").mkdir()
    stated = f"[default_dirs]\nbrainglobe_dir = {tmp_path / 'cache'}\n"
    (tmp_path / "config" / "bg_config.conf").write_text(stated)
    monkeypatch.setenv("BRAINGLOBE_CONFIG_DIR", str(tmp_path / "config"))
    mirrored = reorient(coarse, "asl", "asr")
    write_version_3(
        tmp_path / "cache", "allen_mouse_100um", ccf, mirrored, resolution=(100.0, 100.0, 100.0)
    )
    population = run(shared_data / "brainreg", "--plane", 71, "--atlas", "allen_mouse_100um")
    assert population.description.pixel_size_um == 100
    assert set(manifest_of(tmp_path)["orientation_by"]) == {"the atlas allen_mouse_100um"}
    half, whole = population.sections()
    sections = [
        AtlasSection.lay(Atlas.open("allen_mouse_100um"), 71, population.shape, 100),
        AtlasSection.lay(ccf, 286, population.shape, 100),
    ]
    for section in sections:
        left, right = section.mask("HPF", "left"), section.mask("HPF", "right")
        assert half[left].mean() > 100 * half[right].mean()
        assert 0.5 < whole[left].mean() / whole[right].mean() < 2
    for side in ("left", "right"):
        one, other = (section.mask("HPF", side) for section in sections)
        assert (one & other).sum() > 0.8 * max(one.sum(), other.sum())
