"""Acquisition against a real HTTP server on 127.0.0.1 that plays, and mistreats, the Allen API."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("allensdk", reason="allensdk is not installed")

from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.folder_lock import only_one
from tests.allen_server import (
    SMALL,
    STRUCTURES,
    AllenServer,
    Fault,
    coordinate_volume,
    fetch_small,
    nrrd_bytes,
    record,
    serving,
    volume_zip,
)
from tests.disk import can_be_watched, check, watching
from training import acquire
from training.acquisition import http as download
from training.acquisition.fetch_atlas import fetch_atlas
from training.acquisition.http import Connection
from training.acquisition.manifest import Manifest, select
from training.acquisition.options import AtlasOptions, SectionsOptions, planes_of
from training.acquisition.volumes import CCF

PLANE = 7
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[AllenServer]:
    with serving(AllenServer([record(i) for i in (11, 12, 13, 14)])) as play:
        yield play


@pytest.fixture
def fetch(server, tmp_path):
    """Fetch small volumes into mice.zarr, impatiently; returns its path."""

    def call(*arguments: str, plane: str = str(PLANE)) -> Path:
        out = tmp_path / "mice.zarr"
        quick = ["--server", server.url, "--tries", "2", "--backoff", "0.01", "--timeout", "0.5"]
        fetch_small([str(out), "--plane", plane, *quick, *arguments])
        return out

    return call


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(f"{out}.work/manifest.csv", index_col="id", keep_default_na=False)


def expected(experiment: int, plane: int = PLANE) -> np.ndarray:
    return coordinate_volume(brain=experiment % 97)[plane, :, 4:68]


def assert_same(one: Path, other: Path) -> None:
    one, other = Population.open(one), Population.open(other)
    assert one.fingerprint() == other.fingerprint()
    pd.testing.assert_frame_equal(one.covariates, other.covariates)
    assert one.description == other.description


# what a run gives


def test_sections_become_a_population_with_covariates(fetch, server):
    population = Population.open(fetch())
    assert population.ids == ["11", "12", "13", "14"]
    assert population.shape == (64, 64)
    assert population.description.plane == PLANE
    assert population.description.pixel_size_um == 25
    assert "Attribution, non-commercial" in population.description.source
    covariates = population.covariates
    assert list(covariates["gender"]) == ["M", "F", "M", "F"]
    assert list(covariates["transgenic_line"]) == ["", "Rbp4-Cre_KL100", "", ""]
    assert list(covariates["injection_structures"]) == ["997/315"] * 4
    assert covariates["injection_volume"].dtype == np.float64
    assert {"quality_dark_bands", "quality_saturated", "quality_grid", "flagged"} < set(covariates)
    assert server.most_at_once <= 2


def test_plane_orientation_and_crop(fetch):
    """Each voxel encodes its AP, DV and ML index: rows are DV, columns ML 4..67 of 72."""
    population = Population.open(fetch())
    dv, ml = np.ogrid[:64, 4:68]
    for brain, image in zip((11, 12, 13, 14), population.images[:], strict=True):
        np.testing.assert_array_equal(image, 1 + brain + 7 * ml + 97 * dv + 1009 * PLANE)


def test_several_planes_make_several_populations(fetch, tmp_path):
    fetch(plane="2:6:2,9")
    assert sorted(p.name for p in tmp_path.glob("*.zarr")) == [
        f"mice_p{plane}.zarr" for plane in (2, 4, 6, 9)
    ]
    for plane in (2, 4, 6, 9):
        population = Population.open(tmp_path / f"mice_p{plane}.zarr")
        assert population.description.plane == plane
        np.testing.assert_array_equal(population.images[1], expected(12, plane))


def test_the_papers_crop_is_symmetric_about_the_midline():
    first, end = CCF.columns
    assert (CCF.dv, end - first) == (320, 448)
    assert first + (end - 1) == CCF.ml - 1


def test_an_empty_plane_is_left_out_aloud(fetch, server, caplog):
    empty = coordinate_volume(brain=12)
    empty[PLANE] = 0
    server.faults[12] = Fault("replace", body=volume_zip(empty))
    caplog.set_level("INFO")
    population = Population.open(fetch())
    assert population.ids == ["11", "13", "14"]
    assert "left out: 12" in caplog.text


@pytest.mark.parametrize(
    ("text", "planes"),
    [
        ("286", [286]),
        ("290,286", [286, 290]),
        ("280:290:5", [280, 285, 290]),
        ("5:7,6,300", [5, 6, 7, 300]),
        ("0", [0]),
    ],
)
def test_planes(text, planes):
    assert planes_of(text) == planes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sections", "mice.tif"], "ends in .zarr"),
        (["sections", "mice.zarr", "--plane", "front"], "'front'"),
        (["sections", "mice.zarr", "--plane", "9:5"], "no planes '9:5'"),
        (["sections", "mice.zarr", "--plane", "5:9:0"], "'5:9:0'"),
        (["sections", "mice.zarr", "--plane", "1:2:3:4"], "'1:2:3:4'"),
        (["sections", "mice.zarr", "--plane", "-3"], "no planes '-3'"),
        (["sections", "mice.zarr", "--plane", "528"], "0 to 527"),
        (["sections", "mice.zarr", "--connections", "9"], "connections"),
        (["sections", "mice.zarr", "--tries", "0"], "tries"),
        (["sections", "mice.zarr", "--server", "brain-map.org"], "server"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        acquire.main(acquire.Acquire, acquire.run, program="acquire", arguments=arguments)
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.iterdir())


def test_without_allensdk_the_message_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['allensdk'] = None; from training.acquire import *;"
        "main(Acquire, run, program='acquire', arguments=['atlas', 'ccf'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=_environment(), cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "acquisition needs allensdk: pip install" in done.stderr
    assert "--no-deps allensdk==2.16.2" in done.stderr


# which brains


@pytest.fixture
def mixed(server):
    server.records = [
        record(1, strain="C57BL/6J", gender="M", structure_id=315),
        record(2, strain="B6.Cg", gender="F", structure_id=254),
        record(3, strain="B6.Cg", gender="M", structure_id=549),
        record(4, strain=None, gender="F", structure_id=549),
    ]
    return server


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ([], [1, 2, 3, 4]),
        (["--strain", "b6.cg"], [2, 3]),
        (["--strain", "B6.Cg", "--strain", "C57BL/6J"], [1, 2, 3]),
        (["--gender", "F"], [2, 4]),
        (["--line", "Rbp4-Cre_KL100"], [3]),
        (["--line", "none", "--gender", "M"], [1]),
        (["--injection-structure", "Isocortex"], [1, 2]),
        (["--injection-structure", "RSP", "--injection-structure", "TH"], [2, 3, 4]),
    ],
)
def test_selection(mixed, fetch, arguments, ids):
    assert list(table(fetch(*arguments)).index) == ids


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strain", "CD1"], "no experiment has strain 'CD1'; there are B6.Cg"),
        (["--line", "Cux2"], "no experiment has transgenic_line 'Cux2'"),
        (["--strain", "C57BL/6J", "--gender", "F"], "no experiment has gender 'F'"),
        (["--injection-structure", "Cortex"], "the atlas has no structure Cortex"),
    ],
)
def test_impossible_selection(mixed, fetch, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        fetch(*arguments)
    assert not (tmp_path / "mice.zarr.work" / "manifest.csv").exists()


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("id,cohort\n14,a\n11,b\n", [14, 11]),
        ("14\n11\n", [14, 11]),
        ("name,id,strain\nx,12,wrong\n", [12]),
        ("id\n12\n99\n", [12, 99]),
    ],
)
def test_experiments_file(fetch, tmp_path, text, ids):
    chosen = tmp_path / "chosen.csv"
    chosen.write_text(text)
    selected = table(fetch("--experiments", str(chosen)))
    assert list(selected.index) == ids
    known = selected.drop(index=99, errors="ignore")
    assert (known["strain"] == "C57BL/6J").all()
    if "cohort" in text:
        assert list(selected["cohort"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiment\n1\n", "no column 'id'"),
        ("id\nabc\n", "no column 'id' of experiment numbers"),
        ("id\n11\n11\n", "repeats 11"),
    ],
)
def test_bad_experiments_file(fetch, tmp_path, text, message):
    chosen = tmp_path / "chosen.csv"
    chosen.write_text(text)
    with pytest.raises(ValueError, match=message):
        fetch("--experiments", str(chosen))


def test_a_missing_experiments_file_is_told_before_the_service_is_asked(tmp_path):
    options = SectionsOptions(out=tmp_path / "out.zarr", experiments=tmp_path / "chosen.csv")
    with pytest.raises(InputError, match="there is no "):
        select(options, service=None)


def test_the_recorded_experiments_work_as_a_selection(server, fetch, shared_data):
    """2,279 recorded experiments select; 428 recorded records are what the service lists."""
    recorded = json.loads((shared_data / "allen_api" / "experiments_428.json").read_text())
    server.records = [
        {
            **{k: v for k, v in r.items() if k not in ("id", "primary_injection_structure")},
            "data_set_id": r["id"],
            "injection_structures": "/".join(map(str, r["injection_structures"])),
            "transgenic_line": {"name": r["transgenic_line"]} if r.get("transgenic_line") else None,
            "storage_directory": "",
        }
        for r in recorded.values()
    ]
    file = shared_data / "allen_api" / "experiments_2279.csv"
    out = fetch("--experiments", str(file), "--limit", "5")
    selected = table(out)
    assert list(selected.index) == list(pd.read_csv(file)["id"])
    assert (selected["status"] == "done").sum() == 5
    both = selected.loc[[i for i in map(int, recorded) if i in selected.index]]
    assert len(both) > 300
    assert list(both["strain"]) == [recorded[str(i)].get("strain") or "" for i in both.index]
    assert len(Population.open(out)) == 5


# what goes wrong


def _spoilt(header: dict[str, str]) -> bytes:
    return volume_zip(coordinate_volume(), header=header)


def _bad_crc() -> bytes:
    content = bytearray(volume_zip(coordinate_volume(), level=0))
    content[len(content) // 6] ^= 0xFF  # in the first third lies the red channel, stored as it is
    return bytes(content)


PASSING = [
    (Fault("500"), "the server answered 500"),
    (Fault("500", on="link"), "the server answered 500"),
    (Fault("reset"), "the connection failed"),
    (Fault("stall"), "the transfer stalled"),
    (Fault("stall", on="link"), "the transfer stalled"),
    (Fault("short"), "no complete zip arrived"),
    (Fault("replace", body=volume_zip(coordinate_volume())[:5000]), "no complete zip arrived"),
    (Fault("replace", body=_bad_crc()), "Bad CRC-32"),
    (Fault("replace", body=b"<html>Maintenance</html>"), "no complete zip arrived"),
    (Fault("replace", on="link", body=b"<html>Maintenance</html>"), "the answer is no JSON"),
    (Fault("replace", on="link", body=b"[1, 2]"), "unexpected answer"),
    (
        Fault("replace", on="link", body=b'{"success": false, "msg": "too many"}'),
        "unexpected answer.*too many",
    ),
]
LASTING = [
    (Fault("404"), "the server answered 404"),
    (Fault("replace", body=_spoilt({"DimSize": "12 64 71"})), "DimSize = 12 64 71, not 12 64 72"),
    (Fault("replace", body=_spoilt({"DimSize": "72 64 12"})), "DimSize = 72 64 12"),
    (Fault("replace", body=_spoilt({"ElementType": "MET_UCHAR"})), "ElementType = MET_UCHAR"),
    (Fault("replace", body=_spoilt({"BinaryDataByteOrderMSB": "True"})), "ByteOrderMSB = True"),
    (Fault("replace", body=_spoilt({"CompressedData": "True"})), "CompressedData = True"),
    (Fault("replace", body=_spoilt({"ElementDataFile": "LOCAL"})), "points to LOCAL"),
    (Fault("replace", body=volume_zip(coordinate_volume(), channels=("green",))), "0 files"),
    (Fault("replace", on="link", body=b'{"success": true, "msg": []}'), "has no volumes"),
    (Fault("replace", on="link", body=b'{"msg": [{"id": 1}]}'), "has no volumes"),
    (Fault("replace", on="link", body=b'{"msg": ["x"]}'), "has no volumes"),
]


FAULTS = {100 + 2 * k: (fault, reason) for k, (fault, reason) in enumerate(PASSING + LASTING)}
"""One brain each; the odd numbers between them are well."""


def _mistreated(out: Path, times: int) -> Iterator[tuple[Path, AllenServer, list[str]]]:
    faults = {i: replace(fault, times=times) for i, (fault, _) in FAULTS.items()}
    records = [record(i) for i in range(100, max(FAULTS) + 2)]
    with serving(AllenServer(records, faults=faults)) as server:
        quick = ["--tries", "2", "--backoff", "0.01", "--timeout", "0.5"]
        arguments = [str(out), "--plane", str(PLANE), "--server", server.url, *quick]
        fetch_small(arguments)
        yield out, server, arguments


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """A run in which every other brain has a fault of its own that does not go away."""
    yield from _mistreated(tmp_path_factory.mktemp("lasting") / "mice.zarr", 10**6)


@pytest.fixture(scope="module")
def passing(tmp_path_factory):
    """A run in which every other brain has a fault of its own, once."""
    yield from _mistreated(tmp_path_factory.mktemp("passing") / "mice.zarr", 1)


@pytest.mark.parametrize("experiment", FAULTS)
def test_a_lasting_fault_is_recorded_with_its_reason(lasting, experiment):
    fault, reason = FAULTS[experiment]
    row = table(lasting[0]).loc[experiment]
    assert row["status"] == "failed"
    assert re.search(reason, row["error"]), row["error"]
    assert row["tries"] == (2 if (fault, reason) in PASSING else 1)


@pytest.mark.parametrize("experiment", FAULTS)
def test_a_passing_fault_is_overcome(passing, experiment):
    fault, reason = FAULTS[experiment]
    row = table(passing[0]).loc[experiment]
    if (fault, reason) in PASSING:
        assert (row["status"], row["tries"], row["error"]) == ("done", 2, "")
        population = Population.open(passing[0])
        image = population.images[population.ids.index(str(experiment))]
        np.testing.assert_array_equal(image, expected(experiment))
    else:
        assert (row["status"], row["tries"]) == ("failed", 1)


def test_the_other_brains_are_untouched_and_nothing_half_written_counts(lasting):
    out, _, _ = lasting
    well = [i for i in table(out).index if i not in FAULTS]
    population = Population.open(out)
    assert population.ids == [str(i) for i in well]
    for experiment, image in zip(well, population.images[:], strict=True):
        np.testing.assert_array_equal(image, expected(experiment))
    work = Path(f"{out}.work")
    assert not list((work / "volumes").iterdir())
    assert sorted(p.stem for p in (work / "sections").iterdir()) == sorted(population.ids)


def test_what_failed_is_tried_again_when_asked_and_only_then(fetch, server, caplog):
    server.faults[12] = Fault("404")
    caplog.set_level("INFO")
    out = fetch()
    summary = caplog.text
    assert "1 failed; --retry-failed tries them again:" in summary
    assert "1 x the server answered 404 Not Found (such as 12)" in summary
    server.faults.clear()
    fetch()
    assert server.fetched() == {11: 1, 12: 1, 13: 1, 14: 1}
    fetch("--retry-failed")
    assert server.fetched() == {11: 1, 12: 2, 13: 1, 14: 1}
    assert Population.open(out).ids == ["11", "12", "13", "14"]
    np.testing.assert_array_equal(Population.open(out).images[1], expected(12))


def test_the_server_is_obeyed_when_it_asks_for_a_pause(fetch, server):
    server.faults[12] = Fault("429", times=1)
    start = time.monotonic()
    out = fetch()
    assert time.monotonic() - start >= 1  # Retry-After: 1, while the back-off is 0.01
    assert list(table(out)["status"]) == ["done"] * 4


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_transfer_goes_on_where_it_stopped(fetch, server, ranges, monkeypatch):
    monkeypatch.setattr(download, "CHUNK_BYTES", 1024)
    server.ranges = ranges
    server.faults[12] = Fault("stall", times=1)
    out = fetch()
    np.testing.assert_array_equal(Population.open(out).images[1], expected(12))
    asked = [about for what, experiment, about in server.log if (what, experiment) == ("file", 12)]
    half = len(server.volume(12)) // 2 // 1024 * 1024
    assert asked == ["", f"bytes={half}-"]  # without ranges the whole file comes again
    row = table(out).loc[12]
    assert row["bytes"] == len(server.volume(12))
    assert row["sha256"] == hashlib.sha256(server.volume(12)).hexdigest()


def test_an_answer_with_wrong_types_in_the_list_of_experiments(fetch, server):
    server.records = [{"id": 1}]
    with pytest.raises(ValueError, match="list of experiments is not as documented"):
        fetch()
    server.records = []
    with pytest.raises(ValueError, match="lists no experiment"):
        fetch()


def test_when_the_service_is_down_the_run_stops_asking(fetch, server):
    server.records = [record(i) for i in range(100, 118)]
    server.faults = {i: Fault("500") for i in range(100, 118)}
    with pytest.raises(OSError, match=r"the last 10 brains .* answered 500.*--retry-failed"):
        fetch()
    assert 10 <= len(server.fetched()) <= 14
    server.faults.clear()
    out = fetch("--retry-failed")
    assert len(Population.open(out)) == 18


def test_a_full_disk_stops_the_run_and_leaves_the_brain_waiting(server, tmp_path):
    """The limit on a file's size makes the system refuse a write, as a full disk does."""
    pytest.importorskip("resource", reason="no limit on file sizes here")
    out = tmp_path / "mice.zarr"
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000));"
        "from tests.allen_server import fetch_small;"
        "fetch_small(sys.argv[1:])"
    )
    arguments = [str(out), "--plane", str(PLANE), "--server", server.url]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=_environment(), capture_output=True, text=True
    )
    assert "File too large" in done.stderr
    assert list(table(out)["status"]) == ["waiting"] * 4
    assert not out.exists()
    fetch_small(arguments)
    np.testing.assert_array_equal(Population.open(out).images[1], expected(12))


# going on


def test_a_second_call_does_nothing(fetch, server):
    out = fetch()
    asked = list(server.log)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    fetch()
    assert server.log == asked
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_limit_is_for_now(fetch, server):
    out = fetch("--limit", "2")
    assert Population.open(out).ids == ["11", "12"]
    assert list(table(out)["status"]) == ["done", "done", "waiting", "waiting"]
    fetch()
    assert Population.open(out).ids == ["11", "12", "13", "14"]
    assert server.fetched() == dict.fromkeys((11, 12, 13, 14), 1)


def test_another_request_is_not_taken_for_the_same(fetch):
    fetch()
    with pytest.raises(ValueError, match=r"begun with plane = 7, not 8"):
        fetch(plane="8")
    with pytest.raises(ValueError, match=r"begun with gender = \[\], not \['M'\]"):
        fetch("--gender", "M")


def test_a_population_of_another_origin_is_not_overwritten(fetch, tmp_path):
    (tmp_path / "mice.zarr").mkdir()
    with pytest.raises(OSError, match="exists already"):
        fetch()


def test_two_runs_do_not_work_in_one_folder(fetch, tmp_path):
    folder = tmp_path / "mice.zarr.work"
    with only_one(folder, "run"), pytest.raises(ValueError, match="another run"):
        fetch()


def test_volumes_are_kept_on_request_and_only_then(fetch, server, tmp_path):
    out = fetch("--keep-volumes")
    kept = Path(f"{out}.work/volumes")
    assert sorted(p.name for p in kept.iterdir()) == [f"{i}.zip" for i in (11, 12, 13, 14)]
    assert (kept / "12.zip").read_bytes() == server.volume(12)
    row = table(out).loc[12]
    assert row["bytes"] == len(server.volume(12))


def test_a_lost_section_is_fetched_again(fetch, server):
    out = fetch()
    Path(f"{out}.work/sections/12.npy").unlink()
    fetch()
    assert server.fetched() == {11: 1, 12: 2, 13: 1, 14: 1}


def test_a_manifest_damaged_by_hand_is_named(fetch):
    out = fetch()
    Path(f"{out}.work/manifest.csv").write_text("id,gender\n11,M\n")
    with pytest.raises(ValueError, match=r"manifest\.csv lacks the columns status"):
        fetch()


def test_manifest_keeps_its_types(tmp_path):
    experiments = pd.DataFrame(
        {"line": ["", "NA"], "volume": [0.5, np.nan], "structure": [1, 2]},
        index=pd.Index([5, 6], name="id"),
    )
    manifest = Manifest(tmp_path / "manifest.csv")
    manifest.begin({"plane": "7"}, experiments)
    manifest.read({"plane": "7"})
    pd.testing.assert_frame_equal(
        manifest.covariates([5, 6]), experiments, check_dtype=False, check_index_type=False
    )


# killed


def _environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "src")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "NO_PROXY": "127.0.0.1",
    }


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_at_twenty_random_moments(tmp_path):
    """The population equals the uninterrupted one, and nothing that was done is fetched again."""
    children = multiprocessing.get_context("forkserver")
    # allensdk is imported once, in the process that the children are forked from.
    children.set_forkserver_preload(["tests.allen_server", "training.acquisition.fetch_sections"])
    moments = random.Random(5)
    out, whole = tmp_path / "killed.zarr", tmp_path / "whole.zarr"
    with serving(AllenServer([record(i) for i in range(100, 130)], pause=0.02)) as server:
        fetch_small([str(whole), "--plane", str(PLANE), "--server", server.url])
        server.log.clear()
        arguments = [str(out), "--plane", str(PLANE), "--server", server.url, "--backoff", "0.01"]
        done_at: dict[int, int] = {}

        def run(moment: float, requests: int) -> int:
            """Run until so many requests and seconds later; returns the exit code."""
            child = children.Process(target=fetch_small, args=(arguments,))
            start = len(server.log)
            child.start()
            while child.is_alive() and len(server.log) < start + requests:
                time.sleep(0.001)
            child.join(moment)
            child.kill()
            child.join()
            manifest = Path(f"{out}.work/manifest.csv")
            if manifest.exists():
                state = table(out)
                assert set(state["status"]) <= {"done", "waiting"}
                for experiment in state.index[state["status"] == "done"]:
                    done_at.setdefault(experiment, len(server.log))
            return child.exitcode or 0

        for _ in range(20):
            requests = moments.randrange(10 if len(done_at) < 20 else 3)
            code = run(moments.uniform(0, 0.02), requests)
            assert code == -signal.SIGKILL, "the run was over before it could be killed"
        assert 0 < len(done_at) < 30
        assert run(60, 10**6) == 0
        assert_same(out, whole)

        for position, (_, experiment, _) in enumerate(server.log):
            assert position < done_at.get(experiment, len(server.log))

        # The writing of the population can be interrupted as well.
        asked = len(server.log)
        for _ in range(5):
            shutil.rmtree(out, ignore_errors=True)
            run(moments.uniform(0.02, 0.4), 0)
        assert run(60, 10**6) == 0
        assert len(server.log) == asked
    assert_same(out, whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "killed.zarr", "killed.zarr.work", "whole.zarr", "whole.zarr.work",
    ]  # fmt: skip


def test_interrupting_is_no_error_of_the_program(server, tmp_path):
    server.pause = 2  # so long that no brain is done before the signal comes
    command = [sys.executable, "-m", "training.acquire", "sections", str(tmp_path / "mice.zarr")]
    with subprocess.Popen(
        [*command, "--server", server.url], env=_environment(), stderr=subprocess.PIPE, text=True,
        # What a shell runs in the background ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:  # fmt: skip
        while child.poll() is None and not server.fetched():
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        error = child.communicate(timeout=30)[1]
    assert child.returncode == 130, error
    assert "Traceback" not in error


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read memory from")
def test_true_size_volumes_in_little_memory_and_on_little_disk(tmp_path):
    """The real command, on 528 x 320 x 456 voxels at full traffic, killed twice in between."""
    volume = np.empty((CCF.ap, CCF.dv, CCF.ml), np.uint16)
    volume[:] = np.arange(CCF.ap, dtype=np.uint16)[:, None, None]
    volume[286] += np.arange(CCF.dv * CCF.ml, dtype=np.uint32).reshape(CCF.dv, CCF.ml)
    section = volume[286, :, 4:452].copy()
    zipped = volume_zip(volume, channels=("red",), level=0)
    del volume
    out = tmp_path / "mice.zarr"
    most_volumes = most_memory = 0

    def watch(child: subprocess.Popen) -> None:
        """Note files and peak memory until the process ends."""
        nonlocal most_volumes, most_memory
        while child.poll() is None:
            # Unlike rglob, os.walk does not mind folders that vanish meanwhile.
            names = [name for _, _, found in os.walk(tmp_path) for name in found]
            files = [name for name in names if name.endswith((".zip", ".raw"))]
            most_volumes = max(most_volumes, len(files))
            # The peak of this program alone: ru_maxrss would count the test that started it.
            status = Path(f"/proc/{child.pid}/status").read_text()
            peak = re.search(r"VmHWM:\s+(\d+) kB", status)
            most_memory = max(most_memory, int(peak[1]) if peak else 0)
            time.sleep(0.01)

    moments = random.Random(1)
    records = [record(i) for i in (21, 22, 23)]
    command = [sys.executable, "-m", "training.acquire", "sections", str(out)]
    with serving(AllenServer(records, lambda _: zipped)) as server:
        for kill in (True, True, False):
            before = len(server.log)
            with subprocess.Popen([*command, "--server", server.url], env=_environment()) as child:
                watcher = threading.Thread(target=watch, args=(child,))
                watcher.start()
                if kill:
                    while child.poll() is None and len(server.log) < before + 3:
                        time.sleep(0.01)
                    time.sleep(moments.uniform(0, 0.3))
                    child.kill()
                watcher.join()
            assert child.returncode == (-signal.SIGKILL if kill else 0)
        assert server.most_at_once <= 2
    assert 1 <= most_volumes <= 2
    assert 0 < most_memory < 1e6  # kB
    population = Population.open(out)
    assert population.shape == (320, 448)
    assert population.description.plane == 286
    np.testing.assert_array_equal(population.images[:], [section] * 3)


# the atlas

RELEASE = "/informatics-archive/current-release/mouse_ccf"


@pytest.fixture
def atlas(server, tmp_path):
    """Fetch a small atlas."""
    volume = np.zeros((SMALL.ap, SMALL.dv, SMALL.ml), np.uint32)
    volume[6, 20:40, 20:50] = 254
    server.archive = {
        f"{RELEASE}/annotation/ccf_2017/annotation_25.nrrd": nrrd_bytes(volume),
        f"{RELEASE}/average_template/average_template_25.nrrd": nrrd_bytes(
            coordinate_volume().astype(np.uint16)
        ),
    }

    def call() -> Path:
        folder = tmp_path / "ccf"
        options = AtlasOptions(
            folder=folder, server=server.url, archive=server.url, tries=2, backoff=0.01, timeout=1
        )
        connection, service = acquire.connect(options)
        with connection:
            fetch_atlas(folder, connection, service, SMALL)
        return folder

    return call


def test_the_atlas_is_fetched_once(atlas, server):
    atlas()
    assert len(server.log) == 3
    atlas()
    assert len(server.log) == 3


@can_be_watched
def test_the_atlas_is_on_disk(atlas, tmp_path):
    with watching(tmp_path) as watch:
        folder = atlas()
    assert {"structures.json", "annotation_25.nrrd", "checksums.json"} <= set(watch.renamed)
    check(watch, folder)


def test_the_atlas_opens_in_allensdk_and_here(atlas, server):
    from allensdk.core.mouse_connectivity_cache import MouseConnectivityCache

    from napari_brainvae.atlas.atlas import Atlas

    folder = atlas()
    cache = MouseConnectivityCache(
        resolution=25, manifest_file=str(folder / "manifest.json"), base_uri="http://127.0.0.1:9"
    )
    annotation, _ = cache.get_annotation_volume()
    template, _ = cache.get_template_volume()
    assert annotation[6, 30, 30] == 254
    np.testing.assert_array_equal(template, coordinate_volume())
    assert cache.get_structure_tree().get_id_acronym_map()["RSP"] == 254
    assert Atlas.open(folder).mask("RSP", plane=6).sum() == 20 * 30


@pytest.mark.parametrize("name", ["structures.json", "average_template_25.nrrd"])
def test_a_damaged_atlas_file_is_fetched_again(atlas, server, name):
    folder = atlas()
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-20])
    atlas()
    assert len(server.log) == 4
    assert (folder / name).read_bytes() == content


def test_sound_files_of_another_program_are_kept(atlas, server):
    folder = atlas()
    (folder / "checksums.json").unlink()
    atlas()
    assert len(server.log) == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>Maintenance</html>", "Invalid NRRD magic"),
        (nrrd_bytes(np.zeros((3, 4, 5), np.uint32)), r"its shape is \(3, 4, 5\)"),
        (nrrd_bytes(np.ones((12, 64, 72), np.uint32))[:-100], "annotation_25.nrrd"),
    ],
)
def test_a_wrong_atlas_file_is_named_and_not_kept(atlas, server, tmp_path, body, message):
    key = next(path for path in server.archive if "annotation" in path)
    good = {key: server.archive[key]}
    server.archive[key] = body
    with pytest.raises(OSError, match=message):
        atlas()
    folder = tmp_path / "ccf"
    kept = {p.name for p in folder.rglob("*") if p.is_file()}
    assert kept == {"structures.json", "checksums.json"}
    server.archive |= good
    atlas()


def test_an_interrupted_atlas_transfer_is_tried_again(atlas, server):
    server.faults[0] = Fault("reset", times=1)
    folder = atlas()
    assert (folder / "annotation" / "ccf_2017" / "annotation_25.nrrd").exists()
    assert len(STRUCTURES) == len(json.loads((folder / "structures.json").read_text()))


def test_one_connection_is_never_more_than_asked_for(server):
    server.pause = 0.05
    with Connection(connections=1) as connection:
        threads = [
            threading.Thread(target=connection.get_json, args=(f"{server.url}/q?model::Structure",))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert server.most_at_once == 1
