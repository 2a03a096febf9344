"""Thumbnails: sections on one scale, the residual over them; and the page that is written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from napari_brainvae.data.population import Population
from napari_brainvae.data.population_files import Description
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.pca import PCA
from napari_brainvae.reporting.gallery_page import export_gallery, gallery_page
from napari_brainvae.reporting.thumbnails import BRIGHTER, DARKER, Thumbnails
from tests.reporting.paper import assert_fit_for_paper

ROWS, COLUMNS = slice(20, 40), slice(50, 70)


@pytest.fixture(scope="module")
def population():
    """Gray sections of 96 x 120 px; brain 1 has a bright patch, brain 2 a dark one, 3 is lost."""
    images = np.full((8, 96, 120), 0.5, np.float32)
    images += np.random.default_rng(0).normal(0, 0.001, images.shape).astype(np.float32)
    images[1, ROWS, COLUMNS] = 1.0
    images[2, ROWS, COLUMNS] = 0.0
    images[3] = np.nan
    return Population(images)


@pytest.fixture(scope="module")
def model(population):
    intact = [0, 4, 5, 6, 7]
    preprocessing = Preprocessing.fit(population.sections(intact))
    return PCA.fit(population.prepared(preprocessing, intact), 1, preprocessing=preprocessing)


def test_a_thumbnail_shows_the_section_as_it_is(population):
    made = Thumbnails.of(population, None, white=1.0)
    assert made.shape == (96, 120)
    picture = made.make(1)
    assert picture.shape == (96, 120, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[..., 0], picture[..., 2])
    np.testing.assert_allclose(picture[..., 0] / 255, population.images[1], atol=0.01)


def test_residuals_have_the_colour_of_their_sign_and_intact_brains_stay_gray(population, model):
    made = Thumbnails.of(population, model, white=1.0)
    assert np.ptp(made.make(4).astype(int), axis=-1).max() < 10
    for brain, colour in ((1, BRIGHTER), (2, DARKER)):
        inside = made.make(brain)[ROWS, COLUMNS].reshape(-1, 3).astype(int)
        direction = np.sign(np.asarray(colour)[0] - np.asarray(colour)[2])
        assert (np.sign(inside[:, 0] - inside[:, 2]) == direction).all()


def test_a_section_that_cannot_be_used_is_crossed_out(population, model):
    for with_model in (None, model):
        picture = Thumbnails.of(population, with_model, white=1.0).make(3)
        assert set(np.unique(picture)) == {0, 128}


def test_thumbnails_keep_the_shape_of_sections():
    images = np.zeros((2, 320, 448), np.float32)
    made = Thumbnails(Population(images), None, 1.0)
    assert made.shape == (96, 134) and made.pixel_size_um is None
    known = Population(images, description=Description(pixel_size_um=25.0))
    assert Thumbnails(known, None, 1.0).pixel_size_um == pytest.approx(25 * 320 / 96)


def test_the_page_says_marks_in_words(population, tmp_path):
    made = Thumbnails.of(population, None, white=1.0)
    pictures = [made.make(i) for i in range(8)]
    marks = ["exclude", "", "unsure", *[""] * 5]
    figure = gallery_page(pictures, population.ids, marks)
    titles = [axes.get_title() for axes in figure.axes][:8]
    assert titles == ["0000, exclude", "0001", "0002, unsure", *population.ids[3:]]
    in_mm = gallery_page(pictures, population.ids, marks, pixel_size_um=100.0, plane=286)
    for section, framed in zip(figure.axes[:8], in_mm.axes[:8], strict=True):
        assert [each.get_text() for each in section.texts] == ["L", "R"], "no size is known"
        assert [each.get_text() for each in framed.texts] == ["L", "R", "plane 286", "2 mm"]
    assert_fit_for_paper(in_mm)
    table = pd.DataFrame({"id": population.ids, "caption": population.ids, "mark": marks})
    export_gallery(tmp_path, pictures, table, {})
    written = pd.read_csv(tmp_path / "gallery.csv", dtype=str, keep_default_na=False)
    assert written["mark"].tolist() == marks and written["id"].tolist() == population.ids
    with Image.open(tmp_path / "gallery.png") as picture:
        assert picture.width > 1000
