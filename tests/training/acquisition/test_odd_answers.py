"""What a service may answer besides what it should: no answer ends the run for the other brains."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from tests.allen_server import SMALL, Fault, coordinate_volume, record, volume_zip
from training.acquisition import http
from training.acquisition.http import Connection, reason


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(f"{out}.work/manifest.csv", index_col="id", keep_default_na=False)


def replaced(**header: str) -> Fault:
    return Fault("replace", body=volume_zip(coordinate_volume(SMALL), header=header))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (replaced(ElementDataFile="a/b.raw"), "ElementDataFile = 'a/b.raw'"),
        (replaced(ElementDataFile=""), "ElementDataFile = ''"),
        (replaced(ElementDataFile="."), "ElementDataFile = '.'"),
        (replaced(ElementSpacing="10 10 10"), "ElementSpacing = 10 10 10"),
        (replaced(ElementDataFile="\0\x1b[2J.raw"), "points to"),
        (Fault("replace", on="link", body=b"[" * 10**5), "the answer cannot be read"),
        (Fault("replace", on="link", body=b"9" * 10**4), "the answer cannot be read"),
        (Fault("replace", on="link", body=b'{"msg": [{"download_link": 5}]}'), "InvalidURL"),
    ],
)
def test_one_malformed_brain_is_recorded_and_the_others_go_on(fetch, server, fault, message):
    server.faults[12] = fault
    for _ in range(2):  # a rerun neither stops nor asks again
        out = fetch()
        assert Population.open(out).ids == ["11", "13", "14"]
        row = table(out).loc[12]
        assert row["status"] == "failed"
        assert message in row["error"]
        assert row["error"].isprintable()
    tried = server.fetched().get(12, 0)
    server.faults.clear()
    fetch("--retry-failed")
    assert Population.open(out).ids == ["11", "12", "13", "14"]
    assert server.fetched()[12] == tried + 1


def test_416_to_a_request_without_a_range(fetch, server, monkeypatch):
    get = Connection._get

    def refusing(self: Connection, url: str, **headers: str):
        response = get(self, url, **headers)
        if url.endswith("download/12"):
            response.status_code = 416
        return response

    monkeypatch.setattr(Connection, "_get", refusing)
    out = fetch()
    assert Population.open(out).ids == ["11", "13", "14"]
    assert "12.zip had 0 bytes, the server says that there are no" in table(out).loc[12, "error"]


@pytest.mark.parametrize(("seconds", "said"), [(0.1, False), (8.0, True)])
def test_a_service_that_is_not_there_is_not_waited_for_in_silence(seconds, said, caplog):
    outcome = SimpleNamespace(exception=lambda: http.requests.ConnectionError("refused"))
    http._say_so(SimpleNamespace(outcome=outcome, next_action=SimpleNamespace(sleep=seconds)))
    expected = ["the connection failed (ConnectionError): trying again after 8 s"] if said else []
    assert caplog.messages == expected


@pytest.mark.parametrize(
    ("asked", "least", "most", "said"),
    [
        ("5", 5, 5, False),
        ("600", 600, 600, False),
        ("1000000000", 600, 600, True),
        ("9" * 5000, 0, 1, False),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600, 600, True),
        ("soon", 0, 1, False),
        ("-5", 0, 1, False),
    ],
)
def test_a_pause_is_as_long_as_asked_for_within_reason(asked, least, most, said, caplog):
    error = SimpleNamespace(response=SimpleNamespace(headers={"Retry-After": asked}))
    state = SimpleNamespace(outcome=SimpleNamespace(exception=lambda: error), attempt_number=1)
    waited = Connection(backoff=0.01)._wait(state)
    assert least <= waited <= most
    assert ("asks for a pause" in caplog.text) == said
    assert waited <= http.LONGEST_WAIT_SECONDS


@pytest.mark.parametrize(
    ("ids", "kept", "said"),
    [
        ([11, 12, 11], [11, 12], "1 experiments of an id listed before are left out, such as 11"),
        ([11, 12.0], [11, 12], ""),
        ([11, 12.5], [11], "without a whole number as id are left out, such as 12.5"),
        ([11, None], [11], "without a whole number as id"),
        ([11, "x"], [11], "without a whole number as id are left out, such as x"),
        ([11, True], [11], "without a whole number as id"),
        ([11, -3], [11], "without a whole number as id"),
    ],
)
def test_odd_ids_in_the_list_of_experiments(fetch, server, ids, kept, said, caplog):
    server.records = [record(11) | {"data_set_id": i} for i in ids]
    assert list(table(fetch("--limit", "1")).index) == kept
    assert said in caplog.text


@pytest.mark.parametrize(
    "records",
    [
        [1], ["x"], [None], [[1, 2]], [{}], [{"data_set_id": 11}], [{"id": 11}],
        [record(11) | {"data_set_id": {"id": 11}}], [record(11) | {"data_set_id": [11]}],
        [record(11), 5], [record(11), {}],
    ],
    ids=str,
)  # fmt: skip
def test_a_list_of_another_shape_is_one_line(fetch, server, records, tmp_path):
    server.records = records
    with pytest.raises(InputError, match=r"list of experiments|no id is a whole number"):
        fetch()
    assert not (tmp_path / "mice.zarr").exists()
    assert not (tmp_path / "mice.zarr.work" / "manifest.csv").exists()


@pytest.mark.parametrize(
    "odd",
    [
        {"strain": 5}, {"strain": None}, {"strain": ["a", "b"]}, {"strain": {"a": 1}},
        {"strain": "a\0b"}, {"strain": 'a,"b\nc'}, {"strain": "\ud800"}, {"structure_id": "x"},
        {"structure_id": 1e300}, {"specimen_name": "x" * 10_000},
    ],
    ids=lambda v: ascii(v)[:40],
)  # fmt: skip
def test_odd_values_of_a_brain_stop_no_acquisition(fetch, server, odd):
    """They are written and read again, twice, as text if nothing else."""
    server.records = [record(11) | odd, record(12)]
    for _ in range(2):
        assert Population.open(fetch()).ids == ["11", "12"]


def test_a_list_without_any_usable_id_is_refused(fetch, server):
    server.records = [record(11) | {"data_set_id": "x"}]
    with pytest.raises(InputError, match="no id is a whole number"):
        fetch()


def test_a_reason_is_one_printable_line():
    assert reason(ValueError("a\n b\0\x1b[2J")) == "a b??[2J"
