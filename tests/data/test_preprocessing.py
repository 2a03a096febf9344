from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_brainvae.data.preprocessing import Preprocessing, check_sections, crop_to
from napari_brainvae.io.errors import InputError

sections = arrays(
    np.float32, (3, 6, 5), elements=st.floats(1, 1000, width=32), unique=True, fill=st.nothing()
)


def test_the_papers_three_steps_by_hand():
    """Mean 2 and mean 4: M is 3; 3.8 M is 11.4; the bright pixel is clipped there."""
    dim = np.full((4, 4), 1.0)
    dim[0, 0] = 17.0
    even = np.tile([3.0, 5.0], (4, 2))
    fitted = Preprocessing.fit(np.stack([dim, even]))
    assert fitted.reference_brightness == 3.0
    out = fitted.apply(np.stack([dim, even]))
    assert out[0, 0, 0] == 1.0
    assert np.allclose(out[0, 1:], 1.0 * 3 / 2 / 11.4)
    assert np.allclose(out[1], even * 3 / 4 / 11.4)


@given(sections, st.floats(0.01, 100))
def test_brightness_of_a_section_does_not_matter(images, gain):
    fitted = Preprocessing.fit(images)
    assert np.allclose(fitted.apply(images), fitted.apply(images * np.float32(gain)), rtol=1e-4)


@given(sections)
def test_result_is_in_0_to_1(images):
    out = Preprocessing.fit(images).apply(images)
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1


def test_what_files_state_of_the_mean_is_read_and_written():
    """All of a section, in every file there is; a mean over tissue is refused, not ignored."""
    stated = {"height": 8, "width": 10, "clip": 3.8, "mean_over": "section"}
    assert Preprocessing.model_validate(stated).model_dump()["mean_over"] == "section"
    with pytest.raises(ValueError, match="mean_over"):
        Preprocessing.model_validate(stated | {"mean_over": "tissue"})


@pytest.mark.parametrize("clip", [1.5, 2.0, 3.8])
@pytest.mark.parametrize("done", [3.8, 5.0, 12.0])
def test_what_was_preprocessed_comes_to_the_clip_of_the_model(rng, done, clip):
    """As if the raw sections had been given: nothing is lost above a model's lower clip."""
    raw = rng.exponential(100, (4, 16, 20)).astype(np.float32)
    written, model = (Preprocessing(height=16, width=20, clip=c) for c in (done, clip))
    adopted = model.adopt(written.apply(raw), written)
    assert adopted.max() == 1
    np.testing.assert_allclose(adopted, model.apply(raw), rtol=1e-6)


def test_a_higher_clip_is_reached_where_nothing_was_lost(rng):
    raw = rng.uniform(90, 110, (3, 16, 20)).astype(np.float32)
    written, model = (Preprocessing(height=16, width=20, clip=c) for c in (2.0, 3.8))
    adopted = model.adopt(written.apply(raw), written)
    np.testing.assert_allclose(adopted, model.apply(raw), rtol=1e-6)
    raw[1, 3, 4] = 1000
    with pytest.raises(InputError, match=r"section 'b' reached the clip of 2 .* up to 3\.8"):
        model.adopt(written.apply(raw), written, ["a", "b", "c"])


def test_the_same_clip_leaves_every_bit(rng):
    written = Preprocessing(height=16, width=20)
    ready = written.apply(rng.exponential(100, (3, 16, 20)))
    np.testing.assert_array_equal(written.adopt(ready, written), ready)


def test_the_papers_crop_is_columns_4_to_451():
    columns = np.broadcast_to(np.arange(456), (1, 320, 456))
    assert crop_to(columns, (320, 448))[0, 0].tolist() == list(range(4, 452))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f8"])
def test_numbers_of_any_width_mean_the_same(dtype):
    values = np.arange(2 * 8 * 8).reshape(2, 8, 8) % 100
    assert np.array_equal(check_sections(values.astype(dtype)), values.astype(np.float32))


good = np.random.default_rng(1).uniform(1, 2, (2, 8, 8))


def corrupted(value):
    images = good.copy()
    images[1, 2, 3] = value
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.empty((0, 8, 8)), "no sections"),
        (good[0], r"must have shape \(N, H, W\)"),
        (np.ones((2, 8, 8, 3)), "colour"),
        (corrupted(np.nan), "section 'b' hold.* NaN"),
        (corrupted(np.inf), "section 'b' hold.* NaN or infinite"),
        (corrupted(-1), "section 'b' hold.* negative"),
        (np.stack([good[0], np.full((8, 8), 7.0)]), "section 'b' .*constant"),
        (np.array([[["x"]], [["y"]]]), "real numbers"),
        (good + 1j, "real numbers"),
        (good.astype("m8[s]"), "real numbers"),
    ],
)
def test_unusable_sections_are_named(images, message):
    with pytest.raises(ValueError, match=message):
        check_sections(images, ["a", "b"])


@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (110, 100), (100, 106)])
def test_sections_of_another_size_do_not_fit(shape):
    with pytest.raises(ValueError, match="do not fit a model for 100 x 100 px"):
        crop_to(np.zeros((1, *shape)), (100, 100))
