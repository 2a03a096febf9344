"""The measures: reference values, closed forms, invariants, and what they refuse."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from scipy.stats import multivariate_normal
from skimage.data import camera

from napari_brainvae.io.errors import InputError
from napari_brainvae.metrics import image_quality as metrics
from napari_brainvae.metrics.cw_ssim import cw_ssim
from napari_brainvae.metrics.latent_use import active_units, elbo
from napari_brainvae.models.measures import kl_divergence

TRANSFORMS = ["steerable", "dtcwt"]


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def sections(rng, count=3, shape=(112, 128), dtype=np.float64):
    """Smooth random images with the grain of sections, in [0, 1]."""
    noise = gaussian_filter(rng.standard_normal((count, *shape)), (0, 2, 2))
    return (0.5 + noise / np.abs(noise).max() / 2).astype(dtype)


# CW-SSIM

CHANGES = {
    "half": lambda x: 0.5 * x,
    "shift 1": lambda x: np.roll(x, 1, axis=1),
    "shift 3": lambda x: np.roll(x, 3, axis=1),
    "blur 2": lambda x: gaussian_filter(x, 2),
    "blur 8": lambda x: gaussian_filter(x, 8),
}
FULL, CROP = np.s_[:, :], np.s_[96:416, 32:480]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        (FULL, [0.800000, 0.998544, 0.987024, 0.996093, 0.621872]),
        (CROP, [0.800000, 0.998603, 0.987537, 0.995965, 0.602881]),
    ],
    ids=["512x512", "320x448"],
)
def test_the_steerable_convention_of_cwssim_index(crop, expected, dtype):
    image = (camera() / 255.0)[crop]
    values = [cw_ssim(image.astype(dtype), f(image).astype(dtype)) for f in CHANGES.values()]
    assert_allclose(values, expected, atol=2e-6)


@pytest.mark.parametrize("transform", TRANSFORMS)
@given(
    seed=st.integers(0, 2**32 - 1),
    factor=st.floats(0.05, 20),
    constant=st.floats(-2, 2),
    height=st.integers(97, 110),
    width=st.integers(97, 130),
)
@settings(max_examples=15, deadline=None)
def test_identities_on_random_images(transform, seed, factor, constant, height, width):
    x, y = np.random.default_rng(seed).random((2, height, width))

    def similarity(a, b):
        return cw_ssim(a, b, transform=transform)

    assert similarity(x, x) == pytest.approx(1, abs=1e-12)
    assert similarity(x, x + constant) == pytest.approx(1, abs=1e-9)
    assert similarity(x, factor * x) == pytest.approx(2 * factor / (1 + factor**2), abs=1e-9)
    assert similarity(x, -x) == pytest.approx(1, abs=1e-12)  # a phase shift by half a turn
    assert similarity(x, y) == pytest.approx(similarity(y, x), abs=1e-12)
    assert 0 <= similarity(x, y) < 1


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_falls_with_shift(transform, rng):
    image = sections(rng, 1, (160, 160))[0]
    values = [cw_ssim(image, np.roll(image, s, axis=0), transform=transform) for s in range(6)]
    assert (np.diff(values) < 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_batches_give_what_single_pairs_give(transform, dtype, rng, monkeypatch):
    x = sections(rng, 7, dtype=dtype)
    y = (x + 0.1 * rng.standard_normal(x.shape)).astype(dtype)
    whole = cw_ssim(x, y, transform=transform)
    assert whole.shape == (7,)
    single = [cw_ssim(a, b, transform=transform) for a, b in zip(x, y, strict=True)]
    assert all(isinstance(value, float) for value in single)
    monkeypatch.setattr("napari_brainvae.metrics.cw_ssim._PIXELS_AT_ONCE", 3 * x[0].size)
    tolerance = 100 * np.finfo(dtype).eps
    assert_allclose(single, whole, atol=tolerance)
    assert_allclose(cw_ssim(x, y, transform=transform), whole, atol=tolerance)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
        ),
    ],
)
def test_tensors_give_what_arrays_give(transform, device, rng):
    x = sections(rng, dtype=np.float32)
    y = x[::-1]  # a view with a negative stride
    y.setflags(write=False)
    tensors = (torch.tensor(np.array(v), device=device) for v in (x, y))
    by_tensor = cw_ssim(*tensors, transform=transform)
    assert isinstance(by_tensor, np.ndarray)
    assert_allclose(by_tensor, cw_ssim(x, y, transform=transform), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_silence_is_never_nan(transform, dtype):
    """Constant images, and gratings that leave most orientations silent."""
    flat = np.ones((128, 128), dtype)
    bars = np.tile((np.arange(128) // 16 % 2).astype(dtype), (128, 1))
    for a, b, expected in [
        (0 * flat, 0 * flat, 1),
        (0.3 * flat, 0.7 * flat, 1),
        (0 * flat, 0.7 * flat, 1),
        (bars, bars / 2, 0.8),
        (bars, 0 * flat, 0),
        (dtype(1e-30) * bars, dtype(2e-30) * bars, 0.8),
        (dtype(1e30) * bars, dtype(2e30) * bars, 0.8),
    ]:
        assert cw_ssim(a, b, transform=transform) == pytest.approx(expected, abs=1e-5)
    assert cw_ssim(1e-30 * flat, 0 * flat, transform=transform, K=1) == 1
    half_empty = bars * (np.arange(128) < 64)[:, None]
    assert cw_ssim(half_empty, half_empty, transform=transform) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_weights_choose_where(transform, rng):
    x = sections(rng, 1, (256, 256), np.float32)[0]
    y = x.copy()
    y[:, 128:] = sections(rng, 1, (256, 128), np.float32)[0]
    options = {"transform": transform, "level": 3}
    left, right = np.zeros((2, 256, 256), bool)
    left[:, 44:84], right[:, -84:-44] = True, True  # away from the seams: the FFT wraps around
    uniform = cw_ssim(x, y, weights="uniform", **options)
    assert cw_ssim(x, y, weights=left, **options) > 0.99
    assert cw_ssim(x, y, weights=right, **options) < 0.7
    assert cw_ssim(x, y, weights=np.full((256, 256), 3), **options) == pytest.approx(uniform)
    assert cw_ssim(x, y, weights=torch.tensor(left), **options) == pytest.approx(
        cw_ssim(x, y, weights=left, **options)
    )


def test_gaussian_weights_neglect_the_lateral_cortex(rng):
    """Why a mask is offered: what is changed in the outer eighths hardly shows."""
    x = sections(rng, 1, (320, 448))[0]
    y = x.copy()
    y[:, :56], y[:, -56:] = y[::-1, :56], y[::-1, -56:]
    lateral = np.ones(x.shape)
    lateral[:, 56:-56] = 0
    assert cw_ssim(x, y) > 0.97
    assert cw_ssim(x, y, weights="uniform") < 0.95
    assert cw_ssim(x, y, weights=lateral) < 0.7


def test_damping_forgives_faint_background(rng):
    x = np.zeros((192, 192))
    x[60:132, 60:132] = sections(rng, 1, (72, 72))[0]
    y = np.clip(x + 1e-3 * rng.random(x.shape), 0, 1)
    options = {"transform": "dtcwt", "weights": "uniform"}
    assert cw_ssim(x, y, **options) < 0.95
    assert cw_ssim(x, y, K=1e-3, **options) > 0.99


def test_dtcwt_is_the_mean_over_scales(rng):
    """The coefficients by a direct call of the library, pooled by hand."""
    x, y = sections(rng, 2, (96, 112))
    ours = cw_ssim(x, y, transform="dtcwt", level=3, weights="uniform")
    from pytorch_wavelets import DTCWTForward  # its first import, above, was kept quiet

    forward = DTCWTForward(J=3, biort="near_sym_b", qshift="qshift_b").double()
    by_scale = [
        [torch.view_as_complex(c.contiguous())[0, 0].numpy() for c in forward(t)[1]]
        for t in (torch.tensor(x)[None, None], torch.tensor(y)[None, None])
    ]

    def window(values):
        return sliding_window_view(values, (7, 7), axis=(1, 2)).sum((-1, -2))

    means = [
        (2 * abs(window(c * d.conj())) / window(abs(c) ** 2 + abs(d) ** 2)).mean()
        for c, d in zip(*by_scale, strict=True)
    ]
    assert ours == pytest.approx(np.mean(means), abs=1e-6)


def test_no_warning_of_the_wavelet_library_escapes():
    code = """
import numpy as np
from napari_brainvae.metrics.cw_ssim import cw_ssim
assert cw_ssim(np.eye(64), np.eye(64), transform="dtcwt", level=2) > 0.999
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


IMAGE = np.eye(112)


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (IMAGE, IMAGE[:-1], {}, "different shapes"),
        (IMAGE, IMAGE[None], {}, "different shapes"),
        (IMAGE[0], IMAGE[0], {}, r"\(H, W\)"),
        (IMAGE[None, None], IMAGE[None, None], {}, r"\(H, W\)"),
        (IMAGE, IMAGE * np.nan, {}, "NaN"),
        (np.where(IMAGE > 0, np.inf, 0), IMAGE, {}, "NaN or infinite"),
        (IMAGE[:48], IMAGE[:48], {}, "too small for level 4"),
        (IMAGE[:, :96], IMAGE[:, :96], {"transform": "dtcwt"}, "too small for level 4"),
        (IMAGE[:0], IMAGE[:0], {}, "too small"),
        (IMAGE, IMAGE, {"level": 0}, "at least 1"),
        (IMAGE, IMAGE, {"orientations": 0}, "at least 1"),
        (IMAGE, IMAGE, {"transform": "haar"}, "haar"),
        (IMAGE, IMAGE, {"K": -1}, "K must"),
        (IMAGE, IMAGE, {"K": math.nan}, "K must"),
        (IMAGE, IMAGE, {"weights": "flat"}, "flat"),
        (IMAGE, IMAGE, {"weights": IMAGE[:-1]}, "shape"),
        (IMAGE, IMAGE, {"weights": -IMAGE}, "not negative"),
        (IMAGE, IMAGE, {"weights": IMAGE * np.nan}, "finite"),
        (IMAGE, IMAGE, {"weights": 0 * IMAGE}, "zero"),
    ],
)
def test_cw_ssim_refuses(a, b, options, message):
    with pytest.raises(ValueError, match=message):
        cw_ssim(a, b, **options)


def test_the_smallest_images_and_no_images():
    assert cw_ssim(IMAGE[:49], IMAGE[:49]) == pytest.approx(1)
    assert cw_ssim(IMAGE[:97], IMAGE[:97], transform="dtcwt") == pytest.approx(1)
    assert cw_ssim(np.zeros((0, 64, 64)), np.zeros((0, 64, 64))).shape == (0,)


# MSE, PSNR, SSIM


def test_image_quality(rng):
    x = sections(rng, dtype=np.float32)
    quality = metrics.image_quality(x, torch.tensor(x) + 0.1)
    assert_allclose(quality["mse"], 0.01, rtol=1e-5)
    assert_allclose(quality["psnr"], 20, rtol=1e-5)
    assert ((quality["ssim"] < 1) & (quality["ssim"] > 0)).all()
    same = metrics.image_quality(x, x)
    assert_allclose(same["ssim"], 1)
    assert np.isinf(same["psnr"]).all()


# PCA-Frechet distance


def by_svd(images):
    """Mean, components and eigenvalues (denominator N - 1), the long way."""
    flat = images.reshape(len(images), -1)
    mean = flat.mean(0)
    _, singular, components = np.linalg.svd(flat - mean, full_matrices=False)
    return mean, components, singular**2 / (len(images) - 1)


@pytest.mark.parametrize(("count", "latent"), [(40, 3), (40, 0), (40, 29), (90, 10)])
def test_pca_reconstructions_are_at_the_sum_of_the_lost_eigenvalues(rng, count, latent):
    """Also with 90 images of 80 pixels: more images than pixels."""
    k = 30
    images = sections(rng, count, (8, 10)) * 0.9 ** np.arange(80).reshape(8, 10)
    mean, components, eigenvalues = by_svd(images)
    scores = (images.reshape(count, -1) - mean) @ components[:latent].T
    drawn = (mean + scores @ components[:latent]).reshape(images.shape)
    distance = metrics.pca_frechet_distance(images, drawn, components=k)
    assert distance == pytest.approx(eigenvalues[latent:k].sum(), rel=1e-6)


def test_shift_and_scale_have_closed_forms(rng):
    images = sections(rng, 30, (8, 10))
    mean, components, eigenvalues = by_svd(images)
    assert metrics.pca_frechet_distance(images, images) < 1e-12 * eigenvalues.sum()
    assert metrics.pca_frechet_distance(images, images[::-1]) < 1e-12 * eigenvalues.sum()
    shifted = images + (0.3 * components[2]).reshape(8, 10)
    assert metrics.pca_frechet_distance(images, shifted) == pytest.approx(0.09)
    assert metrics.pca_frechet_distance(images, shifted, components=2) == pytest.approx(0)
    wider = mean.reshape(8, 10) + 3 * (images - mean.reshape(8, 10))
    expected = 4 * eigenvalues[:5].sum()
    assert metrics.pca_frechet_distance(images, wider, components=5) == pytest.approx(expected)


def test_frechet_by_the_textbook(rng):
    real, generated = sections(rng, 60, (9, 11)), sections(rng, 45, (9, 11))
    mean, components, _ = by_svd(real)
    a, b = ((x.reshape(len(x), -1) - mean) @ components[:12].T for x in (real, generated))
    s_a, s_b = np.cov(a.T), np.cov(b.T)
    means = np.square(a.mean(0) - b.mean(0)).sum()
    textbook = means + np.trace(s_a + s_b - 2 * sqrtm(s_a @ s_b).real)
    measure = metrics.pca_frechet_distance
    assert measure(real, generated, components=12) == pytest.approx(textbook, rel=1e-9)
    assert measure(torch.tensor(real), generated, components=12) == pytest.approx(textbook)
    single = measure(real.astype("f4"), generated.astype("f4"), components=12)
    assert single == pytest.approx(textbook, rel=1e-4)


def test_components_are_capped_by_what_the_sample_supports(rng, monkeypatch):
    real, generated = sections(rng, 6, (9, 11)), sections(rng, 4, (9, 11))
    capped = metrics.pca_frechet_distance(real, generated)
    assert capped == metrics.pca_frechet_distance(real, generated, components=5)
    assert math.isfinite(capped)
    twice = np.concatenate([real, real])  # rank 5, not 11
    assert math.isfinite(metrics.pca_frechet_distance(twice, generated))
    flat = np.full_like(generated, 0.5)
    assert math.isfinite(metrics.pca_frechet_distance(real, flat))
    monkeypatch.setattr(metrics, "_VALUES_AT_ONCE", 100)  # blocks of 10 pixels, the last smaller
    assert metrics.pca_frechet_distance(real, generated) == pytest.approx(capped, rel=1e-9)


def test_split_half_floor(rng):
    """Half against half: below another population, and falling with the number of images."""
    images = sections(rng, 400, (8, 10))
    other = 0.5 + 2 * (images - 0.5)
    floor = metrics.split_half_floor(images, components=10)
    assert 0 < floor < metrics.pca_frechet_distance(images, other, components=10) / 10
    few = [metrics.split_half_floor(images[i::10], components=10) for i in range(10)]
    assert floor < np.mean(few) / 5
    assert floor == metrics.split_half_floor(torch.tensor(images), components=10)
    assert floor != metrics.split_half_floor(images, components=10, seed=1)
    assert metrics.split_half_floor(np.repeat(images[:1], 4, 0) + images[:4]) >= 0


SET = np.random.default_rng(0).random((5, 8, 8))


@pytest.mark.parametrize(
    ("real", "generated", "components", "message"),
    [
        (SET, SET[:, :-1], 5, "of one size"),
        (SET[0], SET[0], 5, "N, H, W"),
        (SET[:1], SET, 5, "at least 2"),
        (SET, SET[:1], 5, "at least 2"),
        (SET, SET[:0], 5, "at least 2"),
        (SET, SET, 0, "at least 1"),
        (SET * np.nan, SET, 5, "NaN"),
        (SET, SET * np.inf, 5, "NaN or infinite"),
        (np.full((5, 8, 8), 0.1), SET, 5, "all equal"),
        (np.full((5, 8, 8), 0.1), np.full((5, 8, 8), 0.1), 5, "all equal"),
    ],
)
def test_frechet_refuses(real, generated, components, message):
    with pytest.raises(ValueError, match=message):
        metrics.pca_frechet_distance(real, generated, components=components)


def test_split_half_needs_four():
    with pytest.raises(ValueError, match="at least 4"):
        metrics.split_half_floor(SET[:3])


# Use of the latent space


def test_active_units_and_kl(rng):
    mean = rng.standard_normal((5000, 3)) * [1, 0.05, 2]
    assert active_units(mean) == 2
    assert active_units(mean, threshold=0.001) == 3
    log_variance = np.log([[0.5, 1.0, 0.1]]).repeat(5000, axis=0)
    normal = torch.distributions.Normal
    posterior = normal(torch.tensor(mean), torch.tensor(log_variance / 2).exp())
    theirs = torch.distributions.kl_divergence(posterior, normal(0.0, 1.0)).mean(0)
    assert_allclose(kl_divergence(mean, log_variance).mean(0), theirs)
    assert_allclose(kl_divergence(np.zeros((4, 2)), np.zeros((4, 2))), 0)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_elbo_is_that_of_a_gaussian_with_variance_half_beta(beta, rng):
    images, drawn = sections(rng, 4, (6, 7), np.float32), sections(rng, 4, (6, 7), np.float32)
    mean, log_variance = rng.standard_normal((2, 4, 3))
    likelihood = torch.distributions.Normal(torch.tensor(drawn).double(), math.sqrt(beta / 2))
    log_likelihood = likelihood.log_prob(torch.tensor(images).double()).sum((1, 2)).numpy()
    kl = kl_divergence(mean, log_variance).sum(1)
    bound = elbo(images, torch.tensor(drawn), mean, log_variance, beta)
    assert_allclose(bound, log_likelihood - kl, rtol=1e-9)
    # The training loss is -beta times the bound, but for a constant.
    loss = np.square(images - drawn, dtype=float).sum((1, 2)) + beta * np.array(kl)
    assert_allclose(np.diff(loss), np.diff(-beta * bound), rtol=1e-6)


def test_elbo_is_a_bound(rng):
    """Against the exact evidence of a linear model: equal at the exact posterior."""
    beta, n, d = 0.6, 3, 12
    weight, images = rng.standard_normal(d), rng.standard_normal((n, 3, 4))
    flat = images.reshape(n, d)
    precision = 1 + weight @ weight / (beta / 2)
    mean = (flat @ weight / (beta / 2) / precision)[:, None]
    log_variance = np.full((n, 1), -math.log(precision))
    # The expected squared error adds |w|^2 Var z to the error at the mean.
    at_mean = elbo(images, (mean * weight).reshape(images.shape), mean, log_variance, beta)
    exact_bound = at_mean - weight @ weight / precision / beta
    covariance = np.outer(weight, weight) + beta / 2 * np.eye(d)
    evidence = multivariate_normal(np.zeros(d), covariance).logpdf(flat)
    assert_allclose(exact_bound, evidence, rtol=1e-9)


CODES = np.zeros((5, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SET, SET[:-1], CODES, CODES, 1), "of one shape"),
        ((SET[0], SET[0], CODES, CODES, 1), "N, H, W"),
        ((SET, SET * np.nan, CODES, CODES, 1), "NaN"),
        ((SET, SET, CODES[:-1], CODES[:-1], 1), "5 images but 4 codes"),
        ((SET, SET, CODES, CODES[:-1], 1), "log-variances"),
        ((SET, SET, CODES, CODES * np.nan, 1), "NaN"),
        ((SET, SET, CODES, CODES, 0), "beta"),
        ((SET, SET, CODES, CODES, math.nan), "beta"),
    ],
)
def test_elbo_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        elbo(*arguments)


def test_images_may_be_lists():
    images = np.random.default_rng(0).random((4, 64, 64))
    halves = (0.5 * images).tolist()
    assert_allclose(cw_ssim(images.tolist(), halves), cw_ssim(images, 0.5 * images))
    assert metrics.pca_frechet_distance(images.tolist(), halves) == metrics.pca_frechet_distance(
        images, 0.5 * images
    )
    with pytest.raises(InputError, match="real numbers"):
        cw_ssim("one", "other")
