"""One plane of an atlas on a population: what lies where, and that it is computed once."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from napari_brainvae.atlas.atlas import Atlas, outlines
from napari_brainvae.atlas.atlas_section import AtlasRegion, AtlasSection
from napari_brainvae.atlas.ontology import Structure
from napari_brainvae.atlas.regions import DEFAULT_REGIONS
from napari_brainvae.io.errors import InputError

STRANGER = 614_454_277  # known to no ontology, and more than a label colormap can hold
STRUCTURES = [
    Structure(1, "root", "root", (1,), (255, 255, 255), 0),
    Structure(10, "CTX", "Cerebral cortex", (1, 10), (1, 2, 3), 1),
    Structure(11, "MO", "Motor areas", (1, 10, 11), (200, 0, 0), 2),
    Structure(12, "SSp", "Primary somatosensory area", (1, 10, 12), (24, 128, 100), 3),
    Structure(20, "TH", "Thalamus", (1, 20), (0, 0, 255), 4),
]


@pytest.fixture
def atlas(tmp_path) -> Atlas:
    """(3, 8, 10): SSp above on the left, MO below it, a stranger on the right; TH elsewhere."""
    annotation = np.zeros((3, 8, 10), np.uint32)
    annotation[1, 1:3, 1:4], annotation[1, 3:5, 1:4], annotation[1, 5:7, 6:9] = 12, 11, STRANGER
    annotation[2] = 20
    Atlas.write(tmp_path / "a", annotation, STRUCTURES, 25)
    return Atlas.open(tmp_path / "a")


@pytest.fixture
def section(atlas) -> AtlasSection:
    return AtlasSection.lay(atlas, 1, (6, 8), 25.0)


def test_structures_are_found_by_part_of_acronym_or_name_and_what_is_around_them(atlas):
    assert atlas.matching("MOTOR") == {11}
    assert atlas.matching("mo") == {11}
    assert atlas.matching("m") == {11, 12, 20}, "by acronym or name"
    assert atlas.matching("striatum") == set()
    assert atlas.around({11}) == {1, 10, 11}
    assert atlas.around({10}) == {1, 10, 11, 12}
    assert atlas.around(set()) == set()


def test_it_is_what_the_atlas_says_of_that_section(section, atlas):
    labels = atlas.section(1, (6, 8), 25.0)
    assert_array_equal(section.labels, labels)
    assert_array_equal(section.borders, outlines(labels))
    assert_array_equal(section.tissue, labels > 0)
    for key in ("CTX", "SSp", "TH", 11):
        for side in ("both", "left", "right"):
            expected = atlas.mask(key, 1, side, shape=(6, 8), pixel_size_um=25.0)
            assert_array_equal(section.mask(key, side), expected)


def test_without_sections_it_is_the_whole_plane_in_voxels(atlas):
    section = AtlasSection.lay(atlas, 1)
    assert_array_equal(section.labels, atlas.plane(1))
    assert (section.shape, section.pixel_size_um) == ((8, 10), 25)


def test_small_numbers_stand_for_ids_of_any_size(section):
    assert section.ids.tolist() == [11, 12, STRANGER]
    assert section.numbers.dtype == np.int32
    assert_array_equal(np.r_[np.uint32(0), section.ids][section.numbers], section.labels)


def test_what_is_present_is_known_and_holds_its_ancestors(section):
    assert section.present == {1, 10, 11, 12}
    assert section.name(12) == "SSp: Primary somatosensory area"
    assert section.name(STRANGER) == f"{STRANGER}: not in the atlas's list of structures"


def test_structures_are_without_their_parts_and_regions_with(section):
    assert list(section.structures) == ["MO", "SSp"], "CTX itself is nowhere"
    both = section.structures["MO"] | section.structures["SSp"]
    assert_array_equal(section.region(AtlasRegion("CTX")), both)
    assert_array_equal(section.regions(["CTX", "MO"])["CTX"], both)


def test_regions_are_called_by_structure_and_side(section):
    regions = [AtlasRegion("SSp", "left"), AtlasRegion("SSp", "right"), AtlasRegion("TH")]
    assert [region.name for region in regions] == ["SSp (left)", "SSp (right)", "TH"]
    here = section.regions_here(regions)
    assert list(here) == ["SSp (left)"], "what is not here is left out"
    assert_array_equal(here["SSp (left)"], section.mask("SSp"))


def test_a_crop_is_the_same_plane_about_the_same_centre(section):
    assert_array_equal(section.cropped((4, 6)).labels, section.labels[1:-1, 1:-1])
    assert section.cropped((6, 8)) is section


def test_everything_is_computed_once(section, monkeypatch):
    monkeypatch.setattr(Atlas, "section", lambda *_: pytest.fail("cut again"))
    for name in ("labels", "borders", "tissue", "ids", "numbers", "present", "structures"):
        assert getattr(section, name) is getattr(section, name), name
    section.mask("SSp")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: AtlasSection.lay(s.atlas, 3), "plane 3 is not in the atlas: 0 to 2"),
        (lambda s: AtlasSection.lay(s.atlas, 1, (0, 8)), "cannot be cut"),
        (lambda s: AtlasSection.lay(s.atlas, 1, (6, 8), -1.0), "cannot be cut"),
        (lambda s: s.mask("XYZ"), "no structure 'XYZ'"),
        (lambda s: s.mask("SSp", "Left"), "side must be both, left or right"),
        (lambda s: s.region(AtlasRegion("TH")), "TH is not in this section: plane 1 of the atlas"),
        (lambda s: s.region(AtlasRegion("SSp", "right")), r"SSp \(right\) is not in this section"),
        (lambda s: s.regions(["SSp", "TH"]), "not in plane 1 of the atlas: TH$"),
    ],
)
def test_bad_questions(section, ask, message):
    with pytest.raises(InputError, match=message):
        ask(section)


def test_regions_have_the_sizes_of_the_real_annotation(shared_data):
    """Voxels of the whole plane 286, as the data's own description gives them."""
    section = AtlasSection.lay(Atlas.open(shared_data / "ccf"), 286, (320, 456), 25.0)
    assert {name: int(mask.sum()) for name, mask in section.regions(DEFAULT_REGIONS).items()} == {
        "SSp": 5640, "RSP": 4307, "HPF": 10241, "STR": 7855, "TH": 18017, "HY": 9349,
    }  # fmt: skip
    assert not section.regions(["TH"], "left")["TH"][:, 228:].any()
    with pytest.raises(ValueError, match="not in plane 286 of the atlas: MOB, CB"):
        section.regions(["TH", "MOB", "CB"])
    with pytest.raises(ValueError, match="no structure 'SSpp'"):
        section.regions(["SSpp"])
