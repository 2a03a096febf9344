"""Recipe displacing: planted displacement is found, artifacts are not learned, runs go on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy

from napari_brainvae.factors.shape_and_brightness import shape_and_brightness
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Stopped
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.displacing_network import fine
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.measures import squared_error
from napari_brainvae.models.pca import trimmed_components
from napari_brainvae.phantom.phantom import draw_section
from training.fit import fit

SHAPE, FITTED, PIXELS = (64, 80), 64, 2.0


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Brains in which the lower half moves down by 2 px per SD, and the left gets brighter."""
    rng = np.random.default_rng(0)
    section = scipy.ndimage.gaussian_filter(draw_section(*SHAPE).template.astype(float), 0.7)
    codes = rng.normal(size=(FITTED + 24, 2)).clip(-2, 2)
    rows, columns = np.indices(SHAPE, dtype=float)
    moved = scipy.special.expit((rows - 30) / 4)
    brighter = 0.15 * scipy.special.expit((30 - columns) / 4)
    images = []
    for shift, light in codes:
        changed = section * (1 + light * brighter)
        where = [rows - PIXELS * shift * moved, columns]
        images.append(scipy.ndimage.map_coordinates(changed, where, order=1, mode="nearest"))
    images = np.stack(images) + 0.01 * rng.normal(size=(len(codes), *SHAPE))
    path = tmp_path_factory.mktemp("planted") / "brains.npy"
    np.save(path, images.clip(0, None).astype(np.float32))
    return path, codes, moved


@pytest.fixture(scope="module")
def run(planted, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    options = FitOptions(
        population=planted[0], out=out, recipe="displacing", latent_dim=2, steps=120, batch_size=16
    )
    fit(options, members=list(range(FITTED)), halves=False)
    return out


def sections(path, model, which):
    return model.header.preprocessing.apply(np.load(path)[which])


def test_planted_codes_and_pixels_are_found(planted, run):
    path, codes, moved = planted
    model = load_checkpoint(run / "model.safetensors")
    found, _ = model.encode(sections(path, model, slice(FITTED, None)))
    related = np.corrcoef(found.T, codes[FITTED:].T)[:2, 2:]
    assert np.abs(related).max(axis=0).min() > 0.97
    first, second = (int(each) for each in np.abs(related).argmax(axis=0))
    moves, lights = shape_and_brightness(model, first), shape_and_brightness(model, second)
    assert moves.displacement_share > 0.7
    assert lights.brightness_share > 0.7
    # Its SD is that of its codes, which are the planted ones.
    assert moves.displacement_peak == pytest.approx(PIXELS * codes[:FITTED, 0].std(), rel=0.3)
    # The model's own field: where there are edges, tissue of the lower half alone moves.
    fields = fine(model.network.displacement.detach(), SHAPE).numpy()[:, 0]
    rows = np.abs(np.tensordot(model.rotation[:, first], fields, 1))
    edges = np.square(np.gradient(model.decode(np.zeros((1, 2)))[0], axis=0))
    below, above = (np.average(rows, weights=edges * half) for half in (moved > 0.9, moved < 0.05))
    assert above < 0.1 * below


def test_it_draws_other_brains_better_than_as_many_linear_factors(planted, run):
    path, _, _ = planted
    model = load_checkpoint(run / "model.safetensors")
    others = sections(path, model, slice(FITTED, None))
    mean, components, _ = trimmed_components(sections(path, model, slice(FITTED)), 2)
    rows = components.reshape(2, -1)
    linear = mean + ((others - mean).reshape(len(others), -1) @ rows.T @ rows).reshape(others.shape)
    assert squared_error(others, model.reconstruct(others)).mean() < 0.7 * (
        squared_error(others, linear).mean()
    )


def test_a_run_that_was_stopped_ends_as_one_that_was_not(planted, tmp_path):
    def options(out, **more):
        return FitOptions(
            population=planted[0], out=tmp_path / out, recipe="displacing", latent_dim=2, steps=6,
            batch_size=16, log_every=1, **more,
        )  # fmt: skip

    def stop(done, total):
        return done < 3

    fit(options("whole"), halves=False)
    with pytest.raises(Stopped):
        fit(options("stopped"), progress=stop, halves=False)
    fit(options("stopped", resume=True), halves=False)
    whole, stopped = (
        load_checkpoint(tmp_path / out / "model.safetensors") for out in ("whole", "stopped")
    )
    for name, tensor in whole.tensors().items():
        assert np.array_equal(tensor, stopped.tensors()[name]), name
    told = whole.header.training
    assert told["displacement_gain"] == pytest.approx(
        1 - told["held_out_error"] / told["linear_held_out_error"]
    )
    assert whole.header.rotation is not None
    history = pd.read_csv(tmp_path / "stopped" / "history.csv")
    assert history["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert {"reconstruction", "kl_1", "kl_2", "rate"} <= set(history)


@pytest.mark.parametrize(
    ("more", "message"), [({"loss": "bernoulli"}, "bernoulli"), ({"capture": True}, "capture")]
)
def test_what_it_cannot_do_is_refused_before_anything_is_written(planted, tmp_path, more, message):
    out = tmp_path / "run"
    with pytest.raises(InputError, match=message):
        fit(FitOptions(population=planted[0], out=out, recipe="displacing", **more))
    assert not out.exists()
