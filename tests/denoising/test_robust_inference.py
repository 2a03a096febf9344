from __future__ import annotations

from copy import copy

import numpy as np
import pytest
import scipy

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.denoising.reconstruction import denoise_sections
from napari_brainvae.denoising.robust_inference import ROUNDS, robust_inference
from napari_brainvae.io.progress import Stopped
from napari_brainvae.models.header import Reference
from napari_brainvae.models.measures import squared_error
from napari_brainvae.models.pca import PCA, trimmed_components
from napari_brainvae.models.residual_spread import residual_spread
from napari_brainvae.phantom.phantom import (
    Phantom,
    PhantomOptions,
    section_from_atlas,
    write_phantom,
)
from tests.linear_model import LinearModel
from training.evaluation.held_out_metrics import HeldOut

SHAPE = (64, 72)
SPOT = (slice(20, 32), slice(30, 44))


@pytest.fixture
def patterns(rng):
    """Three orthonormal smooth patterns without a mean, ``(3, H, W)``."""
    y, x = np.indices(SHAPE) / np.array(SHAPE)[:, None, None]
    waves = np.stack([np.cos(2 * np.pi * (k * y + (3 - k) * x)) for k in (1, 2, 3)])
    flat, _ = np.linalg.qr(np.c_[np.ones(y.size), waves.reshape(3, -1).T])
    return flat.T[1:].reshape(3, *SHAPE)


@pytest.fixture
def model(patterns):
    return LinearModel(patterns)


@pytest.fixture
def codes(rng):
    return rng.normal(size=(4, 3)) * 2


@pytest.fixture
def truth(model, codes):
    return model.decode(codes)


def test_a_section_that_the_model_explains_is_left_alone(model, truth, codes):
    repair = robust_inference(model, truth)
    assert not repair.artifact.any()
    np.testing.assert_allclose(repair.mean, codes, atol=1e-4)
    np.testing.assert_allclose(repair.repaired, truth, atol=1e-5)
    np.testing.assert_allclose(repair.gain, 1, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_planted_artifact_is_marked_and_repaired(model, truth, codes, value, noise, rng):
    corrupted = truth + noise * rng.normal(size=truth.shape).astype(np.float32)
    corrupted[:, *SPOT] = value
    corrupted = np.clip(corrupted, 0, 1)
    repair = robust_inference(model, corrupted)
    planted = np.zeros(SHAPE, dtype=bool)
    planted[SPOT] = True
    assert repair.artifact[:, planted].all()
    assert repair.artifact[:, ~planted].mean() < 0.05
    plain = np.abs(model.encode(corrupted)[0] - codes).max()
    # A code is a sum over all pixels with unit weights: its error has the noise's deviation.
    assert np.abs(repair.mean - codes).max() < min(0.1 * plain, 6 * noise + 0.02)
    np.testing.assert_allclose(repair.repaired, truth, atol=6 * noise + 0.01)
    np.testing.assert_array_equal(repair.reconstruction, model.decode(repair.mean))


def test_at_the_end_stands_the_best_fit_to_the_other_pixels(model, truth, patterns, rng):
    """Expectation maximisation: least squares over what is not marked, section by section."""
    corrupted = truth + 0.01 * rng.normal(size=truth.shape).astype(np.float32)
    corrupted[:, *SPOT] = 1
    repair = robust_inference(model, corrupted)
    for section, gain, artifact, mean in zip(
        np.clip(corrupted, 0, 1), repair.gain, repair.artifact, repair.mean, strict=True
    ):
        design = patterns[:, ~artifact].T
        best = np.linalg.lstsq(design, gain * section[~artifact] - model.offset, rcond=None)[0]
        np.testing.assert_allclose(mean, best, atol=2e-3)


@pytest.mark.parametrize("change", [0.8, 1.25])
def test_what_the_artifact_did_to_the_brightness_is_undone(model, truth, codes, change):
    corrupted = change * truth
    corrupted[:, *SPOT] = 1
    repair = robust_inference(model, np.clip(corrupted, 0, 1))
    # The offset of this model cannot scale with the section, so the gain alone explains it.
    np.testing.assert_allclose(repair.gain, 1 / change, rtol=0.02)
    np.testing.assert_allclose(repair.mean, codes, atol=0.2)


def test_sections_do_not_depend_on_their_neighbours(model, truth):
    corrupted = truth.copy()
    corrupted[0, *SPOT] = 1
    together, alone = robust_inference(model, corrupted), robust_inference(model, corrupted[:1])
    np.testing.assert_array_equal(together.artifact[:1], alone.artifact)
    np.testing.assert_allclose(together.mean[:1], alone.mean, atol=1e-5)


def test_it_works_with_pca_on_a_phantom(population, phantom_file):
    """Missing tissue and leakage of the phantom: nearer to the clean truth than plain PCA."""
    everything = list(range(len(population)))
    preprocessing = Preprocessing.fit(population.sections())
    held = HeldOut.read(phantom_file, population, preprocessing, everything)
    model = PCA.fit(held.sections[held.artifact == "none"], 4, preprocessing=preprocessing)
    repair = robust_inference(model, held.sections)
    gone = np.isin(held.artifact, ["missing", "leakage"])
    assert gone.any()
    plain = squared_error(held.clean, model.reconstruct(held.sections))
    robust = squared_error(held.clean, repair.reconstruction)
    assert robust[gone].mean() < plain[gone].mean()
    assert repair.repaired.min() >= 0
    assert repair.repaired.max() <= 1


@pytest.fixture(scope="module")
def planted(shared_data, tmp_path_factory):
    """Trimmed PCA on brains of the real template, others with their truth, and where STR is."""
    template = section_from_atlas(Atlas.open(shared_data / "ccf"), 293, 96, 128)
    folder = tmp_path_factory.mktemp("planted")
    files = {"fit": (240, 0.2, 11), "test": (80, 0.75, 12)}
    for name, (count, artifacts, seed) in files.items():
        options = PhantomOptions(count=count, artifacts=artifacts, seed=seed, height=96, width=128)
        write_phantom(Phantom(template, options), folder / f"{name}.zarr")
    preprocessing = Preprocessing.fit(Population.open(folder / "fit.zarr").sections())
    fit, held = (
        HeldOut.read(
            folder / f"{name}.zarr",
            Population.open(folder / f"{name}.zarr"),
            preprocessing,
            list(range(count)),
        )
        for name, (count, _, _) in files.items()
    )
    header = PCA.fit(fit.sections, 8, preprocessing=preprocessing).header
    model = PCA(header, *trimmed_components(fit.sections, 8))
    mean, log_variance = model.encode(fit.sections)
    decoded = model.decode(mean)
    model.header.reference = Reference.measure(
        squared_error(fit.sections, decoded),
        mean,
        log_variance,
        residual_spread(fit.sections, decoded),
    )
    striatum = template.tree.within(template.annotation, "STR")
    return model, held, striatum


def test_denoised_is_within_5_percent_of_what_the_model_makes_of_the_clean_truth(planted):
    """On average, and no brain is lost: holes in one region once drew extreme codes."""
    model, held, _ = planted
    floor = squared_error(held.clean, model.reconstruct(held.clean))
    seen = denoise_sections(model, held.sections)
    error = squared_error(held.clean, seen.reconstructions)
    plain = squared_error(held.clean, model.reconstruct(held.sections))
    for kind in ("leakage", "missing"):
        of_kind = held.artifact == kind
        assert of_kind.sum() >= 10
        assert plain[of_kind].mean() > 1.25 * floor[of_kind].mean(), "there is something to mend"
        assert error[of_kind].mean() <= 1.05 * floor[of_kind].mean()
        assert (error[of_kind] < 2 * floor[of_kind]).all()
    assert np.array_equal(seen.reconstructions[~seen.outlier], model.reconstruct(
        held.sections)[~seen.outlier])  # fmt: skip
    assert not seen.outlier[held.artifact == "none"].any()


def test_clean_striatum_is_not_marked(planted):
    """Fine anatomy that the model leaves out in every brain is no artifact in any of them."""
    model, held, striatum = planted
    seen = robust_inference(model, held.sections)
    near = np.stack([scipy.ndimage.binary_dilation(mask, iterations=3) for mask in held.mask])
    clean = striatum & ~near & (held.artifact != "grid")[:, None, None]
    assert clean.sum() > 10_000
    assert seen.artifact[clean].mean() < 1e-3


def test_an_old_checkpoint_does_not_say_what_is_usual_and_artifacts_are_found_all_the_same(planted):
    model, held, _ = planted
    old = copy(model)
    old.header = model.header.model_copy(
        update={"reference": model.header.reference.model_copy(update={"residual_spread": None})}
    )
    seen, plain = denoise_sections(old, held.sections), old.reconstruct(held.sections)
    gone = np.isin(held.artifact, ["missing", "leakage"])
    error, before = (
        squared_error(held.clean, each)[gone].mean() for each in (seen.reconstructions, plain)
    )
    assert error < 0.8 * before


def test_progress_can_stop_it(model, truth):
    calls = []
    robust_inference(model, truth, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, ROUNDS) for i in range(ROUNDS + 1)]
    with pytest.raises(Stopped):
        robust_inference(model, truth, progress=lambda done, total: done < 2)


@pytest.mark.parametrize("shape", [(64, 72), (1, 64, 64), (0, 32, 72)])
def test_sections_of_another_size_are_refused(model, shape):
    with pytest.raises(ValueError, match="64 x 72"):
        robust_inference(model, np.zeros(shape, np.float32))


def test_nothing_to_see_is_no_error(model):
    dark = robust_inference(LinearModel(np.zeros((1, *SHAPE)), offset=0.0), np.zeros((1, *SHAPE)))
    assert not dark.artifact.any()
    assert np.isfinite(dark.mean).all()
