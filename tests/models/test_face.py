"""What every model takes and gives: the face that notebooks rely on, whatever lies beneath."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_brainvae import PCA, BetaVAE, InputError, rotate_factors
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.header import Header

SIZE = (65, 97)
SECTIONS = np.random.default_rng(0).random((6, *SIZE), dtype=np.float32)


def network() -> BetaVAE:
    torch.manual_seed(0)
    done = Preprocessing(height=SIZE[0], width=SIZE[1])
    return BetaVAE(
        Header(kind="vae", height=SIZE[0], width=SIZE[1], latent_dim=2, preprocessing=done)
    )


@pytest.fixture(params=["PCA", "VAE"], scope="module")
def model(request):
    return PCA.fit(SECTIONS, 2) if request.param == "PCA" else network()


def read_only():
    sections = SECTIONS.copy()
    sections.setflags(write=False)
    return sections


SAME = {
    "float64": lambda: SECTIONS.astype(np.float64),
    "nested lists": SECTIONS.tolist,
    "a tensor": lambda: torch.from_numpy(SECTIONS.copy()),
    "column by column": lambda: np.asfortranarray(SECTIONS),
    "a reversed view": lambda: SECTIONS[::-1].copy()[::-1],
    "read-only": read_only,
}


@pytest.mark.parametrize("given", SAME.values(), ids=list(SAME))
def test_sections_are_encoded_the_same_in_whatever_array_they_come(model, given):
    mean, log_variance = model.encode(given())
    assert np.allclose(mean, model.encode(SECTIONS)[0], atol=1e-4)
    assert mean.dtype == log_variance.dtype == np.float32


def test_latents_may_be_lists_and_whole_numbers(model):
    zero = model.decode(np.zeros((1, 2), np.float32))
    for latents in ([[0, 0]], np.zeros((1, 2)), np.zeros((2, 2), int)[::-1][:1]):
        assert np.array_equal(model.decode(latents), zero)
    assert zero.shape == (1, *SIZE)


def test_no_sections_have_no_codes(model):
    mean, log_variance = model.encode(SECTIONS[:0])
    assert mean.shape == log_variance.shape == (0, 2)
    assert model.decode(mean).shape == (0, *SIZE)


BAD_SECTIONS = {
    "one section": (SECTIONS[0], "as \\(N, H, W\\)"),
    "another size": (SECTIONS[:, 1:], "65 x 97 px"),
    "NaN": (np.where(SECTIONS > 0.5, np.nan, SECTIONS), "NaN"),
    "infinite in single precision": (SECTIONS.astype(np.float64) * 1e300, "infinite"),
    "complex": (SECTIONS * 1j, "real numbers"),
    "text": ("sections", "real numbers"),
    "nothing": (None, "real numbers"),
    "unequal lists": ([[1], [1, 2]], "one array of numbers"),
}


@pytest.mark.parametrize(("sections", "message"), BAD_SECTIONS.values(), ids=list(BAD_SECTIONS))
def test_what_is_no_sections_is_bad_input(model, sections, message):
    with pytest.raises(InputError, match=message):
        model.encode(sections)


BAD_LATENTS = {
    "one brain's": ([0, 0], "\\(N, L\\)"),
    "another L": ([[0, 0, 0]], "2 latent factors"),
    "NaN": ([[0, np.nan]], "NaN"),
    "text": ("latents", "real numbers"),
}


@pytest.mark.parametrize(("latents", "message"), BAD_LATENTS.values(), ids=list(BAD_LATENTS))
def test_what_is_no_latents_is_bad_input(model, latents, message):
    with pytest.raises(InputError, match=message):
        model.decode(latents)


def test_a_rotation_that_there_is_not_is_bad_input(model):
    with pytest.raises(InputError, match="'varimax' or 'none'"):
        rotate_factors(model, SECTIONS, "oblimin")


BAD_FITS = {
    "no factors": (SECTIONS, 0, "at least 1"),
    "half a factor": (SECTIONS, 1.5, "whole number"),
    "one section": (SECTIONS[0], 1, "\\(N, H, W\\)"),
    "NaN": (SECTIONS * np.nan, 1, "NaN"),
}


@pytest.mark.parametrize(("sections", "count", "message"), BAD_FITS.values(), ids=list(BAD_FITS))
def test_what_pca_cannot_be_fitted_to_is_bad_input(sections, count, message):
    with pytest.raises(InputError, match=message):
        PCA.fit(sections, count)
