"""What a person wrote into the files of an acquisition survives its next run, or stops it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.data.kept_covariates import edited_columns, merge_covariates
from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from tests.allen_server import Fault


def edit(path: Path, **columns: object) -> None:
    population = Population.open(path)
    images = population.images[:]
    table = population.covariates.assign(**columns)
    Population(images, population.ids, table, population.description).save(path, overwrite=True)


def manifest_of(out: Path) -> Path:
    return Path(f"{out}.work/manifest.csv")


# her covariates


def test_her_flags_and_columns_survive_a_run_that_adds_brains(fetch, caplog):
    out = fetch("--limit", "2")
    before = Population.open(out)
    hers = ~before.flagged
    edit(out, flagged=hers, rater=["Ada", ""], score=[3, 4], seen=[True, False])
    caplog.set_level("INFO")
    fetch()
    after = Population.open(out)
    assert after.ids == ["11", "12", "13", "14"]
    table = after.covariates
    np.testing.assert_array_equal(after.flagged[:2], hers)
    assert table["flagged"].dtype == bool
    assert list(table["rater"]) == ["Ada", "", "", ""]
    np.testing.assert_array_equal(table["score"], [3, 4, np.nan, np.nan])
    np.testing.assert_array_equal(table["seen"], [1, 0, np.nan, np.nan])
    assert list(table["gender"]) == ["M", "F", "M", "F"]
    assert "what was written into flagged, rater, score, seen is kept" in caplog.text


def test_without_an_edit_nothing_is_said_of_one(fetch, caplog):
    caplog.set_level("INFO")
    fetch("--limit", "2")
    fetch()
    assert "is kept" not in caplog.text


OURS = pd.DataFrame(
    {"flagged": [False, True, False], "volume": [0.1, 0.2, 0.3], "strain": ["a", "b", "c"]},
    index=["1", "2", "3"],
)


@pytest.mark.parametrize(
    ("theirs", "column", "expected"),
    [
        ({"flagged": [1]}, "flagged", [1, 1, 0]),
        ({"flagged": [True]}, "flagged", [True, True, False]),
        ({"volume": [7]}, "volume", [7, 0.2, 0.3]),
        ({"volume": ["lost"]}, "volume", ["lost", "0.2", "0.3"]),
        ({"strain": ["x"]}, "strain", ["x", "b", "c"]),
        ({"strain": [5]}, "strain", ["5", "b", "c"]),
        ({"note": ["x"]}, "note", ["x", "", ""]),
        ({"note": [2.5]}, "note", [2.5, np.nan, np.nan]),
    ],
)
def test_merging_goes_by_id_and_hers_count(theirs, column, expected):
    hers = pd.DataFrame(theirs, index=["1"])
    merged = merge_covariates(hers, OURS)
    assert list(merged.index) == ["1", "2", "3"]
    pd.testing.assert_series_equal(
        merged[column], pd.Series(expected, index=OURS.index), check_names=False, check_dtype=False
    )
    untouched = OURS.columns.difference([column])
    pd.testing.assert_frame_equal(merged[untouched], OURS[untouched])
    assert edited_columns(hers, OURS) == [column]
    assert edited_columns(OURS.iloc[::-1], OURS) == []


# her files


def test_only_zips_of_our_brains_are_removed(fetch, server):
    out = fetch("--limit", "1")
    volumes = Path(f"{out}.work/volumes")
    hers = ["notes.txt", "12.zip.txt", "my 12.zip", "99.zip", "more/x.zip"]
    (volumes / "more").mkdir()
    for name in [*hers, "14.zip"]:
        (volumes / name).write_text("hers")
    fetch("--limit", "1")
    assert all((volumes / name).read_text() == "hers" for name in hers)
    assert not (volumes / "14.zip").exists()


def test_zips_that_were_kept_on_request_stay(fetch):
    out = fetch("--keep-volumes", "--limit", "2")
    fetch()
    kept = sorted(p.name for p in Path(f"{out}.work/volumes").iterdir())
    assert kept == ["11.zip", "12.zip"]


def test_a_population_moved_aside_when_a_run_was_killed_comes_back(fetch):
    out = fetch("--limit", "2")
    edit(out, rater=["Ada", "Ida"])
    out.rename(out.with_name(".mice.zarr.0123abcd.old"))
    fetch("--limit", "2")
    assert list(Population.open(out).covariates["rater"]) == ["Ada", "Ida"]


# her manifest


def rewritten(out: Path, old: str, new: str) -> None:
    text = manifest_of(out).read_text()
    assert old in text
    manifest_of(out).write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("recorded", [True, False], ids=["ids noted", "begun before they were"])
@pytest.mark.parametrize("keep", [1, 3, 4])
def test_a_manifest_cut_short_stops_the_run_and_shrinks_nothing(fetch, keep, recorded):
    out = fetch()
    lines = manifest_of(out).read_text().splitlines(keepends=True)
    manifest_of(out).write_text("".join(lines[:keep]))
    if not recorded:
        request = manifest_of(out).with_name("request.json")
        content = json.loads(request.read_text())
        del content["brains"]
        request.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"manifest\.csv has lost the rows of .*from a copy"):
        fetch()
    assert Population.open(out).ids == ["11", "12", "13", "14"]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7, 0.9, 0.97])
def test_a_manifest_cut_anywhere_is_refused(fetch, share):
    out = fetch()
    text = manifest_of(out).read_text()
    manifest_of(out).write_text(text[: int(share * len(text))])
    with pytest.raises(InputError, match=r"manifest\.csv"):
        fetch()
    assert Population.open(out).ids == ["11", "12", "13", "14"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("12,waiting", "12,wating", "12 has the status 'wating', which is none of waiting, done"),
        ("12,waiting", "12,", "12 has the status ''"),
        ("11,done", "11,Done", "11 has the status 'Done'"),
        ("12,waiting,0", "12,waiting,often", "12 has no number of tries"),
        ("12,waiting,0", "12,waiting,-1", "12 has no number of tries"),
        ("12,waiting", "11,waiting", "repeats 11"),
        ("12,waiting", "twelve,waiting", "'twelve' is none"),
        ("12,waiting", "12.5,waiting", "'12.5' is none"),
        ("12,waiting", ",waiting", "nan is none"),
        ("12,waiting", "21,waiting", "lost the rows of 1 brains .such as 12"),
        ("12,waiting", '"12,waiting', "cannot be read"),
    ],
)
def test_a_slip_in_the_manifest_is_named_with_its_row(fetch, old, new, message):
    out = fetch("--limit", "1")
    rewritten(out, old, new)
    with pytest.raises(InputError, match=message):
        fetch()
    rewritten(out, new, old)
    fetch()
    assert Population.open(out).ids == ["11", "12", "13", "14"]


def test_ids_that_a_spreadsheet_gave_a_point_are_the_same(fetch, server):
    out = fetch("--limit", "2")
    text = manifest_of(out).read_text()
    for i in (11, 12, 13, 14):
        text = text.replace(f"\n{i},", f"\n{i}.0,")
    manifest_of(out).write_text(text)
    fetch()
    assert server.fetched() == {11: 1, 12: 1, 13: 1, 14: 1}
    assert Population.open(out).ids == ["11", "12", "13", "14"]


@pytest.mark.parametrize(
    "text", ["[]", "null", "{", "", '{"brains": 4}', '{"brains": [{}]}', "[" * 10**5]
)
def test_a_request_of_another_shape_is_named(fetch, text):
    out = fetch()
    manifest_of(out).with_name("request.json").write_text(text)
    with pytest.raises(InputError, match=r"request\.json.*from a copy"):
        fetch()


def test_a_manifest_begun_before_sections_had_checksums_goes_on(fetch, server):
    out = fetch("--limit", "2")
    table = pd.read_csv(manifest_of(out), keep_default_na=False)
    table.drop(columns="section_sha256").to_csv(manifest_of(out), index=False)
    fetch()
    assert server.fetched() == {11: 1, 12: 1, 13: 1, 14: 1}


# her population and sections


def test_a_population_with_brains_of_hers_is_not_overwritten(fetch):
    out = fetch("--limit", "2")
    population = Population.open(out)
    mine = Population(population.images[:], ["11", "mine"], description=population.description)
    mine.save(out, overwrite=True)
    with pytest.raises(InputError, match=r"holds 1 brains .* does not name \(such as mine\)"):
        fetch()
    assert Population.open(out).ids == ["11", "mine"]


@pytest.mark.parametrize("change", ["a voxel", "cut", "emptied", "removed"])
def test_sections_changed_on_disk_are_fetched_again_aloud(fetch, server, caplog, change):
    out = fetch("--limit", "2")
    path = Path(f"{out}.work/sections/12.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    match change:
        case "a voxel":
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[:-10])
        case "emptied":
            path.write_bytes(b"")
        case "removed":
            path.unlink()
    before = Population.open(out).fingerprint()
    fetch("--limit", "2")
    assert server.fetched() == {11: 1, 12: 2}
    assert "the sections of 12 are gone or changed on disk" in caplog.text
    assert Population.open(out).fingerprint() == before


def test_a_population_keeps_a_brain_that_cannot_be_fetched_again(fetch, server):
    out = fetch("--limit", "2")
    before = Population.open(out).images[1]
    Path(f"{out}.work/sections/12.npy").unlink()
    server.faults[12] = Fault("404")
    fetch()
    after = Population.open(out)
    assert after.ids == ["11", "12", "13", "14"]
    np.testing.assert_array_equal(after.images[1], before)
