"""``training.rotate`` and ``training.fit --rotation`` from end to end on a small phantom."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_brainvae.data.population import Population
from napari_brainvae.models.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.rotation import rotate_factors
from tests.models.test_vae import fresh
from training.cli import main
from training.fit import fit
from training.pca import PCAOptions, fit_pca
from training.rotate import RotateOptions, rotate


@pytest.fixture(scope="module")
def runs(phantom_file, tmp_path_factory):
    """Folders of the same short run with each rotation in each recipe; read only."""
    folder = tmp_path_factory.mktemp("runs")
    for recipe in ("fast", "paper"):
        for rotation in ("varimax", "none"):
            fit(
                FitOptions(
                    population=phantom_file,
                    out=folder / f"{recipe} {rotation}",
                    recipe=recipe,
                    rotation=rotation,
                    latent_dim=3,
                    batch_size=6,
                    steps=2,
                )
            )
    return folder


def model_of(folder, name):
    return load_checkpoint(folder / name / "model.safetensors")


def command(*arguments):
    main(RotateOptions, rotate, program="rotate", arguments=[str(a) for a in arguments])


@pytest.mark.parametrize("recipe", ["fast", "paper"])
def test_a_run_is_saved_in_the_axes_asked_for(runs, recipe):
    rotated, plain = model_of(runs, f"{recipe} varimax"), model_of(runs, f"{recipe} none")
    assert rotated.header.rotation.method == "varimax"
    assert rotated.header.training["options"]["rotation"] == "varimax"
    assert plain.header.rotation is plain.rotation is None
    assert plain.header.training["options"]["rotation"] == "none"


def test_the_rotation_is_the_only_difference_in_recipe_paper(runs):
    """Which has nothing to start from that could be rotated."""
    rotated, plain = model_of(runs, "paper varimax"), model_of(runs, "paper none")
    assert fingerprint(rotated.with_rotation(None, None)) == fingerprint(plain)


def test_recipe_fast_starts_in_the_axes_and_stays_near_them(runs):
    """What is left to rotate after the fit is a few degrees, up to order and sign."""
    left = np.abs(model_of(runs, "fast varimax").rotation)
    assert np.all(left.max(axis=0) > np.cos(np.radians(10)))


def test_what_a_run_says_of_its_factors_is_in_the_axes_of_the_model(runs, phantom_file):
    model = model_of(runs, "fast varimax")
    record = json.loads((runs / "fast varimax" / "record.json").read_text())
    assert record["kl_per_factor"] == model.header.reference.kl_per_factor
    population = Population.open(phantom_file)
    held_out = set(model.header.training["held_out"])
    fitted = [
        i
        for i, name in enumerate(population.ids)
        if name not in held_out and not population.flagged[i]
    ]
    codes, _ = model.encode(population.prepared(model.header.preprocessing, fitted))
    assert np.allclose(codes.mean(axis=0), model.header.reference.code_mean, atol=1e-5)
    assert np.allclose(codes.std(axis=0), model.header.reference.code_std, atol=1e-5)


@pytest.mark.parametrize(("recipe", "default"), [("fast", "varimax"), ("paper", "none")])
def test_the_recipe_chooses_unless_told(recipe, default, tmp_path):
    options = FitOptions(population=tmp_path, out=tmp_path, recipe=recipe)
    assert options.resolved(100).rotation == default
    for asked in ("varimax", "none"):
        asked_for = options.model_copy(update={"rotation": asked})
        assert asked_for.resolved(100).rotation == asked


def test_a_run_from_before_rotations_goes_on_without_one(phantom_file, tmp_path):
    options = {"population": phantom_file, "latent_dim": 3, "batch_size": 6, "steps": 2}
    fit(FitOptions(out=tmp_path / "run", rotation="none", **options))
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    del record["options"]["rotation"]
    (tmp_path / "run" / "record.json").write_text(json.dumps(record | {"status": "running"}))
    with pytest.raises(ValueError, match=r"--rotation varimax \(was none\)"):
        fit(FitOptions(out=tmp_path / "run", resume=True, **options))
    fit(FitOptions(out=tmp_path / "run", resume=True, rotation="none", **options))


@pytest.mark.parametrize("kind", ["VAE", "PCA"])
def test_any_checkpoint_is_rotated_and_back(kind, runs, phantom_file, tmp_path, capsys):
    if kind == "PCA":
        path = tmp_path / "pca.safetensors"
        fit_pca(PCAOptions(population=phantom_file, out=path, latent_dim=3))
    else:
        path = runs / "fast none" / "model.safetensors"
    command(path, phantom_file, "--out", tmp_path / "rotated.safetensors")
    assert "varimax" in capsys.readouterr().out
    command(
        tmp_path / "rotated.safetensors",
        phantom_file,
        "--out",
        tmp_path / "back.safetensors",
        "--rotation",
        "none",
    )
    before, rotated, back = (
        load_checkpoint(p)
        for p in (path, tmp_path / "rotated.safetensors", tmp_path / "back.safetensors")
    )
    population = Population.open(phantom_file)
    images = population.prepared(before.header.preprocessing, range(len(population)))
    assert rotated.header.rotation.method == "varimax"
    assert np.abs(rotated.reconstruct(images) - before.reconstruct(images)).max() < 1e-6
    assert fingerprint(back) == fingerprint(before) != fingerprint(rotated)
    assert back.header.rotation is None
    assert rotated.header.training == before.header.training


def test_brains_that_were_held_out_have_no_say(runs, phantom_file, tmp_path):
    model = model_of(runs, "fast none")
    command(
        runs / "fast none" / "model.safetensors", phantom_file, "--out", tmp_path / "m.safetensors"
    )
    population = Population.open(phantom_file)
    held_out = set(model.header.training["held_out"])
    fitted = [i for i, name in enumerate(population.ids) if name not in held_out]
    images = population.prepared(model.header.preprocessing, fitted)
    assert held_out
    assert len(fitted) == len(population) - len(held_out)
    assert fingerprint(load_checkpoint(tmp_path / "m.safetensors")) == fingerprint(
        rotate_factors(model, images)
    )


def no_checkpoint(folder, population):
    return folder / "absent.safetensors", population, folder / "m.safetensors"


def no_population(folder, population):
    save_checkpoint(fresh(64, 80), folder / "a.safetensors")
    return folder / "a.safetensors", folder / "absent.zarr", folder / "m.safetensors"


def another_size(folder, population):
    save_checkpoint(fresh(64, 120), folder / "a.safetensors")
    return folder / "a.safetensors", population, folder / "m.safetensors"


def another_suffix(folder, population):
    save_checkpoint(fresh(64, 80), folder / "a.safetensors")
    return folder / "a.safetensors", population, folder / "m.pth"


def there_already(folder, population):
    for name in ("a.safetensors", "b.safetensors"):
        save_checkpoint(fresh(64, 80), folder / name)
    return folder / "a.safetensors", population, folder / "b.safetensors"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (no_checkpoint, "absent.safetensors"),
        (no_population, "absent.zarr"),
        (another_size, "64 x 120 px"),
        (another_suffix, "ends in .safetensors"),
        (there_already, "exists already"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(case, message, phantom_file, tmp_path, capsys):
    model, population, out = case(tmp_path, phantom_file)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as ended:
        command(model, population, "--out", out)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
