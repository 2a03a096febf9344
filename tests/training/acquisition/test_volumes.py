"""One brain's zip, whole, malformed or mutated: planes, or one of two errors with a reason."""

from __future__ import annotations

import io
import random
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.allen_server import coordinate_volume, volume_zip
from training.acquisition.http import Damaged
from training.acquisition.volumes import HEADER, Grid, Unusable, read_planes

TINY = Grid(ap=4, dv=6, ml=8, columns=(1, 7))
RAW = "resampled_red.raw"
VOLUME = coordinate_volume(TINY)
PLANES = [1, 3]
SHORTEST = f"DimSize = 4 6 8\nElementType = MET_USHORT\nElementDataFile = {RAW}".encode()


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "11.zip"
    path.write_bytes(content)
    return path


def packed(method: int, other: dict[str, bytes] | None = None) -> bytes:
    """The zip of VOLUME with its members packed anew, and perhaps other bytes in some."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(volume_zip(VOLUME))) as source,
        zipfile.ZipFile(buffer, "w", method) as target,
    ):
        for name in source.namelist():
            content = (other or {}).get(name, source.read(name))
            target.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def with_header(key: str, value: str) -> bytes:
    return volume_zip(VOLUME, header={key: value})


def with_entry(name: str, offset: int, value: bytes, content: bytes | None = None) -> bytes:
    """Overwrite a field of a member's entry in the zip's directory."""
    changed = bytearray(content or volume_zip(VOLUME))
    for match in re.finditer(b"PK\x01\x02", bytes(changed)):
        start = match.start()
        length = struct.unpack_from("<H", changed, start + 28)[0]
        if changed[start + 46 : start + 46 + length] == name.encode():
            changed[start + offset : start + offset + len(value)] = value
    return bytes(changed)


def with_middle_of_raw_changed(method: int) -> bytes:
    content = bytearray(packed(method))
    middle = content.index(RAW.encode()) + len(RAW) + 30
    content[middle : middle + 20] = bytes(20)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(volume_zip(VOLUME), id="deflated"),
        pytest.param(volume_zip(VOLUME, level=0), id="stored"),
        pytest.param(with_header("ElementSpacing", "25.0 25 2.5e1"), id="spacing in other words"),
        pytest.param(with_header("TransformMatrix", "1.0 0 0 0 1 0 0 -0 1"), id="matrix likewise"),
        pytest.param(packed(zipfile.ZIP_DEFLATED, {HEADER: SHORTEST}), id="neither stated"),
    ],
)
def test_planes_are_read(tmp_path, content):
    planes = read_planes(written(tmp_path, content), PLANES, TINY)
    np.testing.assert_array_equal(planes, VOLUME[PLANES, :, 1:7])


UNUSABLE = [
    *((with_header("ElementDataFile", name), f"ElementDataFile = {name!r}")
      for name in ("", "/etc/passwd", "../resampled_red.raw", "a/b.raw")),
    (with_header("ElementDataFile", "."), r"ElementDataFile = '\.'"),
    (with_header("ElementDataFile", ".."), r"points to \.\."),
    (with_header("ElementDataFile", "LIST"), "points to LIST"),
    (with_header("TransformMatrix", "-1 0 0 0 1 0 0 0 1"), "TransformMatrix = -1 0 0"),
    (with_header("TransformMatrix", "0 1 0 1 0 0 0 0 1"), "TransformMatrix = 0 1 0"),
    (with_header("TransformMatrix", "nan 0 0 0 1 0 0 0 1"), "TransformMatrix = nan"),
    (with_header("TransformMatrix", ""), "TransformMatrix = , not 1 0 0"),
    (with_header("Orientation", "1 0 0 0 -1 0 0 0 1"), "Orientation = 1 0 0 0 -1"),
    (with_header("ElementSpacing", "10 10 10"), "ElementSpacing = 10 10 10, not 25 25 25"),
    (with_header("ElementSpacing", "25 25 -25"), "ElementSpacing = 25 25 -25"),
    (with_header("ElementSpacing", "NaN NaN NaN"), "ElementSpacing = NaN"),
    (with_header("ElementSpacing", "25 25"), "ElementSpacing = 25 25, not"),
    (with_header("ElementSpacing", "wide"), "ElementSpacing = wide"),
    (with_header("Comment", "x" * 70_000), "longer than 65536 bytes"),
    (with_entry(RAW, 8, b"\x01\x00"), f"{RAW} is encrypted"),
    (with_entry(HEADER, 8, b"\x01\x00"), f"{HEADER} is encrypted"),
    (with_entry(RAW, 8, b"\x20\x00"), "cannot be unpacked: compressed patched data"),
    (with_entry(RAW, 10, b"\x63\x00"), f"{RAW} is packed by method 99"),
    (with_entry(RAW, 6, b"\xff\x00"), "cannot be unpacked: zip file version"),
    (with_middle_of_raw_changed(zipfile.ZIP_BZIP2), "packed by method 12"),
    (with_middle_of_raw_changed(zipfile.ZIP_LZMA), "packed by method 14"),
    (packed(zipfile.ZIP_DEFLATED, {RAW: b"\0" * 100}), f"{RAW} has 100 bytes, not 384"),
]  # fmt: skip
DAMAGED = [
    (with_middle_of_raw_changed(zipfile.ZIP_DEFLATED), "no complete zip arrived"),
    (
        with_entry(RAW, 24, struct.pack("<I", 384), packed(zipfile.ZIP_STORED, {RAW: b"\0" * 99})),
        "no complete zip arrived|ends after",
    ),
    (
        with_entry(
            RAW, 24, struct.pack("<I", 384), packed(zipfile.ZIP_DEFLATED, {RAW: b"\0" * 99})
        ),
        f"{RAW} ends after 99 of 384 bytes|no complete zip arrived",
    ),
    (with_entry(RAW, 42, b"\xff\xff\xff\x7f"), "no complete zip arrived"),
    (volume_zip(VOLUME)[:-30], "no complete zip arrived"),
    (b"", "no complete zip arrived"),
]


@pytest.mark.parametrize(("content", "message"), UNUSABLE)
def test_what_is_not_as_documented_is_unusable_and_says_why(tmp_path, content, message):
    with pytest.raises(Unusable, match=message):
        read_planes(written(tmp_path, content), PLANES, TINY)


@pytest.mark.parametrize(("content", "message"), DAMAGED)
def test_what_did_not_arrive_whole_is_damaged_and_says_so(tmp_path, content, message):
    with pytest.raises(Damaged, match=message):
        read_planes(written(tmp_path, content), PLANES, TINY)


def test_an_error_of_the_disk_is_not_the_brains(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_planes(tmp_path / "11.zip", PLANES, TINY)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Flip bits, cut, repeat or swap parts, or write extreme numbers, one to four times."""
    changed = bytearray(content)
    directory = content.index(b"PK\x01\x02")
    for _ in range(chance.randint(1, 4)):
        # Half of the time in the directory, where zips are most sensitive.
        start = chance.randrange(chance.choice((0, min(directory, len(changed) - 1))), len(changed))
        size = chance.choice((1, 2, 4, 8, 30))
        how = chance.randrange(6)
        if how == 0:
            changed[start] ^= 1 << chance.randrange(8)
        elif how == 1:
            changed[start : start + size] = chance.choice((b"\xff", b"\0", b"\x7f")) * size
        elif how == 2:
            changed[start : start + size] = chance.randbytes(size)
        elif how == 3:
            del changed[start : start + size]
        elif how == 4:
            other = chance.randrange(len(changed))
            changed[start : start + size] = changed[other : other + size]
        else:
            changed[start:start] = changed[start : start + size]
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.1 else changed)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_mutated_zip_gives_planes_or_one_of_two_errors(tmp_path, method):
    """Whatever bytes arrive: nothing else may end an acquisition of 1,723 brains."""
    chance, content = random.Random(method), packed(method)
    ends = {"planes": 0, "Damaged": 0, "Unusable": 0}
    for _ in range(500):
        path = written(tmp_path, mutated(content, chance))
        try:
            planes = read_planes(path, PLANES, TINY)
        except (Damaged, Unusable) as error:
            assert len(str(error)) > 10
            ends[type(error).__name__] += 1
        else:
            # What is read was verified: a checksum covers every voxel.
            np.testing.assert_array_equal(planes, VOLUME[PLANES, :, 1:7])
            ends["planes"] += 1
    assert ends["Damaged"] and ends["Unusable"]
