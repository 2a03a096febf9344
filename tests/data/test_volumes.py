"""What the files of registered brains say, and what they do not."""

from __future__ import annotations

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import zarr

from napari_brainvae.data.orientation import read_planes
from napari_brainvae.data.volumes import open_volume
from napari_brainvae.io.errors import InputError
from tests.data.test_orientation import EVERY
from tests.registered_brains import WRITERS, asymmetric_brain, write_nifti


@pytest.fixture(scope="module")
def brain():
    return asymmetric_brain(shape=(6, 10, 14))


@pytest.mark.parametrize("kind", WRITERS)
def test_every_orientation_that_a_format_can_state_is_read(tmp_path, brain, kind):
    for orientation in EVERY:
        if kind in (".mhd", ".mha") and orientation == "iar":
            continue  # the identity, which says nothing in this format
        volume = open_volume(WRITERS[kind](tmp_path / f"{orientation}{kind}", brain, orientation))
        assert volume.orientation == orientation
        assert volume.voxel_um == pytest.approx((100, 100, 100))
        np.testing.assert_array_equal(read_planes(volume.voxels, orientation, 2, 3), brain[2:4])


def test_nifti_without_a_code_says_nothing_of_its_orientation(tmp_path, brain):
    image = nibabel.Nifti1Image(brain, None)
    image.header.set_zooms((0.1, 0.1, 0.1))
    nibabel.save(image, tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    assert volume.orientation is None
    assert volume.voxel_um == pytest.approx((100, 100, 100))


@pytest.mark.parametrize(
    ("size", "unit", "um"),
    [
        (0.025, "mm", 25),
        (0.025, "unknown", 25),
        (25, "micron", 25),
        (25_000, "unknown", 25_000),  # a quarter of a metre a voxel: only um can be meant
        (1, "mm", 1000),
        (1, "unknown", None),  # what is written where nothing is known
    ],
)
def test_units_of_nifti(tmp_path, brain, size, unit, um):
    affine = np.diag([size, size, size, 1.0])
    image = nibabel.Nifti1Image(brain, affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    expected = (None,) * 3 if um is None else pytest.approx((um,) * 3)
    assert open_volume(tmp_path / "a.nii").voxel_um == expected


def test_what_runs_askew_is_refused_and_a_little_is_not(tmp_path, brain):
    write_nifti(tmp_path / "a.nii", brain, "asl", degrees=2)
    assert open_volume(tmp_path / "a.nii").orientation == "asl"
    write_nifti(tmp_path / "b.nii", brain, "asl", degrees=30)
    with pytest.raises(InputError, match="turns its axes by 30 degrees"):
        open_volume(tmp_path / "b.nii")


def test_the_allen_institutes_header_is_known_not_to_mean_what_it_says(tmp_path):
    """Its NRRDs say left-posterior-superior of axes that run (AP, DV, ML), its MHDs nothing."""
    volume = np.zeros((66, 40, 57), np.uint8)  # 200 um: the same extent
    volume[10, 5, 3] = 1
    header = {"space": "left-posterior-superior", "space directions": np.eye(3) * 200}
    nrrd.write(str(tmp_path / "a.nrrd"), volume, header)
    image = sitk.GetImageFromArray(volume.transpose(2, 1, 0).copy())
    image.SetSpacing([200.0] * 3)
    sitk.WriteImage(image, str(tmp_path / "a.mhd"))
    for name in ("a.nrrd", "a.mhd"):
        opened = open_volume(tmp_path / name)
        assert opened.voxel_um == (200, 200, 200), name
        assert "Allen" in opened.orientation_by
        np.testing.assert_array_equal(
            read_planes(opened.voxels, opened.orientation, 10, 10)[0], volume[10]
        )


def test_the_ccf_itself(shared_data):
    volume = open_volume(shared_data / "ccf/annotation/ccf_2017/annotation_25.nrrd")
    assert (volume.orientation, volume.voxel_um) == ("asl", (25, 25, 25))


def test_metaimage_with_axes_as_they_come_says_nothing_of_them(tmp_path, brain):
    sitk.WriteImage(sitk.GetImageFromArray(brain), str(tmp_path / "a.mhd"))
    volume = open_volume(tmp_path / "a.mhd")
    assert (volume.orientation, volume.voxel_um) == (None, (None, None, None))
    np.testing.assert_array_equal(volume.voxels[:, :, :], brain)


@pytest.mark.parametrize(
    ("said", "instead", "message"),
    [
        ("NDims = 3", "NDims = -1", "three axes"),  # ITK crashes
        ("NDims = 3", "NDims = 300000", "three axes"),
        ("DimSize = 14 10 6", "DimSize = 14 10", "DimSize"),
        ("DimSize = 14 10 6", "DimSize = 14 10 -6", "DimSize"),
        ("DimSize = 14 10 6", "DimSize = 14000 10000 6000", "truncated"),
        ("MET_USHORT", "MET_STRING", "ElementType"),
        ("ElementDataFile = LOCAL", "ElementDataFile = LIST", "several files"),
        ("ElementDataFile = LOCAL", "ElementDataFile = a%02d.raw 1 6 1", "several files"),
        ("ElementDataFile = LOCAL", "ElementDataFile = gone.raw", "there is no"),
        ("ElementDataFile = LOCAL", "ElementDataFile = /dev/zero", "no regular file"),
        ("ElementDataFile = LOCAL", "", "several files, or none"),
    ],
)
def test_a_metaimage_is_looked_at_before_itk_reads_it(tmp_path, brain, said, instead, message):
    path = WRITERS[".mha"](tmp_path / "a.mha", brain, "asl")
    content = path.read_bytes()
    assert said.encode() in content
    path.write_bytes(content.replace(said.encode(), instead.encode()))
    with pytest.raises(InputError, match=message) as error:
        open_volume(path)
    assert "\n" not in str(error.value)


def test_nrrd_without_a_space(tmp_path, brain):
    nrrd.write(str(tmp_path / "a.nrrd"), brain, {"spacings": [0.1, 0.2, 0.3]})
    volume = open_volume(tmp_path / "a.nrrd")
    assert volume.orientation is None
    assert volume.voxel_um == pytest.approx((100, 200, 300))


@pytest.mark.parametrize("unit", ["um", r"\u00B5m", "micron", "mm"])
def test_imagej_states_sizes_in_its_unit(tmp_path, brain, unit):
    factor = 1000 if unit == "mm" else 1
    tifffile.imwrite(
        tmp_path / "a.tif",
        brain,
        imagej=True,
        resolution=(factor / 20, factor / 20),
        metadata={"unit": unit, "spacing": 50 / factor, "axes": "ZYX"},
    )
    assert open_volume(tmp_path / "a.tif").voxel_um == pytest.approx((50, 20, 20))


def test_a_section_is_a_volume_of_one_plane(tmp_path, brain):
    import imagecodecs

    section = brain[3].astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", section)
    imagecodecs.imwrite(tmp_path / "a.png", section)
    np.save(tmp_path / "a.npy", section)
    zarr.save_array(str(tmp_path / "a.zarr"), section)
    for name in ("a.tif", "a.png", "a.npy", "a.zarr"):
        volume = open_volume(tmp_path / name)
        assert volume.voxels.shape == (1, 10, 14), name
        np.testing.assert_array_equal(volume.voxels[0:1, :, :][0], section)


@pytest.mark.parametrize("channel", ["0", "1", "2"])
def test_one_channel_of_several(tmp_path, brain, channel):
    colour = np.stack([brain, brain + 1, brain + 2], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", colour[3].astype(np.uint8), photometric="rgb")
    nibabel.save(nibabel.Nifti1Image(colour, np.diag([0.1, 0.1, 0.1, 1])), tmp_path / "a.nii")
    flat = open_volume(tmp_path / "a.tif", channel).voxels[0:1, :, :]
    np.testing.assert_array_equal(flat[0], colour[3, ..., int(channel)].astype(np.uint8))
    deep = open_volume(tmp_path / "a.nii", channel).voxels
    np.testing.assert_array_equal(deep[2:3, :, :][0], colour[2, ..., int(channel)])


@pytest.mark.parametrize(
    ("channel", "message"), [(None, "--channel"), ("3", "0 to 2"), ("x", "0 to 2")]
)
def test_a_channel_that_is_not_said_or_not_there(tmp_path, brain, channel, message):
    colour = np.stack([brain] * 3, axis=-1)
    nibabel.save(nibabel.Nifti1Image(colour, np.diag([0.1, 0.1, 0.1, 1])), tmp_path / "a.nii")
    with pytest.raises(InputError, match=message):
        open_volume(tmp_path / "a.nii", channel)


@pytest.mark.parametrize(
    "name",
    [
        "a.nii",
        "a.nii.gz",
        "a.nrrd",
        "a.nhdr",
        "a.mhd",
        "a.mha",
        "a.tif",
        "a.png",
        "a.npy",
        "a.zarr",
    ],
)
@pytest.mark.parametrize("content", [b"", b"\x00" * 400, b"NRRD0004\nsizes: 1 2\n\n", b"II*\x00"])
def test_what_is_damaged_is_one_reason(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        open_volume(tmp_path / name).voxels[0:1, :, :]
    assert "\n" not in str(error.value)


def test_a_file_that_is_cut_short_is_told_when_it_is_read(tmp_path, brain):
    path = write_nifti(tmp_path / "a.nii", brain, "asl")
    volume = open_volume(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises((ValueError, OSError)):
        volume.voxels[:, :, :]
