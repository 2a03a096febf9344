"""An artifact is outlined, and what is beneath it is seen."""

from __future__ import annotations

import numpy as np

from napari_brainvae.reporting.artifact_outline import WITHIN, YELLOW, artifact_outline

SQUARE = np.zeros((7, 8), dtype=bool)
SQUARE[2:7, 3:8] = True  # it reaches the border of the section, right and below


def test_the_outline_is_closed_and_what_is_in_it_shines_through():
    picture = artifact_outline(SQUARE)
    within = np.zeros_like(SQUARE)
    within[3:6, 4:7] = True
    opacity = picture[..., 3]
    assert np.all(opacity[~SQUARE] == 0)
    assert np.all(opacity[within] == WITHIN)
    assert np.all(opacity[SQUARE & ~within] == 1)
    assert np.allclose(picture[SQUARE][:, :3], YELLOW)


def test_over_a_section_it_is_what_the_clear_one_would_look_like(rng):
    section = rng.random(SQUARE.shape, dtype=np.float32)
    clear, over = artifact_outline(SQUARE), artifact_outline(SQUARE, 2 * section)
    share, seen = clear[..., 3:], np.clip(2 * section, 0, 1)[..., None]
    assert np.all(over[..., 3] == 1)
    assert np.allclose(over[..., :3], share * clear[..., :3] + (1 - share) * seen, atol=1e-6)
    assert np.allclose(over[~SQUARE][:, :3], seen[~SQUARE])


def test_nothing_is_outlined_where_there_is_nothing():
    assert not artifact_outline(np.zeros((4, 5), dtype=bool))[..., 3].any()
