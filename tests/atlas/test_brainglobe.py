"""BrainGlobe's atlases: what their package reads is read, the animal's left comes first."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.atlas_section import AtlasSection
from napari_brainvae.atlas.brainglobe import available_atlases, brainglobe_folder
from napari_brainvae.atlas.ontology import Structure
from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from tests.atlas.brainglobe_cache import write_terminology, write_version_2, write_version_3
from tests.atlas.test_atlas import STRUCTURES, volume

ORACLE = Path(__file__).with_name("brainglobe_atlasapi_3.0.2.json")
"""What brainglobe-atlasapi 3.0.2 read of `CASES`; written by running this file as a module."""

# (AP, DV, ML) with the animal's right first, as BrainGlobe has it.
TURNED = volume()[:, :, ::-1]
MIDLINE = np.where(np.arange(10) < 4, 2, 1).astype(np.uint8)
"""Six of ten columns are left (1): in here, the first six."""
HEMISPHERES = np.broadcast_to(MIDLINE, TURNED.shape)

CASES: dict[str, dict[str, Any]] = {
    "drawn_mouse_25um": {},
    "drawn_rat_39um": {"resolution": (39.0, 39.0, 39.0), "chunks": (2, 4, 4)},
    "drawn_fish_0.5um": {"resolution": (0.5, 0.5, 0.5), "version": "2_3"},
    "drawn_snail_100um": {"resolution": (100.0,) * 3, "hemispheres": HEMISPHERES},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    """An empty home of BrainGlobe, which its configuration names."""
    config, home = tmp_path / "config", tmp_path / "atlases"
    config.mkdir()
    (config / "bg_config.conf").write_text(f"[default_dirs]\nbrainglobe_dir = {home}\n")
    monkeypatch.setenv("BRAINGLOBE_CONFIG_DIR", str(config))
    return home


def digest(array: np.ndarray) -> str:
    packed = np.ascontiguousarray(array)
    return hashlib.sha256(packed.tobytes()).hexdigest()[:16] + f" {packed.dtype} {packed.shape}"


def read_here(atlas: Atlas) -> dict[str, Any]:
    """What we read, turned back to how it lies in the files."""
    planes = range(atlas.shape[0])
    masks = {
        f"{key} {side}": digest(np.stack([atlas.mask(key, p, side) for p in planes])[..., ::-1])
        for key in ("CTX", "SSp", "root")
        for side in ("both", "left", "right")
    }
    return {
        "shape": list(atlas.shape),
        "resolution": [atlas.spacing_um, atlas.resolution_um, atlas.resolution_um],
        "orientation": atlas.orientation,
        "structures": [[s.id, s.acronym, s.name, list(s.path), list(s.color)] for s in atlas],
        "annotation": digest(atlas.annotation[:, :, ::-1]),
        "template": digest(np.stack([atlas.template(p)[0] for p in planes])[..., ::-1]),
        "masks": masks,
    }


def read_by_package(root: Path, name: str) -> dict[str, Any]:
    """What brainglobe-atlasapi reads."""
    from brainglobe_atlasapi import BrainGlobeAtlas

    atlas = BrainGlobeAtlas(name, brainglobe_dir=root, check_latest=False)
    masks = {}
    for key in ("CTX", "SSp", "root"):
        parts = [key, *atlas.get_structure_descendants(key)]
        ids = [atlas.structures[part]["id"] for part in parts]
        mask = np.isin(atlas.annotation, ids)
        sides = {"both": mask, "left": mask & (atlas.hemispheres == atlas.left_hemisphere_value)}
        sides["right"] = mask & (atlas.hemispheres == atlas.right_hemisphere_value)
        masks |= {f"{key} {side}": digest(each) for side, each in sides.items()}
    records = (atlas.structures[each["id"]].data for each in atlas.structures_list)
    keys = ("id", "acronym", "name", "structure_id_path", "rgb_triplet")
    return {
        "shape": list(atlas.shape),
        "resolution": list(atlas.resolution),
        "orientation": atlas.orientation,
        "structures": sorted([record[key] for key in keys] for record in records),
        "annotation": digest(atlas.annotation),
        "template": digest(atlas.template.astype(np.float32)),
        "masks": masks,
    }


def comparable(reading: dict[str, Any]) -> dict[str, Any]:
    """The package has no order of structures but that of the file."""
    return json.loads(json.dumps(reading | {"structures": sorted(reading["structures"])}))


@pytest.mark.parametrize("name", CASES)
def test_what_the_package_read_is_read(home: Path, name: str) -> None:
    write_version_3(home, name, STRUCTURES, TURNED, **CASES[name])
    recorded = json.loads(ORACLE.read_text())[name]
    assert comparable(read_here(Atlas.open(name))) == recorded


@pytest.mark.parametrize("name", CASES)
def test_what_the_package_reads_here_is_read(home: Path, name: str) -> None:
    pytest.importorskip("brainglobe_atlasapi", reason="the extra 'brainglobe' is not installed")
    write_version_3(home, name, STRUCTURES, TURNED, **CASES[name])
    assert comparable(read_here(Atlas.open(name))) == comparable(read_by_package(home, name))


def test_left_comes_first_and_where_it_came_from_is_recorded(home: Path) -> None:
    folder = write_version_3(home, "drawn_mouse_25um", STRUCTURES, TURNED)
    ways = ["drawn_mouse_25um", folder, folder.parent, folder / "manifest.json", str(folder)]
    for way in ways:
        atlas = Atlas.open(way)
        np.testing.assert_array_equal(atlas.annotation, volume())
        np.testing.assert_array_equal(atlas.plane(2), volume()[2])
        assert (atlas.name, atlas.directory) == ("drawn_mouse_25um", folder)
        assert (atlas.orientation, atlas.resolution_um, atlas.spacing_um) == ("asr", 25, 25)
        assert atlas.shape == (5, 8, 10)
        assert not atlas.annotation.flags.writeable
    np.testing.assert_array_equal(atlas.template(3)[0], volume()[3] % 4096)
    assert [s.acronym for s in atlas] == ["root", "CTX", "SSp", "MO", "TH"], "as the tree goes"


def test_the_midline_of_an_asymmetric_atlas_is_its_own(home: Path) -> None:
    write_version_3(home, "snail_25um", STRUCTURES, TURNED, hemispheres=HEMISPHERES)
    atlas = Atlas.open("snail_25um")
    left, right, both = (atlas.mask("root", 3, side) for side in ("left", "right", "both"))
    assert left[:, :6].all() and not left[:, 6:].any()
    assert not (left & right).any()
    np.testing.assert_array_equal(left | right, both)
    section = AtlasSection.lay(atlas, 3, (16, 20), 12.5)
    np.testing.assert_array_equal(section.mask("root", "left"), left.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(section.mask("root", "right"), right.repeat(2, 0).repeat(2, 1))


ENDS = ("ap", "si", "rl")
ORIENTATIONS = [
    "".join(axis[first] for axis, first in zip(axes, firsts, strict=True))
    for axes in itertools.permutations(ENDS)
    for firsts in itertools.product((0, 1), repeat=3)
]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_atlas_in_any_orientation_is_the_same_one(home: Path, orientation: str) -> None:
    """By hand: axes permuted, then turned about where the letters say so."""
    house = {"a": 0, "p": 0, "s": 1, "i": 1, "l": 2, "r": 2}
    axes = [house[letter] for letter in orientation]
    turned = [axis for axis, letter in enumerate(orientation) if letter in "pir"]
    resolution = tuple((30.0, 25.0, 25.0)[axis] for axis in axes)

    def stored(inside: np.ndarray) -> np.ndarray:
        return np.flip(inside.transpose(axes), turned)

    left = np.broadcast_to(np.where(np.arange(10) < 6, 1, 2), (5, 8, 10))
    write_version_2(
        home,
        "drawn",
        STRUCTURES,
        stored(volume()),
        resolution=resolution,
        orientation=orientation,
        hemispheres=stored(left),
    )
    atlas = Atlas.open("drawn")
    assert (atlas.orientation, atlas.resolution_um, atlas.spacing_um) == (orientation, 25, 30)
    np.testing.assert_array_equal(atlas.annotation, volume())
    np.testing.assert_array_equal(atlas.plane(2), volume()[2])
    np.testing.assert_array_equal(atlas.template(2)[0], volume()[2] % 4096)
    np.testing.assert_array_equal(atlas.left(2), left[2] == 1)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_version_2_gives_what_version_3_gives(home: Path, compression: str | None) -> None:
    folder = write_version_2(home, "two_25um", STRUCTURES, TURNED, compression=compression)
    write_version_3(home, "three_25um", STRUCTURES, TURNED)
    two, three = Atlas.open(folder), Atlas.open("three_25um")
    assert read_here(two) == read_here(three)
    assert list(two) == list(three)
    assert two.name == "two_25um_v1.2"
    assert Atlas.open("two_25um").directory == Atlas.open("two_25um_v1.2").directory == folder


def test_pixels_that_are_not_square_are_made_so(home: Path) -> None:
    """20 um from the dorsal to the ventral, 10 across: each row stands for two."""
    write_version_3(home, "cord", STRUCTURES, TURNED, resolution=(40.0, 20.0, 10.0))
    atlas = Atlas.open("cord")
    assert (atlas.shape, atlas.resolution_um, atlas.spacing_um) == ((5, 16, 10), 10, 40)
    np.testing.assert_array_equal(atlas.annotation, volume().repeat(2, axis=1))
    np.testing.assert_array_equal(atlas.mask("SSp", 2), np.isin(volume()[2], 12).repeat(2, axis=0))
    assert atlas.template(2)[0].shape == (16, 10)


def test_two_structures_of_one_acronym_keep_apart(home: Path) -> None:
    twin = Structure(13, "SSp", "Another area", (1, 10, 13), (1, 1, 1), 5)
    write_version_3(home, "twins", [*STRUCTURES, twin], np.where(TURNED == 11, 13, TURNED))
    atlas = Atlas.open("twins")
    assert atlas.structure("SSp (13)").name == "Another area"
    assert atlas.mask("Another area", 2).sum() == atlas.mask(13, 2).sum() == 6
    assert atlas.mask("CTX", 2).sum() == 12


# Names, versions, configuration


def test_the_newest_version_is_taken_and_each_can_be_named(home: Path) -> None:
    write_version_2(home, "drawn_25um", STRUCTURES, TURNED, version="1.9")
    newest = write_version_2(home, "drawn_25um", STRUCTURES, TURNED, version="1.10")
    assert Atlas.open("drawn_25um").directory == newest
    assert Atlas.open("drawn_25um_v1.9").directory.name == "drawn_25um_v1.9"
    folders = [
        write_version_3(home, "drawn_25um", STRUCTURES, TURNED, version=version)
        for version in ("1_2", "1_10", "1_9")
    ]
    assert Atlas.open("drawn_25um").directory == folders[1]
    assert Atlas.open(folders[0]).directory == folders[0]
    assert available_atlases() == {"drawn_25um": folders[1]}


def test_the_atlases_that_are_there(home: Path) -> None:
    assert available_atlases() == {}
    two = write_version_2(home, "two_25um", STRUCTURES, TURNED)
    three = write_version_3(home, "three_25um", STRUCTURES, TURNED)
    half = write_version_3(home, "half_25um", STRUCTURES, TURNED)
    shutil.rmtree(home / "brainglobe-atlasapi/annotation-sets/half_25um-annotation-sets/1_0")
    assert list(available_atlases().items()) == [("three_25um", three), ("two_25um", two)]
    assert half.is_dir()
    with pytest.raises(
        FileNotFoundError, match=r"no atlas directory at nine_25um.*three_25um, two"
    ):
        Atlas.open("nine_25um")
    with pytest.raises(FileNotFoundError, match=r"no atlas directory at \S*nine_25um$"):
        Atlas.open(home / "nine_25um")


def test_where_they_are_is_as_brainglobe_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("BRAINGLOBE_CONFIG_DIR", raising=False)
    assert brainglobe_folder() == tmp_path / ".brainglobe"
    config = tmp_path / ".config" / "brainglobe" / "bg_config.conf"
    config.parent.mkdir(parents=True)
    config.write_text("[default_dirs]\nbrainglobe_dir = /data/100%\ninterm_download_dir = /tmp\n")
    assert brainglobe_folder() == Path("/data/100%")
    (tmp_path / "bg_config.conf").write_text("[default_dirs]\nbrainglobe_dir = ~/mine\n")
    monkeypatch.setenv("BRAINGLOBE_CONFIG_DIR", str(tmp_path))
    assert brainglobe_folder() == tmp_path / "mine"
    (tmp_path / "bg_config.conf").write_text("brainglobe_dir = /data\n")
    with pytest.raises(InputError, match=r"bg_config.conf is no configuration of BrainGlobe"):
        Atlas.open("drawn_25um")


# What is half there, or no atlas


def erase(path: str):
    def do(home: Path) -> None:
        (found,) = home.glob(path)
        shutil.rmtree(found) if found.is_dir() else found.unlink()

    return do


def rewrite(path: str, text: str | bytes):
    def do(home: Path) -> None:
        (found,) = home.glob(path)
        found.write_bytes(text if isinstance(text, bytes) else text.encode())

    return do


def manifest(**changes: Any):
    def do(home: Path) -> None:
        (file,) = home.glob("*/atlases/*/*/manifest.json")
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return do


FETCH = "brainvae acquire brainglobe drawn_25um fetches it"
SETS = "*/annotation-sets/*/*"
BROKEN_3 = {
    "chunks of the annotation": (erase(f"{SETS}/annotations*/1/c"), f"half there.*{FETCH}"),
    "one level of the annotation": (erase(f"{SETS}/annotations*/1"), f"half there.*{FETCH}"),
    "annotation": (erase(f"{SETS}/annotations*"), f"half there.*{FETCH}"),
    "all of the annotation set": (erase("*/annotation-sets"), f"half there.*{FETCH}"),
    "chunks of the hemispheres": (erase(f"{SETS}/hemispheres*/1/c"), f"half there.*{FETCH}"),
    "hemispheres": (erase(f"{SETS}/hemispheres*"), f"half there.*{FETCH}"),
    "terminology": (erase("*/terminologies/*/*/*.csv"), f"half there.*terminology.csv.*{FETCH}"),
    "an empty manifest": (rewrite("*/atlases/*/*/manifest.json", ""), "describes no atlas"),
    "a manifest of nothing": (rewrite("*/atlases/*/*/manifest.json", "{}"), "resolution Field req"),
    "a manifest without parts": (manifest(annotation_set=None), "where its parts are"),
    "no orientation": (manifest(orientation="xyz"), "orientation"),
    "no resolution": (manifest(resolution=[0, 25, 25]), "resolution.0 .* greater than 0"),
    "another resolution": (manifest(resolution=[10, 10, 10]), "no level of"),
    "another shape": (manifest(shape=[5, 8, 11]), r"\(5, 8, 10\) voxels, its atlas \(5, 8, 11\)"),
    "no pyramid": (rewrite(f"{SETS}/annotations*/zarr.json", "{}"), "is no OME-Zarr"),
    "half a chunk": (rewrite(f"{SETS}/annotations*/1/c/0/0/0", b"x"), "cannot be read"),
    "terminology of nothing": (rewrite("*/terminologies/*/*/*.csv", "a,b\n"), None),
    "terms without names": (rewrite("*/terminologies/*/*/*.csv", "a,b\n1,2\n"), "no list of str"),
}


@pytest.mark.parametrize("case", BROKEN_3)
def test_half_an_atlas_is_one_line_at_once(home: Path, case: str) -> None:
    damage, message = BROKEN_3[case]
    write_version_3(home, "drawn_25um", STRUCTURES, TURNED, hemispheres=HEMISPHERES)
    damage(home)
    start = time.perf_counter()
    with pytest.raises(InputError, match=message) as refused:
        Atlas.open("drawn_25um").plane(2)
    assert time.perf_counter() - start < 1
    assert "\n" not in str(refused.value)


BROKEN_2 = {
    "annotation": (erase("*/annotation.tiff"), "half there.*annotation.tiff is missing; fetch it"),
    "hemispheres": (erase("*/hemispheres.tiff"), "half there.*hemispheres.tiff"),
    "structures": (erase("*/structures.json"), "half there.*structures.json"),
    "a TIFF of nothing": (rewrite("*/annotation.tiff", b""), "annotation.tiff cannot be read"),
    "no TIFF": (rewrite("*/annotation.tiff", b"II*\0"), "annotation.tiff cannot be read"),
    "no JSON": (rewrite("*/structures.json", "{"), "no list of structures"),
    "no records": (rewrite("*/structures.json", "[1]"), "no list of structures"),
    "metadata of nothing": (rewrite("*/metadata.json", "[]"), "describes no atlas"),
}


@pytest.mark.parametrize("case", BROKEN_2)
def test_half_a_folder_of_version_2_is_one_line(home: Path, case: str) -> None:
    damage, message = BROKEN_2[case]
    write_version_2(home, "drawn_25um", STRUCTURES, TURNED, hemispheres=HEMISPHERES)
    damage(home)
    with pytest.raises(InputError, match=message) as refused:
        Atlas.open("drawn_25um")
    assert "\n" not in str(refused.value)


def test_what_tifffile_complains_of_in_an_atlas_is_not_on_the_terminal(home, caplog) -> None:
    """A tag that says in which program the file was written, and where it does not say it."""
    write_version_2(home, "drawn_25um", STRUCTURES, TURNED, hemispheres=HEMISPHERES)
    (file,) = home.glob("*/annotation.tiff")
    with tifffile.TiffFile(file) as tif:
        place = tif.pages.first.tags["Software"].offset
    content = bytearray(file.read_bytes())
    content[place + 8 : place + 12] = bytes(4)
    file.write_bytes(content)
    assert Atlas.open("drawn_25um").plane(2).any()
    assert not [record for record in caplog.records if record.name == "tifffile"]


def test_the_template_may_be_missing_until_it_is_wanted(home: Path) -> None:
    write_version_3(home, "drawn_25um", STRUCTURES, TURNED)
    erase("*/templates/*/*/template.ome.zarr/1/c")(home)
    atlas = Atlas.open("drawn_25um")
    assert atlas.plane(2).any()
    with pytest.raises(InputError, match=f"half there.*{FETCH}"):
        atlas.template(2)


@pytest.fixture
def ball(home: Path) -> Path:
    """The chunks of a ball in a cube, by 4 x 4 x 4; those of nothing, the corners, do not exist."""
    middle = np.indices((64, 64, 64)) - 31.5
    filled = (np.linalg.norm(middle, axis=0) < 27).astype(np.uint32)
    write_version_3(home, "ball_25um", STRUCTURES, filled, chunks=(16, 16, 16))
    (chunks,) = home.glob(f"{SETS}/annotations*/1/c")
    return chunks


def test_chunks_of_background_are_not_missed(ball: Path) -> None:
    stored = sum(file.is_file() for file in ball.rglob("*"))
    assert stored == 4**3 - 8, "all but the corners"
    atlas = Atlas.open("ball_25um")
    assert [atlas.plane(i).any() for i in (0, 4, 5, 32, 58, 59, 63)] == [0, 0, 1, 1, 1, 0, 0]
    assert atlas.annotation.sum() == pytest.approx(4 / 3 * np.pi * 27**3, rel=0.01)


@pytest.mark.parametrize("lost", ["1/1/1", "2/*/*", "*/1/2", "3/*/*", "1/2/*"])
def test_chunks_that_are_missing_amid_the_tissue_are(ball: Path, lost: str) -> None:
    for chunk in list(ball.glob(lost)):
        chunk.unlink()
    atlas = Atlas.open("ball_25um")
    refused = 0
    for plane in range(64):
        try:
            atlas.plane(plane)
        except InputError as error:
            assert "chunks of it are missing amid the tissue" in str(error)
            assert str(ball.parent) in str(error), "what to delete"
            refused += 1
    assert refused >= 16, "the planes of a chunk"
    with pytest.raises(InputError, match="amid the tissue"):
        _ = atlas.annotation


# The real atlas, and the commands


def test_the_real_atlas_turned_has_the_same_sides(home: Path, shared_data: Path) -> None:
    whole = Atlas.open(shared_data / "ccf")
    voxels = np.ascontiguousarray(whole.annotation[::4, ::4, ::4])
    Atlas.write(home / "ours", voxels, whole, 100)
    options: dict[str, Any] = {"resolution": (100.0,) * 3, "chunks": (64, 64, 64)}
    write_version_3(home, "allen_mouse_100um", list(whole), voxels[:, :, ::-1], **options)
    write_version_2(home, "two", list(whole), voxels[:, :, ::-1], resolution=(100.0,) * 3)
    ours = Atlas.open(home / "ours")
    for theirs in (Atlas.open("allen_mouse_100um"), Atlas.open("two")):
        assert [s.id for s in theirs] == [s.id for s in ours]
        assert (theirs.orientation, ours.orientation) == ("asr", "asl")
        np.testing.assert_array_equal(theirs.annotation, ours.annotation)
        for plane, side in itertools.product((68, 71, 80), ("left", "right")):
            masks = [atlas.mask("HPF", plane, side) for atlas in (ours, theirs)]
            assert masks[0].sum() > 100
            np.testing.assert_array_equal(*masks)
            half = masks[0][:, :57] if side == "right" else masks[0][:, 57:]
            assert not half.any(), "left is the smaller column"


def test_commands_take_an_atlas_by_its_name(home: Path, atlas_folder: Path, tmp_path: Path) -> None:
    from training.phantom import PhantomCommand, phantom

    drawn = Atlas.open(atlas_folder)
    template = np.stack([drawn.template(p)[0] for p in range(drawn.shape[0])])
    write_version_3(
        home,
        "drawn_mouse",
        list(drawn),
        drawn.annotation[:, :, ::-1],
        template=1000 * template[:, :, ::-1],
        resolution=(drawn.resolution_um,) * 3,
    )
    size = {"count": 3, "height": 64, "width": 80, "plane": 2}
    for name, atlas in (("folder", atlas_folder), ("name", Path("drawn_mouse"))):
        phantom(PhantomCommand(out=tmp_path / f"{name}.zarr", atlas=atlas, **size))
    one, other = (Population.open(tmp_path / f"{name}.zarr") for name in ("folder", "name"))
    np.testing.assert_allclose(one.sections(), other.sections(), atol=2e-2 * one.sections().max())


def test_a_manifest_of_allensdk_is_none_of_brainglobe(tmp_path: Path) -> None:
    Atlas.write(tmp_path / "ccf", volume(), STRUCTURES, 25)
    (tmp_path / "ccf" / "manifest.json").write_text('{"manifest": [{"type": "manifest_version"}]}')
    assert Atlas.open(tmp_path / "ccf").orientation == "asl"
    (tmp_path / "ccf" / "structures.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no structures.json"):
        Atlas.open(tmp_path / "ccf")


def test_an_atlas_that_was_written_again_shows(home: Path) -> None:
    folder = write_version_3(home, "drawn_25um", STRUCTURES, TURNED)
    files = Atlas.files("drawn_25um")
    assert files == Atlas.files(folder) and all(file.is_file() for file in files)
    write_terminology(files[1], STRUCTURES[:2])
    assert len(list(Atlas.open(folder))) == 2


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        readings = {}
        for case, made in CASES.items():
            write_version_3(Path(root), case, STRUCTURES, TURNED, **made)
            readings[case] = comparable(read_by_package(Path(root), case))
        ORACLE.write_text(json.dumps(readings, indent=1) + "\n")
