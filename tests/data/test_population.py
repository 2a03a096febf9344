from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from napari_brainvae.data.population import Description, Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.io.errors import InputError


@pytest.fixture
def images(rng):
    return rng.integers(1, 255, (3, 8, 10)).astype(np.uint16)


def write(path, images):
    """Write a stack as a user would, by whatever tool wrote that kind of file."""
    if path.suffix == ".npy":
        np.save(path, images)
    elif path.suffix == ".npz":
        np.savez(path, images=images)
    elif path.suffix == ".zarr":
        zarr.save_array(path, images)
    else:
        tifffile.imwrite(path, images, photometric="rgb" if images.ndim == 4 else "minisblack")
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.zarr", "a.tif", "a.TIFF"])
def test_every_kind_of_file_opens(tmp_path, images, name):
    population = Population.open(write(tmp_path / name, images))
    assert len(population) == 3
    assert population.shape == (8, 10)
    assert population.ids == ["0000", "0001", "0002"]
    assert np.array_equal(population.sections(), images.astype(np.float32))
    assert np.array_equal(population.sections([2, 0]), images[[2, 0]].astype(np.float32))


def test_a_population_file_keeps_everything(tmp_path, images):
    table = pd.DataFrame({"sex": ["F", "M", None], "age": [1, 2, 3], "flagged": [0, 1, 0]})
    description = Description(
        pixel_size_um=25.0, plane=286, preprocessing=Preprocessing(height=8, width=10), source="me"
    )
    Population(images, ["a", "b", "c"], table, description).save(tmp_path / "p.zarr")
    opened = Population.open(tmp_path / "p.zarr")
    assert opened.ids == ["a", "b", "c"]
    assert opened.description == description
    assert opened.images.chunks == (1, 8, 10)
    assert opened.covariates.loc["b"].to_dict() == {"sex": "M", "age": 2, "flagged": 1}
    assert opened.flagged.tolist() == [False, True, False]
    assert opened.fingerprint() == Population(images, ["a", "b", "c"]).fingerprint()


def test_nothing_is_overwritten_without_being_told(tmp_path, images):
    Population(images).save(tmp_path / "p.zarr")
    with pytest.raises(FileExistsError, match="give another name"):
        Population(images[:2]).save(tmp_path / "p.zarr")
    assert len(Population.open(tmp_path / "p.zarr")) == 3
    Population(images[:2]).save(tmp_path / "p.zarr", overwrite=True)
    assert len(Population.open(tmp_path / "p.zarr")) == 2


def test_the_fingerprint_knows_pixels_and_ids(images):
    changed = images.copy()
    changed[1, 2, 3] += 1
    prints = {
        Population(images).fingerprint(),
        Population(changed).fingerprint(),
        Population(images, ["a", "b", "c"]).fingerprint(),
    }
    assert len(prints) == 3


def test_the_papers_arrays_are_turned_to_our_orientation(tmp_path, rng):
    ours = rng.uniform(1, 2, (2, 320, 456)).astype(np.float32)
    np.save(tmp_path / "theirs.npy", ours.transpose(0, 2, 1))
    population = Population.open(tmp_path / "theirs.npy")
    assert np.array_equal(population.sections(), ours)
    cropped = population.prepared(Preprocessing(height=320, width=448), [0])
    assert cropped.shape == (1, 320, 448)


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.zarr"])
def test_a_table_beside_the_stack_gives_ids_and_covariates(tmp_path, images, name):
    write(tmp_path / name, images)
    (tmp_path / "a.csv").write_text("id,strain\n007,x\n008,y\n009,z\n")
    population = Population.open(tmp_path / name)
    assert population.ids == ["007", "008", "009"]
    assert population.covariates["strain"].tolist() == ["x", "y", "z"]


def test_tiff_says_its_pixel_size(tmp_path, images):
    um = {"PhysicalSizeX": 25.0, "PhysicalSizeXUnit": "µm"}
    gray = {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "o.ome.tif", images, metadata={"axes": "TYX", **um}, **gray)
    tifffile.imwrite(
        tmp_path / "i.tif", images, imagej=True, resolution=(0.1, 0.1), metadata={"unit": "um"}
    )
    tifffile.imwrite(tmp_path / "plain.tif", images, **gray)
    sizes = [
        Population.open(tmp_path / n).description.pixel_size_um
        for n in ("o.ome.tif", "i.tif", "plain.tif")
    ]
    assert sizes == [25.0, 10.0, None]


def test_what_was_preprocessed_is_not_preprocessed_again(images):
    fitted = Preprocessing.fit(images)
    ready = fitted.apply(images)
    again = Population(ready, description=Description(preprocessing=fitted))
    assert np.array_equal(again.prepared(fitted, slice(None)), ready)


def test_a_preprocessed_population_comes_to_the_clip_of_the_model(rng):
    """The defect: it was only cropped, whatever the clip, and off by up to 0.44."""
    raw = rng.exponential(100, (3, 64, 80)).astype(np.float32)
    written, model = (Preprocessing(height=64, width=80, clip=c) for c in (3.8, 2.0))
    ready = Population(written.apply(raw), description=Description(preprocessing=written))
    expected = Population(raw).prepared(model, [2, 0])
    np.testing.assert_allclose(ready.prepared(model, [2, 0]), expected, rtol=1e-6)
    assert np.abs(ready.sections([2, 0]) - expected).max() > 0.4
    with pytest.raises(InputError, match="section '0001' reached the clip"):
        ready.prepared(model.model_copy(update={"clip": 5.0}), [1])


def test_real_people(shared_data):
    population = Population.open(shared_data / "oasis" / "oasis200_level32.npz")
    assert len(population) == 200
    assert population.shape == (208, 176)
    assert population.ids[0] == "MildDemented_1"
    assert 0 < population.sections([0]).mean() < 255


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d, x: d / "nothing.npy", "no such population"),
        (lambda d, x: write(d / "a.npy", x).rename(d / "a.txt"), "is one of .zarr"),
        (lambda d, x: write(d / "a.npy", x[0]), r"has shape \(N, H, W\)"),
        (lambda d, x: write(d / "a.tif", x[0]), "one section is no population"),
        (lambda d, x: write(d / "a.npy", x[:0]), "empty"),
        (lambda d, x: write(d / "a.npy", np.stack([x] * 3, -1)), "colour"),
        (lambda d, x: truncated(write(d / "a.npy", x)), "a.npy"),
        (lambda d, x: truncated(write(d / "a.npz", x)), "a.npz cannot be read"),
        (lambda d, x: truncated(write(d / "a.tif", x)), "a.tif"),
        (lambda d, x: write(d / "a.npy", np.array([{}, {}])), "a.npy"),
    ],
)
def test_what_is_no_population_is_refused_with_a_reason(tmp_path, images, make, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Population.open(make(tmp_path, images))


@pytest.mark.parametrize(
    ("ids", "rows", "message"),
    [
        (["a", "a", "b"], 0, "ids repeat: 'a'"),
        (["a", "b"], 0, "2 ids for 3 sections"),
        ([], 2, "2 covariate rows for 3 sections"),
    ],
)
def test_ids_and_covariates_must_fit(images, ids, rows, message):
    with pytest.raises(ValueError, match=message):
        Population(images, ids, pd.DataFrame({"sex": ["F"] * rows}))
