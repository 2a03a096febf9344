"""Where results come from: the same words in every record."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from napari_brainvae.factors.perturbation import ImpactOptions
from napari_brainvae.models.checkpoint import fingerprint, load_checkpoint
from napari_brainvae.reporting.provenance import provenance


@pytest.fixture
def model(run_folder):
    return load_checkpoint(run_folder / "model.safetensors")


def test_a_run_says_its_options_versions_and_data(model, population):
    """In this order: the bytes of a checkpoint's header depend on it."""
    training = model.header.training
    assert list(training)[:3] == ["options", "versions", "data"]
    assert list(training["versions"]) == ["napari-brainvae", "torch", "lightning-fabric", "numpy"]
    assert training["versions"]["torch"] == version("torch")
    assert not {"out", "resume"} & set(training["options"])
    assert training["data"] == {
        "sections": 24,
        "shape": [64, 80],
        "fingerprint": population.fingerprint(),
        # Neither flagged nor held-out brains are fitted.
        "measured": [
            name
            for name, flagged in zip(population.ids, population.flagged, strict=True)
            if not flagged and name not in training["held_out"]
        ],
    }


def test_results_say_their_models_and_which_brains_were_measured(model, population):
    options = ImpactOptions(low=-0.5)
    about = provenance(
        options, population, {"mine": model}, without={"mode"}, measured=[3, 1], plane=286
    )
    assert list(about) == ["options", "versions", "data", "plane", "models"]
    assert about["options"]["low"] == -0.5
    assert "mode" not in about["options"]
    assert about["data"]["measured"] == [population.ids[3], population.ids[1]]
    assert about["models"]["mine"]["fingerprint"] == fingerprint(model)
    assert about["models"]["mine"]["training"] == model.header.training


@pytest.mark.parametrize(("beta", "name"), [(3, "beta-VAE"), (1, "VAE"), (None, "beta-VAE")])
def test_models_are_called_what_the_paper_calls_them(model, beta, name):
    model.header.training["options"]["beta"] = beta
    assert model.label == name
