"""Files as they come: what opens, what is refused and how, and that nothing else ever happens."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from napari_brainvae.data.population import Description, Population
from napari_brainvae.io.errors import InputError
from tests.memory import peak_memory

N, H, W = SHAPE = (5, 8, 10)
GRAY = {"photometric": "minisblack"}


def sections(count=N, height=H, width=W, dtype=np.uint16):
    rng = np.random.default_rng(3)
    return rng.integers(1, 250, (count, height, width)).astype(dtype)


IMAGES = sections()


def names(count=N):
    return [f"b{i}" for i in range(count)]


def ours(path, images=IMAGES):
    """Write the population file of this program."""
    table = pd.DataFrame({"sex": list("FMFMF")[: len(images)]})
    Population(images, names(len(images)), table, Description(pixel_size_um=25)).save(path)
    return path


def tiff(path, images=IMAGES, **options):
    tifffile.imwrite(path, images, **(GRAY | options))
    return path


def pages(path, *stacks, **options):
    """Write one page after the other, as a loop over sections does."""
    with tifffile.TiffWriter(path) as tif:
        for stack in stacks:
            for page in stack:
                tif.write(page, **(GRAY | options))
    return path


def stacks(path, *parts):
    with tifffile.TiffWriter(path) as tif:
        for part in parts:
            tif.write(part, **GRAY)
    return path


def npy(path, images=IMAGES):
    np.save(path, images)
    return path


def npz(path, compressed=False, **arrays):
    (np.savez_compressed if compressed else np.savez)(path, **({"images": IMAGES} | arrays))
    return path


def in_a_circle(path):
    """A TIFF whose last page is followed by its third, far behind its first hundred."""
    pages(path, np.zeros((150, 6, 5), np.uint8))
    with tifffile.TiffFile(path) as tif:
        third, last = tif.pages[2].offset, tif.pages[149]
        tags = last.offset + 2 + 12 * len(last.tags)
    content = path.read_bytes()
    path.write_bytes(content[:tags] + struct.pack("<I", third) + content[tags + 4 :])
    return path


def chunked(path, chunks, images=IMAGES):
    zarr.create_array(path, data=images, chunks=chunks, config={"write_empty_chunks": True})
    return path


def ome(path, **pixel):
    metadata = {"axes": "TYX", "PhysicalSizeXUnit": "µm"} | pixel
    return tiff(path, metadata=metadata)


# What opens, and how many sections it must have.
OPENS = {
    "two stacks of a TIFF": (
        lambda d: stacks(d / "a.tif", IMAGES, IMAGES[:3]),
        [*range(5), 0, 1, 2],
    ),
    "pages one by one": (lambda d: pages(d / "a.tif", IMAGES), range(5)),
    "pages compressed one by one": (
        lambda d: pages(d / "a.tif", IMAGES, compression="lzw"),
        range(5),
    ),
    "a stack and pages": (lambda d: pages(d / "a.tif", IMAGES, IMAGES[1:3]), [*range(5), 1, 2]),
    "OME": (lambda d: ome(d / "a.ome.tif"), range(5)),
    "ImageJ": (lambda d: tiff(d / "a.tif", imagej=True), range(5)),
    "big endian": (lambda d: tiff(d / "a.tif", byteorder=">"), range(5)),
    "BigTIFF": (lambda d: tiff(d / "a.tif", bigtiff=True), range(5)),
    "tiles": (lambda d: tiff(d / "a.tif", tile=(16, 16)), range(5)),
    "strips": (lambda d: tiff(d / "a.tif", rowsperstrip=3), range(5)),
    **{
        f"TIFF with {c}": (lambda d, c=c: tiff(d / "a.tif", compression=c), range(5))
        for c in ("lzw", "zlib", "zstd", "packbits", "lzma")
    },
    "LZW with a predictor": (
        lambda d: tiff(d / "a.tif", compression="lzw", predictor=True),
        range(5),
    ),
    "npz": (lambda d: npz(d / "a.npz"), range(5)),
    "npz, compressed": (lambda d: npz(d / "a.npz", compressed=True), range(5)),
    "npz in Fortran's order": (
        lambda d: npz(d / "a.npz", images=np.asfortranarray(IMAGES)),
        range(5),
    ),
    "npy in Fortran's order": (lambda d: npy(d / "a.npy", np.asfortranarray(IMAGES)), range(5)),
    "npy, big endian": (lambda d: npy(d / "a.npy", IMAGES.astype(">u2")), range(5)),
    "zarr, one chunk": (
        lambda d: chunked(d / "a.zarr", SHAPE),
        range(5),
    ),
    "zarr, format 2": (
        lambda d: zarr.save_array(d / "a.zarr", IMAGES, zarr_format=2) or d / "a.zarr",
        range(5),
    ),
    "zarr, small chunks": (
        lambda d: chunked(d / "a.zarr", (2, 3, 4)),
        range(5),
    ),
    "ours": (lambda d: ours(d / "a.zarr"), range(5)),
}


@pytest.mark.parametrize("case", OPENS)
def test_every_section_is_there_in_its_place(tmp_path, case):
    make, expected = OPENS[case]
    population = Population.open(make(tmp_path))
    wanted = IMAGES[list(expected)]
    np.testing.assert_array_equal(population.sections(), wanted)
    np.testing.assert_array_equal(population.images[1], wanted[1])
    np.testing.assert_array_equal(population.images[-2:, 2:4, ::-1], wanted[-2:, 2:4, ::-1])
    np.testing.assert_array_equal(population.images[[2, 0]][..., 3], wanted[[2, 0]][..., 3])
    np.testing.assert_array_equal(np.asarray(population.images), wanted)
    same = Population(wanted, population.ids).fingerprint()
    if "npy, big" not in case:  # whose bytes are hashed as they are stored
        assert population.fingerprint() == same


def edit(path, part, change):
    """Change a JSON file inside a Zarr group."""
    file = path / part
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))
    return path


def attribute(path, **values):
    return edit(path, "zarr.json", lambda record: record["attributes"].update(values))


def header(path, shape, dtype="<u2", data=b""):
    """An ``.npy`` file whose header says what it likes."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": dtype, "fortran_order": False, "shape": shape}
        )
        file.write(data)
    return path


def archive(path, shape, data, compression=zipfile.ZIP_DEFLATED):
    """An ``.npz`` file whose images' header says what it likes."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        content, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(path, "w", compression) as zipped:
        zipped.writestr("images.npy", content.getvalue() + data)
    return path


def pipe(path):
    os.mkfifo(path)
    return path


def swapped(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def beside(path, text):
    path.with_suffix(".csv").write_bytes(text)
    return path


def group_for_array(path, name):
    shutil.rmtree(path / name)
    zarr.open_group(path / name, mode="w")
    return path


def lead_astray(path):
    """Let the third page lie beyond the end of the file."""
    with tifffile.TiffFile(path) as tif:
        place = tif.pages[1].offset + 2 + 12 * len(tif.pages[1].tags)
    data = bytearray(path.read_bytes())
    data[place : place + 4] = struct.pack("<I", 2**30)
    path.write_bytes(data)
    return path


def garble(path):
    """Give the tag of the third page's width a type that there is none of."""
    with tifffile.TiffFile(path) as tif:
        place = tif.pages[2].tags["ImageWidth"].offset
    data = bytearray(path.read_bytes())
    data[place + 2 : place + 4] = b"\xff\xff"
    path.write_bytes(data)
    return path


def laughs(count=12):
    """XML of a kilobyte that names 10^12 words."""
    entities = [f'<!ENTITY e{i} "{10 * f"&e{i - 1};"}">' for i in range(1, count)]
    return f'<!DOCTYPE OME [<!ENTITY e0 "ha">{"".join(entities)}]><OME>&e{count - 1};</OME>'


REFUSED = {
    # TIFF
    "pages of two sizes": (
        lambda d: pages(d / "a.tif", sections(7), sections(5, 6)),
        "7 of 8 x 10 px .* 5 of 6 x 10 px",
    ),
    "pages of two types": (
        lambda d: pages(d / "a.tif", sections(9), sections(3, dtype=np.uint8)),
        r"9 of .*uint16.* 3 of .*uint8",
    ),
    "one page": (lambda d: tiff(d / "a.tif", IMAGES[0]), "one section is no population"),
    "one page in colour": (
        lambda d: tiff(d / "a.tif", sections(8, 10, 3, np.uint8), photometric="rgb"),
        "colour",
    ),
    "a header alone": (lambda d: cut(tiff(d / "a.tif"), 8), "a.tif"),
    "half a page": (lambda d: cut(tiff(d / "a.tif", compression="zlib"), 500), "a.tif"),
    "noise after a header": (
        lambda d: filled(d / "a.tif", b"II*\0" + np.random.default_rng(1).bytes(4000)),
        "a.tif",
    ),
    "an OME description of fewer": (
        lambda d: swapped(ome(d / "a.ome.tif"), b'SizeT="5"', b'SizeT="4"'),
        "5 pages, but describes 4",
    ),
    "a page that is not where it should be": (
        lambda d: (pages(d / "a.tif", IMAGES, compression="lzw"), lead_astray(d / "a.tif"))[1],
        "pages of it would be lost: .* invalid page offset",
    ),
    "a page whose size is noise": (
        lambda d: (pages(d / "a.tif", IMAGES, compression="lzw"), garble(d / "a.tif"))[1],
        "a.tif",
    ),
    "a bomb of pages": (
        lambda d: tiff(d / "a.tif", np.zeros((3, 7000, 7000), np.uint8), compression="zlib"),
        "bytes of nothing",
    ),
    "complex TIFF": (lambda d: tiff(d / "a.tif", IMAGES.astype("c8")), "real numbers"),
    # .npy
    "timedelta": (lambda d: npy(d / "a.npy", IMAGES.astype("m8[s]")), "real numbers"),
    "dates": (lambda d: npy(d / "a.npy", IMAGES.astype("M8[s]")), "real numbers"),
    "complex": (lambda d: npy(d / "a.npy", IMAGES.astype(complex)), "real numbers"),
    "text": (lambda d: npy(d / "a.npy", IMAGES.astype(str)), "real numbers"),
    "objects": (lambda d: npy(d / "a.npy", IMAGES.astype(object)), "real numbers"),
    "records": (
        lambda d: npy(d / "a.npy", np.zeros(SHAPE, [("a", "u1"), ("b", "f4")])),
        "real numbers",
    ),
    "more sections than bytes": (lambda d: header(d / "a.npy", (4, 8, 10)), "ends at byte"),
    "10^9 sections": (lambda d: header(d / "a.npy", (10**9, 8, 10)), "cannot be"),
    "a section of 10^12 px": (lambda d: header(d / "a.npy", (3, 10**6, 10**6)), "cannot be"),
    "negative sides": (lambda d: header(d / "a.npy", (4, -8, -10)), "negative"),
    "npz called npy": (lambda d: npz(d / "a.npz").rename(d / "a.npy"), "holds a .npz file"),
    "npy called npz": (lambda d: npy(d / "a.npy").rename(d / "a.npz"), "holds a .npy file"),
    "npy called tif": (lambda d: npy(d / "a.npy").rename(d / "a.tif"), "holds a .npy file"),
    # .npz
    "ids too few": (lambda d: npz(d / "a.npz", ids=names(4)), r"'ids' has shape \(4,\) for 5"),
    "keys too many": (lambda d: npz(d / "a.npz", keys=names(6)), r"'keys' has shape \(6,\) for 5"),
    "ids that are objects": (
        lambda d: npz(d / "a.npz", ids=np.array(names(), object)),
        "Python objects",
    ),
    "no images": (lambda d: np.savez(d / "a.npz", x=IMAGES) or d / "a.npz", "no array 'images'"),
    "an archive of nothing": (lambda d: np.savez(d / "a.npz") or d / "a.npz", "no array 'images'"),
    "npz that lies": (lambda d: archive(d / "a.npz", (400, 8, 10), b"x" * 400), "has not the size"),
    "a bomb": (
        lambda d: archive(d / "a.npz", (200, 1000, 1000), bytes(200 * 10**6)),
        "bytes of nothing",
    ),
    "a flipped bit in a stored npz": (lambda d: flipped(npz(d / "a.npz"), 900), "CRC"),
    # Zarr
    "images is a group": (lambda d: group_for_array(ours(d / "a.zarr"), "images"), "no array"),
    "ids of no characters": (
        lambda d: npz(d / "a.npz", ids=np.full(5, 0x200000, "<u4").view("<U1")),
        "cannot be read",
    ),
    "ids is a group": (lambda d: group_for_array(ours(d / "a.zarr"), "ids"), "no array 'ids'"),
    "a column is a group": (
        lambda d: group_for_array(ours(d / "a.zarr"), "covariates/sex"),
        "no array 'sex'",
    ),
    "a column is not there": (
        lambda d: shutil.rmtree(ours(d / "a.zarr") / "covariates/sex") or d / "a.zarr",
        "no array 'sex'",
    ),
    "the table is an array": (
        lambda d: (
            shutil.rmtree(ours(d / "a.zarr") / "covariates"),
            zarr.save_array(d / "a.zarr/covariates", np.arange(5)),
            d / "a.zarr",
        )[-1],
        "no table",
    ),
    "zarr of 10^9 sections": (
        lambda d: edit(
            ours(d / "a.zarr"), "images/zarr.json", lambda r: r["shape"].__setitem__(0, 10**9)
        ),
        "cannot be",
    ),
    "zarr of 10^6 sections": (
        lambda d: edit(
            ours(d / "a.zarr"), "images/zarr.json", lambda r: r["shape"].__setitem__(0, 10**6)
        ),
        "bytes of nothing",
    ),
    "zarr with negative sides": (
        lambda d: edit(
            ours(d / "a.zarr"), "images/zarr.json", lambda r: r.update(shape=[-5, 8, 10])
        ),
        "a.zarr",
    ),
    "a chunk larger than memory": (
        lambda d: edit(
            ours(d / "a.zarr"),
            "images/zarr.json",
            lambda r: r["chunk_grid"]["configuration"].update(chunk_shape=[10**6, 8000, 8000]),
        ),
        "chunk",
    ),
    "zarr of blank chunks": (
        lambda d: (
            zarr.save_array(d / "a.zarr", np.zeros((3, 7000, 7000), np.uint8)) or d / "a.zarr"
        ),
        "bytes of nothing",
    ),
    "zarr of larger sections than memory": (
        lambda d: edit(
            ours(d / "a.zarr"), "images/zarr.json", lambda r: r.update(shape=[10**6, 8192, 8192])
        ),
        "GB of this machine|cannot be",
    ),
    "zarr of text": (
        lambda d: zarr.save_array(d / "a.zarr", IMAGES.astype("U3"), zarr_format=2) or d / "a.zarr",
        "real numbers",
    ),
    "an empty folder": (lambda d: (d / "a.zarr").mkdir() or d / "a.zarr", "a.zarr cannot be read"),
    "no JSON": (lambda d: filled(ours(d / "a.zarr") / "zarr.json", b"{").parent, "a.zarr"),
    "a file called zarr": (lambda d: filled(d / "a.zarr", b"x"), "no folder"),
    "pixel size 0": (lambda d: attribute(ours(d / "a.zarr"), pixel_size_um=0), "'pixel_size_um'"),
    "pixel size infinite": (
        lambda d: attribute(ours(d / "a.zarr"), pixel_size_um=float("inf")),
        "'pixel_size_um'",
    ),
    "pixel size NaN": (
        lambda d: attribute(ours(d / "a.zarr"), pixel_size_um=float("nan")),
        "'pixel_size_um'",
    ),
    "a plane of text": (lambda d: attribute(ours(d / "a.zarr"), plane="x"), "'plane'"),
    "preprocessing of another kind": (
        lambda d: attribute(
            ours(d / "a.zarr"), preprocessing={"height": 8, "width": 10, "mean_over": "tissue"}
        ),
        "'preprocessing.mean_over'",
    ),
    # Pipes, which would be waited for
    "pages in a circle": (lambda d: in_a_circle(d / "a.tif"), "leads back"),
    "a pipe called npy": (lambda d: pipe(d / "a.npy"), "no regular file"),
    "a pipe called tif": (lambda d: pipe(d / "a.tif"), "no regular file"),
    "a pipe called zarr": (lambda d: pipe(d / "a.zarr"), "no folder"),
    "a pipe in a group": (
        lambda d: (
            (ours(d / "a.zarr") / "zarr.json").unlink(),
            pipe(d / "a.zarr" / "zarr.json").parent,
        )[-1],
        "no regular file",
    ),
    "a folder called npy": (lambda d: (d / "a.npy").mkdir() or d / "a.npy", "no regular file"),
    # The table beside: its mistakes are its own
    "a table too short": (lambda d: beside(npy(d / "a.npy"), b"id\nx\n"), "a.csv has 1 rows for 5"),
    "a table of nothing": (lambda d: beside(npy(d / "a.npy"), b""), "a.csv cannot be read"),
    "a ragged table": (
        lambda d: beside(npy(d / "a.npy"), b"id,x\n1,2\n3,4,5,6\n"),
        "a.csv cannot be read",
    ),
    "a table in no encoding": (
        lambda d: beside(tiff(d / "a.tif"), b"id\n\xff\xfe\xfa\n"),
        "a.csv cannot be read",
    ),
    "ids twice": (lambda d: beside(npy(d / "a.npy"), b"id\n1\n1\n2\n3\n4\n"), "ids repeat: '1'"),
    "a pipe beside": (
        lambda d: pipe(npy(d / "a.npy").with_suffix(".csv")).with_suffix(".npy"),
        "a.csv",
    ),
}


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])
    return path


def filled(path, data):
    path.write_bytes(data)
    return path


def flipped(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 16
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_population_is_refused_in_one_line(tmp_path, case):
    make, message = REFUSED[case]
    path = make(tmp_path)
    with peak_memory() as peak, pytest.raises(InputError, match=message) as refused:
        Population.open(path).sections()
    assert peak.mb < 100
    assert "\n" not in str(refused.value)
    assert "a." in str(refused.value), "the file is named"


def chunk(path, number):
    return path / "images" / "c" / str(number) / "0" / "0"


def damage_bytes(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


CHUNKS = {
    "the same size, other bytes": damage_bytes,
    "cut short": lambda file: cut(file, 10),
    "empty": lambda file: cut(file, 0),
    "too long": lambda file: filled(file, file.read_bytes() + b"more"),
    "noise": lambda file: filled(file, np.random.default_rng(0).bytes(200)),
    "missing": lambda file: file.unlink(),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a pipe": lambda file: (file.unlink(), pipe(file)),
    "a chunk of another shape": lambda file: shutil.copy(
        chunk(ours(file.parents[5] / "o.zarr", sections(5, 6, 6)), 2), file
    ),
}


@pytest.mark.parametrize("case", CHUNKS)
def test_a_damaged_chunk_is_told_by_file_and_brain_and_others_are_read(tmp_path, case):
    path = ours(tmp_path / "a.zarr")
    before = Population.open(path).fingerprint()
    CHUNKS[case](chunk(path, 2))
    population = Population.open(path)
    with pytest.raises(InputError, match=r"^a\.zarr: section 'b2' ") as refused:
        population.sections()
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="'b2'"):
        population.sections([2])
    good = [0, 1, 3, 4]
    np.testing.assert_array_equal(population.sections(good), IMAGES[good])
    assert population.fingerprint() != before


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.tif", "b.tif", "a.zarr"])
@pytest.mark.parametrize("fate", ["changes", "vanishes"])
def test_a_file_that_changes_or_vanishes_while_it_is_open_is_told(tmp_path, name, fate):
    path = tmp_path / name
    KINDS[name](path, IMAGES)
    population = Population.open(path)
    population.sections([1])
    away = tmp_path / "away"
    path.rename(away)
    if fate == "changes":
        KINDS[name](path, IMAGES[:4, :, ::-1])
    what = r"has changed since it was opened; open it again" if fate == "changes" else "is gone"
    for chosen in ([1], [1, 2]):
        with pytest.raises(InputError, match=rf"{name}: section '0001' .*{what}"):
            population.sections(chosen)


def test_a_black_section_of_ours_is_black_and_not_missing(tmp_path):
    images = IMAGES.copy()
    images[1] = 0
    population = Population.open(ours(tmp_path / "a.zarr", images))
    assert not population.images[1].any()
    with pytest.raises(InputError, match="'b1' holds one constant value"):
        population.sections()


@pytest.mark.parametrize("size", [0, float("inf"), float("nan"), -3])
def test_a_pixel_size_that_cannot_be_is_not_believed(tmp_path, size):
    path = ome(tmp_path / "a.ome.tif", PhysicalSizeX=size)
    assert Population.open(path).description.pixel_size_um is None


def test_a_table_that_is_a_link_to_nothing_is_named(tmp_path):
    """The brains that it flags would be fitted without a word."""
    path = npy(tmp_path / "a.npy")
    (tmp_path / "a.csv").symlink_to("nowhere.csv")
    with pytest.raises(OSError, match=r"a\.csv"):
        Population.open(path)


@pytest.mark.parametrize("old", [b"<OME", b"<Pixels", b"</OME>", b"SizeT=", b'PhysicalSizeX="2'])
def test_a_broken_ome_description_leaves_the_pixels(tmp_path, old):
    path = ome(tmp_path / "a.ome.tif", PhysicalSizeX=25.0)
    swapped(path, old, b"?" * len(old))
    population = Population.open(path)
    np.testing.assert_array_equal(population.sections(), IMAGES)


def test_a_bomb_in_an_ome_description_leaves_the_pixels(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", IMAGES, description=laughs(), metadata=None, **GRAY)
    with peak_memory() as peak:
        np.testing.assert_array_equal(Population.open(tmp_path / "a.ome.tif").sections(), IMAGES)
    assert peak.mb < 100


def test_a_name_like_na_is_a_name(tmp_path):
    beside(npy(tmp_path / "a.npy"), b"id,x\nNA,1\nnull,2\n007,3\nnan,4\n1e3,5\n")
    assert Population.open(tmp_path / "a.npy").ids == ["NA", "null", "007", "nan", "1e3"]


def test_too_large_numbers_make_no_noise(tmp_path, recwarn):
    npy(tmp_path / "a.npy", np.where(IMAGES > 100, 1e300, 1.0))
    with pytest.raises(InputError, match="infinite"):
        Population.open(tmp_path / "a.npy").sections()
    assert not recwarn.list


def test_a_compressed_archive_that_is_large_is_unpacked_once_and_leaves_nothing(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("napari_brainvae.data.population_files.IN_MEMORY", 100)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    caplog.set_level("INFO")
    population = Population.open(npz(tmp_path / "a.npz", compressed=True))
    assert "a.npz is compressed: unpacked once" in caplog.text
    np.testing.assert_array_equal(population.sections(), IMAGES)
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    del population
    assert not list((tmp_path / "temporary").iterdir())


PEAK = """
import json, re, sys
from pathlib import Path
from napari_brainvae.data import population_files
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing

population_files.IN_MEMORY = 2**22  # or compressed archives of this size stay in memory
step = Preprocessing(height=128, width=128)
peaks = []
for path in sys.argv[1:]:
    population = Population.open(path)
    for start in range(0, len(population), 8):
        population.prepared(step, slice(start, start + 8))
    population.fingerprint()
    # Not ru_maxrss, which begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peaks.append(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024)
print(json.dumps(peaks))
"""

KINDS = {
    "a.npy": lambda path, images: np.save(path, images),
    "a.npz": lambda path, images: np.savez(path, images=images),
    "b.npz": lambda path, images: np.savez_compressed(path, images=images),
    "a.tif": lambda path, images: tifffile.imwrite(path, images, **GRAY),
    "b.tif": lambda path, images: tifffile.imwrite(path, images, compression="zlib", **GRAY),
    "a.zarr": lambda path, images: Population(images).save(path),
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux")
def test_memory_does_not_grow_with_the_population(tmp_path):
    """After 4 MB of every kind, 42 MB of any kind take hardly more: a few blocks of 4 MB."""
    some = np.kron(sections(8, 32, 32, np.float32), np.ones((4, 4), np.float32))
    paths = []
    for count in (64, 640):
        for name, write in KINDS.items():
            paths.append(tmp_path / str(count) / name)
            paths[-1].parent.mkdir(exist_ok=True)
            write(paths[-1], np.resize(some, (count, 128, 128)))
    command = [sys.executable, "-c", PEAK, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peaks = json.loads(done.stdout)[len(KINDS) - 1 :]
    growth = dict(zip(KINDS, np.diff(peaks), strict=True))
    assert max(growth.values()) < 15, f"MB by kind: {growth}"


def test_populations_written_before_open(tmp_path):
    """Groups without checksums, with and without a table, as version 0.1.0 wrote them."""
    from zarr.codecs import BloscCodec

    for table in (False, True):
        path = Path(tmp_path / f"old{table}.zarr")
        group = zarr.open_group(path, mode="w")
        group.attrs.update({"pixel_size_um": 25.0, "plane": 286, "source": "", "preprocessing": {
            "height": H, "width": W, "reference_brightness": 2.0, "clip": 3.8,
            "mean_over": "section"}})  # fmt: skip
        images = group.create_array(
            "images",
            shape=SHAPE,
            chunks=(1, H, W),
            dtype=np.uint16,
            compressors=BloscCodec(cname="lz4", shuffle="shuffle"),
        )
        images[:] = IMAGES
        text = np.array(names(), dtype=np.dtypes.StringDType())
        group.create_array("ids", data=text)
        if table:
            covariates = group.create_group("covariates")
            covariates.attrs["columns"] = ["sex", "age"]
            covariates.create_array("sex", data=text)
            covariates.create_array("age", data=np.arange(5))
        population = Population.open(path)
        np.testing.assert_array_equal(population.sections(), IMAGES)
        assert population.ids == names()
        assert population.description.preprocessing.mean_over == "section"
        assert list(population.covariates) == (["sex", "age"] if table else [])
