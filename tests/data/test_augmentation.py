from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_brainvae.data.augmentation import corrupt_by_chance
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.data.tissue import tissue_mask
from napari_brainvae.models.fit_options import FitOptions
from training.fit import fit
from training.fitting.job import corruption, make_plan
from training.fitting.reading import split
from training.fitting.steps import batch_order


@pytest.fixture(scope="module")
def preprocessing(population):
    return Preprocessing.fit(population.sections())


@pytest.fixture(scope="module")
def clean(population, preprocessing):
    """Sections without an artifact."""
    return population.prepared(preprocessing, np.flatnonzero(~population.flagged))


def test_a_share_of_sections_is_spoilt(clean, preprocessing):
    section = clean[0]

    def corrupted(share):
        rng = np.random.default_rng(1)
        return [
            corrupt_by_chance(section, share, preprocessing, rng) is not section for _ in range(300)
        ]

    assert not any(corrupted(0))
    assert all(corrupted(1))
    # Binomial with n = 300: five standard deviations to either side.
    assert abs(np.mean(corrupted(0.6)) - 0.6) < 5 * np.sqrt(0.24 / 300)


def test_what_comes_out_is_as_prepared_as_what_went_in(clean, preprocessing, rng):
    for section in clean:
        before = section.copy()
        corrupted = corrupt_by_chance(section, 1, preprocessing, rng)
        np.testing.assert_array_equal(section, before)
        assert corrupted.shape == section.shape
        assert corrupted.dtype == np.float32
        assert corrupted.min() >= 0
        assert corrupted.max() <= 1
        assert not np.array_equal(corrupted, section)
        # Matched again: the mean is that of every section, less what was clipped.
        assert corrupted.mean() <= 1 / preprocessing.clip + 1e-6
        if corrupted.max() < 1:
            assert corrupted.mean() == pytest.approx(1 / preprocessing.clip, rel=1e-5)


def test_equal_seeds_spoil_alike(clean, preprocessing):
    a, b, c = (
        corrupt_by_chance(clean[0], 1, preprocessing, np.random.default_rng(seed))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_tissue_is_the_brain(clean):
    tissue = tissue_mask(clean.mean(axis=0))
    assert 0.3 < tissue.mean() < 0.8
    assert not tissue[0].any()
    assert not tissue[:, 0].any()


def options(path, out, **changes):
    some = {"latent_dim": 2, "batch_size": 4, "steps": 6, "log_every": 1, "augment": 0.6}
    return FitOptions(population=path, out=out, **(some | changes))


def test_what_a_section_becomes_does_not_depend_on_its_neighbours(clean, preprocessing, tmp_path):
    """So that several GPUs, each with a part of the batch, see what one would have seen."""
    corrupt = corruption(options(tmp_path, tmp_path), preprocessing)
    sections = torch.from_numpy(clean[:4, None])
    together = corrupt(sections, [8, 9, 10, 11])
    for mine in (slice(0, None, 2), slice(1, None, 2)):
        assert torch.equal(corrupt(sections[mine], [8, 9, 10, 11][mine]), together[mine])
    assert corruption(options(tmp_path, tmp_path, augment=0), preprocessing) is None


def test_inputs_are_spoilt_and_targets_are_not(phantom_file, population, tmp_path, monkeypatch):
    """Everything that the network and the loss are given in a run, beside the data."""
    from napari_brainvae.models import objective
    from napari_brainvae.models.network import Network

    inputs, targets = [], []
    forward, loss = Network.forward, objective.reconstruction_loss
    monkeypatch.setattr(
        Network, "forward", lambda self, x, noise: (inputs.append(x), forward(self, x, noise))[1]
    )
    monkeypatch.setattr(
        objective,
        "reconstruction_loss",
        lambda y, x, kind: (targets.append(x), loss(y, x, kind))[1],
    )
    chosen = options(phantom_file, tmp_path / "run", augment=1, include_flagged=True)
    fit(chosen)
    train, _ = split(population, chosen.held_out, chosen.seed)
    prepared = population.prepared(Preprocessing.fit(population.sections(train)), train)
    plan = make_plan(chosen, (64, 80), len(train))
    assert len(inputs) == len(targets) == 6
    for x, target, batch in zip(inputs, targets, batch_order(plan, len(train)), strict=True):
        np.testing.assert_array_equal(target[:, 0], prepared[batch])
        assert not (x == target).all(dim=(1, 2, 3)).any()
        assert 0 <= x.min() <= x.max() <= 1


def test_an_interrupted_augmented_run_goes_on_to_the_same_bits(phantom_file, tmp_path, monkeypatch):
    from training.fitting.run_folder import RunFolder

    fit(options(phantom_file, tmp_path / "whole"))
    save = RunFolder.save_state

    def pull_the_plug(directory, state):
        save(directory, state)
        assert state["step"] == 3
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "save_state", pull_the_plug)
        fit(options(phantom_file, tmp_path / "cut", checkpoint_every=3))
    fit(options(phantom_file, tmp_path / "cut", checkpoint_every=3, resume=True))
    whole, cut = (
        torch.load(tmp_path / name / "state" / "state.pt", weights_only=True)["network"]
        for name in ("whole", "cut")
    )
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    fit(options(phantom_file, tmp_path / "plain", augment=0))
    plain = torch.load(tmp_path / "plain" / "state" / "state.pt", weights_only=True)["network"]
    assert not all(torch.equal(whole[name], plain[name]) for name in whole)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(share, tmp_path):
    with pytest.raises(ValueError, match="augment"):
        options(tmp_path, tmp_path, augment=share)


def test_a_run_killed_after_its_last_step_is_completed(phantom_file, tmp_path, monkeypatch):
    """Between the last saved state and the record that says so."""
    import json

    from training.fitting.run_folder import RunFolder

    write = RunFolder.write_record

    def pull_the_plug(directory, record):
        if record["status"] == "complete":
            raise KeyboardInterrupt
        write(directory, record)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "write_record", pull_the_plug)
        fit(options(phantom_file, tmp_path / "run"))
    fit(options(phantom_file, tmp_path / "run", resume=True))
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["status"] == "complete"
    assert record["active_factors"] <= 2
    assert (tmp_path / "run" / "model.safetensors").exists()
