from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage, stats

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.artifacts import (
    ARTIFACTS,
    add_grid,
    add_leakage,
    remove_tissue,
    smooth_noise,
)
from napari_brainvae.phantom.phantom import (
    BRIGHTNESS_FACTORS,
    BRIGHTNESS_PER_SD,
    FACTORS,
    THICKNESS_PER_SD,
    Phantom,
    PhantomBrain,
    PhantomOptions,
    TemplateSection,
    draw_section,
    planted_mask,
    section_from_atlas,
    shape_fields,
    write_phantom_atlas,
)

CORRUPTIONS = {"leakage": add_leakage, "missing": remove_tissue, "grid": add_grid}
REGIONS = ("SSp", "RSP", "HPF", "STR", "TH", "HY")


def make(section: TemplateSection, **options) -> Phantom:
    height, width = section.shape
    return Phantom(section, PhantomOptions(height=height, width=width, **options))


@pytest.fixture(scope="module")
def drawn() -> TemplateSection:
    return draw_section(160, 224)


@pytest.fixture(scope="module")
def phantom(drawn: TemplateSection) -> Phantom:
    return make(drawn, count=400, seed=7)


@pytest.fixture(scope="module")
def brains(phantom: Phantom) -> list[PhantomBrain]:
    return [phantom.brain(index) for index in range(len(phantom))]


@pytest.fixture(scope="module")
def real(shared_data: Path) -> TemplateSection:
    return section_from_atlas(Atlas.open(shared_data / "ccf"), 286, 160, 224)


@pytest.fixture(params=["drawn", "real"])
def section(request: pytest.FixtureRequest) -> TemplateSection:
    return request.getfixturevalue(request.param)


# The section


@pytest.mark.parametrize("shape", [(64, 64), (65, 99), (131, 64), (160, 224), (320, 448)])
def test_a_section_of_any_size(shape: tuple[int, int]) -> None:
    section = draw_section(*shape)
    assert section.template.shape == section.annotation.shape == section.shape == shape
    assert section.template.dtype == np.float32
    assert section.annotation.dtype == np.uint32
    assert 0 <= section.template.min() < 0.01 < 0.5 < section.template.max() <= 1
    assert set(np.unique(section.annotation)) <= {0, *(each.id for each in section.tree)}
    for factor in FACTORS:
        assert planted_mask(section, factor).any(), factor
    # Black outside, tissue inside, nothing cut off by the frame.
    border = np.ones(shape, bool)
    border[1:-1, 1:-1] = False
    assert not section.tissue[border].any()
    assert section.template[~ndimage.binary_dilation(section.tissue, iterations=4)].max() < 0.01


def test_pixels_have_the_size_of_a_mouse_brain(drawn: TemplateSection) -> None:
    assert drawn.pixel_size_um == 50
    assert draw_section(320, 448).pixel_size_um == 25
    columns = np.flatnonzero(drawn.tissue.any(axis=0))
    assert np.ptp(columns) * 0.05 == pytest.approx(10.2, abs=0.3)


def test_a_section_too_small() -> None:
    with pytest.raises(ValueError, match="at least 64 x 64"):
        draw_section(63, 200)


def test_only_the_landmark_differs_between_the_sides(drawn: TemplateSection) -> None:
    landmark = drawn.tree.within(drawn.annotation, "LM")
    assert landmark.any()
    assert not landmark[:, :112].any()
    differs = drawn.annotation != drawn.annotation[:, ::-1]
    np.testing.assert_array_equal(differs, landmark | landmark[:, ::-1])
    around = ndimage.binary_dilation(landmark | landmark[:, ::-1], iterations=5)
    np.testing.assert_allclose(drawn.template[~around], drawn.template[:, ::-1][~around], atol=1e-5)
    mirrored = drawn.template[:, ::-1]
    assert drawn.template[landmark].mean() > 1.5 * mirrored[landmark].mean()


def test_the_anatomy_is_where_it_belongs(section: TemplateSection) -> None:
    def row(acronym: str) -> float:
        return float(np.nonzero(section.tree.within(section.annotation, acronym))[0].mean())

    def brightness(acronym: str) -> float:
        where = section.tree.within(section.annotation, acronym)
        return float(section.template[where].mean())

    assert row("RSP") < row("HPF") < row("TH") < row("HY")
    assert row("EPI") < row("TH")
    assert row("cc") < row("TH")
    assert max(map(brightness, ("cc", "VS", "opt"))) < min(map(brightness, REGIONS))


def test_the_real_section_is_the_plane_with_a_template(real: TemplateSection) -> None:
    assert real.plane == 293
    assert real.pixel_size_um == 50
    assert real.shape == (160, 224)
    assert real.template.max() == 1
    # Template and annotation show the same brain.
    bright = real.template > 0.1
    overlap = (bright & real.tissue).sum() / (bright | real.tissue).sum()
    assert overlap > 0.93


def test_the_real_section_at_full_size_is_the_papers_crop(shared_data: Path) -> None:
    atlas = Atlas.open(shared_data / "ccf")
    section = section_from_atlas(atlas, 293, 320, 448)
    template, _ = atlas.template(293)
    expected = template[:, 4:452] / template.max()
    np.testing.assert_allclose(section.template, expected, atol=1e-5)
    np.testing.assert_array_equal(section.annotation, atlas.plane(293)[:, 4:452])
    # A small frame holds the whole brain.
    small = section_from_atlas(atlas, 293, 64, 64)
    assert np.ptp(np.flatnonzero(small.tissue.any(axis=0))) >= 61
    with pytest.raises(ValueError, match=r"plane 210 cannot carry the phantom: no .*RSP"):
        section_from_atlas(atlas, 100, 160, 224)


def test_the_drawn_atlas_opens_as_an_atlas(drawn: TemplateSection, tmp_path: Path) -> None:
    write_phantom_atlas(drawn, tmp_path / "atlas")
    atlas = Atlas.open(tmp_path / "atlas")
    assert atlas.resolution_um == drawn.pixel_size_um
    again = section_from_atlas(atlas, drawn.plane, *drawn.shape)
    np.testing.assert_array_equal(again.annotation, drawn.annotation)
    np.testing.assert_allclose(again.template * drawn.template.max(), drawn.template, atol=1e-5)
    mask = atlas.mask("HPF", drawn.plane, shape=drawn.shape, pixel_size_um=drawn.pixel_size_um)
    np.testing.assert_array_equal(mask, planted_mask(drawn, "HPF"))


# The planted factors


@pytest.mark.parametrize("factor", BRIGHTNESS_FACTORS)
def test_a_brightness_factor_moves_its_region_and_nothing_else(
    section: TemplateSection, factor: str
) -> None:
    phantom = make(section)
    values = np.zeros(len(FACTORS))
    values[FACTORS.index(factor)] = 1.5
    plain, planted = phantom.anatomy(np.zeros(len(FACTORS))), phantom.anatomy(values)
    mask = planted_mask(section, factor)
    inside = ndimage.binary_erosion(mask, iterations=4) & (plain > 0.1)
    outside = ~ndimage.binary_dilation(mask, iterations=8)
    np.testing.assert_allclose(planted[outside], plain[outside], atol=1e-3)
    assert inside.any()
    gain = planted[inside] / plain[inside]
    np.testing.assert_allclose(gain, 1 + 1.5 * BRIGHTNESS_PER_SD, rtol=0.02)


def test_anatomy_without_factors_is_the_template(section: TemplateSection) -> None:
    plain = make(section).anatomy(np.zeros(len(FACTORS)))
    np.testing.assert_allclose(plain, section.template, atol=1e-5)


def warped(labels: np.ndarray, field: np.ndarray) -> np.ndarray:
    where = np.indices(labels.shape) + field
    return ndimage.map_coordinates(labels.astype(float), where, order=1)


@pytest.mark.parametrize("deviations", [-2, -1, 1, 2])
def test_cortex_thickens_inwards(section: TemplateSection, deviations: int) -> None:
    cortex = planted_mask(section, "cortical thickness")
    field = deviations * shape_fields(section)[0]
    grown = warped(cortex, field)
    # Rows at the height of the auditory areas cross the sheet at a right angle.
    rows = np.flatnonzero(section.tree.within(section.annotation, "AUD").any(axis=1))[8:-8]
    change = grown[rows].sum() / cortex[rows].sum() - 1
    # The field is smoothed where the cortex ends, which takes a little off what was planted.
    assert change == pytest.approx(THICKNESS_PER_SD * deviations, rel=0.2)
    assert np.sign(grown.sum() - cortex.sum()) == np.sign(deviations)
    # The outline of the brain stays.
    brain = warped(section.tissue, field)
    assert np.abs(brain - section.tissue).sum() < 0.01 * section.tissue.sum()


@pytest.mark.parametrize("deviations", [-1, 1, 2])
def test_ventricles_swell(section: TemplateSection, deviations: int) -> None:
    ventricles = planted_mask(section, "ventricle size")
    field = shape_fields(section)[1]
    grown = warped(ventricles, deviations * field)
    change = grown.sum() / ventricles.sum() - 1
    assert 0.06 < change / deviations < 0.4
    # Far from them nothing moves.
    far = ndimage.distance_transform_edt(~ventricles) * section.pixel_size_um > 2000
    assert np.abs(field[:, far]).max() < 0.01


def test_fields_do_not_fold(section: TemplateSection) -> None:
    """At 3 SD the brain is still one sheet: the map's determinant is positive."""
    for field in shape_fields(section):
        for deviations in (-3, 3):
            down, right = deviations * field
            (yy, yx), (xy, xx) = np.gradient(down), np.gradient(right)
            determinant = (1 + yy) * (1 + xx) - yx * xy
            assert determinant.min() > 0


def test_factors_are_independent_and_standard(brains: list[PhantomBrain]) -> None:
    factors = np.array([brain.factors for brain in brains])
    assert factors.shape == (400, len(FACTORS))
    assert np.abs(factors.mean(0)).max() < 4 / np.sqrt(400)
    assert np.abs(np.corrcoef(factors.T) - np.eye(len(FACTORS))).max() < 4 / np.sqrt(400)


def test_regression_on_the_population_finds_the_planted_regions(
    drawn: TemplateSection, brains: list[PhantomBrain]
) -> None:
    """The slope of brightness on a factor is greatest in its own region."""
    images = np.array([brain.clean for brain in brains])
    images /= images[:, drawn.tissue].mean(axis=1)[:, None, None]
    means = np.array([images[:, planted_mask(drawn, name)].mean(1) for name in REGIONS]).T
    factors = np.array([brain.factors[: len(REGIONS)] for brain in brains])
    design = np.column_stack([factors, np.ones(len(factors))])
    slopes = np.linalg.lstsq(design, means / means.mean(0), rcond=None)[0][:-1]
    assert (slopes.argmax(axis=1) == np.arange(len(REGIONS))).all()
    off = np.abs(slopes[~np.eye(len(REGIONS), dtype=bool)])
    assert np.diag(slopes).min() > 3 * off.max()


# The population


def test_a_brain_depends_on_seed_and_index_alone(drawn: TemplateSection) -> None:
    one, other = make(drawn, seed=3), make(drawn, seed=3, count=9)
    for _ in range(3):
        other.brain(2)
    first, second = one.brain(5), other.brain(5)
    for name in ("image", "clean", "factors", "mask"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.artifact == second.artifact
    assert (first.sex, first.age_days) == (second.sex, second.age_days)
    assert not np.array_equal(first.image, one.brain(6).image)
    assert not np.array_equal(first.image, make(drawn, seed=4).brain(5).image)


def test_factors_that_are_not_planted_stay_at_the_mean(drawn: TemplateSection) -> None:
    some = make(drawn, planted="HPF,cortical thickness", artifacts=0).brain(3)
    every = make(drawn, artifacts=0).brain(3)
    varies = np.isin(FACTORS, ["HPF", "cortical thickness"])
    np.testing.assert_array_equal(some.factors, every.factors * varies)
    only = np.where(varies, every.factors, 0)
    change = make(drawn).anatomy(only) - make(drawn).anatomy(every.factors)
    assert np.abs(change).max() > 0.05
    # Light, warp and noise do not depend on what is planted.
    plain = make(drawn, planted="HPF", brightness=0, illumination=0, misalignment_um=0)
    clean = plain.brain(3).clean
    expected = drawn.template / drawn.template.max()
    np.testing.assert_allclose(clean / clean.max(), expected, atol=1e-5)


def test_each_size_is_an_option(drawn: TemplateSection) -> None:
    values = np.zeros(len(FACTORS))
    values[FACTORS.index("TH")] = 1
    inside = ndimage.binary_erosion(planted_mask(drawn, "TH"), iterations=4)
    inside &= drawn.template > 0.1
    gain = make(drawn, brightness=0.3).anatomy(values)[inside] / drawn.template[inside]
    np.testing.assert_allclose(gain, 1.3, rtol=0.02)
    for name, option in (("cortical thickness", "thickness"), ("ventricle size", "ventricles_mm")):
        shaped = np.where(np.array(FACTORS) == name, 1.0, 0.0)
        still = make(drawn, **{option: 0}).anatomy(shaped)
        np.testing.assert_allclose(still, drawn.template, atol=1e-5)
        assert np.abs(make(drawn).anatomy(shaped) - drawn.template).max() > 0.02


def test_the_share_of_artifacts_changes_no_anatomy(drawn: TemplateSection) -> None:
    none, all_ = make(drawn, artifacts=0), make(drawn, artifacts=1)
    for index in range(5):
        np.testing.assert_array_equal(none.brain(index).clean, all_.brain(index).clean)
        assert none.brain(index).artifact == "none" != all_.brain(index).artifact


def test_artifacts_come_in_their_share(brains: list[PhantomBrain]) -> None:
    names = [brain.artifact for brain in brains]
    assert set(names) == set(ARTIFACTS)
    corrupt = len(names) - names.count("none")
    assert stats.binomtest(corrupt, len(names), 0.2).pvalue > 0.001
    counts = [names.count(artifact) for artifact in ARTIFACTS[1:]]
    assert stats.chisquare(counts).pvalue > 0.001


def test_images_are_raw_and_not_negative(
    brains: list[PhantomBrain], drawn: TemplateSection
) -> None:
    for brain in brains[:60]:
        assert brain.image.dtype == brain.clean.dtype == np.float32
        assert brain.image.shape == drawn.shape
        assert brain.image.min() >= 0
        assert np.isfinite(brain.image).all()
    means = [brain.clean[drawn.tissue].mean() for brain in brains]
    assert 0.1 < np.std(means) / np.mean(means) < 0.25
    saturated = max(brain.image.max() for brain in brains)
    assert 1 < saturated < 4.5


def test_the_mask_holds_all_that_differs_but_noise(brains: list[PhantomBrain]) -> None:
    for brain in brains[:200]:
        away = np.abs(brain.image - brain.clean)[~brain.mask]
        # Seven SD: of the 7 million values here none should ever be beyond.
        assert away.max() < 0.02 * 7
        if brain.artifact == "none":
            assert not brain.mask.any()
        else:
            assert brain.mask.any()


def test_covariates_have_nothing_to_do_with_the_factors(brains: list[PhantomBrain]) -> None:
    sexes = np.array([brain.sex for brain in brains])
    ages = np.array([brain.age_days for brain in brains])
    factors = np.array([brain.factors for brain in brains])
    assert set(sexes) == {"F", "M"}
    assert 54 <= ages.min() < ages.max() <= 58
    for column in factors.T:
        assert stats.ttest_ind(column[sexes == "F"], column[sexes == "M"]).pvalue > 0.001
        assert stats.pearsonr(column, ages).pvalue > 0.001


def test_a_real_population(real: TemplateSection) -> None:
    phantom = make(real, seed=1, artifacts=0.5, count=8)
    images = np.array([phantom.brain(index).image for index in range(8)])
    template = real.template[real.tissue]
    for index in range(8):
        brain = phantom.brain(index)
        assert np.corrcoef(brain.clean[real.tissue], template)[0, 1] > 0.8
    assert images.min() >= 0


# The artifacts, on any image


@pytest.mark.parametrize("artifact", CORRUPTIONS)
@pytest.mark.parametrize("seed", range(6))
def test_artifacts(section: TemplateSection, artifact: str, seed: int) -> None:
    before = section.template.copy()
    rng, again = np.random.default_rng(seed), np.random.default_rng(seed)
    image, mask = CORRUPTIONS[artifact](section.template, section.tissue, rng)
    same, _ = CORRUPTIONS[artifact](section.template, section.tissue, again)
    np.testing.assert_array_equal(image, same)
    np.testing.assert_array_equal(section.template, before)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(mask, image != section.template)
    assert mask.any()
    inside, mean = mask & section.tissue, section.template[section.tissue].mean()
    difference = (image - section.template)[inside]
    if artifact == "leakage":
        assert difference.min() > 0
        assert image[inside].max() > 1.5 * mean
        assert image.max() <= max(4 * mean, section.template.max()) + 1e-6
    else:
        assert difference.max() < 0
        assert image.min() >= 0
    if artifact == "missing":
        assert np.median(image[inside]) < 0.1 * mean
        assert 0.005 < inside.sum() / section.tissue.sum() < 0.6
    if artifact == "grid":
        assert inside.sum() > 0.7 * section.tissue.sum()


def test_the_grid_is_regular() -> None:
    """On a flat image the seams come at one distance, in rows as in columns."""
    flat, tissue = np.full((300, 400), 0.5, np.float32), np.ones((300, 400), bool)
    image, _ = add_grid(flat, tissue, np.random.default_rng(2))
    periods = []
    for axis in (0, 1):
        profile = image.mean(axis=1 - axis)
        dark = np.flatnonzero(np.diff(np.sign(np.diff(profile))) > 0) + 1
        assert len(dark) >= 5
        assert np.ptp(np.diff(dark)) <= 1
        periods.append(np.diff(dark).mean())
    assert periods[0] == pytest.approx(periods[1], abs=0.5)


@pytest.mark.parametrize("corrupt", [add_leakage, remove_tissue])
def test_artifacts_need_tissue(corrupt) -> None:
    with pytest.raises(ValueError, match="no tissue"):
        corrupt(np.ones((64, 64), np.float32), np.zeros((64, 64), bool), np.random.default_rng(0))


def test_smooth_noise_has_unit_variance_everywhere() -> None:
    rng = np.random.default_rng(0)
    noise = np.array([smooth_noise((40, 61), 4, rng) for _ in range(2000)])
    # Six standard errors of a variance from 2,000 normal values.
    np.testing.assert_allclose(noise.var(axis=0), 1, atol=6 * np.sqrt(2 / 2000))
    assert np.abs(np.diff(noise, axis=1)).mean() < 0.2


# Bad input


@pytest.mark.parametrize(
    "bad",
    [
        {"count": 0},
        {"seed": -1},
        {"height": 63},
        {"width": 0},
        {"artifacts": 1.1},
        {"artifacts": -0.1},
        {"artifacts": float("nan")},
        {"plane": -1},
        {"planted": "age"},
        {"planted": ""},
        {"brightness": float("inf")},
        {"brains": 3},
    ],
)
def test_bad_options(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        PhantomOptions(**bad)


def test_bad_questions(phantom: Phantom, drawn: TemplateSection) -> None:
    for index in (-1, 400):
        with pytest.raises(ValueError, match="0 to 399"):
            phantom.brain(index)
    with pytest.raises(ValueError, match=r"the section is \(160, 224\)"):
        Phantom(drawn, PhantomOptions())
    with pytest.raises(ValueError, match="no factor 'age'"):
        planted_mask(drawn, "age")


def test_every_option_says_what_it_is() -> None:
    assert all(field.description for field in PhantomOptions.model_fields.values())
