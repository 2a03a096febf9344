"""What is tissue: one rule for where it is, one for how bright; each by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from skimage.filters import threshold_otsu

from napari_brainvae.data.tissue import (
    brain_mask,
    decoded_tissue,
    tissue_level,
    tissue_mask,
    tissue_without_specks,
)

SHAPE = (64, 80)
RULES = (tissue_mask, brain_mask, tissue_without_specks, decoded_tissue)


@pytest.fixture
def section():
    """Tissue of 0.6 with a tract of 0.4 and a ventricle of 0, on a black ground with a speck."""
    image = np.zeros(SHAPE, np.float32)
    image[5:60, 10:70] = 0.6
    image[20:30, 20:30] = 0.4
    image[40:45, 30:50] = 0
    image[2, 2] = 0.6
    return image


def test_tissue_is_what_is_no_glass(section):
    assert_array_equal(tissue_mask(section), section > 0)
    assert_array_equal(decoded_tissue(section), section > 0)


def test_a_brain_has_no_holes(section):
    expected = np.zeros(SHAPE, bool)
    expected[5:60, 10:70] = expected[2, 2] = True
    assert_array_equal(brain_mask(section), expected)


def test_specks_are_dust(section):
    expected = section > 0
    expected[2, 2] = False
    # An opening takes the corners, too.
    found = tissue_without_specks(section)
    assert not (found & ~expected).any()
    assert (expected & ~found).sum() <= 4


def test_the_level_is_the_mean_of_what_is_bright():
    image = np.zeros(SHAPE)
    image[10:20], image[20:30], image[30:40] = 0.1, 0.8, 0.6
    assert tissue_level(image) == pytest.approx(0.7)


def test_nothing_is_not_tissue():
    empty = np.zeros(SHAPE)
    assert tissue_level(empty) == 0
    assert not any(rule(empty).any() for rule in RULES)


def test_units_do_not_matter(section, rng):
    noisy = section + rng.uniform(0, 0.05, SHAPE).astype(np.float32)
    for rule in RULES:
        assert_array_equal(rule(noisy), rule(noisy * np.float32(4096)))


def test_the_rules_are_those_that_results_were_made_with(shared_data):
    """Half of Otsu's threshold, and 0.3 of the mean: on a real section, bit for bit."""
    image = np.maximum(
        tifffile.imread(shared_data / "sections" / "registered_section_plane_293.tif"), 0
    )
    threshold = threshold_otsu(image)
    assert_array_equal(tissue_mask(image), image > threshold / 2)
    assert tissue_level(image) == float(image[image > threshold].mean())
    assert_array_equal(decoded_tissue(image), image > 0.3 * image.mean())
