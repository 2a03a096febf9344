from __future__ import annotations

import json
from pathlib import Path

import nrrd
import numpy as np
import pytest
import tifffile

from napari_brainvae.atlas.atlas import Atlas, centred, outlines
from napari_brainvae.atlas.ontology import Structure

STRUCTURES = [
    Structure(1, "root", "root", (1,), (255, 255, 255), 0),
    Structure(10, "CTX", "Cerebral cortex", (1, 10), (1, 2, 3), 1),
    Structure(12, "SSp", "Primary somatosensory area", (1, 10, 12), (24, 128, 100), 3),
    Structure(11, "MO", "Motor areas", (1, 10, 11), (200, 0, 0), 2),
    Structure(20, "TH", "Thalamus", (1, 20), (0, 0, 255), 4),
]


def volume() -> np.ndarray:
    """(5, 8, 10): SSp above on the left, MO below it, TH on the right and lowest."""
    annotation = np.zeros((5, 8, 10), np.uint32)
    annotation[2, 1:3, 1:4] = 12
    annotation[2, 3:5, 1:4] = 11
    annotation[2, 6, 7:9] = 20
    annotation[3] = 10
    return annotation


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    template = np.arange(400, dtype=np.float32).reshape(5, 8, 10)
    Atlas.write(tmp_path / "atlas", volume(), STRUCTURES, 25, template)
    return tmp_path / "atlas"


@pytest.fixture
def atlas(directory: Path) -> Atlas:
    return Atlas.open(directory)


@pytest.fixture(scope="module")
def real_atlas(shared_data: Path) -> Atlas:
    return Atlas.open(shared_data / "ccf")


def test_what_was_written_opens_again(atlas: Atlas) -> None:
    assert atlas.annotation.dtype == np.uint32
    np.testing.assert_array_equal(atlas.annotation, volume())
    assert atlas.resolution_um == 25
    # In graph order, whatever the order they came in.
    assert list(atlas) == sorted(STRUCTURES, key=lambda each: each.graph_order)
    assert not atlas.annotation.flags.writeable


@pytest.mark.parametrize(
    "key", ["SSp", "Primary somatosensory area", "primary SOMATOSENSORY area", 12, "12"]
)
def test_a_structure_is_found_by_acronym_name_or_id(atlas: Atlas, key: str | int) -> None:
    assert atlas.structure(key).acronym == "SSp"


def test_an_unknown_structure_names_those_spelled_alike(atlas: Atlas) -> None:
    with pytest.raises(ValueError, match=r"no structure 'ssp1'.*SSp"):
        atlas.structure("ssp1")
    with pytest.raises(ValueError, match="Thalamus"):
        atlas.mask("Talamus", plane=2)
    with pytest.raises(ValueError, match="no structure 99"):
        atlas.descendants(99)


def test_descendants_names_and_colors(atlas: Atlas) -> None:
    assert atlas.descendants("CTX") == [10, 11, 12]
    assert atlas.descendants("SSp") == [12]
    assert atlas.names[20] == "TH: Thalamus"
    assert atlas.colors[12] == (24 / 255, 128 / 255, 100 / 255, 1.0)
    assert atlas.colors[0] == atlas.colors[None] == (0, 0, 0, 0)


def test_left_is_the_smaller_column_and_up_is_the_smaller_row(atlas: Atlas) -> None:
    rows, columns = np.nonzero(atlas.mask("SSp", 2))
    assert rows.tolist() == [1, 1, 1, 2, 2, 2]
    assert columns.max() < 5
    assert not atlas.mask("SSp", 2, "right").any()
    assert not atlas.mask("TH", 2, "left").any()
    assert np.nonzero(atlas.mask("TH", 2))[0].min() > rows.max()


@pytest.mark.parametrize("shape", [None, (6, 7), (5, 4), (11, 13)])
def test_left_and_right_share_nothing_and_make_both(
    atlas: Atlas, shape: tuple[int, int] | None
) -> None:
    left, right, both = (atlas.mask("root", 3, side, shape) for side in ("left", "right", "both"))  # type: ignore[arg-type]
    assert not (left & right).any()
    np.testing.assert_array_equal(left | right, both)


def test_the_section_is_centred_and_empty_beyond_the_plane(atlas: Atlas) -> None:
    plane = atlas.plane(2)
    np.testing.assert_array_equal(atlas.section(2, (6, 8), 25), plane[1:-1, 1:-1])
    np.testing.assert_array_equal(atlas.section(2, (10, 14), 25), np.pad(plane, ((1, 1), (2, 2))))
    doubled = plane.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(atlas.section(2, (16, 20), 12.5), doubled)


@pytest.mark.parametrize("size, available, ratio", [(4, 10, 2.0), (5, 11, 2.0), (7, 9, 1.3)])
def test_sampling_is_the_same_on_both_sides(size: int, available: int, ratio: float) -> None:
    nearest = np.floor(centred(size, available, ratio) + 0.5)
    middle = available - 1 - nearest[::-1]
    np.testing.assert_array_equal(nearest, middle)


def test_outlines_are_one_pixel_thin_and_mirror(atlas: Atlas) -> None:
    labels = np.zeros((7, 9), np.uint32)
    labels[1:6, 1:4], labels[1:6, 4:8] = 5, 9
    border = outlines(labels)
    assert "".join("#" if each else "." for each in border[3]) == ".#..#..#."
    np.testing.assert_array_equal(outlines(labels[:, ::-1]), border[:, ::-1])
    assert not border[labels == 0].any()


def test_the_template_volume_gives_the_plane_asked_for(atlas: Atlas) -> None:
    image, index = atlas.template(3)
    assert index == 3
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, np.arange(240, 320).reshape(8, 10))


def test_without_the_volume_the_nearest_single_plane_is_taken(directory: Path) -> None:
    (directory / "average_template_25.nrrd").unlink()
    with pytest.raises(ValueError, match=r"neither average_template_25.nrrd nor template_planes"):
        Atlas.open(directory).template(2)
    (directory / "template_planes").mkdir()
    for plane in (0, 3):
        image = np.full((8, 10), plane, np.uint16)
        tifffile.imwrite(directory / "template_planes" / f"plane_{plane}.tif", image)
    image, index = Atlas.open(directory).template(2)
    assert index == 3
    assert (image == 3).all()
    tifffile.imwrite(directory / "template_planes" / "plane_3.tif", np.zeros((3, 3), np.uint16))
    with pytest.raises(ValueError, match=r"template's plane is \(3, 3\)"):
        Atlas.open(directory).template(2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda atlas: atlas.plane(5), "plane 5 is not in the atlas: 0 to 4"),
        (lambda atlas: atlas.plane(-1), "plane -1"),
        (lambda atlas: atlas.template(5), "plane 5"),
        (lambda atlas: atlas.mask("SSp", 9), "plane 9"),
        (lambda atlas: atlas.mask("SSp", 2.5), "a plane must be a whole number, not 2.5"),
        (lambda atlas: atlas.mask("SSp", "2"), "a plane must be a whole number"),
        (lambda atlas: atlas.mask(None, 2), "no structure None"),
        (lambda atlas: atlas.mask("SSp", 2, "Left"), "side must be both, left or right"),
        (lambda atlas: atlas.section(2, (0, 4), 25), "cannot be cut"),
        (lambda atlas: atlas.section(2, (4, 4), 0), "cannot be cut"),
        (lambda atlas: atlas.section(2, (4, 4), float("nan")), "cannot be cut"),
    ],
)
def test_bad_questions(atlas: Atlas, call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(atlas)


ANNOTATION = "annotation/ccf_2017/annotation_25.nrrd"


def rewrite(file: Path, data: np.ndarray, **header) -> None:
    nrrd.write(str(file), data, header)


UNEVEN = {"space directions": np.diag([10, 9, 9])}


@pytest.mark.parametrize(
    "corrupt, error, message",
    [
        (lambda d: (d / "structures.json").unlink(), OSError, "no structures.json"),
        (lambda d: (d / ANNOTATION).unlink(), OSError, "no annotation_<resolution>.nrrd"),
        (
            lambda d: (d / "structures.json").write_text("[{"),
            ValueError,
            "not a list of str|cannot be read",
        ),
        (lambda d: (d / "structures.json").write_text('{"a": 1}'), ValueError, "not a list of"),
        (
            lambda d: (d / "structures.json").write_text('[{"id": 1}]'),
            ValueError,
            "structure_id_path",
        ),
        (lambda d: (d / "structures.json").write_text("[]"), ValueError, "unique"),
        (lambda d: (d / ANNOTATION).write_bytes(b"hello"), ValueError, "not a readable NRRD"),
        (
            lambda d: (d / ANNOTATION).write_bytes((d / ANNOTATION).read_bytes()[:-40]),
            ValueError,
            "not a readable NRRD",
        ),
        (lambda d: rewrite(d / ANNOTATION, np.zeros((4, 4), "u4")), ValueError, "2 dimensions"),
        (lambda d: rewrite(d / ANNOTATION, np.zeros((4, 4, 4))), ValueError, "not structure ids"),
        (
            lambda d: rewrite(
                d / ANNOTATION, volume(), **{"space directions": np.diag([10, 9, 9])}
            ),
            ValueError,
            "not cubes",
        ),
    ],
)
def test_broken_directories(directory: Path, corrupt, error, message: str) -> None:
    corrupt(directory)
    with pytest.raises(error, match=message):
        Atlas.open(directory)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no atlas directory"):
        Atlas.open(tmp_path / "nowhere")


def test_of_several_annotations_one_must_be_named(directory: Path) -> None:
    rewrite(directory / "annotation/ccf_2017/annotation_100.nrrd", volume()[::2])
    with pytest.raises(ValueError, match=r"annotation_100.nrrd, annotation_25.nrrd"):
        Atlas.open(directory)
    # No directions in the header: the name says the resolution.
    assert Atlas.open(directory, 100).resolution_um == 100
    with pytest.raises(OSError, match=r"no annotation_50.nrrd"):
        Atlas.open(directory, 50)


@pytest.mark.parametrize("dtype", ["<u4", ">u4", "<i8", "u2"])
@pytest.mark.parametrize("encoding", ["gzip", "raw"])
def test_any_integer_annotation(directory: Path, dtype: str, encoding: str) -> None:
    rewrite(directory / ANNOTATION, volume().astype(dtype), encoding=encoding)
    np.testing.assert_array_equal(Atlas.open(directory).annotation, volume())


def test_structures_as_allensdk_caches_them(directory: Path) -> None:
    """Its cache holds lists and triplets where the API sends strings."""
    file = directory / "structures.json"
    records = json.loads(file.read_text())
    universe = {"id": 0, "acronym": "universe", "name": "universe", "graph_order": -1}
    records.append({**universe, "structure_id_path": "/0/", "color_hex_triplet": "000000"})
    for record in records:
        record["rgb_triplet"] = list(bytes.fromhex(record.pop("color_hex_triplet")))
        path = record["structure_id_path"].strip("/").split("/")
        record["structure_id_path"] = [0, *map(int, path)]
    file.write_text(json.dumps(records))
    assert list(Atlas.open(directory)) == sorted(STRUCTURES, key=lambda each: each.graph_order)


def test_write_never_replaces_anything(directory: Path) -> None:
    before = sorted(directory.rglob("*"))
    with pytest.raises(OSError, match="is there already"):
        Atlas.write(directory, volume(), STRUCTURES, 25)
    assert sorted(directory.rglob("*")) == before


@pytest.mark.parametrize(
    "annotation, structures, template",
    [
        (np.zeros((4, 4), np.uint32), STRUCTURES, None),
        (volume(), STRUCTURES, np.zeros((1, 8, 10))),
        (volume(), STRUCTURES + STRUCTURES, None),
        (volume(), [], None),
    ],
)
def test_write_leaves_nothing_when_it_fails(tmp_path: Path, annotation, structures, template):
    with pytest.raises(ValueError):
        Atlas.write(tmp_path / "new", annotation, structures, 25, template)
    assert list(tmp_path.iterdir()) == []


# Whole width of plane 286, counted independently.
REAL_VOXELS = {"SSp": 5640, "RSP": 4307, "HPF": 10241, "STR": 7855, "TH": 18017, "HY": 9349}


@pytest.mark.parametrize("acronym", REAL_VOXELS)
def test_real_masks(real_atlas: Atlas, acronym: str) -> None:
    mask = real_atlas.mask(acronym, plane=286)
    assert mask.shape == (320, 456)
    assert mask.sum() == REAL_VOXELS[acronym]
    left, right = (real_atlas.mask(acronym, 286, side) for side in ("left", "right"))
    np.testing.assert_array_equal(left | right, mask)
    assert not left[:, 228:].any()
    assert not right[:, :228].any()
    # The paper's crop holds ML 4 to 451.
    crop = real_atlas.mask(acronym, 286, shape=(320, 448), pixel_size_um=25)
    np.testing.assert_array_equal(crop, mask[:, 4:452])
    coarse = real_atlas.mask(acronym, 286, shape=(160, 224), pixel_size_um=50)
    assert coarse.sum() == pytest.approx(mask.sum() / 4, rel=0.03)
    # What is in a place stays there: centre of mass, in micrometres from the centre.
    for axis in (0, 1):
        fine = (np.nonzero(crop)[axis].mean() + 0.5) * 25
        assert (np.nonzero(coarse)[axis].mean() + 0.5) * 50 == pytest.approx(fine, abs=25)


def test_up_is_dorsal_and_the_real_annotation_is_not_its_mirror(real_atlas: Atlas) -> None:
    def row(acronym: str) -> float:
        return float(np.nonzero(real_atlas.mask(acronym, 286))[0].mean())

    assert row("RSP") < row("HPF") < row("TH") < row("HY")
    # CCFv3 is drawn with small differences between the hemispheres: 2,818 and 2,822 voxels.
    left = real_atlas.mask("SSp", 286, "left")
    right = real_atlas.mask("SSp", 286, "right")
    assert (left.sum(), right.sum()) == (2818, 2822)


def test_real_template_is_the_nearest_plane(real_atlas: Atlas, shared_data: Path) -> None:
    image, index = real_atlas.template(286)
    assert index == 293
    expected = tifffile.imread(shared_data / "ccf" / "template_planes" / "plane_293.tif")
    np.testing.assert_array_equal(image, expected)


def test_every_real_label_has_a_name_and_a_color(real_atlas: Atlas) -> None:
    ids = set(np.unique(real_atlas.annotation[::20]).tolist()) - {0}
    assert ids <= set(real_atlas.names)
    assert ids <= set(real_atlas.colors)
    assert len(list(real_atlas)) == 1327
