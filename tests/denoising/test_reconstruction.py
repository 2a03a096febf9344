from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.reconstruction import export_reconstructions, reconstruct_section
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Stopped
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.header import Reference


@pytest.fixture
def model(run_folder):
    return load_checkpoint(run_folder / "model.safetensors")


def test_one_section_by_hand(model, population):
    look = reconstruct_section(model, population, 3)
    section = model.header.preprocessing.apply(population.sections([3]))
    mean, log_variance = model.encode(section)
    drawn = model.decode(mean)[0]
    assert np.array_equal(look.section, section[0])
    assert np.array_equal(look.reconstruction, drawn)
    assert np.array_equal(look.residual, section[0] - drawn)
    assert np.isclose(look.error, ((section[0] - drawn) ** 2).mean())
    assert np.isclose(
        look.kl, 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1).sum(), rtol=1e-5
    )
    assert np.allclose(look.section, population.sections([3])[0] * look.gain, atol=1e-5)


def test_a_section_is_what_a_population_prepares(model, population):
    """It is read once, apart from `Population.prepared`: raw, and preprocessed before."""
    preprocessing = model.header.preprocessing
    done = Population(
        preprocessing.apply(population.sections([2, 5])),
        description=population.description.model_copy(update={"preprocessing": preprocessing}),
    )
    for brains, index in [(population, 5), (done, 1)]:
        look = reconstruct_section(model, brains, index, robust=False)
        assert np.array_equal(look.section, brains.prepared(preprocessing, [index])[0])
    assert look.gain == pytest.approx(1)


def test_robust_inference_marks_and_repairs(model, population):
    corrupted = population.subset([0])
    corrupted.images[0, 25:37, 32:44] *= 3
    look = reconstruct_section(model, corrupted, 0, robust=True)
    plain = reconstruct_section(model, corrupted, 0, robust=False)
    assert plain.artifact is None
    assert plain.repaired is None
    assert look.artifact[26:36, 33:43].all()
    assert look.artifact.mean() < 0.1
    assert np.array_equal(look.repaired[~look.artifact], look.section[~look.artifact])
    clean = reconstruct_section(model, population, 0, robust=False).reconstruction
    assert np.abs(look.reconstruction - clean).mean() < np.abs(plain.reconstruction - clean).mean()


def test_a_brain_far_from_the_population_is_unusual(model, population):
    assert model.header.reference is not None
    intact = np.flatnonzero(~population.flagged)
    usual = [reconstruct_section(model, population, i).outlier for i in intact.tolist()]
    assert sum(map(bool, usual)) < len(intact) / 2
    corrupted = population.subset([0])
    corrupted.images[0, :30] = 0
    assert reconstruct_section(model, corrupted, 0).outlier
    model.header.reference = None
    assert reconstruct_section(model, corrupted, 0).outlier is None


def test_outliers_are_denoised_and_intact_brains_stay_as_they_are(model, corrupted):
    """The default: robust inference for the one that the model calls an outlier, no other."""
    looks = [reconstruct_section(model, corrupted, i) for i in range(3)]
    assert [look.outlier for look in looks] == [False, False, True]
    for i, look in enumerate(looks):
        other = reconstruct_section(model, corrupted, i, robust=bool(look.outlier))
        assert np.array_equal(look.reconstruction, other.reconstruction)
        assert (look.artifact is None) == (not look.outlier)
        # Of the section as it came, also when what is shown is without the artifact.
        assert look.outlier == reconstruct_section(model, corrupted, i, robust=True).outlier


def test_what_was_found_and_done_is_said_in_a_sentence(model, corrupted):
    intact, bright = (reconstruct_section(model, corrupted, i) for i in (0, 2))
    assert intact.finding == "Reconstructed as it came."
    assert intact.artifact_share == 0
    share = bright.artifact.mean()
    assert bright.artifact_share == share
    assert f"Artifact in {100 * share:.2g} % of the section, brighter" in bright.finding
    assert "was left out" in bright.finding
    corrupted.images[2] = corrupted.images[0]
    corrupted.images[2, 20:44, 26:52] *= 0.03
    assert "darker (missing tissue)" in reconstruct_section(model, corrupted, 2).finding
    looked = reconstruct_section(model, corrupted, 0, robust=True)
    assert ("found none" in looked.finding) == (not looked.artifact.any())


@pytest.mark.parametrize("name", ["r.zarr", "r.tif"])
def test_the_export_is_what_is_shown(model, corrupted, tmp_path, name):
    """Each brain's own way, and with masks the repaired section and the artifact of it."""
    export_reconstructions(model, corrupted, tmp_path / name, masks=True)
    if name == "r.zarr":
        group = zarr.open_group(tmp_path / name)
        found = [group[part][:] for part in ("images", "repaired", "artifact")]
        table = Population.open(tmp_path / name).covariates
        assert table["robust"].tolist() == [0, 0, 1]
        assert table["artifact_share"].tolist()[:2] == [0, 0]
    else:
        found = np.moveaxis(tifffile.imread(tmp_path / name), 1, 0)
    for i, (reconstruction, repaired, artifact) in enumerate(zip(*found, strict=True)):
        look = reconstruct_section(model, corrupted, i)
        assert np.allclose(reconstruction, look.reconstruction, atol=1e-5)
        if look.outlier:
            assert np.array_equal(artifact, look.artifact)
            assert np.allclose(repaired, look.repaired, atol=1e-5)
        else:
            assert not artifact.any()
            assert np.allclose(repaired, look.section, atol=1e-6)


def test_a_stack_of_brains_is_no_film(model, population, tmp_path):
    """Its first axis is another one than time, and says which brain is where."""
    export_reconstructions(model, population.subset([2, 4]), tmp_path / "r.tif")
    with tifffile.TiffFile(tmp_path / "r.tif") as tif:
        assert tif.series[0].axes == "QYX"
        ome = tifffile.xml2dict(tif.ome_metadata)["OME"]
    said = ome["StructuredAnnotations"]
    modulo = said["XMLAnnotation"]["Value"]["Modulo"]["ModuloAlongT"]
    assert modulo["Type"] == "other"
    named = said["MapAnnotation"]["Value"]["M"]
    assert [each["value"] for each in named] == [population.ids[2], population.ids[4]]


def test_four_spreads_above_the_median_is_unusual():
    reference = Reference.measure(np.arange(11.0), np.zeros((11, 2)), np.zeros((11, 2)))
    assert reference.error_median == 5
    assert np.isclose(reference.error_spread, 3 * 1.4826)
    limit = 5 + 4 * 3 * 1.4826
    assert reference.is_outlier([limit - 0.1, limit + 0.1], [0, 0]).tolist() == [False, True]


def test_zarr_export_is_a_population_that_is_not_preprocessed_again(model, population, tmp_path):
    export_reconstructions(model, population, tmp_path / "r.zarr", robust=False)
    opened = Population.open(tmp_path / "r.zarr")
    assert opened.ids == population.ids
    sections = population.prepared(model.header.preprocessing, slice(None))
    assert np.allclose(opened.sections(), model.reconstruct(sections), atol=1e-6)
    assert opened.description.preprocessing == model.header.preprocessing
    again = opened.prepared(model.header.preprocessing, [5])
    assert np.array_equal(again, opened.sections([5]))
    pd.testing.assert_frame_equal(opened.covariates[["sex"]], population.covariates[["sex"]])
    assert "repaired" not in zarr.open_group(tmp_path / "r.zarr")
    look = reconstruct_section(model, population, 5, robust=False)
    assert np.isclose(opened.covariates["reconstruction_error"].iloc[5], look.error)


def test_tiff_export_has_micrometres(model, population, tmp_path):
    export_reconstructions(model, population.subset([2, 4]), tmp_path / "r.tif")
    opened = Population.open(tmp_path / "r.tif")
    assert opened.description.pixel_size_um == population.description.pixel_size_um
    look = reconstruct_section(model, population, 4)
    assert np.allclose(opened.sections([1])[0], look.reconstruction, atol=1e-6)
    with tifffile.TiffFile(tmp_path / "r.tif") as tif:
        assert "napari-brainvae model" in tif.ome_metadata


@pytest.fixture
def corrupted(population):
    """Three brains, the last with a bright square."""
    brains = population.subset([0, 3, 5])
    brains.images[2, 25:37, 32:44] *= 3
    return brains


def test_robust_export_keeps_what_each_section_says(model, corrupted, tmp_path):
    """Of a batch as of one alone: repaired sections, masks, gains."""
    export_reconstructions(model, corrupted, tmp_path / "r.zarr", robust=True)
    export_reconstructions(model, corrupted, tmp_path / "r.tif", robust=True)
    group, opened = zarr.open_group(tmp_path / "r.zarr"), Population.open(tmp_path / "r.zarr")
    with tifffile.TiffFile(tmp_path / "r.tif") as tif:
        pages, axes = tif.asarray(), tif.series[0].axes
        said = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]["Channel"]
    assert axes == "QCYX"
    assert [channel["Name"] for channel in said] == ["reconstruction", "repaired", "artifact"]
    for i in range(3):
        look = reconstruct_section(model, corrupted, i, robust=True)
        row = opened.covariates.iloc[i]
        for page, kept, part in zip(
            pages[i], (opened.images[i], group["repaired"][i], group["artifact"][i]),
            (look.reconstruction, look.repaired, look.artifact), strict=True,
        ):  # fmt: skip
            assert np.allclose(kept, part, atol=1e-5)
            assert np.array_equal(page, kept.astype(np.float32))
        assert np.isclose(row["reconstruction_error"], look.error, rtol=1e-4)
        assert np.isclose(row["artifact_share"], look.artifact.mean())
        assert row["gain"] > 0
    assert opened.covariates["artifact_share"].idxmax() == opened.ids[2]


@pytest.mark.parametrize("name", ["r.zarr", "r.tif"])
def test_an_export_that_is_stopped_leaves_nothing(model, population, tmp_path, name):
    with pytest.raises(Stopped):
        export_reconstructions(
            model, population, tmp_path / name, progress=lambda done, total: done < 16
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "error"), [("r.png", "written as .zarr"), ("there.tif", "exists already")]
)
def test_exports_that_are_refused(model, population, tmp_path, name, error):
    (tmp_path / "there.tif").touch()
    with pytest.raises((ValueError, FileExistsError), match=error):
        export_reconstructions(model, population, tmp_path / name)


def test_a_population_of_another_size_does_not_fit(model, rng):
    other = Population(rng.uniform(1, 2, (2, 90, 90)))
    with pytest.raises(ValueError, match="90 x 90 px do not fit a model for 64 x 80 px"):
        reconstruct_section(model, other, 0)


def test_a_file_does_not_take_the_place_of_a_folder(model, population, tmp_path):
    (tmp_path / "mine.tif").mkdir()
    (tmp_path / "mine.tif" / "notes").touch()
    with pytest.raises(InputError, match="is a folder"):
        export_reconstructions(model, population, tmp_path / "mine.tif", overwrite=True)
    assert (tmp_path / "mine.tif" / "notes").exists()
