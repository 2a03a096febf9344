"""Projective fields: closed forms, the dense map, refinement, composition, tables, refusals."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from napari_brainvae.factors.projective_field import (
    PARTS,
    compose_rgb,
    dense_projective_field,
    field_by_region,
    population_mean,
    projective_field,
    refine,
    traverse,
)
from napari_brainvae.io.progress import Stopped
from napari_brainvae.models.checkpoint import load_checkpoint
from tests.linear_model import LinearModel, reference

SHAPE = (64, 80)


class SteepModel(LinearModel):
    """Every pixel is a sigmoid of c with a slope and a place of its own: nothing is linear."""

    def _decode(self, latents):
        place = np.linspace(-6, 6, self.decoder[0].size).reshape(self.decoder[0].shape)
        moved = np.tensordot(latents, self.decoder, 1) - place * self.decoder[0]
        return (1 / (1 + np.exp(-moved))).astype(np.float32)


def nearness(maps, dense):
    """Largest difference as a share of each dense map's maximum."""
    return (np.abs(maps - dense).max((1, 2)) / dense.max((1, 2))).max()


@pytest.fixture
def linear(rng):
    return LinearModel(rng.standard_normal((3, *SHAPE)) / 100)


@pytest.mark.parametrize(("limit", "step"), [(7, 0.005), (2, 0.01)])
def test_a_linear_decoder_has_a_closed_form(linear, limit, step):
    """Variance of ``m`` points, step apart, is ``step^2 (m^2 - 1) / 12``."""
    m = round(limit / 2 / step)
    small = step**2 * (m**2 - 1) / 12
    outer = step**2 * np.mean(np.arange(m + 1, 2 * m + 1) ** 2)
    expected = [[small * row**2, small * row**2, outer * row**2] for row in linear.decoder]
    for maps in (
        projective_field(linear, limit=limit, step=step),
        [dense_projective_field(linear, k, limit=limit, step=step) for k in range(3)],
    ):
        assert_allclose(maps, expected, rtol=2e-4, atol=1e-8)


@pytest.mark.parametrize("slope", [0.5, 2, 8])
def test_a_steep_decoder_is_refined_to_the_dense_map(slope):
    decoder = np.full((1, *SHAPE), slope) * np.linspace(0.2, 1, SHAPE[1])
    model = SteepModel(decoder)
    dense = dense_projective_field(model, 0)
    assert nearness(projective_field(model, 0)[0], dense) < 1e-3


def test_a_fitted_decoder_is_refined_to_the_dense_map(run_folder):
    model = load_checkpoint(run_folder / "model.safetensors")
    factor = int(np.argmax(model.header.reference.code_std))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # thousands of small sections: two threads only wait for each other
    try:
        dense = dense_projective_field(model, factor)
        assert nearness(projective_field(model, factor)[0], dense) < 1e-3
        *_, last = itertools.islice(refine(model, factor), 4)
        assert nearness(last.maps, dense) < last.error
    finally:
        torch.set_num_threads(threads)


def test_the_dense_map_is_the_sample_variance_of_its_definition(linear):
    """Straight from the 2,801 sections, all kept."""
    model = SteepModel(linear.decoder * 40)
    c = np.arange(-1400, 1401) * 0.005
    images = traverse(model, 1, c).astype(float)
    parts = (c > 0) & (c <= 3.5), (c < 0) & (c >= -3.5), abs(c) > 3.5 + 1e-9
    expected = [images[part].var(axis=0) for part in parts]
    assert [part.sum() for part in parts] == [700, 700, 1400]
    assert_allclose(dense_projective_field(model, 1), expected, atol=1e-7)


def test_no_point_is_decoded_twice():
    class Noting(LinearModel):
        def _decode(self, latents):
            self.seen += [float(z) for z in latents[:, 0]]
            return super()._decode(latents)

    model = Noting(np.ones((1, *SHAPE)) / 100)
    model.seen = []
    *_, field = itertools.islice(refine(model, 0), 5)
    # The centre is decoded once more, to be subtracted.
    assert field.points == 129 == len(model.seen) - 1 == len(set(model.seen))
    assert_allclose(sorted(set(model.seen)), np.linspace(-7, 7, 129))


def test_coarse_maps_come_first_and_errors_fall():
    model = SteepModel(np.full((1, *SHAPE), 1.5))
    fields = list(itertools.islice(refine(model, 0), 6))
    assert [field.points for field in fields] == [9, 17, 33, 65, 129, 257]
    errors = [field.error for field in fields]
    assert errors[0] == np.inf
    assert errors[1:] == sorted(errors[1:], reverse=True)


def test_refinement_ends_by_itself_at_the_dense_grid(linear):
    fields = list(refine(linear, 0, step=0.25))
    assert fields[-1].points <= 2 * 57


def test_memory_does_not_grow_with_the_points(linear):
    def peak(levels):
        tracemalloc.start()
        for _ in itertools.islice(refine(linear, 0), levels):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(9) < 1.1 * peak(6)


def test_factors_one_some_all(linear):
    everything = projective_field(linear)
    assert everything.shape == (3, 3, *SHAPE)
    assert everything.dtype == np.float32
    assert_array_equal(projective_field(linear, 1), everything[[1]])
    assert_array_equal(projective_field(linear, [2, 0]), everything[[2, 0]])


def test_the_start_is_the_population_mean_unless_given(rng):
    decoder = rng.uniform(0, 3, (2, *SHAPE))
    known = SteepModel(decoder, reference=reference([1.5, -2.0], [1, 1]))
    assert_array_equal(population_mean(known), [1.5, -2.0])
    assert_array_equal(population_mean(SteepModel(decoder)), [0, 0])
    given_start = projective_field(SteepModel(decoder), 0, z0=[1.5, -2.0])
    assert_array_equal(projective_field(known, 0), given_start)
    assert np.abs(projective_field(known, 0, z0=[0, 0]) - given_start).max() > 0.01


def test_a_factor_that_draws_nothing_has_an_empty_field(linear):
    linear.decoder[1] = 0
    fields = projective_field(linear, 1)
    assert (fields == 0).all()
    table = field_by_region(fields, {"all": np.ones(SHAPE, bool)}, [1])
    assert table["share"].isna().all()


def test_progress_and_stop(linear):
    seen = []
    projective_field(linear, progress=lambda *at: seen.append(at))
    assert all(done <= total for done, total in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(Stopped):
        projective_field(linear, progress=lambda done, _: done < 30)


def test_traverse_moves_one_factor(linear):
    images = traverse(linear, 2, [-1, 0, 2], z0=[1, 0, 0])
    assert_allclose(images[2] - images[1], 2 * linear.decoder[2], atol=1e-6)
    assert_allclose(traverse(linear, 2, 2.0, z0=[1, 0, 0]), images[2:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": 3}, "no factor of index 3: the model has 3"),
        ({"factors": -1}, "no factor of index -1"),
        ({"factors": [0, 7]}, "no factor of index 7"),
        ({"factors": 1.5}, "a whole number, not 1.5"),
        ({"factors": "F1"}, "must be real numbers"),
        ({"z0": [0, 0]}, "z0 must be 3 finite numbers"),
        ({"z0": [0, 0, np.nan]}, "z0 must be 3 finite numbers"),
        ({"limit": 0}, "limit and a step"),
        ({"limit": np.inf}, "limit and a step"),
        ({"step": 0}, "limit and a step"),
        ({"step": 3}, "limit and a step"),
    ],
)
def test_what_is_refused(linear, options, message):
    with pytest.raises(ValueError, match=message):
        projective_field(linear, **options)


# Colours


@pytest.mark.parametrize(
    ("strengths", "rgb"),
    [
        ((1, 0, 0), (0, 1, 1)),
        ((0, 1, 0), (1, 0, 1)),
        ((0, 0, 1), (1, 1, 0)),
        ((1, 1, 0), (0.5, 0.5, 1)),
        ((1, 0, 1), (0.5, 1, 0.5)),
        ((0, 1, 1), (1, 0.5, 0.5)),
        ((1, 1, 1), (1, 1, 1)),
        ((0, 0, 0), (0, 0, 0)),
        ((0.5, 0, 0), (0, 0.5, 0.5)),
    ],
)
def test_hues(strengths, rgb):
    maps = np.zeros((3, 1, 2))
    maps[:, 0, 0] = strengths
    assert_allclose(compose_rgb(maps, [1, 1, 1])[0], [rgb, (0, 0, 0)], atol=1e-6)


@given(hnp.arrays(np.float32, (3, 4, 5), elements=st.floats(0, 1e3, width=32)))
@settings(max_examples=50)
def test_colours_are_colours_and_scale_free(maps):
    rgb = compose_rgb(maps)
    assert rgb.shape == (4, 5, 3)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    if (maps.max((1, 2)) > 1e-3).all():
        assert_allclose(compose_rgb(7 * maps), rgb, atol=1e-5)


def test_colours_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(3, H, W\)"):
        compose_rgb(np.zeros((2, 4, 5)))


# By region


def test_shares_of_a_partition_add_up(rng):
    maps = rng.random((2, 3, *SHAPE))
    labels = rng.integers(4, size=SHAPE)
    table = field_by_region(maps, {f"r{i}": labels == i for i in range(4)}, [4, 6])
    assert table["factor"].unique().tolist() == [5, 7]
    assert_allclose(table.groupby(["factor", "part"])["share"].sum(), 1)
    assert_allclose(table.groupby(["factor", "part"])["area"].sum(), 1)
    row = table.query("factor == 7 and part == 'large' and region == 'r2'")
    whole = maps[1, PARTS.index("large")]
    assert row["share"].item() == pytest.approx(whole[labels == 2].sum() / whole.sum())
    assert_allclose(table["enrichment"], table["share"] / table["area"])


def test_a_planted_field_is_found(rng):
    mask = np.zeros(SHAPE, bool)
    mask[10:30, 10:40] = True
    tissue = np.zeros(SHAPE, bool)
    tissue[:40] = True
    model = LinearModel(mask[None] / 100)
    table = field_by_region(projective_field(model), {"planted": mask}, tissue=tissue)
    assert_allclose(table["share"], 1)
    assert_allclose(table["area"], 20 * 30 / (40 * 80))


@pytest.mark.parametrize(
    ("maps", "mask", "message"),
    [
        (np.ones((3, *SHAPE)), np.ones(SHAPE, bool), r"\(F, 3, H, W\)"),
        (np.ones((1, 3, *SHAPE)), np.ones((5, 5), bool), "'x' has shape"),
        (np.ones((1, 3, *SHAPE)), np.zeros(SHAPE, bool), "'x' has no pixel"),
    ],
)
def test_tables_refuse(maps, mask, message):
    with pytest.raises(ValueError, match=message):
        field_by_region(maps, {"x": mask})
