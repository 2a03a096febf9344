"""The small commands, and the package as it is installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import zarr
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.population import Population
from training.cli import main
from training.phantom import PhantomCommand, phantom

ROOT = Path(__file__).resolve().parents[2]


def make(tmp_path, *flags):
    arguments = [str(tmp_path / "p.zarr"), "--count", "6", "--seed", "4", *flags]
    main(PhantomCommand, phantom, program="phantom", arguments=arguments)
    return tmp_path / "p.zarr"


SMALL = ("--height", "64", "--width", "80")


def test_a_phantom_with_its_truth_and_its_atlas(tmp_path):
    path = make(tmp_path, *SMALL, "--artifacts", "0.5")
    population = Population.open(path)
    truth = zarr.open_group(path, mode="r")["truth"]
    assert population.shape == (64, 80)
    assert population.ids[0] == "phantom-4-0000"
    assert truth["clean"].shape == truth["artifact_mask"].shape == (6, 64, 80)
    assert truth["factors"].shape == (6, len(truth.attrs["factors"]))
    artifact = truth["artifact"][:]
    assert population.flagged.tolist() == [kind != "none" for kind in artifact]
    atlas = Atlas.open(tmp_path / "p.atlas")
    plane = atlas.section(population.description.plane, (64, 80), atlas.resolution_um)
    assert atlas.resolution_um == population.description.pixel_size_um
    tissue = population.sections()[~population.flagged].mean(axis=0)
    assert tissue[plane > 0].mean() > 5 * tissue[plane == 0].mean()


def test_the_same_seed_gives_the_same_population(tmp_path):
    (tmp_path / "again").mkdir()
    first, second = make(tmp_path, *SMALL), make(tmp_path / "again", *SMALL)
    assert Population.open(first).fingerprint() == Population.open(second).fingerprint()


def test_a_phantom_on_the_real_atlas(tmp_path, shared_data):
    path = make(tmp_path, "--atlas", str(shared_data / "ccf"), "--height", "80", "--width", "112")
    population = Population.open(path)
    assert population.description.plane == 293, "the nearest plane of which there is a template"
    assert population.description.pixel_size_um == 100
    assert not (tmp_path / "p.atlas").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--height", "10"), "--height"),
        (("--atlas", "nowhere"), "nowhere"),
        (("--artifacts", "2"), "--artifacts"),
    ],
)
def test_a_phantom_that_cannot_be_made(tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as ended:
        make(tmp_path, *flags)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_phantom_overwrites_nothing(tmp_path, capsys):
    (tmp_path / "p.atlas").mkdir()
    with pytest.raises(SystemExit):
        make(tmp_path, *SMALL)
    assert "exists already" in capsys.readouterr().err


def test_the_manifest_is_found_and_all_it_names_is_there():
    [entry] = [e for e in entry_points(group="napari.manifest") if e.name == "napari-brainvae"]
    manifest = PluginManifest.from_distribution("napari-brainvae")
    assert entry.value == "napari_brainvae:napari.yaml"
    assert manifest.name == "napari-brainvae"
    for command in manifest.contributions.commands:
        assert callable(import_python_name(command.python_name))
    top = (ROOT / "napari.yaml").read_text()
    assert top == (ROOT / "src" / "napari_brainvae" / "napari.yaml").read_text()


def test_importing_the_package_is_light_and_offers_the_contract():
    code = (
        "import sys, napari_brainvae as n\n"
        "heavy = {'torch', 'zarr', 'napari', 'pandas', 'skimage'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert {'Population', 'load_checkpoint', 'BetaVAE', 'PCA', 'Atlas', 'cw_ssim',\n"
        "        'pca_frechet_distance', 'impact_matrix', 'disentanglement_score',\n"
        "        'projective_field'} <= set(n.__all__)\n"
        "for name in n.__all__: assert callable(getattr(n, name)), name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_reaches_beyond_this_machine():
    import socket

    # Blocked with a warning, and a warning is an error here.
    with socket.socket() as s, pytest.raises(UserWarning, match="tried to use socket"):
        s.connect(("192.0.2.1", 80))
