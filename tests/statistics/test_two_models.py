"""Two models of the same brains, one of them planted in the other."""

from __future__ import annotations

import numpy as np
import pytest

from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.denoising.brain_table import brain_table
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Stopped
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.pca import PCA
from napari_brainvae.statistics.two_models import compare_models, fitted_on, incomparable


@pytest.fixture(scope="module")
def preprocessing(population):
    return Preprocessing.fit(population.sections())


@pytest.fixture(scope="module")
def pca(population, preprocessing):
    sections = population.prepared(preprocessing, slice(None))
    return PCA.fit(sections, 4, preprocessing=preprocessing)


def test_a_model_in_other_axes_is_itself_again(pca, population):
    """Permuted and flipped axes are a rotation: all partners are found, no brain changes."""
    turn = np.zeros((4, 4))
    partners, signs = [2, 0, 3, 1], [1, -1, -1, 1]
    for b, (a, sign) in enumerate(zip(partners, signs, strict=True)):
        turn[a, b] = sign
    found = compare_models(pca, pca.with_rotation(turn, None), population)
    table = found.match.table()
    planted = {f"F{a + 1}": f"F{b + 1}" for b, a in enumerate(partners)}
    assert dict(zip(table["factor_a"], table["factor_b"], strict=True)) == planted
    np.testing.assert_allclose(np.abs(table[["correlation", "cosine"]]), 1, atol=1e-5)
    assert list(table["by_fields"]) == list(table["factor_b"])
    assert found.incomparable == ""
    np.testing.assert_allclose(found.brains["error_change"], 0, atol=1e-4)
    assert found.positions == np.flatnonzero(~population.flagged).tolist()


def test_of_fewer_components_the_others_are_unmatched(pca, population, preprocessing):
    sections = population.prepared(preprocessing, slice(None))
    fewer = PCA.fit(sections, 2, preprocessing=preprocessing)
    found = compare_models(pca, fewer, population)
    table = found.match.table()
    assert list(table["factor_b"]) == ["F1", "F2", "", ""]
    assert all(said.startswith("only in A") for said in table["said"][2:])
    known = brain_table(pca, population), brain_table(fewer, population)
    brains = found.brains.set_index("id").loc[population.ids]
    errors = [each["squared_error"].to_numpy() for each in known]
    np.testing.assert_allclose(brains["error_change"], errors[1] / errors[0] - 1)
    assert (brains["error_change"] > 0).all(), "fewer components explain less"
    order = np.abs(found.brains["error_change"])
    assert order.is_monotonic_decreasing, "without a reference the errors say what changed"
    assert list(found.brains["id"]) == [population.ids[i] for i in found.brains["position"]]


def test_who_became_an_outlier_comes_first(run_folder, population):
    a = load_checkpoint(run_folder / "model.safetensors")
    b = load_checkpoint(run_folder / "model.safetensors")
    b.header.reference.error_spread /= 50
    found = compare_models(a, b, population).brains
    assert np.array_equal(found["deviation_change"], found["deviation_b"] - found["deviation_a"])
    assert found["deviation_change"].abs().is_monotonic_decreasing
    by_error = (
        found["error_a"] - a.header.reference.error_median
    ) / a.header.reference.error_spread
    known = by_error > found["deviation_a"] - 1e-9  # by the error, not the KL divergence
    changed = found[known & (by_error > 0)]
    assert len(changed)
    np.testing.assert_allclose(changed["deviation_b"], 50 * changed["deviation_a"], rtol=1e-6)


def test_what_is_known_of_model_a_is_not_measured_again(pca, population, monkeypatch):
    known, seen = brain_table(pca, population), []
    module = "napari_brainvae.statistics.two_models.brain_table"
    monkeypatch.setattr(module, lambda model, *_, **__: seen.append(model) or known)
    other = pca.with_rotation(None, None)
    compare_models(pca, other, population, measured=known)
    assert seen == [other]


def test_which_brains_a_model_was_fitted_on(run_folder, population):
    header = load_checkpoint(run_folder / "model.safetensors").header
    left = set(header.training["held_out"])
    fitted = fitted_on(header, population)
    named = header.training["data"].get("measured")
    expected = [each in named if named else each not in left for each in population.ids]
    assert fitted.tolist() == expected
    others = Population(population.sections()[::-1], population.ids)
    header.training["data"].pop("measured", None)
    assert fitted_on(header, others) is None, "brains of the same names"
    header.training["data"]["measured"] = population.ids[:3]
    assert fitted_on(header, population).tolist() == [True] * 3 + [False] * (len(population) - 3)
    del header.training["data"]
    assert fitted_on(header, population) is None


@pytest.mark.parametrize(
    ("update", "said"),
    [({"clip": 12.0}, "clip"), ({"width": 78}, "64 x 80 px and B of 64 x 78 px")],
)
def test_models_of_sections_prepared_otherwise_are_compared_by_codes_alone(
    pca, population, preprocessing, update, said
):
    otherwise = preprocessing.model_copy(update=update)
    sections = population.prepared(otherwise, slice(None))
    other = PCA.fit(sections, 4, preprocessing=otherwise)
    found = compare_models(pca, other, population)
    assert said in found.incomparable
    assert np.isnan(found.match.cosines).all() == ("width" in update)
    assert "only their codes are compared" in found.incomparable
    assert found.brains["error_change"].isna().all()
    assert np.isfinite(found.match.correlations).all()
    assert incomparable(pca, pca) == ""


def test_a_model_too_large_for_the_sections_is_refused(pca):
    small = Population(np.random.default_rng(0).random((5, 64, 70), np.float32))
    with pytest.raises(InputError):
        compare_models(pca, pca, small)


def test_it_can_be_stopped(pca, population):
    with pytest.raises(Stopped):
        compare_models(pca, pca, population, progress=lambda done, _: done < len(population))
